"""Pickles whose few bytes stand for structures that no memory holds, and numbers and words that
break what they are put into: read as data, refused by name, at once.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quarl.errors import InputError, QuarlError
from quarl.files.text import shortened
from quarl.importers import ImportOptions, read_policy
from quarl.importers.rllib import Checkpoint, _policy
from quarl.importers.rllib_folder import MADE_WITH, MODULES
from quarl.importers.torch.layers import TorchState
from quarl.importers.torch.objects import (
    Named,
    ObjectMeanings,
    Thing,
    array_of,
    other_contents,
)
from quarl.importers.torch.pickle import Machine
from quarl.sources.normalizer_file import read_normalizer
from tests.fuzz.around import statistics_seeds

GOLDEN = Path(__file__).parents[1] / "golden" / "rllib"
# a tuple of two tuples of two tuples ...: 2^40 texts in 200 bytes
DAG = b"\x8c\x01x\x94" + b"".join(b"h%ch%c\x86\x94" % (i, i) for i in range(40))


def dag() -> Any:
    return Machine("file", ObjectMeanings()).run(b"\x80\x04" + DAG + b".")


def test_a_structure_of_a_few_bytes_is_no_name() -> None:
    start = time.process_time()
    for program in (DAG + b"\x8c\x01y\x93.", b"\x8c\x01y" + DAG + b"\x93."):
        with pytest.raises(ValueError, match="a tuple where a text belongs"):
            Machine("file", ObjectMeanings()).run(b"\x80\x04" + program)
    assert time.process_time() - start < 20  # a bomb takes minutes


def array(kind: Any) -> Thing:
    dtype = Thing("numpy.dtype", (kind,), {"": (3, "<")})
    return Thing("numpy._core.numeric._frombuffer", (bytes(8), dtype, (1,), "C"))


@pytest.mark.parametrize(
    "kind", [dag(), "(2,", "f8,(", b"f8", 8, "O", "V8", "M8[s]"], ids=shortened
)
def test_the_type_of_an_array_is_a_plain_one_or_refused(kind: Any) -> None:
    start = time.process_time()
    with pytest.raises(InputError), other_contents("file", "is wrong", "save it again"):
        array_of(array(kind))
    assert time.process_time() - start < 20  # a bomb takes minutes


def checkpoint(**settings: Any) -> Checkpoint:
    shapes = {"encoder.encoder.net.mlp.0": (8, 4), "pi.net.mlp.0": (2, 8)}
    tensors = {
        f"{name}.{kind}": np.zeros(shape if kind == "weight" else shape[:1], np.float32)
        for name, shape in shapes.items()
        for kind in ("weight", "bias")
    }
    box = {"_shape": (4,), "low": None, "high": None}
    made: dict[str, Any] = {
        "observation_space": Thing("gymnasium.spaces.box.Box", (), box),
        "action_space": Thing("gymnasium.spaces.Discrete", (), {"n": 2, "start": 0}),
        "model_config": {},
    }
    state = TorchState("policy", tensors)
    return Checkpoint(
        Path("policy"), state, "DefaultPPOTorchRLModule", {**made, **settings}, "0" * 64
    )


def space(kind: str, **attributes: Any) -> Thing:
    return Thing(f"gymnasium.spaces.{kind}", (), attributes)


def test_the_checkpoint_of_these_tests_is_read_where_nothing_is_wrong() -> None:
    assert _policy(Path("policy"), checkpoint(), ImportOptions()).contract.action.count == 2


@pytest.mark.parametrize(
    "settings",
    [
        {"model_config": {"fcnet_activation": dag()}},
        {"model_config": {"head_fcnet_activation": 1 << 99_999}},
        {"action_space": space("Discrete", n=dag(), start=0)},
        {"action_space": space("Discrete", n=1 << 99_999, start=0)},
        {"action_space": space("Discrete", n=2, start=float("inf"))},
        {"action_space": space("Box", _shape=(dag(),))},
        {"observation_space": space("Box", _shape=(dag(),))},
        {"observation_space": space("Box", _shape=(1 << 99_999,))},
        {"observation_space": space("Box", _shape=(-4,))},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_settings_of_rllib_that_are_no_settings_are_refused_at_once(
    settings: dict[str, Any],
) -> None:
    start = time.process_time()
    with pytest.raises(QuarlError), other_contents("policy", "is wrong", "save it again"):
        _policy(Path("policy"), checkpoint(**settings), ImportOptions())
    assert time.process_time() - start < 20  # a bomb takes minutes


def test_a_number_that_no_float_holds_is_refused(tmp_path: Path) -> None:
    (good,) = statistics_seeds()
    epsilon = good.index(b"epsilon") + len(b"epsilon") + 1  # behind the name, memoized
    assert good[epsilon : epsilon + 1] == b"G"
    huge = b"\x8b" + (2_000).to_bytes(4, "little") + b"\x01" * 2_000
    path = tmp_path / "vecnormalize.pkl"
    path.write_bytes(good[:epsilon] + huge + good[epsilon + 9 :])
    with pytest.raises(InputError, match="not a pickle of VecNormalize"):
        read_normalizer(path)


def test_names_of_classes_in_a_checkpoint_are_texts(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN / "ppo_choice", tmp_path / "ppo"))
    made = folder / MODULES / "default_policy" / MADE_WITH
    content = made.read_bytes()
    at = content.index(b"\x93")  # its first name
    made.write_bytes(content[:2] + DAG + DAG[-3:] + content[at:])
    with pytest.raises(InputError):
        read_policy(folder)


def test_a_whole_number_of_any_length_is_shown() -> None:
    assert shortened(1 << 99_999) == "a whole number of 100,000 bits"
    assert shortened(12) == "12"
    assert Named("a").name == "a"
