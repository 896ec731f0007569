"""What lies around a policy and comes from others too: checkpoints that are folders, statistics,
cards and settings beside a file, packs of chips, folders of runs, answers of an environment's
process. In: nothing. Out: targets, with good files to start from.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from quarl.actorq.evaluating import CURVE_FILE
from quarl.actorq.folder import ACCOUNTS_FILE, RUN_FILE, TIME_FILE, wall_s
from quarl.actorq.record import read_record
from quarl.boards.from_pack import board_from_pack
from quarl.boards.microcontroller import parse_board
from quarl.errors import InputError, QuarlError
from quarl.files.toml import parse_toml
from quarl.graph.contract import Action, Contract, Observation
from quarl.graph.env_spec import EnvElsewhere
from quarl.importers.rllib_folder import MADE_WITH
from quarl.quantize.calibration import read_observations
from quarl.rollouts import env_process
from quarl.rollouts.env_child import pack as packed
from quarl.rollouts.foreign_env import make_env
from quarl.sources.beside import card_environment, stated_rate
from quarl.sources.data_sets import read_data_set
from quarl.sources.normalizer_file import read_normalizer
from quarl.sources.run_folder import find_run
from quarl.study.result import Result
from quarl.study.store import Store
from tests.fuzz.mutate import Mutator, changed_json, changed_text, damaged
from tests.fuzz.mutate_formats import changed_npy, changed_pickle, folder_changer
from tests.fuzz.seeds import folder_bytes, unpack
from tests.support.bombs import zip_bytes
from tests.support.records import record_of

GOLDEN = Path(__file__).parents[1] / "golden" / "rllib"
SPEC = EnvElsewhere("Theirs-v0", {}, (), "their-python")


@cache
def rllib_seeds() -> tuple[bytes, ...]:
    """Checkpoints as RLlib wrote them: PPO of both kinds of actions, DQN, SAC."""
    return tuple(folder_bytes(GOLDEN / name) for name in ("ppo_box", "ppo_choice", "dqn", "sac"))


@cache
def rl_tools_seeds() -> tuple[bytes, ...]:
    """Checkpoints of rl_tools: a GRU between dense layers, and the end of SAC."""
    import h5py

    rng = np.random.default_rng(7)

    def dense(group: Any, name: str, shape: tuple[int, int], activation: str) -> None:
        own = group.create_group(name)
        own.attrs["type"], own.attrs["activation_function"] = "dense", activation
        for part, numbers in (("weights", shape), ("biases", (1, shape[0]))):
            values = rng.normal(0, 0.3, numbers).astype("f4")
            own.create_group(part).create_dataset("parameters", data=values)

    def gru(group: Any, name: str) -> None:
        own = group.create_group(name)
        own.attrs["type"] = "gru"
        shapes = {"weights_input": (24, 8), "weights_hidden": (24, 8), "biases_input": (24,)}
        shapes |= {"biases_hidden": (24,), "initial_hidden_state": (8,)}
        for part, numbers in shapes.items():
            values = rng.normal(0, 0.3, numbers).astype("f4")
            own.create_group(part).create_dataset("parameters", data=values)

    made = []
    for is_recurrent in (True, False):
        out = io.BytesIO()
        with h5py.File(out, "w") as file:
            actor = file.create_group("actor")
            actor.attrs["type"] = "sequential"
            actor.attrs["meta"] = '{"environment": {"name": "l2f", "observation": "Position"}}'
            layers = actor.create_group("layers")
            if is_recurrent:
                dense(layers, "0", (8, 6), "RELU")
                gru(layers, "1")
                dense(layers, "2", (3, 8), "TANH")
            else:
                mlp = layers.create_group("0")
                mlp.attrs["type"], mlp.attrs["num_layers"] = "mlp", 2
                dense(mlp, "input_layer", (8, 6), "FAST_TANH")
                dense(mlp, "output_layer", (6, 8), "IDENTITY")
                layers.create_group("1").attrs["type"] = "sample_and_squash"
        made.append(out.getvalue())
    return tuple(made)


class _Pretended:
    """An object of a class that is not installed here, for a pickle."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


