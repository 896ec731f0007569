"""Features and actions of a policy by their names in C."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quarl.firmware.lower import lower
from quarl.firmware.program import Program
from quarl.firmware.render_header import render_header
from quarl.graph.contract import Action, Observation
from tests.firmware.test_format import violations
from tests.support.samples import sample


def program_with(observation: dict[str, object], action: dict[str, object], name: str) -> Program:
    _, quantized = sample(name, 1)
    contract = quantized.contract
    seen: Observation = replace(contract.observation, **observation)  # type: ignore[arg-type]
    done: Action = replace(contract.action, **action)  # type: ignore[arg-type]
    program = lower(quantized, "portable")
    return replace(
        program,
        policy=replace(quantized, contract=replace(contract, observation=seen, action=done)),
    )


def features(name: str) -> int:
    return int(np.prod(sample(name, 1)[1].contract.observation.shape))


def test_features_and_values_have_a_place_a_unit_and_bounds(tmp_path: Path) -> None:
    count = features("squashed")
    width = sample("squashed", 1)[1].contract.action.count
    header = render_header(
        program_with(
            {
                "names": ("shoulder angle", *(f"x{i}" for i in range(1, count))),
                "units": ("rad", *[""] * (count - 1)),
            },
            {"names": tuple(f"torque {i}" for i in range(width)), "units": ("N m",) * width},
            "squashed",
        )
    )
    assert "QL_POLICY_FEATURE_SHOULDER_ANGLE = 0, /* rad */" in header
    assert "/* no unit */" in header
    assert "QL_POLICY_ACTION_TORQUE_0 = 0, /* N m, " in header
    (tmp_path / "ql_policy.h").write_text(header)
    assert violations([tmp_path / "ql_policy.h"]) == ""


def test_choices_have_their_index(tmp_path: Path) -> None:
    count = sample("argmax_mlp", 1)[1].contract.action.count
    header = render_header(
        program_with(
            {}, {"names": tuple(f"go {i}" for i in range(count)), "start": 3}, "argmax_mlp"
        )
    )
    assert "QL_POLICY_ACTION_GO_0 = 3," in header
    assert f"QL_POLICY_ACTION_GO_{count - 1} = {count + 2}," in header
    (tmp_path / "ql_policy.h").write_text(header)
    assert violations([tmp_path / "ql_policy.h"]) == ""


@pytest.mark.parametrize(
    "name", ["a */ int x; /*", "same", "len", "ünïcode\n#define X", "x" * 200], ids=ascii
)
def test_names_are_data_and_stay_apart(name: str, tmp_path: Path) -> None:
    count = features("squashed")
    header = render_header(
        program_with({"names": (name,) * count, "units": (name,) * count}, {}, "squashed")
    )
    block = header[header.index("enum {") : header.index("};")].splitlines()[1:]
    words = [line.split()[0] for line in block]
    assert len(set(words)) == count
    assert all(word.removeprefix("QL_POLICY_FEATURE_").isascii() for word in words)
    assert all(line.count("/*") == line.count("*/") <= 1 for line in block)
    assert "#define X" not in header
    (tmp_path / "ql_policy.h").write_text(header)
    assert violations([tmp_path / "ql_policy.h"]) == ""


def test_without_names_a_header_is_as_short_as_ever() -> None:
    assert "enum" not in render_header(lower(sample("squashed", 1)[1], "portable"))
