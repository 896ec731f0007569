"""What a test starts, read from its code: `need("gcc")` anywhere on its way marks it `compiler`, a
call of `pipeline.ship` marks it `play`.

In: a test as pytest collected it. Out: names of markers. The way leads through the test, its
fixtures and every function of `tests` they name. What it cannot see, such as a subprocess that
plays, carries `@pytest.mark.play` or `@pytest.mark.train` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

KINDS = {
    "compiler": {"gcc", "arm-none-eabi-gcc", "arm-none-eabi-g++", "ziglang", "g++", "cmake"},
    "emulator": {"unicorn", "qemu-system-arm", "qemu-aarch64"},
    "browser": {"chromium-headless-shell", "chromium", "google-chrome"},
    "probe": {"pyocd"},
    "server": {"ssh", "ssh-keygen"},
    "framework": {"torch", "stable_baselines3", "sb3_contrib", "tensorflow", "keras"},
}
FUNCTIONS = {
    "quarl.pipeline.parity": "play",
    "quarl.exporter.shipping.ship_release": "play",  # which pipeline.ship is
    "quarl.train.train": "train",
}
NEED = "need"


def kinds_of(functions: Iterator[Callable[..., Any]]) -> set[str]:
    """Return the markers of a test made of these functions: itself and its fixtures."""
    programs: set[str] = set()
    kinds: set[str] = set()
    waiting: list[object] = [*functions]
    seen: set[FunctionType] = set()
    while waiting:
        named = waiting.pop()
        if isinstance(named, FunctionType):
            kinds.add(FUNCTIONS.get(f"{named.__module__}.{named.__qualname__}", ""))
        function = _plain(named)
        if function is None or function in seen:
            continue
        seen.add(function)
        programs |= programs_of(function)
        waiting += _named(function)
    return (kinds - {""}) | {kind for kind, members in KINDS.items() if members & programs}


def programs_of(function: FunctionType) -> set[str]:
    """Return every string a function may hand to `need`; nothing where it does not call it."""
    names, constants = _names_and_strings(function.__code__)
    if NEED not in names:
        return set()
    values = [function.__globals__.get(name) for name in names]
    return constants | {
        item
        for value in values
        if isinstance(value, tuple)
        for item in value
        if isinstance(item, str)
    }


def _plain(function: object) -> FunctionType | None:
    """Return the function itself if it lies in `tests`: below decorators, caches and methods."""
    function = getattr(function, "__wrapped__", function)
    function = getattr(function, "__func__", function)
    if isinstance(function, type):
        function = function.__init__  # type: ignore[misc]
    is_ours = isinstance(function, FunctionType) and function.__module__.startswith("tests.")
    return function if is_ours else None  # type: ignore[return-value]


def _named(function: FunctionType) -> Iterator[object]:
    """Yield what a function names: of its module, and of the modules that it imports."""
    names, _ = _names_and_strings(function.__code__)
    for name in names:
        value = function.__globals__.get(name)
        if isinstance(value, ModuleType) and value.__name__.startswith(("tests.", "quarl.")):
            yield from (getattr(value, attribute, None) for attribute in names)
        else:
            yield value


def _names_and_strings(code: CodeType) -> tuple[set[str], set[str]]:
    """Return the names and the strings of a function and of the functions inside it."""
    names, strings = set(code.co_names), set()
    for constant in code.co_consts:
        match constant:
            case CodeType():
                inner_names, inner_strings = _names_and_strings(constant)
                names |= inner_names
                strings |= inner_strings
            case str():
                strings.add(constant)
            case tuple():
                strings |= {item for item in constant if isinstance(item, str)}
    return names, strings