@cache
def statistics_seeds() -> tuple[bytes, ...]:
    """Pickles of VecNormalize."""
    running = _Pretended(mean=np.zeros(3), var=np.ones(3), count=10.0)
    made = _Pretended(
        obs_rms=running, norm_obs=True, epsilon=1e-8, clip_obs=10.0, gamma=0.99, training=True
    )
    written = pickle.dumps(made, protocol=4)
    module, name = _Pretended.__module__.encode(), b"_Pretended"
    theirs, kind = b"stable_baselines3.common.vec_env.vec_normalize", b"VecNormalize"
    for old, new in ((module, theirs), (name, kind)):
        old, new = (b"\x8c" + bytes([len(word)]) + word for word in (old, new))
        written = written.replace(old, new)
    frame = written.index(b"\x95")  # its length is no longer right, and nobody needs it
    return (written[:frame] + written[frame + 9 :],)


def statistics(data: bytes, folder: Path) -> None:
    """Statistics of observations in a pickle."""
    path = folder / "vecnormalize.pkl"
    path.write_bytes(data)
    read_normalizer(path)


CARD = b"""---
library_name: stable-baselines3
model-index:
- name: PPO
  results:
  - task:
      type: reinforcement-learning
    dataset:
      name: LunarLander-v3
      type: LunarLander-v3
---
# PPO
"""
ARGS = b"""!!python/object/apply:collections.OrderedDict
- - - algo
    - ppo
  - - env
    - LunarLander-v3
"""
CONFIG = b"""!!python/object/apply:collections.OrderedDict
- - - env_wrapper
    - - stable_baselines3.common.atari_wrappers.AtariWrapper
  - - frame_stack
    - 4
  - - n_steps
    - 1024
"""


@cache
def beside_seeds() -> tuple[bytes, ...]:
    """Folders with what people keep beside a policy."""
    isaac = b"sim:\n  device: cpu\n  dt: 0.005\ndecimation: 4\nseed: 42\n"
    card = {"policy.zip": b"x", "README.md": CARD}
    zoo = {"run/args.yml": ARGS, "run/config.yml": CONFIG, "run.zip": b"x"}
    return tuple(
        zip_bytes(members)
        for members in (
            card,
            {"policy.pt": b"x", "params/env.yaml": isaac},
            {"policy.pt": b"x", "deploy.yaml": b"step_dt: 0.02\njoint_ids_map: [0, 1]\n"},
            zoo,
        )
    )


def beside(data: bytes, folder: Path) -> None:
    """What is said of a policy beside it."""
    unpack(data, folder / "b")
    for name in ("policy.zip", "policy.pt"):
        for read in (stated_rate, card_environment):
            with suppress(QuarlError):
                read(folder / "b" / name)
    find_run(folder / "b")


PDSC = b"""<?xml version="1.0" encoding="UTF-8"?>
<package schemaVersion="1.7.2">
  <vendor>Acme</vendor>
  <name>AC32_DFP</name>
  <releases><release version="2.1.0"/></releases>
  <devices>
    <family Dfamily="AC32" Dvendor="Acme:1">
      <processor Dcore="Cortex-M4" Dfpu="SP_FPU" Dclock="84000000"/>
      <memory name="IRAM1" access="rw" start="0x20000000" size="0x18000" default="1"/>
      <device Dname="AC32F411">
        <memory id="IROM1" start="0x08000000" size="0x80000" startup="1" default="1"/>
        <variant Dvariant="AC32F411X"/>
      </device>
    </family>
  </devices>
</package>
"""


@cache
def chip_seeds() -> tuple[bytes, ...]:
    """A description of a pack, and a pack that holds one."""
    return (PDSC, zip_bytes({"Acme.AC32_DFP.pdsc": PDSC}))


def changed_chips(data: bytes, rng: random.Random) -> bytes:
    """Return another pack."""
    if data.startswith(b"PK"):
        from tests.fuzz.mutate_formats import zip_changer

        return zip_changer({".pdsc": changed_text})(data, rng)
    return changed_text(data, rng)


