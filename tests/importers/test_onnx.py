"""ONNX models from torch's exporter and from hand-made graphs, compared with ONNX Runtime."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from quarl.errors import InputError, UnsupportedError, UntrustedFileError
from quarl.graph.contract import Action, Normalizer, Observation
from quarl.graph.policy import Activation, Conv2D, Dense, DepthwiseConv2D, Policy
from quarl.importers import ImportOptions, detect_format
from quarl.importers import read_policy as ask_policy
from quarl.importers.onnx import read_onnx as ask_onnx
from quarl.importers.proofs.onnx import outputs_of_onnx
from tests.conftest import need
from tests.support.answers import answering, options_of

read_policy, read_onnx = answering(ask_policy), answering(ask_onnx)
TOLERANCE = 1e-5
CHW, HWC = (
    (3, 11, 8),
    (11, 8, 3),
)  # not square, three channels: a mistaken order of axes cannot pass
RNG = np.random.default_rng(11)


def numbers(*shape: int, low: float = -0.5) -> NDArray[np.float32]:
    return RNG.uniform(low, low + 1, shape).astype(np.float32)


def observations(policy: Policy, count: int = 16) -> NDArray[Any]:
    rng = np.random.default_rng(5)
    shape = (count, *policy.contract.observation.shape)
    return (
        rng.integers(0, 256, shape, np.uint8)
        if policy.contract.observation.is_image
        else rng.normal(0, 2, shape).astype(np.float32)
    )


def assert_equal_to_onnxruntime(path: Path, options: ImportOptions | None = None) -> Policy:
    """Import the file and compare it with ONNX Runtime; return the policy."""
    options = options or ImportOptions()
    policy = read_policy(path, options)
    obs = observations(policy)
    told = options_of(policy, options.output)
    reference, against = outputs_of_onnx(path, policy, obs, told)
    assert against.startswith("ONNX Runtime")
    assert reference.std() > 1e-2  # a network that says nothing would agree with anything
    assert np.abs(policy.outputs(obs) - reference).max() <= TOLERANCE * max(
        1, np.abs(reference).max()
    )
    return policy


def node(op: str, inputs: Sequence[str], output: str, **attributes: Any) -> Any:
    return helper.make_node(op, list(inputs), [output], name=f"{op.lower()}_{output}", **attributes)


def save(
    path: Path,
    nodes: Sequence[Any],
    constants: dict[str, NDArray[Any]],
    shape: Sequence[Any],
    outputs: Sequence[str] = ("y",),
    dtype: int = TensorProto.FLOAT,
    opset: int = 20,
) -> Path:
    """Write a graph whose input is `x` and whose outputs are `outputs`."""
    graph = helper.make_graph(
        list(nodes),
        "policy",
        [helper.make_tensor_value_info("x", dtype, list(shape))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10, producer_name="hand"
    )
    path.write_bytes(model.SerializeToString())
    return path


def export(module: Any, example: Any, path: Path, batch_is_free: bool = True) -> Path:
    """Write what torch.onnx.export makes of a module."""
    import torch

    axes = {"x": {0: "batch"}} if batch_is_free else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(), (example,), path, dynamo=False, input_names=["x"], dynamic_axes=axes
        )
    return path


def torch_mlp() -> tuple[Any, Any]:
    import torch
    from torch import nn

    layers = (
        nn.Linear(5, 7),
        nn.Tanh(),
        nn.BatchNorm1d(7),
        nn.Linear(7, 6),
        nn.ELU(),
        nn.Dropout(),
        nn.Linear(6, 6),
        nn.Sigmoid(),
        nn.Linear(6, 3),
    )
    return nn.Sequential(*layers), torch.zeros(2, 5)


def torch_cnn() -> tuple[Any, Any]:
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(1, 0)),
                nn.BatchNorm2d(4),
                nn.ReLU(),
                nn.Conv2d(4, 4, 2, groups=4, bias=False),
                nn.ReLU6(),
                nn.BatchNorm2d(4),
                nn.AvgPool2d(2, 1),
                nn.Flatten(),
            )
            self.left, self.right = nn.Linear(80, 5), nn.Linear(80, 5)
            self.head = nn.Linear(10, 4)

        def forward(self, x: Any) -> Any:
            h = self.body(x.float() / 255)
            return self.head(
                torch.cat([torch.relu(self.left(h)), torch.tanh(self.right(h))], dim=1)
            )

    return Network(), torch.zeros(2, *CHW, dtype=torch.uint8)


@pytest.mark.parametrize("batch_is_free", [True, False])
@pytest.mark.parametrize("make", [torch_mlp, torch_cnn], ids=["mlp", "cnn"])
def test_an_export_of_torch_computes_what_onnx_runtime_computes(
    tmp_path: Path, make: Callable[[], Any], batch_is_free: bool
) -> None:
    need("torch")
    import torch

    torch.manual_seed(3)
    torch.set_num_threads(1)
    module, example = make()
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if value.dtype == torch.float32:
            torch.nn.init.uniform_(
                value, 0.5 if "var" in name else -0.5, 1.5 if "var" in name else 0.5
            )
    path = export(module, example, tmp_path / "policy.onnx", batch_is_free)
    policy = assert_equal_to_onnxruntime(path)
    obs = observations(policy)
    with torch.no_grad():
        assert (
            np.abs(policy.outputs(obs) - module(torch.from_numpy(obs)).numpy()).max() <= TOLERANCE
        )
    assert policy.framework.startswith("onnx (pytorch")
    assert detect_format(path) == "onnx"
    assert policy.contract.observation.layout == ("chw" if example.ndim == 4 else "vector")


CONV = {"w": numbers(4, 3, 3, 2), "b": numbers(4), "d": numbers(3, 4 * 6 * 7)}


@pytest.mark.parametrize(
    "flatten",
    [
        [node("Flatten", ["c"], "f")],
        [node("Constant", [], "s", value_ints=[-1, 168]), node("Reshape", ["c", "s"], "f")],
        [node("Constant", [], "s", value_ints=[0, -1]), node("Reshape", ["c", "s"], "f")],
        [
            node("Shape", ["c"], "shape"),
            node("Constant", [], "zero", value_int=0),
            node("Gather", ["shape", "zero"], "n"),
            node("Constant", [], "axes", value_ints=[0]),
            node("Unsqueeze", ["n", "axes"], "n1"),
            node("Constant", [], "rest", value_ints=[-1]),
            node("Concat", ["n1", "rest"], "s", axis=0),
            node("Reshape", ["c", "s"], "f"),
        ],
        [
            node("Shape", ["c"], "shape"),
            node("Constant", [], "one", value_ints=[1]),
            node("Constant", [], "zero", value_ints=[0]),
            node("Constant", [], "four", value_ints=[4]),
            node("Slice", ["shape", "zero", "one"], "n"),
            node("Slice", ["shape", "one", "four"], "lengths"),
            node("ReduceProd", ["lengths"], "count", keepdims=1),
            node("Cast", ["count"], "count64", to=TensorProto.INT64),
            node("Concat", ["n", "count64"], "s", axis=0),
            node("Reshape", ["c", "s"], "f"),
        ],
    ],
    ids=["flatten", "reshape", "reshape-rest", "computed", "computed-count"],
)
def test_flattening_is_recognised_however_it_is_written(tmp_path: Path, flatten: list[Any]) -> None:
    nodes = [
        node("Cast", ["x"], "p", to=TensorProto.FLOAT),
        node("Div", ["p", "k"], "u"),
        node("Conv", ["u", "w", "b"], "c", strides=[2, 1], pads=[1, 0, 1, 0]),
        *flatten,
        node("Gemm", ["f", "d"], "y", transB=1),
    ]
    path = save(
        tmp_path / "policy.onnx",
        nodes,
        {**CONV, "k": np.array(255, np.float32)},
        ["n", *CHW],
        dtype=TensorProto.UINT8,
    )
    policy = assert_equal_to_onnxruntime(path)
    assert policy.contract.observation == Observation(CHW, "uint8", "chw")


def channels_last() -> tuple[list[Any], dict[str, NDArray[Any]]]:
    nodes = [
        node("Cast", ["x"], "p", to=TensorProto.FLOAT),
        node("Mul", ["p", "k"], "u"),
        node("Sub", ["u", "m"], "v"),
        node("Transpose", ["v"], "t", perm=[0, 3, 1, 2]),
        node("Conv", ["t", "w", "b"], "c", auto_pad="SAME_UPPER", strides=[2, 1]),
        node("Relu", ["c"], "r"),
        node("Transpose", ["r"], "l", perm=[0, 2, 3, 1]),
        node("Mul", ["l", "g"], "s"),
        node("Flatten", ["s"], "f"),
        node("MatMul", ["f", "d"], "z"),
        node("Add", ["z", "e"], "y"),
    ]
    constants = {
        "k": np.array([1 / 255], np.float32),
        "m": numbers(1, 1, 1, 3),
        "g": numbers(4),
        "w": numbers(4, 3, 3, 2),
        "b": numbers(4),
        "d": numbers(6 * 8 * 4, 5),
        "e": numbers(5),
    }
    return nodes, constants


def test_channels_last_with_transposes_keeps_its_layout_and_loses_the_transposes(
    tmp_path: Path,
) -> None:
    nodes, constants = channels_last()
    path = save(tmp_path / "policy.onnx", nodes, constants, [1, *HWC], dtype=TensorProto.UINT8)
    policy = assert_equal_to_onnxruntime(path)
    assert policy.contract.observation == Observation(HWC, "uint8", "hwc")
    assert [
        type(n.op) for n in policy.nodes if isinstance(n.op, Dense | Conv2D | DepthwiseConv2D)
    ] == [DepthwiseConv2D, Conv2D, Dense]


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("groups", [1, 3])
def test_automatic_padding_is_that_of_onnx(tmp_path: Path, mode: str, groups: int) -> None:
    nodes = [
        node("Div", ["x", "k"], "u"),
        node("Conv", ["u", "w"], "c", auto_pad=mode, strides=[2, 3], group=groups),
        node("Flatten", ["c"], "f"),
        node("Gemm", ["f", "d"], "y"),
    ]
    rows, cols = (6, 3) if mode != "VALID" else (4, 2)
    constants = {
        "k": np.array(255, np.float32),
        "w": numbers(3, 3 // groups, 4, 4),
        "d": numbers(3 * rows * cols, 2),
    }
    assert_equal_to_onnxruntime(save(tmp_path / "policy.onnx", nodes, constants, ["n", *CHW]))


def test_gemm_with_alpha_beta_and_both_orders_of_weights(tmp_path: Path) -> None:
    nodes = [
        node("Gemm", ["x", "a", "b"], "h", alpha=0.5, beta=2.0),
        node("Clip", ["h", "low", "high"], "r"),
        node("Identity", ["r"], "i"),
        node("Gemm", ["i", "c", "d"], "y", transB=1),
    ]
    constants = {
        "a": numbers(5, 6),
        "b": numbers(1, 6),
        "c": numbers(3, 6),
        "d": numbers(3),
        "low": np.array(0, np.float32),
        "high": np.array(6, np.float32),
    }
    policy = assert_equal_to_onnxruntime(save(tmp_path / "policy.onnx", nodes, constants, ["n", 5]))
    assert Activation("relu6") in [n.op for n in policy.nodes]


@pytest.mark.parametrize(
    "ending",
    [["Softmax"], ["LogSoftmax"], ["ArgMax"], ["Softmax", "ArgMax", "Cast"], ["ArgMax", "Reshape"]],
)
def test_the_choice_of_the_largest_is_left_to_the_contract(
    tmp_path: Path, ending: list[str]
) -> None:
    last, nodes = "h", [node("Gemm", ["x", "a"], "h")]
    settings: dict[str, dict[str, Any]] = {
        "ArgMax": {"axis": 1},
        "Cast": {"to": TensorProto.INT32},
        "Reshape": {},
    }
    for index, op in enumerate(ending):
        extra = ["flat"] if op == "Reshape" else []
        nodes.append(node(op, [last, *extra], f"y{index}", **settings.get(op, {"axis": -1})))
        last = f"y{index}"
    constants = {"a": numbers(5, 4), "flat": np.array([-1], np.int64)}
    path = save(tmp_path / "policy.onnx", nodes, constants, ["n", 5], outputs=[last])
    policy = assert_equal_to_onnxruntime(path)
    assert policy.contract.action == Action("discrete", 4)
    assert len(policy.nodes) == 1
    with pytest.raises(InputError, match="ends in"):
        read_onnx(path, ImportOptions(action_space=Action("box", 4, (-1.0,) * 4, (1.0,) * 4)))


def test_logits_normalised_as_torch_distributions_do_are_a_softmax(tmp_path: Path) -> None:
    nodes = [
        node("Gemm", ["x", "a"], "h"),
        node("ReduceLogSumExp", ["h", "last"], "s"),
        node("Sub", ["h", "s"], "l"),
        node("Softmax", ["l"], "p", axis=-1),
        node("ArgMax", ["p"], "action", axis=1, keepdims=0),
        node("Gemm", ["x", "v"], "value"),
        node("Gemm", ["s", "v1"], "other"),
    ]
    constants = {
        "a": numbers(5, 4),
        "v": numbers(5, 4),
        "v1": numbers(1, 4),
        "last": np.array([-1], np.int64),
    }
    path = save(
        tmp_path / "policy.onnx", nodes, constants, ["n", 5], outputs=["action", "value", "other"]
    )
    choice = Action("discrete", 4)
    policy = assert_equal_to_onnxruntime(path, ImportOptions(action_space=choice, output="action"))
    assert [n.name for n in policy.nodes] == ["gemm_h"]
    # an output that cannot be read is never outvoted by one that can
    with pytest.raises(
        InputError,
        match=r"value \(a value\), other \(cannot be read\).*--output action.*part of a softmax",
    ):
        read_onnx(path, ImportOptions(action_space=choice))


def test_a_normaliser_written_into_the_graph_moves_into_the_contract(tmp_path: Path) -> None:
    nodes = [
        node("Add", ["var", "eps"], "v"),
        node("Sqrt", ["v"], "std"),
        node("Sub", ["x", "mean"], "s"),
        node("Div", ["s", "std"], "n"),
        node("Clip", ["n", "low", "high"], "c"),
        node("Gemm", ["c", "a"], "y"),
    ]
    constants = {
        "mean": numbers(5),
        "var": numbers(5, low=0.5),
        "eps": np.array(1e-8, np.float32),
        "low": np.array(-1.5, np.float32),
        "high": np.array(1.5, np.float32),
        "a": numbers(5, 3),
    }
    policy = assert_equal_to_onnxruntime(save(tmp_path / "policy.onnx", nodes, constants, ["n", 5]))
    normalizer = policy.contract.observation.normalizer
    assert normalizer is not None
    assert normalizer.clip_obs == 1.5
    assert normalizer.mean == pytest.approx(constants["mean"].tolist())
    assert normalizer.var == pytest.approx(constants["var"].tolist())
    assert len(policy.nodes) == 1
    with pytest.raises(InputError, match="would do it twice"):
        read_onnx(
            tmp_path / "policy.onnx",
            ImportOptions(normalizer=Normalizer((0.0,) * 5, (1.0,) * 5, 1e-8, 10)),
        )


def test_bounds_written_as_minimum_and_maximum_are_one_activation(tmp_path: Path) -> None:
    nodes = [
        node("Gemm", ["x", "a"], "h"),
        node("Min", ["h", "six"], "m"),
        node("Max", ["zero", "m"], "r"),
        node("Gemm", ["r", "b"], "i"),
        node("Relu", ["i"], "j"),
        node("Clip", ["j", "", "six"], "k"),
        node("Gemm", ["k", "c"], "y"),
    ]
    constants = {
        "a": numbers(5, 6),
        "b": numbers(6, 6),
        "c": numbers(6, 3),
        "six": np.array(6, np.float32),
        "zero": np.array(0, np.float32),
    }
    policy = assert_equal_to_onnxruntime(save(tmp_path / "policy.onnx", nodes, constants, ["n", 5]))
    assert [n.op for n in policy.nodes if isinstance(n.op, Activation)] == [Activation("relu6")] * 2


def test_arithmetic_that_no_neighbour_can_take_becomes_a_layer_of_its_own(tmp_path: Path) -> None:
    nodes = [
        node("Gemm", ["x", "a"], "g"),
        node("Tanh", ["g"], "t"),
        node("Mul", ["t", "m"], "u"),
        node("Sub", ["one", "u"], "v"),
        node("Neg", ["v"], "w"),
        node("Relu", ["w"], "r"),
        node("Add", ["r", "t"], "z"),
        node("Gemm", ["z", "b"], "y"),
    ]
    constants = {
        "a": numbers(5, 6),
        "m": numbers(6),
        "one": np.ones(1, np.float32),
        "b": numbers(6, 3),
    }
    policy = assert_equal_to_onnxruntime(save(tmp_path / "policy.onnx", nodes, constants, ["n", 5]))
    assert len([n for n in policy.nodes if isinstance(n.op, Dense)]) == 3


def test_the_mean_over_an_image_becomes_a_depthwise_convolution(tmp_path: Path) -> None:
    for mean in (
        [node("GlobalAveragePool", ["c"], "m"), node("Flatten", ["m"], "f")],
        [node("GlobalAveragePool", ["c"], "m"), node("Squeeze", ["m", "axes"], "f")],
        [node("ReduceMean", ["c", "axes"], "f", keepdims=0)],
    ):
        nodes = [
            node("Div", ["x", "k"], "u"),
            node("Conv", ["u", "w"], "c"),
            *mean,
            node("Gemm", ["f", "d"], "y"),
        ]
        constants = {
            "k": np.array(255, np.float32),
            "w": numbers(4, 3, 3, 2),
            "d": numbers(4, 3),
            "axes": np.array([2, 3], np.int64),
        }
        assert_equal_to_onnxruntime(save(tmp_path / "policy.onnx", nodes, constants, ["n", *CHW]))


def test_flattened_images_can_be_joined_added_and_scaled(tmp_path: Path) -> None:
    nodes = [
        node("Div", ["x", "k"], "u"),
        node("Conv", ["u", "w"], "c"),
        node("Conv", ["u", "v"], "e"),
        node("Flatten", ["c"], "f"),
        node("Flatten", ["e"], "g"),
        node("Add", ["f", "g"], "s"),
        node("Relu", ["s"], "r"),
        node("Mul", ["r", "m"], "t"),
        node("Gemm", ["g", "p"], "h"),
        node("Concat", ["t", "h", "f"], "j", axis=-1),
        node("Gemm", ["j", "d"], "y"),
    ]
    count = 4 * 9 * 7
    constants = {
        "k": np.array(255, np.float32),
        "w": numbers(4, 3, 3, 2),
        "v": numbers(4, 3, 3, 2),
        "m": numbers(count),
        "p": numbers(count, 2),
        "d": numbers(2 * count + 2, 3),
    }
    assert_equal_to_onnxruntime(save(tmp_path / "policy.onnx", nodes, constants, ["n", *CHW]))


def actor_critic(path: Path) -> Path:
    """An export as users of Stable-Baselines3 write it: actions, value and a log probability with
    steps no policy needs.
    """
    nodes = [
        node("Gemm", ["x", "a"], "h"),
        node("Tanh", ["h"], "t"),
        node("Gemm", ["t", "p"], "actions"),
        node("Gemm", ["t", "v"], "value"),
        node("Exp", ["actions"], "e"),
        node("ReduceSum", ["e"], "log_prob"),
    ]
    constants = {"a": numbers(5, 6), "p": numbers(6, 2), "v": numbers(6, 1)}
    return save(path, nodes, constants, ["n", 5], outputs=["actions", "value", "log_prob"])


def test_of_several_outputs_the_one_that_fits_the_action_space_is_the_policy(
    tmp_path: Path,
) -> None:
    path = actor_critic(tmp_path / "policy.onnx")
    with pytest.raises(InputError, match=r"what its 2 outputs mean\. Say it: --env ID"):
        ask_onnx(path, ImportOptions())
    policy = assert_equal_to_onnxruntime(
        path, ImportOptions(action_space=Action("box", 2, (-1.0, -2.0), (1.0, 2.0)))
    )
    assert policy.contract.action.transform == "clip"


@pytest.mark.parametrize(("bound", "transform"), [(2.0, "clip"), (1.0, "unscale")])
def test_a_clip_to_the_bounds_at_the_end_is_the_contracts(
    tmp_path: Path, bound: float, transform: str
) -> None:
    nodes = [node("Gemm", ["x", "a"], "h"), node("Clip", ["h", "low", "high"], "y")]
    constants = {
        "a": numbers(5, 2),
        "low": np.array(-bound, np.float32),
        "high": np.array(bound, np.float32),
    }
    path = save(tmp_path / "policy.onnx", nodes, constants, ["n", 5])
    policy = assert_equal_to_onnxruntime(
        path, ImportOptions(action_space=Action("box", 2, (-2.0, -2.0), (2.0, 2.0)))
    )
    assert policy.contract.action.transform == transform
    assert len(policy.nodes) == 1
    with pytest.raises(InputError, match=r"ends in a clip to .*--env ID"):
        ask_onnx(path, ImportOptions())


def test_weights_in_a_file_beside_the_model_are_read_and_counted_into_the_digest(
    tmp_path: Path,
) -> None:
    inside = save(
        tmp_path / "inside.onnx", [node("Gemm", ["x", "a"], "y")], {"a": numbers(5, 3)}, ["n", 5]
    )
    path = tmp_path / "policy.onnx"
    onnx.save_model(
        onnx.load(inside),
        path,
        save_as_external_data=True,
        location="policy.onnx.data",
        size_threshold=0,
    )
    policy = assert_equal_to_onnxruntime(path)
    assert np.array_equal(
        policy.nodes[0].op.weights, read_onnx(inside, ImportOptions()).nodes[0].op.weights
    )  # type: ignore[union-attr]
    data = tmp_path / "policy.onnx.data"
    data.write_bytes(bytes(4) + data.read_bytes()[4:])
    assert read_onnx(path, ImportOptions()).source_sha256 != policy.source_sha256
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(
        UntrustedFileError, match=r"a claims 60 bytes at 0 of policy.onnx.data, which has 59"
    ):
        read_onnx(path, ImportOptions())
    data.unlink()
    with pytest.raises(InputError, match="not beside it"):
        read_onnx(path, ImportOptions())


@pytest.mark.parametrize(
    "location", ["/etc/hostname", "../secret.bin", "sub/weights.bin", "..", "", "link.bin"]
)
def test_weights_anywhere_else_are_never_read(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(60))
    folder = tmp_path / "models"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "weights.bin").write_bytes(bytes(60))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    path = save(
        folder / "policy.onnx", [node("Gemm", ["x", "a"], "y")], {"a": numbers(5, 3)}, ["n", 5]
    )
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UntrustedFileError, match="only a plain file in the same folder is read"):
        read_onnx(path, ImportOptions())


def change(path: Path, edit: Callable[[Any], None]) -> Path:
    """Rewrite a saved model."""
    model = onnx.load(path)
    edit(model)
    path.write_bytes(model.SerializeToString())
    return path


def claim(*dims: int) -> Callable[[Any], None]:
    def edit(model: Any) -> None:
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(dims)

    return edit


@pytest.mark.parametrize("dims", [(5, 4), (1 << 40, 1 << 20), (-5, -3), (4, 3)])
def test_weights_that_claim_another_size_than_they_have_are_refused_unread(
    tmp_path: Path, dims: tuple[int, ...]
) -> None:
    path = save(
        tmp_path / "policy.onnx", [node("Gemm", ["x", "a"], "y")], {"a": numbers(5, 3)}, ["n", 5]
    )
    with pytest.raises(UntrustedFileError, match=r"a claims [\d,]+ values"):
        read_onnx(change(path, claim(*dims)), ImportOptions())


def test_constants_that_grow_without_bound_are_refused_uncomputed(tmp_path: Path) -> None:
    nodes = [node("Add", ["tall", "wide"], "a"), node("Gemm", ["x", "a"], "y")]
    constants = {"tall": numbers(100_000, 1), "wide": numbers(1, 100_000)}
    with pytest.raises(UntrustedFileError, match=r"Add 'add_a' makes more than"):
        read_onnx(save(tmp_path / "policy.onnx", nodes, constants, ["n", 5]), ImportOptions())


def test_nan_weights_are_refused(tmp_path: Path) -> None:
    weights = numbers(5, 3)
    weights[0, 0] = np.nan
    with pytest.raises(InputError, match="gemm_y: 1 of 15 weights are NaN"):
        read_onnx(
            save(
                tmp_path / "policy.onnx", [node("Gemm", ["x", "a"], "y")], {"a": weights}, ["n", 5]
            ),
            ImportOptions(),
        )


MATRIX = {"a": numbers(5, 3)}
IMAGE_WEIGHTS = {"w": numbers(4, 3, 3, 3), "half": numbers(4, 1, 3, 3)}
REFUSED = {
    "transA": (
        [node("Gemm", ["x", "a"], "y", transA=1)],
        MATRIX,
        (5,),
        r"Gemm \(node 'gemm_y'\) transposes its input",
    ),
    "domain": (
        [node("Gemm", ["x", "a"], "h"), node("Magic", ["h"], "y", domain="com.acme")],
        MATRIX,
        (5,),
        "of the domain 'com.acme'",
    ),
    "quantised": (
        [node("DequantizeLinear", ["a", "s"], "d"), node("Gemm", ["x", "d"], "y")],
        {"a": np.ones((5, 3), np.int8), "s": numbers()},
        (5,),
        "quantised already",
    ),
    "dilation": (
        [node("Conv", ["x", "w"], "y", dilations=[2, 2])],
        IMAGE_WEIGHTS,
        CHW,
        r"Conv \(node 'conv_y'\) has kernel .* dilations \(2, 2\)",
    ),
    "groups": (
        [node("Conv", ["x", "g"], "y", group=2)],
        {"g": numbers(4, 2, 3, 3)},
        (4, 9, 8),
        "has 2 groups for 4 channels",
    ),
    "pads": ([node("Conv", ["x", "w"], "y", pads=[-1, 0, 0, 0])], IMAGE_WEIGHTS, CHW, "has pads"),
    "MaxPool": (
        [node("MaxPool", ["x"], "y", kernel_shape=[2, 2], ceil_mode=1)],
        {},
        CHW,
        "has ceil_mode",
    ),
    "LpPool": (
        [node("LpPool", ["x"], "y", kernel_shape=[2, 2])],
        {},
        CHW,
        r"LpPool \(node 'lppool_y'\) is not among",
    ),
    "border": (
        [node("AveragePool", ["x"], "y", kernel_shape=[2, 2], pads=[1, 1, 0, 0])],
        {},
        CHW,
        "counts fewer values at the border",
    ),
    "pixels": (
        [node("Add", ["x", "p"], "y")],
        {"p": numbers(*CHW)},
        CHW,
        "differs from pixel to pixel",
    ),
    "unflat": ([node("Conv", ["x", "w"], "y")], IMAGE_WEIGHTS, CHW, r"ends with shape \(9, 6, 4\)"),
    "free length": (
        [node("Gemm", ["x", "a"], "y")],
        MATRIX,
        ("features",),
        r"the input 'x' has shape \['batch', '\?'\].*--observation vector:48",
    ),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_cannot_be_carried_over_is_refused_by_operator_and_node(
    tmp_path: Path, case: str
) -> None:
    nodes, constants, shape, message = REFUSED[case]
    path = save(tmp_path / "policy.onnx", nodes, constants, ["n", *shape])
    with pytest.raises(UnsupportedError, match=message):
        read_onnx(
            path,
            ImportOptions(
                observation=Observation(shape, "uint8", "chw") if len(shape) == 3 else None
            ),
        )


def test_an_input_that_the_action_does_not_need_is_dropped_with_a_line(tmp_path: Path) -> None:
    path = save(tmp_path / "policy.onnx", [node("Gemm", ["x", "a"], "y")], MATRIX, ["n", 5])
    second = helper.make_tensor_value_info("goal", TensorProto.INT64, ["n", 2])
    change(path, lambda model: model.graph.input.append(second))
    policy = assert_equal_to_onnxruntime(path)
    assert "input goal: dropped, the action does not depend on it" in policy.contract.stated


@pytest.mark.parametrize(
    ("env", "game"), [("ALE/Pong-v5", "pong"), ("ALE/SpaceInvaders-v5", "space_invaders")]
)
def test_a_bare_game_is_answered_with_the_preprocessed_one(
    tmp_path: Path, env: str, game: str
) -> None:
    nodes = [node("Flatten", ["x"], "f"), node("MatMul", ["f", "w"], "y")]
    path = save(tmp_path / "p.onnx", nodes, {"w": numbers(48, 3)}, ("n", 3, 4, 4))
    screen = Observation((210, 160, 3), "uint8", "hwc")
    told = ImportOptions(observation=screen, observation_by=f"--env {env}")
    with pytest.raises(InputError, match=rf"such as --env quarl/Atari-v0 --env-arg game={game}"):
        read_policy(path, told)


def test_a_step_that_reads_what_nothing_computes_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "policy.onnx", [node("Gemm", ["x", "missing"], "y")], {}, ["n", 5])
    with pytest.raises(InputError, match="reads 'missing', which nothing computes before"):
        read_onnx(path, ImportOptions())


def test_a_matrix_that_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    path = save(
        tmp_path / "policy.onnx", [node("Gemm", ["x", "a"], "y")], {"a": numbers(6, 3)}, ["n", 5]
    )
    with pytest.raises(InputError, match=r"Gemm \(node 'gemm_y'\) takes 6 values, is given 5"):
        read_onnx(path, ImportOptions())


@pytest.mark.parametrize("content", [b"", b"\x08\x0a\x3a\xff", b"not a model at all, but text"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "policy.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_onnx(path, ImportOptions())


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "policy.onnx", [node("Gemm", ["x", "a"], "y")], MATRIX, ["n", 5])
    path.write_bytes(path.read_bytes().replace(b"gemm_y", b"gemm\xff\xfe"))
    with pytest.raises(InputError, match="is not text"):
        read_onnx(path, ImportOptions())


def test_a_model_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    nodes, constants = channels_last()
    path = save(tmp_path / "policy.onnx", nodes, constants, [1, *HWC], dtype=TensorProto.UINT8)
    content = path.read_bytes()
    for length in range(1, len(content) - 1, 101):
        path.write_bytes(content[:length])
        with pytest.raises(InputError):
            read_onnx(path, ImportOptions())
