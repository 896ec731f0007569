"""What a refusal of an ONNX file advises is done, and the file is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from quarl.errors import QuarlError
from quarl.graph.contract import Action, Normalizer, Observation
from quarl.graph.policy import Policy
from quarl.importers import ImportOptions, read_policy
from quarl.importers.proofs import ImportProof, prove_import
from tests.importers.test_onnx import CHW, change, node, numbers, save
from tests.support.recurrent_policies import recurrent_model
from tests.support.sources.sample import told, vector

A, SQUARE = {"a": numbers(5, 3)}, {"s": numbers(5, 5), "a": numbers(5, 3)}
GEMM = [node("Gemm", ["x", "a"], "y")]
CHOICE = told(Action("discrete", 3))
PIXELS = told(Action("discrete", 3), Observation(CHW, "uint8", "chw"))
NORMAL = Normalizer((0.0,) * 5, (1.0,) * 5, 1e-8, 10.0)
Edit = Callable[[Any], None]


@dataclass(frozen=True)
class Case:
    """A file that is refused, what the refusal advises, and the same file after it was done."""

    advice: str
    bad: Callable[[Path], Path]
    good: Callable[[Path], Path]
    options: ImportOptions = field(default_factory=lambda: CHOICE)
    then: ImportOptions | None = None  # what is said afterwards


def graph(nodes: list[Any], constants: dict[str, Any], shape: Any = (5,), **more: Any) -> Any:
    return lambda folder: save(folder / "policy.onnx", nodes, constants, ["n", *shape], **more)


def edited(make: Callable[[Path], Path], edit: Edit) -> Callable[[Path], Path]:
    return lambda folder: change(make(folder), edit)


PLAIN, PLAIN_6 = graph(GEMM, A), graph(GEMM, {"a": numbers(5, 6)})


def sparse(model: Any) -> None:
    dense = model.graph.initializer.pop()
    values = numpy_helper.to_array(dense)
    made = helper.make_sparse_tensor(
        numpy_helper.from_array(values.ravel(), dense.name),
        numpy_helper.from_array(np.arange(values.size), "places"),
        values.shape,
    )
    model.graph.sparse_initializer.append(made)


def with_function(model: Any) -> None:
    made = helper.make_function(
        "pkg", "linear", ["x", "a"], ["y"], GEMM, [helper.make_opsetid("", 20)]
    )
    model.functions.append(made)


def in_bfloat16(model: Any) -> None:
    (tensor,) = model.graph.initializer
    raw = np.zeros(15, np.uint16).tobytes()
    tensor.CopyFrom(helper.make_tensor("a", TensorProto.BFLOAT16, (5, 3), raw, raw=True))


def int_input(model: Any) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64


def beside(folder: Path) -> Path:
    path = folder / "policy.onnx"
    onnx.save_model(
        onnx.load(PLAIN(folder)), path, save_as_external_data=True,
        location="policy.onnx.data", size_threshold=0,
    )  # fmt: skip
    return path


def lonely(folder: Path) -> Path:
    path = beside(folder)
    (folder / "policy.onnx.data").unlink()
    return path


def short(folder: Path) -> Path:
    path = beside(folder)
    data = folder / "policy.onnx.data"
    data.write_bytes(data.read_bytes()[:-4])
    return path


def elsewhere(folder: Path) -> Path:
    def move(model: Any) -> None:
        (tensor,) = model.graph.initializer
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../weights.bin")

    return change(PLAIN(folder), move)


def cell(edit: Edit | None = None) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        model = recurrent_model("GRU")
        if edit is not None:
            edit(model)
        (folder / "policy.onnx").write_bytes(model.SerializeToString())
        return folder / "policy.onnx"

    return make


def without_state(model: Any) -> None:
    for one in model.graph.node:
        if one.op_type == "GRU":
            one.input[5] = ""
    del model.graph.input[1:], model.graph.output[1:]


def without_next(model: Any) -> None:
    del model.graph.output[1:]


def state_read_twice(model: Any) -> None:
    gemm = model.graph.node[-1]
    model.graph.node.insert(len(model.graph.node) - 1, node("Squeeze", ["h", "zero"], "held"))
    model.graph.node.insert(len(model.graph.node) - 1, node("Add", [gemm.input[0], "held"], "sum"))
    gemm.input[0] = "sum"


def cut(folder: Path) -> Path:
    path = PLAIN(folder)
    path.write_bytes(path.read_bytes()[:-20])
    return path


FLAT = [node("Flatten", ["x"], "f"), node("MatMul", ["f", "all"], "y")]
ALL = {"all": numbers(int(np.prod(CHW)), 3)}
CASES = {
    "open length": Case(
        "say the open lengths: --observation vector:48",
        graph(GEMM, A, ("features",)),
        graph(GEMM, A, ("features",)),
        then=told(Action("discrete", 3), vector(5)),
    ),
    "five axes": Case("export it with such an input", graph(GEMM, A, (5, 1, 1, 1)), PLAIN),
    "half of it": Case(
        "add --output ':3'",
        PLAIN_6,
        PLAIN_6,
        options=told(Action("box", 3, (-1.0,) * 3, (1.0,) * 3)),
        then=told(Action("box", 3, (-1.0,) * 3, (1.0,) * 3), output=":3"),
    ),
    "integers": Case("export it with float32", edited(PLAIN, int_input), PLAIN),
    "bfloat16": Case("export the model in float32", edited(PLAIN, in_bfloat16), PLAIN),
    "sparse": Case("export it with dense ones", edited(PLAIN, sparse), PLAIN),
    "functions": Case(
        "export it with a current torch.onnx.export, which inlines them",
        edited(PLAIN, with_function),
        PLAIN,
    ),
    "weights missing": Case("copy both, or use external_data=False", lonely, beside),
    "weights inside": Case("copy both, or use external_data=False", lonely, PLAIN),
    "weights cut": Case("copy both files again", short, beside),
    "weights elsewhere": Case("export again with external_data=False", elsewhere, PLAIN),
    "cut": Case("copy it again", cut, PLAIN),
    "softmax alone": Case(
        "export the model again", graph([node("Identity", ["x"], "y")], {}), PLAIN
    ),
    "inconsistent": Case("export again", graph([node("Gemm", ["x", "missing"], "y")], {}), PLAIN),
    "no vector": Case(
        "flatten the last layer",
        graph([node("Conv", ["x", "w"], "y")], {"w": numbers(4, 3, 3, 3)}, CHW),
        graph(
            [node("Conv", ["x", "w"], "h"), node("Flatten", ["h"], "y")],
            {"w": numbers(4, 3, 3, 3)},
            CHW,
        ),
        options=told(Action("discrete", 216), Observation(CHW, "uint8", "chw")),
    ),
    "softmax inside": Case(
        "Use a sigmoid or a hard choice there and train again",
        graph(
            [
                node("Gemm", ["x", "s"], "h"),
                node("Softmax", ["h"], "p"),
                node("Gemm", ["p", "a"], "y"),
            ],
            SQUARE,
        ),
        graph(
            [
                node("Gemm", ["x", "s"], "h"),
                node("Sigmoid", ["h"], "p"),
                node("Gemm", ["p", "a"], "y"),
            ],
            SQUARE,
        ),
    ),
    "operator": Case(
        "change the network, or export it without this step",
        graph([node("Gemm", ["x", "a"], "h"), node("Det", ["h"], "y")], A),
        PLAIN,
    ),
    "twice normalised": Case(
        "omit --obs-norm",
        graph(
            [node("Mul", ["x", "half"], "n"), node("Gemm", ["n", "a"], "y")],
            A | {"half": numbers(5, low=0.5)},
        ),
        graph(
            [node("Mul", ["x", "half"], "n"), node("Gemm", ["n", "a"], "y")],
            A | {"half": numbers(5, low=0.5)},
        ),
        options=told(Action("discrete", 3), normalizer=NORMAL),
        then=CHOICE,
    ),
    "floats for pixels": Case(
        "put the division in front of the network and export it again",
        graph(FLAT, ALL, CHW),
        graph(
            [node("Div", ["x", "c255"], "d"), node("Flatten", ["d"], "f"), *FLAT[1:]],
            ALL | {"c255": np.float32(255)},
            CHW,
        ),
    ),
    "no state": Case(
        "export the policy with the recurrent state as input and output",
        cell(without_state),
        cell(),
    ),
    "no next state": Case(
        "export the policy with the state as input and output", cell(without_next), cell()
    ),
    "state read": Case("read the cell's result instead", cell(state_read_twice), cell()),
    "dict": Case(
        "export it with the keys of the Dict as input_names",
        lambda folder: two_inputs(folder, "p", "q"),
        lambda folder: two_inputs(folder, "speed", "goal"),
        options=told(
            Action("discrete", 3),
            Observation(
                (5,), "float32", "vector", ("goal[0]", "goal[1]", "goal[2]", "speed[0]", "speed[1]")
            ),
        ),
    ),
    "space": Case(
        "give the environment it was trained on, or the space as it was trained",
        PLAIN,
        PLAIN,
        options=told(Action("discrete", 4)),
        then=CHOICE,
    ),
}


def two_inputs(folder: Path, first: str, second: str) -> Path:
    made = helper.make_graph(
        [node("Concat", [first, second], "x", axis=1), *GEMM],
        "policy",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", count])
            for name, count in ((first, 2), (second, 3))
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(value, name) for name, value in A.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, folder / "policy.onnx")
    return folder / "policy.onnx"


@pytest.mark.parametrize("name", list(CASES))
def test_what_a_refusal_advises_leads_to_a_policy(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    with pytest.raises(QuarlError) as caught:
        read_policy(case.bad(tmp_path), case.options)
    assert caught.value.exit_code == 2
    assert case.advice in str(caught.value)
    path = case.good(tmp_path)
    policy = read_policy(path, case.then or case.options)
    assert isinstance(policy, Policy)
    proof = prove_import(path, policy, output=(case.then or case.options).output)
    assert isinstance(proof, ImportProof)
    assert proof.holds