def chips(data: bytes, folder: Path) -> None:
    """A chip of a pack becomes a board file."""
    path = folder / ("chips.pack" if data.startswith(b"PK") else "chips.pdsc")
    path.write_bytes(data)
    for device in ("AC32F411", "AC32F411X"):
        with suppress(QuarlError):
            text = board_from_pack("mine", device, path)
            parse_board(parse_toml(text, "mine"), "mine", "mine")


@cache
def run_seeds() -> tuple[bytes, ...]:
    """The folder of a run of actors, and a cell of a study."""
    record = record_of("int8", 1.0)
    settings = {
        "layers": [256, 256], "algorithm": "DQN", "batch_size": 64,
        "actors": {"pull_every": 300, "count": 2, "precision": "int8", "runtime": "kernel",
                   "insert_every": 100},
        "replay": {"samples_per_insert": 16.0},
    }  # fmt: skip
    run = {
        "format": 1, "name": "small", "env": {"id": "CartPole-v1", "kwargs": {}}, "seed": 1,
        "lanes": 1, "settings": settings,
    }  # fmt: skip
    accounts = {
        "wall_s": 30.0, "joules": None, "batches_a_call": 1, "env_steps": 100, "learner_step": 9,
        "policies": 3, "episodes": 2, "ages": asdict(record.ages), "checked": 5, "differing": 0,
        "learner": record.learner.to_table(), "replay": record.store.to_table(),
        "actors": [actor.to_table() for actor in record.actors],
    }  # fmt: skip
    names = [f.name for f in fields(record.points[0])]
    rows = [names, *([str(value) for value in asdict(p).values()] for p in record.points)]
    members = {
        RUN_FILE: json.dumps(run).encode(),
        ACCOUNTS_FILE: json.dumps(accounts).encode(),
        TIME_FILE: b'{"wall_s": 12.5}',
        CURVE_FILE: "".join(",".join(row) + "\n" for row in rows).encode(),
        "cells/ab/abcd.json": _cell().encode(),
    }
    return (zip_bytes(members),)


def _cell() -> str:
    found = Result("small", "CartPole-v1", "PPO", 1, "ladder", 8, 8, 8, 8, 0)
    return replace(found, episodes=2, returns=(1.0, 2.0), source_returns=(1.0, 2.0)).to_json()


def run(data: bytes, folder: Path) -> None:
    """A run and a study, read back."""
    unpack(data, folder / "run")
    for read in (read_record, wall_s):
        with suppress(QuarlError):
            read(folder / "run")
    Store(folder / "run").find("abcd")


