"""Whatever a policy brings into C stays data: its strings, its comments, its names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarl.firmware.c_text import c_comment, c_float, c_int, c_list, c_names, c_string
from quarl.firmware.lower import lower
from quarl.firmware.sources import program_sources
from quarl.tools import run
from tests.conftest import need
from tests.support.host_build import FLAGS, compile_one
from tests.support.samples import sample

HOSTILE = (
    '"; int injected = 1; char *x = "',
    "\n#error injected\n",
    "*/ int injected; /*",
    "??/\n#error injected",
    "\\\n#error injected",
    "tail\\",
    "é\u202e\x00\x1b[31m",
    "7\x01" + "7",
    "%s%n",
)


def test_a_string_literal_is_exactly_the_text_it_was_made_of(tmp_path: Path) -> None:
    need("gcc")
    lines = "".join(
        f"    (void)fwrite({c_string(text)}, 1U, sizeof {c_string(text)}, stdout);\n"
        for text in HOSTILE
    )
    source = tmp_path / "strings.c"
    source.write_text(f"#include <stdio.h>\nint main(void)\n{{\n{lines}    return 0;\n}}\n")
    program = compile_one(["gcc"], [*FLAGS, "-trigraphs"], source, tmp_path / "strings.o")
    assert run(["gcc", program, "-o", tmp_path / "strings"], timeout=60).returncode == 0
    written = run([tmp_path / "strings"], timeout=60).stdout
    assert written == b"".join(text.encode() + b"\0" for text in HOSTILE)


@given(st.text())
def test_a_string_literal_is_one_line_of_plain_characters(text: str) -> None:
    literal = c_string(text)
    assert literal[0] == literal[-1] == '"'
    assert all(0x20 <= ord(c) < 0x7F for c in literal)
    assert '"' not in literal[1:-1].replace("\\\\", "").replace('\\"', "")


@given(st.text())
def test_a_comment_can_end_neither_itself_nor_its_line(text: str) -> None:
    comment = c_comment(text)
    assert "*" not in comment
    assert "/" not in comment
    assert "\\" not in comment
    assert comment.isascii()
    assert comment == "" or comment.isprintable()


@pytest.mark.long
@given(st.lists(st.text(), unique=True))
def test_every_tensor_has_a_name_of_its_own(texts: list[str]) -> None:
    names = c_names(f"at_{text}" for text in texts)
    assert len(set(names.values())) == len(texts)
    assert all(name.isidentifier() and name.isascii() for name in names.values())


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float_literal_is_exactly_the_float(value: float) -> None:
    text = c_float(np.float32(value))
    assert text.endswith("F")
    assert float.fromhex(text[:-1]) == value
    assert ".0p" not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "0x1p+0F"), (0.5, "0x1p-1F"), (0.1, "0x1.99999ap-4F"), (-3.0, "-0x1.8p+1F")],
)
def test_a_float_literal_has_no_trailing_zeros(value: float, text: str) -> None:
    assert c_float(np.float32(value)) == text


def test_the_least_int32_is_a_constant_of_its_type() -> None:
    assert c_int(-(2**31)) == "INT32_MIN"
    assert c_int(-(2**31) + 1) == "-2147483647"


def test_a_long_list_of_arguments_is_wrapped_under_the_first() -> None:
    lines = c_list("    call(", ["a" * 40, "b" * 45, "c"], ");").splitlines()
    assert lines == [f"    call({'a' * 40}, {'b' * 45},", "         c);"]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_digest_or_layer_name_adds_nothing_to_the_c_text(
    text: str, tmp_path: Path
) -> None:
    """A damaged or forged bundle may carry any `source_sha256` and any layer names."""
    need("gcc")
    _, policy = sample("argmax_mlp", 0)
    last = policy.nodes[-1]
    named = replace(policy.nodes[0], name=text)
    nodes = tuple(
        replace(node, inputs=tuple(text if i == policy.nodes[0].name else i for i in node.inputs))
        for node in policy.nodes[1:]
    )
    assert last.name != text
    forged = replace(policy, source_sha256=text, nodes=(named, *nodes))
    for name, content in program_sources(lower(forged, "portable")).items():
        (tmp_path / name).write_bytes(content)
    made = compile_one(["gcc"], FLAGS, tmp_path / "ql_policy.c", tmp_path / "policy.o")
    symbols = run(["nm", made], timeout=60).stdout.decode()
    assert "injected" not in symbols
    header = (tmp_path / "ql_policy.h").read_text()
    assert c_string(text) in header
