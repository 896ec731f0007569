"""What the cycle model is told of an instruction: the disassembler does not know vectors."""

from __future__ import annotations

import pytest

from quarl.links.isa import ARM, OTHER, VECTOR_LOAD, VECTOR_OP, VECTOR_STORE, decoder
from tests.conftest import need

# halfwords as an assembler for Armv8.1-M writes them
CODE = {
    "vldrb.8 q0, [r0], #16": ((0xECB0, 0x1E10), VECTOR_LOAD),
    "vldrw.u32 q1, [r1], #16": ((0xECB1, 0x3F04), VECTOR_LOAD),
    "vstrb.8 q0, [r2], #16": ((0xECA2, 0x1E10), VECTOR_STORE),
    "vmladava.s8 r4, q0, q1": ((0xEEF0, 0x4F22), VECTOR_OP),
    "vmul.f32 q0, q0, q1": ((0xFF00, 0x0D52), VECTOR_OP),
    "vldr s0, [r0]": ((0xED90, 0x0A00), "vldr s0, [r0]"),
    "smlad r0, r1, r2, r3": ((0xFB21, 0x3002), "smlad r0, r1, r2, r3"),
    "letp lr": ((0xF01F, 0xC003), OTHER),
    "bx lr": ((0x4770,), "bx lr"),
}


@pytest.mark.parametrize("text", CODE)
def test_an_instruction_is_told_as_what_it_is(text: str) -> None:
    need("capstone")
    halfwords, wanted = CODE[text]
    code = b"".join(half.to_bytes(2, "little") for half in halfwords)
    assert decoder(ARM)(code, 0) == (wanted,)


def test_what_follows_a_vector_instruction_is_decoded_too() -> None:
    need("capstone")
    code = b"".join(half.to_bytes(2, "little") for half in (0xECB0, 0x1E10, 0xF01F, 0xC003, 0x4770))
    assert decoder(ARM)(code, 0x100) == (VECTOR_LOAD, OTHER, "bx lr")