@cache
def lerobot_seeds() -> tuple[bytes, ...]:
    """A data set of LeRobot. Needs pyarrow, which alone writes them."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    state = np.random.default_rng(1).normal(size=(12, 4)).astype("f4")
    columns = {
        "observation.state": pa.FixedSizeListArray.from_arrays(pa.array(state.ravel()), 4),
        "episode_index": pa.array(np.repeat([0, 1], 6)),
    }
    out = io.BytesIO()
    parquet.write_table(pa.table(columns), out)
    info = {"total_frames": 12, "features": {"observation.state": {"shape": [4]}}}
    members = {"meta/info.json": json.dumps(info).encode(), "data/chunk/a.parquet": out.getvalue()}
    return (zip_bytes(members),)


def lerobot(data: bytes, folder: Path) -> None:
    """Observations of a data set."""
    unpack(data, folder / "set")
    read_data_set(f"lerobot:{folder / 'set'}")


@cache
def observation_seeds() -> tuple[bytes, ...]:
    """Observations as text and as one array."""
    obs = np.random.default_rng(2).normal(size=(20, 4)).astype("f4")
    text = "\n".join(",".join(f"{value:.4f}" for value in row) for row in obs)
    out = io.BytesIO()
    np.save(out, obs)
    return (f"a,b,c,d\n{text}\n".encode(), out.getvalue())


def observations(data: bytes, folder: Path) -> object:
    """Observations in a `.csv` or an `.npy`."""
    path = folder / ("obs.npy" if data.startswith(b"\x93NUMPY") else "obs.csv")
    path.write_bytes(data)
    contract = Contract(Observation((4,), "float32", "vector"), Action("discrete", 2))
    return read_observations(path, contract)


def changed_observations(data: bytes, rng: random.Random) -> bytes:
    """Return other observations."""
    return (changed_npy if data.startswith(b"\x93NUMPY") else changed_text)(data, rng)


@cache
def answer_seeds() -> tuple[bytes, ...]:
    """What the process of an environment says from its start to the second step."""
    box = {"kind": "Box", "low": np.full(3, -1, "f4"), "high": np.ones(3, "f4"), "dtype": "<f4"}
    made = {
        "observation": box,
        "action": {"kind": "Discrete", "n": 2, "start": 0},
        "time_limit": 9,
        "metadata": {"render_fps": 25},
    }
    parts = {
        "kind": "Dict",
        "spaces": [["a", box], ["b", {"kind": "Discrete", "n": 3, "start": 0}]],
    }
    obs = np.zeros(3, "f4")
    plain = {"protocol": env_process.PROTOCOL, "python": [3, 11, 0], "versions": ["1", "2"]}
    hello = json.dumps({"plain": plain}).encode()
    streams = []
    for space, seen in ((box, obs), (parts, {"a": obs, "b": np.int64(1)})):
        answers = [
            {**made, "observation": space}, (seen, {}), (seen, 1.0, False, False, {}),
            (seen, np.float32(1), True, False, {"success": True}),
        ]  # fmt: skip
        blocks = [packed({"returned": answer}) for answer in answers]
        raised = packed({"raised": ["ValueError", "the motor fell off", None]})
        blocks = [len(hello).to_bytes(4, "little") + hello, *blocks, raised]
        streams.append(b"".join(len(b).to_bytes(8, "little") + b for b in blocks))
    return tuple(streams)


def changed_answers(data: bytes, rng: random.Random) -> bytes:
    """Return other answers: the text of one says something else, or bytes do."""
    if rng.random() < 0.2:
        return damaged(data, rng)
    blocks = []
    while data:
        length = int.from_bytes(data[:8], "little")
        blocks.append(data[8 : 8 + length])
        data = data[8 + length :]
    at = rng.randrange(len(blocks))
    length = 4 + int.from_bytes(blocks[at][:4], "little")
    text = changed_json(blocks[at][4:length], rng)
    blocks[at] = len(text).to_bytes(4, "little") + text + blocks[at][length:]
    return b"".join(len(block).to_bytes(8, "little") + block for block in blocks)


class _Ended:
    """A process that has said all and ended."""

    def wait(self, timeout: float | None = None) -> int:
        return 0

    def kill(self) -> None:
        """It has ended."""


def answers(data: bytes, folder: Path) -> None:
    """An environment in another interpreter, which says anything."""
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.setblocking(False)
        with suppress(OSError):
            theirs.sendall(data)
    process: Any = object.__new__(env_process._Process)
    process._where, process._pipe, process._number = "--env-python x", ours.detach(), 0
    process._sent, process._early, process._process = env_process.deque(), {}, _Ended()
    env_process._RUNNING[SPEC.python] = process
    try:
        process._check_hello(SPEC)
        env = make_env(SPEC)
        env.reset(1)
        for _ in range(2):
            env.step(0)
        with suppress(InputError):  # as the good answers end
            env.step(0)
    finally:
        env_process._RUNNING.clear()
        if process._pipe >= 0:
            os.close(process._pipe)


Part = tuple[Callable[[bytes, Path], object], Callable[[], tuple[bytes, ...]], Mutator]
_folder = folder_changer({MADE_WITH: changed_pickle, ".pkl": changed_pickle})
_texts = folder_changer({".md": changed_text, ".yaml": changed_text, ".yml": changed_text})
_documents = folder_changer({".json": changed_json, ".csv": changed_text, ".parquet": damaged})
AROUND: dict[str, Part] = {
    "statistics": (statistics, statistics_seeds, changed_pickle),
    "beside": (beside, beside_seeds, _texts),
    "chips": (chips, chip_seeds, changed_chips),
    "run": (run, run_seeds, _documents),
    "observations": (observations, observation_seeds, changed_observations),
    "lerobot": (lerobot, lerobot_seeds, _documents),
    "answers": (answers, answer_seeds, changed_answers),
}
changed_rllib = _folder
