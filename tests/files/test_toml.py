"""TOML within bounds: a small file cannot ask for much memory or time."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from quarl.errors import InputError
from quarl.files.toml import MOST_BYTES, parse_toml, read_toml
from quarl.resources import models_dir, targets_dir


def test_every_file_of_quarl_is_read() -> None:
    paths = [*models_dir().rglob("*.toml"), *targets_dir().rglob("*.toml")]
    assert len(paths) > 20
    for path in paths:
        assert read_toml(path)


BIG = "[gate]\n"
HOSTILE = {
    "parts of a key": BIG + ".".join("a" for _ in range(20_000)) + " = 1",
    "parts of a quoted key": BIG + ".".join('"a"' for _ in range(20_000)) + " = 1",
    "parts of a table": "[" + ".".join("a" for _ in range(20_000)) + "]",
    "parts in an inline table": "a = {" + ".".join("a" for _ in range(5_000)) + " = 1}",
    "nested arrays": "a = " + "[" * 2000 + "]" * 2000,
    "nested arrays on lines": "a = " + "[\n" * 2000 + "]" * 2000,
    "nested tables": "a = " + "{b = " * 2000 + "1" + "}" * 2000,
    "unclosed": "a = " + "[" * 100_000,
    "digits": "a = " + "9" * 5001,
    "beyond": "a = -1e101",
    "hexadecimal": "a = 0x" + "f" * 5001,
    "64 bits and one": "a = 9223372036854775808",
    "a number that is no float": "a = 1" + "0" * 400,
    "too long": "a = 1\n" * MOST_BYTES,
    "not UTF-8": "a = '\udcff'",
    "NUL": "a = '\0'",
    "a surrogate": 'a = "\\ud800"',
    "twice": "a = 1\na = 2",
    "quotes": '"""' * 40_000,
    "apostrophes": "'''" * 40_001,
    "mixed quotes": ('"""' + "'''") * 20_000 + "'",
    "backslashes": 'a = "' + "\\" * 200_000,
}


@pytest.mark.long
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_what_asks_for_too_much_is_refused_in_little_memory(text: str) -> None:
    data = text.encode(errors="surrogateescape")
    tracemalloc.start()
    with pytest.raises(InputError, match=r"gate\.toml"):
        parse_toml(data, "gate.toml")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


@pytest.mark.long
def test_the_widest_file_within_the_bounds_is_read_in_little_memory() -> None:
    key = ".".join("a" for _ in range(62))
    lines = [f"[{key}.t{number}]\n" for number in range(MOST_BYTES // 140)]
    tracemalloc.start()
    parse_toml("".join(lines), "gate.toml")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


@pytest.mark.parametrize(
    "text",
    [
        f'a = "{"." * 1000}"',
        f"a = '{'[' * 1000}'",
        f'a = """\n{"{." * 1000}\n"""',
        f"a = '''{'[.' * 1000}'''",
        f"# {'[.' * 1000}\na = 1",
        'a = "\\"' + "." * 1000 + '"',
        "a = 'C:\\'\nb = 1",
        "a = [1.5, 2.5, " + "0.5, " * 500 + "]",
        "a.b.c = 9223372036854775807",
        'a = "x" # "\nb = {c = [[1], [2]], d.e = 1}',
    ],
)
def test_what_only_looks_deep_is_read(text: str) -> None:
    assert parse_toml(text, "gate.toml")


def test_a_file_that_is_not_there_or_not_text_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_toml(tmp_path / "gate.toml")
    (tmp_path / "gate.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        read_toml(tmp_path / "gate.toml")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "gate.toml").write_text("#" * (MOST_BYTES + 1))
    with pytest.raises(InputError, match="at most 262,144"):
        read_toml(tmp_path / "gate.toml")
