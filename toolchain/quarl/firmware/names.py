"""The names of a policy in C: everything an application sees begins with one prefix.

So two policies live in one image, each with its own functions, types, macros and files; the kernels
they share are the same files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from quarl.errors import InputError

DEFAULT_PREFIX = "ql_policy"
MOST_CHARACTERS = 20
FUNCTIONS = ("act", "input", "infer", "decode", "check", "probabilities")
TYPES = ("action", "observation_t", "input_t", "output_t")
MACROS = (
    "OBS_LEN",
    "OBS_IS_VECTOR",
    "INPUT_LEN",
    "OUTPUT_LEN",
    "ARENA_BYTES",
    "EXAMPLES",
    "CONTRACT_SHA256",
    "SOURCE_SHA256",
)
# of recurrent policies alone
STATE_FUNCTIONS = ("state_reset",)
STATE_TYPES = ("state",)
STATE_MACROS = ("STATE_BYTES",)
# A file of this name would stand before C's own, or beside the firmware's main.c.
FILES_OF_OTHERS = frozenset(
    [
        "assert",
        "complex",
        "ctype",
        "errno",
        "fenv",
        "float",
        "inttypes",
        "iso646",
        "limits",
        "locale",
        "main",
        "math",
        "memcpy",
        "setjmp",
        "signal",
        "stdalign",
        "stdarg",
        "stdatomic",
        "stdbool",
        "stddef",
        "stdint",
        "stdio",
        "stdlib",
        "stdnoreturn",
        "string",
        "tgmath",
        "threads",
        "time",
        "uchar",
        "wchar",
        "wctype",
    ]
)


@dataclass(frozen=True, slots=True)
class Names:
    """What a policy's functions, types, macros and files are called."""

    prefix: str = DEFAULT_PREFIX

    def __post_init__(self) -> None:
        """Refuse a prefix that C, the runtime or a C library uses.

        Raises:
            InputError: says which, and what a prefix may be.
        """
        text = self.prefix
        reason = None
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", text) is None:
            reason = "it must be a letter, then letters, digits and underscores"
        elif len(text) > MOST_CHARACTERS:
            reason = f"it has {len(text)} characters, at most {MOST_CHARACTERS} are allowed"
        elif text != DEFAULT_PREFIX and text.lower().startswith("ql_"):
            reason = "names that begin with ql_ are the runtime's own"
        elif text.lower() in FILES_OF_OTHERS:
            reason = f"{text}.h or {text}.c is a file of the C library or of the firmware"
        if reason is not None:
            raise InputError(f"--prefix {text[:60]!r}: {reason}; for example --prefix left_arm")

    def symbol(self, name: str) -> str:
        """Return the name of a function or type."""
        return f"{self.prefix}_{name}"

    def macro(self, name: str) -> str:
        """Return the name of a macro."""
        return f"{self.prefix.upper()}_{name}"

    @property
    def header(self) -> str:
        """The file an application includes."""
        return f"{self.prefix}.h"

    @property
    def source(self) -> str:
        """The file with the policy's tables and calls."""
        return f"{self.prefix}.c"

    @property
    def check(self) -> str:
        """The file with the example."""
        return f"{self.prefix}_check.c"


OWN = Names()
