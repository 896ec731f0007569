"""Recurrent policies in C: the same integers over an episode, and a state that the caller owns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from quarl.boards.core import Kernels
from quarl.boards.microcontroller import find_board
from quarl.emitters import emit_tflite
from quarl.firmware.lower import lower
from quarl.firmware.program import Program
from quarl.firmware.record import records_of
from quarl.firmware.source_tree import write_source_tree
from quarl.firmware.sources import program_sources
from quarl.graph.contract import Action
from quarl.graph.quant_policy import QuantPolicy
from quarl.graph.reference import act, integer_outputs, real_outputs, step_results
from quarl.links.firmware_link import open_unicorn
from quarl.quantize.ladder import quantize_on_rung
from quarl.resources import default_cache_dir, targets_dir
from quarl.rollouts.actors import artifact_actor
from quarl.rollouts.memory import Remembers
from quarl.tools import run
from tests.conftest import need
from tests.quantize.test_loops import CELLS, episode_integers
from tests.support.host_build import COMPILERS, FLAGS, TIMEOUT_S, filter_outputs
from tests.support.recurrent_policies import (
    Kind,
    calibration_of,
    carried_rows,
    read_model,
    recurrent_model,
    recurrent_policy,
    wandering,
)

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
EPISODE = """\
#include "ql_policy.h"

#include <stdio.h>

int main(void)
{
    ql_policy_observation_t obs[QL_POLICY_OBS_LEN];
    ql_policy_state state;
    ql_policy_action action;
    ql_policy_state_reset(&state);
    while (fread(obs, sizeof obs, 1U, stdin) == 1U) {
        if (ql_policy_act(obs, &state, &action) != QL_OK) {
            return 1;
        }
        (void)fwrite(&action, sizeof action, 1U, stdout);
    }
    return ql_policy_act(obs, NULL, &action) == QL_ERR_ARG ? 0 : 1;
}
"""


SAMPLED = (
    EPISODE.replace("ql_policy_action action;", "ql_policy_action action;\n    ql_random random;")
    .replace("ql_policy_act(obs, ", "ql_policy_act_sampled(obs, ")
    .replace("&action)", "&random, &action)")
    .replace("    while", "    ql_random_seed(&random, 7U);\n    while")
)
SAMPLED_CHOICE = Action("discrete", 3, start=-1, sampled=True)
SAMPLED_CHOICES = Action("multi_discrete", 3, counts=(2, 1), sampled=True)


def quantized(kind: Kind, attributes: dict[str, int], folder: Path, rung: int = 3) -> QuantPolicy:
    policy = recurrent_policy(kind, folder, **attributes)
    return quantize_on_rung(policy, calibration_of(policy, 3, 60), rung)


@pytest.mark.parametrize(("kind", "attributes"), CELLS)
@pytest.mark.parametrize(("kernels", "rung"), [("portable", 1), ("dsp", 3), ("portable", 4)])
def test_c_gives_the_reference_integers_over_an_episode(
    kind: Kind, attributes: dict[str, int], kernels: Kernels, rung: int, tmp_path: Path
) -> None:
    need("gcc")
    policy = quantized(kind, attributes, tmp_path, rung)
    records = records_of(policy)
    assert records is not None
    integers = episode_integers(policy, wandering(120, 5))
    found = filter_outputs(
        lower(policy, kernels), tmp_path / "c", SANITIZERS, records.input.pack(integers)
    )
    expected = step_results(policy, integers.astype(np.int32))
    np.testing.assert_array_equal(records.output.unpack(found), expected)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_the_caller_owns_the_state_and_resets_it(kind: Kind, tmp_path: Path) -> None:
    need("gcc")
    policy = quantized(kind, {}, tmp_path)
    obs = wandering(120, 5)
    integers = episode_integers(policy, obs)
    outputs = real_outputs(policy, step_results(policy, integers.astype(np.int32)))
    expected = policy.contract.action.decode(outputs)
    found = played_in_c(lower(policy, "portable"), tmp_path / "c", obs, EPISODE)
    actions = np.frombuffer(found, np.float32)
    np.testing.assert_array_equal(actions.reshape(expected.shape), expected)


@pytest.mark.parametrize("choice", [SAMPLED_CHOICE, SAMPLED_CHOICES])
def test_c_draws_over_an_episode_what_the_host_draws(choice: Action, tmp_path: Path) -> None:
    need("gcc")
    source = read_model(recurrent_model("GRU"), tmp_path, choice)
    policy = quantize_on_rung(source, calibration_of(source, 3, 60), 3)
    obs, actor = wandering(120, 5), artifact_actor(policy, emit_tflite(policy))
    assert isinstance(actor, Remembers)
    choose, episode = actor.begin([7]), np.zeros(1, np.int64)
    wanted = np.concatenate([np.atleast_1d(choose(episode, row[None])[0]) for row in obs])
    found = played_in_c(lower(policy, "portable"), tmp_path / "c", obs, SAMPLED)
    np.testing.assert_array_equal(np.frombuffer(found, np.int32), wanted)
    assert len(np.unique(wanted)) > 1


def played_in_c(program: Program, folder: Path, obs: NDArray[np.float32], main: str) -> bytes:
    """Return the actions of one episode of a program of the application's own."""
    folder.mkdir()
    for name, content in (program_sources(program) | {"main.c": main.encode()}).items():
        (folder / name).write_bytes(content)
    sources = sorted(folder.glob("*.c"))
    command = [*COMPILERS["gcc"], *FLAGS, *SANITIZERS, *sources, "-o", folder / "episode"]
    done = run(command, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr.decode()
    done = run([folder / "episode"], input=obs.tobytes(), timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_an_emulated_cortex_m4_steps_like_the_reference(kind: Kind, tmp_path: Path) -> None:
    need("ziglang", "unicorn", "elftools", "capstone")
    policy = quantized(kind, {}, tmp_path)
    source = recurrent_policy(kind, tmp_path)
    board = find_board("stm32f411_blackpill", targets_dir())
    rows = carried_rows(source, wandering(40, 8))
    device = open_unicorn(write_source_tree(policy, board, rows), board, default_cache_dir())
    integers = episode_integers(policy, wandering(40, 8))
    expected = step_results(policy, integers.astype(np.int32))
    np.testing.assert_array_equal(device.run(integers), expected)
    np.testing.assert_array_equal(device.run(integers[:0]), expected[:0])
    np.testing.assert_array_equal(device.act(rows), act(policy, rows))
    assert integer_outputs(policy, rows).shape == expected.shape


def test_a_gru_of_16_units_takes_at_most_8_kb_of_flash_on_a_cortex_m4(tmp_path: Path) -> None:
    need("ziglang", "unicorn", "elftools", "capstone")
    source = recurrent_policy("GRU", tmp_path, hidden=16, linear_before_reset=1)
    policy = quantize_on_rung(source, calibration_of(source, 3, 60), 3)
    board = find_board("stm32f411_blackpill", targets_dir())
    rows = carried_rows(source, wandering(10, 8))
    device = open_unicorn(write_source_tree(policy, board, rows), board, default_cache_dir())
    assert device.image.flash_bytes <= 8192
