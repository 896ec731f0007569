"""Good files of every format that quarl reads: what the mutators start from. Small, so that many of
them can be tried, and made without torch. In: nothing. Out: bytes; a folder is a zip of its files.
"""

from __future__ import annotations

import io
import json
import sqlite3
import tempfile
import zipfile
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from quarl import pipeline
from quarl.boards.find import encode_board
from quarl.boards.linux import AnyBoard
from quarl.boards.microcontroller import find_board
from quarl.bundle.limits import Limits
from quarl.bundle.policy_file import policy_bytes, quant_policy_bytes
from quarl.bundle.release import Release
from quarl.emitters import emit_float_onnx, emit_float_tflite, emit_tflite
from quarl.exporter.export import ExportRequest
from quarl.files.npz import npz_bytes
from quarl.graph.env_spec import EnvSpec
from quarl.importers import ImportOptions
from quarl.links.frames import Frame, pack_frame
from quarl.profiles.host import Memory, ModelProfile, Profile
from quarl.profiles.workload import release_workload
from quarl.resources import models_dir, targets_dir
from quarl.verdict.attestation.envelope import IN_TOTO, sealed
from quarl.verdict.attestation.keys import SecretKey, _public
from quarl.verdict.attestation.statement import RELEASE, STATEMENT
from quarl.verdict.baseline import set_baseline
from quarl.verdict.history import Occasion, record
from quarl.verdict.verdict import Outcome, Verdict
from tests.profiles.test_host import latency
from tests.support.bombs import torch_file, zip_bytes
from tests.support.keras2 import keras2_model
from tests.support.release import GOOD, LIMITS, pairs
from tests.support.samples import sample
from tests.support.tflite_models import packed

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PAIRS = 24  # few, so that a verdict takes little time
POLICIES = "squashed", "branches", "argmax_mlp", "small_images"


@cache
def sb3() -> tuple[bytes, ...]:
    """Files of Stable-Baselines3: PPO, A2C, SAC and DDPG."""
    studies = models_dir() / "studies" / "policies"
    names = ("cartpole_a2c", "lunarlander_a2c", "pendulum_ddpg", "mountaincar_sac")
    kept = [studies / name / "policy.zip" for name in names]
    shipped = models_dir() / "cartpole_ppo" / "policy.zip"
    return tuple(path.read_bytes() for path in (shipped, *kept) if path.is_file())


@cache
def cleanrl() -> tuple[bytes, ...]:
    """State dicts of CleanRL's DQN, PPO and TD3, as torch.save lays them out."""
    dqn = {"network.0": (12, 4), "network.2": (10, 12), "network.4": (2, 10)}
    ppo = {
        f"{part}.{at}": shape
        for part, last in (("actor", 2), ("critic", 1))
        for at, shape in (("0", (8, 4)), ("2", (8, 8)), ("4", (last, 8)))
    }
    td3 = {"fc1": (12, 3), "fc2": (12, 12), "fc_mu": (1, 12)}
    scale = {"action_scale": np.full((1, 1), 2, "f4"), "action_bias": np.zeros((1, 1), "f4")}
    return (_state_dict(dqn, {}), _state_dict(ppo, {}), _state_dict(td3, scale))


