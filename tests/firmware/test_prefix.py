"""Two policies in one image: each with names of its own, both right, on the host and on a core."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quarl.boards.core import Kernels
from quarl.boards.microcontroller import find_board
from quarl.errors import InputError
from quarl.firmware.build import build_image
from quarl.firmware.elf import read_image
from quarl.firmware.example import with_example
from quarl.firmware.image import harness_sources
from quarl.firmware.interface import interface_of
from quarl.firmware.lower import lower
from quarl.firmware.names import FUNCTIONS, TYPES, Names
from quarl.firmware.program import Program
from quarl.firmware.source_tree import write_source_tree
from quarl.firmware.sources import program_sources, served_header
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import act, quantize_observations
from quarl.links.unicorn import UnicornDevice
from quarl.resources import default_cache_dir, targets_dir
from quarl.tools import run
from tests.conftest import need
from tests.support.host_build import FLAGS
from tests.support.samples import observations, sample

ARM, LEG = Names("left_arm"), Names("leg")
CHECK_BOTH = """\
#include "left_arm.h"
#include "leg.h"
#include "ql_frame.h"
#include "ql_port.h"

int main(void)
{
    ql_port_open();
    if (left_arm_check() == QL_OK && leg_check() == QL_OK) {
        ql_serve();
    }
    ql_port_exit(0);
    return 0;
}
"""


def two_programs(kernels: Kernels) -> tuple[tuple[QuantPolicy, Program], ...]:
    found = []
    for name, rung, names in (("argmax_mlp", 3, ARM), ("squashed", 1, LEG)):
        policy, quantized = sample(name, rung)
        obs = observations(policy, np.random.default_rng(5), 4)
        program = replace(lower(quantized, kernels), names=names)
        found.append((quantized, with_example(program, obs)))
    return tuple(found)


def both_sources(kernels: Kernels) -> dict[str, bytes]:
    (_, arm), (_, leg) = two_programs(kernels)
    first, second = program_sources(arm), program_sources(leg)
    for name in first.keys() & second.keys():
        assert first[name] == second[name], f"{name}: kernels that both need are the same files"
    return first | second


def test_two_policies_in_one_library_both_answer_right(tmp_path: Path) -> None:
    need("gcc")
    files = both_sources("portable") | {"both.c": b'#include "left_arm.h"\n#include "leg.h"\n'}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    sources = [path for path in sorted(tmp_path.glob("*.c")) if path.name != "both.c"]
    flags = [flag for flag in FLAGS if flag != "-pedantic"]  # both.c declares only
    library = tmp_path / "both.so"
    done = run(["gcc", *flags, "-shared", *sources, tmp_path / "both.c", "-o", library], timeout=99)
    assert done.returncode == 0, done.stderr.decode()
    loaded = ctypes.CDLL(str(library))
    (arm, _), (leg, _) = two_programs("portable")
    for names, quantized, name in ((ARM, arm, "argmax_mlp"), (LEG, leg, "squashed")):
        policy, _ = sample(name, 0)
        obs = observations(policy, np.random.default_rng(7), 20)
        action = quantized.contract.action
        is_discrete = action.kind == "discrete"
        out = np.zeros(1, np.int32) if is_discrete else np.zeros(action.count, np.float32)
        made = []
        for row in obs:
            assert (
                loaded[names.symbol("act")](
                    row.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p)
                )
                == 0
            )
            made.append(int(out[0]) if is_discrete else out.copy())
        np.testing.assert_array_equal(np.array(made), act(quantized, obs))


@pytest.mark.parametrize("served", [ARM, LEG], ids=lambda names: names.prefix)
def test_two_policies_in_one_image_both_answer_right_on_a_core(served: Names) -> None:
    need("ziglang", "unicorn", "elftools", "capstone")
    board = find_board("nucleo_l4r5zi", targets_dir())
    (arm, arm_program), (leg, leg_program) = two_programs("dsp")
    quantized, program = (arm, arm_program) if served is ARM else (leg, leg_program)
    files = both_sources("dsp") | harness_sources(board) | served_header(program)
    elf = build_image(files | {"main.c": CHECK_BOTH.encode()}, board, default_cache_dir())
    device = UnicornDevice(read_image(elf, board), board, interface_of(program))
    policy, _ = sample("argmax_mlp" if served is ARM else "squashed", 0)
    obs = observations(policy, np.random.default_rng(7), 20)
    np.testing.assert_array_equal(device.act(obs), act(quantized, obs))
    assert len(device.run(quantize_observations(quantized, obs))) == 20


def test_no_name_of_the_default_is_left_in_an_export_with_a_prefix() -> None:
    policy, quantized = sample("squashed", 1)
    obs = observations(policy, np.random.default_rng(5), 4)
    files = write_source_tree(
        quantized, find_board("nucleo_l4r5zi", targets_dir()), obs, "leg"
    ).files
    own = {name: content.decode() for name, content in files.items() if "/leg" in name}
    assert set(own) == {"policy/leg.c", "policy/leg.h", "policy/leg_check.c"}
    for name, text in own.items():
        assert "ql_policy" not in text, name
        assert "QL_POLICY" not in text, name
    assert '#include "leg.h"' in files["harness/ql_policy.h"].decode()


@pytest.mark.parametrize(
    ("prefix", "reason"),
    [
        ("", "a letter"),
        ("1arm", "a letter"),
        ("left-arm", "a letter"),
        ("arm\n", "a letter"),
        ("_arm", "a letter"),
        ("bræ", "a letter"),
        ('x";', "a letter"),
        ("a" * 21, "at most 20"),
        ("ql_dense", "runtime's own"),
        ("QL_x", "runtime's own"),
        ("string", "C library"),
        ("Math", "C library"),
        ("main", "C library"),
    ],
)
def test_a_prefix_that_c_or_the_runtime_uses_is_refused(prefix: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Names(prefix)


def test_the_longest_prefix_gives_every_function_and_type_its_name() -> None:
    names = Names("a" * 20)
    _, program = two_programs("portable")[0]
    policy = replace(program.policy, softmax_beta=1.0)
    header = program_sources(replace(program, policy=policy, names=names))[names.header].decode()
    assert all(names.symbol(name) in header for name in (*FUNCTIONS, *TYPES))