def _state_dict(layers: dict[str, tuple[int, int]], more: dict[str, Any]) -> bytes:
    rng = np.random.default_rng(1)
    tensors: dict[str, Any] = {}
    for name, shape in layers.items():
        tensors[f"{name}.weight"] = rng.normal(0, 0.5, shape).astype("f4")
        tensors[f"{name}.bias"] = rng.normal(0, 0.1, shape[:1]).astype("f4")
    tensors.update(more)
    program = b"\x80\x02ccollections\nOrderedDict\n)R("
    for number, (name, values) in enumerate(tensors.items()):
        program += _text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(("
        program += _text("storage") + b"ctorch\nFloatStorage\n" + _text(str(number))
        program += _text("cpu") + _whole(values.size) + b"tQ" + _whole(0)
        strides = [stride // 4 for stride in values.strides]
        program += b"(" + b"".join(map(_whole, values.shape)) + b"t"
        program += b"(" + b"".join(map(_whole, strides)) + b"t\x89ccollections\nOrderedDict\n)RtR"
    return torch_file(
        program + b"u.", {str(i): values.tobytes() for i, values in enumerate(tensors.values())}
    )


def _text(text: str) -> bytes:
    return b"X" + len(text).to_bytes(4, "little") + text.encode()


def _whole(number: int) -> bytes:
    return b"J" + number.to_bytes(4, "little", signed=True)


@cache
def safetensors() -> tuple[bytes, ...]:
    """CleanRL's DQN."""
    rng = np.random.default_rng(5)
    shapes = {
        f"network.{at}.{kind}": shape[: 2 if kind == "weight" else 1]
        for at, shape in ((0, (12, 4)), (2, (10, 12)), (4, (2, 10)))
        for kind in ("weight", "bias")
    }
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, shape in shapes.items():
        values = rng.normal(0, 0.5, shape).astype("<f4").tobytes()
        span = [len(data), len(data) + len(values)]
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": span}  # type: ignore[dict-item]
        data += values
    written = json.dumps(header).encode()
    return (len(written).to_bytes(8, "little") + written + data,)


@cache
def torchscript() -> tuple[bytes, ...]:
    """A traced module. Needs torch, which alone writes them."""
    import torch

    module, example = _module(torch)
    out = io.BytesIO()
    torch.jit.save(torch.jit.trace(module, example), out)
    return (out.getvalue(),)


@cache
def pt2() -> tuple[bytes, ...]:
    """An exported program. Needs torch, which alone writes them."""
    import torch

    module, example = _module(torch)
    out = io.BytesIO()
    torch.export.save(torch.export.export(module, (example,)), out)
    return (out.getvalue(),)


def _module(torch: Any) -> tuple[Any, Any]:
    nn = torch.nn
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.ELU(), nn.Linear(8, 3))
    return module.eval(), torch.zeros(1, 4)


@cache
def onnx() -> tuple[bytes, ...]:
    """Float graphs as quarl writes them, and one of operators that other tools write."""
    return (*(emit_float_onnx(sample(name, 0)[0]) for name in POLICIES), _other_operators())


def _other_operators() -> bytes:
    import onnx as package
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(2)
    numbers = {
        "w": rng.normal(size=(3, 3, 3, 3)), "scale": np.ones(3), "shift": np.zeros(3),
        "mean": np.zeros(3), "var": np.ones(3), "m": rng.normal(size=(3, 5)), "c": np.float64(0.5),
    }  # fmt: skip
    node = helper.make_node
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        node("Conv", ["t", "w"], ["a"], auto_pad="SAME_UPPER", strides=[2, 2]),
        node("BatchNormalization", ["a", "scale", "shift", "mean", "var"], ["b"]),
        node("Clip", ["b", "zero", "six"], ["d"]),
        node("MaxPool", ["d"], ["e"], kernel_shape=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", ["e"], ["f"]),
        node("Reshape", ["f", "shape"], ["g"]),
        node("MatMul", ["g", "m"], ["h"]),
        node("Mul", ["h", "c"], ["i"]),
        node("Softmax", ["i"], ["y"], axis=1),
    ]
    constants = [numpy_helper.from_array(np.asarray(v, "f4"), k) for k, v in numbers.items()]
    constants += [
        numpy_helper.from_array(np.array(0, "f4"), "zero"),
        numpy_helper.from_array(np.array(6, "f4"), "six"),
        numpy_helper.from_array(np.array([0, 3], "i8"), "shape"),
    ]
    floats = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", floats, ["batch", 8, 8, 3])],
        [helper.make_tensor_value_info("y", floats, ["batch", 5])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    package.checker.check_model(model)
    written: bytes = model.SerializeToString()
    return written


@cache
def tflite() -> tuple[bytes, ...]:
    """Int8 and float models of dense layers and convolutions, as another tool would write them."""
    made = (emit_tflite(sample(name, 0)[1]) for name in ("argmax_mlp", "mlp_8_64_64_4"))
    floats = emit_float_tflite(sample("argmax_mlp", 0)[0])
    return (*map(_of_another_tool, (*made, floats)), emit_tflite(sample("small_images", 0)[1]))


def _of_another_tool(data: bytes) -> bytes:
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    model.description, model.metadata = "", []
    return packed(model)


@cache
def keras() -> tuple[bytes, ...]:
    """A `.keras` file."""
    return ((models_dir() / "nav_dqn_small" / "policy.keras").read_bytes(),)


@cache
def hdf5() -> tuple[bytes, ...]:
    """Whole-model `.h5` files of Keras, and a link of Chainer."""
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        for name, array in _link().items():
            file.create_dataset(name, data=array, compression=4)
    return (*(keras2_model(name)[0] for name in ("vector", "image")), out.getvalue())


@cache
def chainer() -> tuple[bytes, ...]:
    """A link of Chainer in an .npz."""
    return (npz_bytes(_link()),)


def _link() -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(8)
    return {
        "l1/W": rng.normal(0, 0.5, (3, 6)).astype(np.float32),
        "l1/b": rng.normal(0, 0.5, 3).astype(np.float32),
    }


@cache
def savedmodel() -> tuple[bytes, ...]:
    """SavedModel folders. Needs TensorFlow, which alone writes them."""
    import keras as package

    layers = package.layers
    made = []
    for model in (
        package.Sequential(
            [package.Input((6,)), layers.Dense(8, "tanh"), layers.Dense(8, "elu"), layers.Dense(3)]
        ),
        package.Sequential(
            [package.Input((8, 8, 3)), layers.Conv2D(3, 3, 2, "same", activation="relu"),
             layers.DepthwiseConv2D(2), layers.MaxPool2D(), layers.Flatten(), layers.Dense(2)]
        ),
    ):  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            model.export(folder, verbose=False)
            made.append(folder_bytes(Path(folder)))
    return tuple(made)


def folder_bytes(folder: Path) -> bytes:
    """Return a folder's files as a zip."""
    return zip_bytes(
        {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
    )


@cache
def npz() -> tuple[bytes, ...]:
    """Observations, a normaliser, and policies of quarl's own."""
    rng = np.random.default_rng(3)
    obs = rng.normal(0, 1, (40, 4)).astype("f4")
    policy, integers = sample("squashed", 1)
    normaliser = {
        "mean": np.zeros(4), "var": np.ones(4), "epsilon": np.array(1e-8),
        "clip_obs": np.array(10.0)
    }  # fmt: skip
    return (
        npz_bytes({"obs": obs, "episode": np.repeat(np.arange(4, dtype="i4"), 10)}),
        npz_bytes(normaliser),
        policy_bytes(policy),
        quant_policy_bytes(integers),
    )


@cache
def toml() -> tuple[bytes, ...]:
    """A recipe, limits of a gate, boards, stored weights, a study, a contract."""
    models, targets = models_dir(), targets_dir()
    paths = [
        models / "cartpole_ppo" / "recipe.toml",
        models / "nav_dqn_small" / "recipe.toml",
        models / "weights.toml",
        targets / "nrf52840_dk" / "board.toml",
        targets / "raspberrypi_4" / "board.toml",
    ]
    gate = (
        b'[gate]\nepisodes = 100\nmargin = 0.05\nbackends = ["litert", "onnxruntime"]\n'
        b"budgets = { a_b = 1 }\n"
    )
    study = (
        b'name = "grid"\nepisodes = 20\nboard = "nrf52840_dk"\n'
        b'[[policies]]\nsource = "cartpole_ppo"\n'
        b'[[policies]]\nrecipe = "models/cartpole_ppo"\nseeds = [1, 2]\n'
        b'[[methods]]\nmethod = "ladder"\nweights = [8, 4]\nactivations = [8]\n'
    )
    contract = (
        b'step_hz = 50\n[observation]\nhistory = 2\nnames = ["a", "b"]\nunits = ["m", "s"]\n'
        b"[observation.normalizer]\nmean = [0.0, 1.0]\nvar = [1.0, 1.0]\n"
        b"[action]\nlow = [-1.0]\nhigh = [1.0]\n"
    )
    return (*(path.read_bytes() for path in paths), gate, study, contract)


@cache
def bundle() -> tuple[bytes, ...]:
    """Bundles with every document that a stage writes, one in four with firmware."""
    made = []
    for board in (None, find_board("nrf52840_dk", targets_dir())):
        with tempfile.TemporaryDirectory(prefix="quarl-fuzz-") as folder:
            made.append(folder_bytes(_judged(Path(folder), LIMITS, board, PAIRS)[0].folder))
    return (made[0], made[0], made[0], made[1])


def _judged(
    folder: Path, limits: Limits, board: AnyBoard | None, count: int
) -> tuple[Release, Verdict]:
    """Return an exported bundle with evidence of `count` paired episodes, and its verdict."""
    obs = np.random.default_rng(4).normal(0, 0.5, (120, 4)).astype("f4")
    request = ExportRequest(rung=1, calibration=obs, limits=limits, board=board)
    weights = folder / "small.cleanrl_model"
    weights.write_bytes(cleanrl()[1])
    options = ImportOptions(no_normalizer=True, step_hz=50.0)
    source = pipeline.import_source(str(weights), options, env=EnvSpec("CartPole-v1"))
    release = pipeline.export(source, folder / "small", request)
    release.store("profile.json", _profile(release).to_json())
    evidence = replace(
        GOOD,
        manifest_sha256=release.manifest_sha256,
        env=release.manifest.env,
        paired=pairs(count=count),
    )
    release.store("parity.json", evidence.to_json().encode())
    return release, pipeline.gate(release)


def _profile(release: Release) -> Profile:
    memory = Memory(40_000_000, 1_000_000, 45_000_000)
    models = tuple(
        ModelProfile(runtime, "2.3.0", precision, 4000, 100.0, latency(5.0, 6.0, 9.0), memory)
        for runtime in ("litert", "onnxruntime")
        for precision in ("float32", "int8")
    )
    subject = release_workload(release).subject(None, artifacts=True, firmware=False)
    return Profile(
        subject, "measured", "a cpu", 2, "Linux", {"numpy": "2.4"},
        release.manifest.contract_sha256, 5000, {"int8": 900, "float32": 3600}, models,
    )  # fmt: skip


@cache
def documents() -> tuple[bytes, ...]:
    """JSON documents outside a bundle: a baseline, a bare verdict, boards, a signed statement."""
    with tempfile.TemporaryDirectory(prefix="quarl-fuzz-") as folder:
        release, verdict = _judged(Path(folder), replace(LIMITS, budgets={}), None, 400)
        passed = tuple(check for check in verdict.checks if check.outcome is Outcome.PASS)
        verdict = replace(verdict, checks=passed)  # made-up evidence does not pass whole
        path = set_baseline(release, verdict, Path(folder) / "baseline.json")
        kept = (path.read_bytes(), (release.folder / "verdict.json").read_bytes())
    return (*kept, encode_board(find_board("nrf52840_dk", targets_dir())), _envelope())


def _envelope() -> bytes:
    statement = {
        "_type": STATEMENT, "predicateType": RELEASE, "predicate": {},
        "subject": [{"name": "manifest.json", "digest": {"sha256": "ab" * 32}}],
    }  # fmt: skip
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    secret = SecretKey(_public(key.public_key()), key)
    return sealed(json.dumps(statement).encode(), IN_TOTO, secret)


def unpack(data: bytes, folder: Path) -> None:
    """Write the files of a zip that `folder_bytes` made; names that lead elsewhere are left out."""
    root = folder.resolve()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            path = (folder / info.filename).resolve()
            if info.is_dir() or root not in path.parents or len(path.name) > 200:
                continue
            with suppress(OSError):  # a name that is a file's and a folder's
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(info))


@cache
def history() -> tuple[bytes, ...]:
    """A history of two runs."""
    from tests.verdict.test_history import FAILED, PASSED

    with tempfile.TemporaryDirectory(prefix="quarl-fuzz-") as folder:
        path = Path(folder) / "history.sqlite3"
        for verdict in (PASSED, FAILED):
            record(path, verdict, Occasion(AT, "1", "ab" * 32))
        with closing(sqlite3.connect(path)) as database:
            return (database.serialize(),)


@cache
def frames() -> tuple[bytes, ...]:
    """What a device sends."""
    made = [
        Frame("I", bytes(84), 1),
        Frame("R", bytes(range(40)), 2),
        Frame("E", b"\1\0\0\0", 3),
        Frame("A", b"", 0xFFFF_FFFF),
    ]
    return (b"".join(pack_frame(frame) for frame in made), pack_frame(made[1]))
