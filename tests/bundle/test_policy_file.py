"""Policies as files: the same value back, the same bytes again, and one clear error for everything
else.
"""

from __future__ import annotations

import contextlib
import json
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quarl.bundle.policy_file import (
    policy_bytes,
    quant_policy_bytes,
    read_policy_file,
    read_quant_policy_file,
)
from quarl.errors import InputError, QuarlError, UntrustedFileError
from quarl.files.npz import npz_bytes, read_npz
from quarl.graph.contract import Action, Normalizer, Observation
from quarl.graph.policy import Add, Concat, Policy
from quarl.graph.quant_policy import QuantPolicy, QuantTensor
from quarl.graph.reference import integer_outputs
from tests.support.bombs import Bomb, zip_bytes
from tests.support.random_policies import TANH_TENSOR, Builder, wide_tensor
from tests.support.small_policies import cnn, look, mlp, pixels, two_branches

rng = np.random.default_rng


def float_policies() -> list[Policy]:
    normalizer = Normalizer((0.1, 1e6, -3.0, 1 / 3), (1.0, 0.0, 2.0, 1e-9), 1e-8, 10.0)
    return [
        cnn(rng(0)),
        look(rng(0)),
        mlp(rng(0), (4, 6, 2), "elu", normalizer=normalizer),
        mlp(rng(0), (4, 6, 2), squash=True),
        two_branches(rng(0), Concat(), "relu", "relu6"),
        two_branches(rng(0), Add(), None, "sigmoid"),
    ]


def image_policy() -> QuantPolicy:
    builder = Builder(rng(0), (7, 6, 2), QuantTensor(np.float32(1 / 255), -128))
    builder.window("conv", 3, (3, 3), (2, 1), ((1, 0), (0, 2)), builder.output())
    builder.window("depthwise", 3, (2, 2), (1, 1), ((0, 0), (0, 0)), builder.output())
    builder.flatten()
    builder.dense(3, None)
    policy = builder.build()
    return replace(
        policy,
        contract=replace(policy.contract, observation=Observation((2, 7, 6), "uint8", "chw")),
    )


def wide_policy() -> QuantPolicy:
    builder = Builder(rng(0), (5,), wide_tensor(12, 0.01))
    left = builder.dense(4, builder.output(0.05, 3))
    right = builder.dense(4, QuantTensor(np.float32(0.05), 3, 3, 127), source="observation")
    builder.add(left, right)
    builder.concat([left, builder.newest])
    builder.dense(3, builder.output())
    builder.table("tanh", TANH_TENSOR)
    policy = builder.build()
    return replace(
        policy,
        contract=replace(
            policy.contract, action=Action("box", 3, (-1.0,) * 3, (1.0,) * 3, "unscale")
        ),
    )


def written(folder: Path, data: bytes) -> Path:
    path = folder / "policy.npz"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("policy", float_policies())
def test_a_float_policy_comes_back_and_writes_the_same_bytes(
    tmp_path: Path, policy: Policy
) -> None:
    data = policy_bytes(policy)
    back = read_policy_file(written(tmp_path, data))
    assert policy_bytes(back) == data == policy_bytes(policy)
    assert back.contract == policy.contract
    observation = policy.contract.observation
    obs = (
        pixels(rng(1), 3, observation.shape)
        if observation.is_image
        else rng(1).normal(0, 1, (20, *observation.shape))
    )
    np.testing.assert_array_equal(back.outputs(obs), policy.outputs(obs))


@pytest.mark.parametrize("policy", [image_policy(), wide_policy()])
def test_a_quantised_policy_comes_back_and_writes_the_same_bytes(
    tmp_path: Path, policy: QuantPolicy
) -> None:
    data = quant_policy_bytes(policy)
    back = read_quant_policy_file(written(tmp_path, data))
    assert quant_policy_bytes(back) == data == quant_policy_bytes(policy)
    assert (back.rung, back.source_sha256, back.contract, back.observation.tensor) == (
        policy.rung, policy.source_sha256, policy.contract, policy.observation.tensor,
    )  # fmt: skip
    assert [node.output for node in back.nodes] == [node.output for node in policy.nodes]
    observation = policy.contract.observation
    obs = (
        pixels(rng(1), 3, observation.shape)
        if observation.is_image
        else rng(1).normal(0, 1, (20, *observation.shape))
    )
    np.testing.assert_array_equal(integer_outputs(back, obs), integer_outputs(policy, obs))


def test_one_kind_is_not_taken_for_the_other(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="of kind float, this quarl reads format 1 of kind int8"):
        read_quant_policy_file(written(tmp_path, policy_bytes(cnn(rng(0)))))
    with pytest.raises(InputError, match="of kind int8, this quarl reads format 1 of kind float"):
        read_policy_file(written(tmp_path, quant_policy_bytes(image_policy())))


def rewritten(data: bytes, path: Path, change: Any) -> Path:
    """Write the file again after `change(document, arrays)`."""
    path.write_bytes(data)
    arrays = read_npz(path)
    document = json.loads(arrays["document"].tobytes())
    change(document, arrays)
    arrays["document"] = np.frombuffer(json.dumps(document).encode(), np.uint8)
    path.write_bytes(npz_bytes(arrays))
    return path


CHANGES: list[tuple[Any, str]] = [
    (lambda d, a: d.update(format=2), "format 2"),
    (lambda d, a: d.pop("format"), "not a policy"),
    (lambda d, a: d.update(surprise=1), "surprise"),
    (lambda d, a: d["nodes"][0].update(surprise=1), "surprise"),
    (lambda d, a: a.update(surprise=np.zeros(3)), "surprise"),
    (lambda d, a: d.update(nodes=[]), "no layers"),
    (lambda d, a: d.update(nodes="abc"), "not a policy"),
    (lambda d, a: d["nodes"][0].update(op="Softmax"), "Softmax"),
    (lambda d, a: d["nodes"][0].update(op=["QuantDense"]), "not a policy"),
    (
        lambda d, a: d["nodes"][0].update(op="Dense"),
        "Dense with such parameters is not an operation",
    ),
    (lambda d, a: d["nodes"][0].update(name=7), "name"),
    (lambda d, a: d["nodes"][0].update(name=["a"]), "not a policy|name"),
    (lambda d, a: d["nodes"][0].update(inputs=["nowhere"]), "nowhere"),
    (lambda d, a: d["nodes"][0].update(inputs="observation"), "observation|missing"),
    (lambda d, a: d["nodes"][0].update(weights=[[1, 2], [3, 4]]), "not a policy"),
    (lambda d, a: d["nodes"][0].update(weights={"array": "nowhere"}), "nowhere"),
    (lambda d, a: d["nodes"][0].update(stride=[0, 1]), "stride"),
    (lambda d, a: d["nodes"][0].update(stride=[1.5, 1]), "stride"),
    (lambda d, a: d["nodes"][0].update(stride=1), "not a policy"),
    (lambda d, a: d["nodes"][0].update(padding=[[0, 0], [0, -1]]), "padding"),
    (lambda d, a: d["nodes"][0].update(padding=[[0, 0], 7]), "not a policy|padding"),
    (lambda d, a: d["nodes"][0].update(output=[0.1, 0, -128]), "not a policy"),
    (lambda d, a: d["nodes"][0].update(output=[0.1, 1e999, -128, 127]), "not a policy"),
    (lambda d, a: d["nodes"][0].update(output=[0.1, 0.5, -128, 127]), r"nodes\.0\.output"),
    (lambda d, a: d["nodes"][0].update(output=[0.1, 10**30, -128, 127]), "must lie in"),
    (lambda d, a: d["nodes"][0].update(output=[10**400, 0, -128, 127]), "not a policy"),
    (lambda d, a: d["nodes"][0].update(output=["nan", 0, -128, 127]), "not a policy|scale"),
    (lambda d, a: d.update(rung="zero"), "rung"),
    (lambda d, a: d.update(rung=1e999), "rung"),
    (lambda d, a: d.update(rung=True), "rung"),
    (lambda d, a: d.update(source_sha256=7), "source_sha256"),
    (lambda d, a: d.update(source_sha256='"\n#error injected\n"'), "64 hexadecimal digits"),
    (lambda d, a: d.update(source_sha256="0" * 64 + "\n"), "64 hexadecimal digits"),
    (lambda d, a: d.update(contract={"format": 1}), "contract"),
    (lambda d, a: d.update(contract="{}"), "contract"),
    (lambda d, a: d.update(observation=None), "not a policy"),
    (lambda d, a: a.pop("observation.inv_scale"), "inv_scale"),
    (lambda d, a: a.update({"observation.inv_scale": np.zeros(3)}), "float64"),
    (lambda d, a: a.update({"000.weights": a["000.weights"].astype(np.int16)}), "int8"),
    (lambda d, a: a.update({"000.bias": a["000.bias"] + np.int32(2**30)}), "acc"),
    (lambda d, a: a.update({"000.multiplier": -a["000.multiplier"]}), "rescale factor"),
    (lambda d, a: a.update({"000.bias": a["000.bias"][:-1]}), "channels"),
]


@pytest.mark.parametrize(("change", "found"), CHANGES)
def test_a_changed_file_is_refused_with_what_is_wrong(
    tmp_path: Path, change: Any, found: str
) -> None:
    with pytest.raises(InputError, match=found):
        read_quant_policy_file(
            rewritten(quant_policy_bytes(image_policy()), tmp_path / "policy.npz", change)
        )


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"null",
        b"7",
        b"{",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"format": 1, "kind": "int8"}',
        b'{"format": 1, "kind": NaN}',
    ],
)
def test_a_document_that_is_none_is_refused(tmp_path: Path, document: bytes) -> None:
    arrays = {"document": np.frombuffer(document, np.uint8)}
    for read in (read_policy_file, read_quant_policy_file):
        with pytest.raises(InputError, match=r"policy\.npz"):
            read(written(tmp_path, npz_bytes(arrays)))
    with pytest.raises(InputError, match=r"policy\.npz"):
        read_policy_file(written(tmp_path, npz_bytes({"x": np.zeros(3)})))


def test_pickled_arrays_are_refused_and_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "run"
    np.savez(
        tmp_path / "bomb.npz", document=np.array([Bomb(marker)], dtype=object), allow_pickle=True
    )
    for read in (read_policy_file, read_quant_policy_file):
        with pytest.raises(UntrustedFileError):
            read(tmp_path / "bomb.npz")
    assert not marker.exists()


def test_claims_of_huge_arrays_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    text = "{'descr': '|i1', 'fortran_order': False, 'shape': (1099511627776,)}\n"
    huge = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(64)
    with pytest.raises(InputError, match="claims 1,099,511,627,776 bytes"):
        read_quant_policy_file(written(tmp_path, zip_bytes({"000.weights.npy": huge})))
    zeros = npz_bytes({"000.weights": np.zeros(50_000_000, np.int8)})
    with pytest.raises(UntrustedFileError, match="times"):
        read_quant_policy_file(written(tmp_path, zeros))


numbers = st.one_of(
    st.integers(-3, 300), st.sampled_from([2**31, -(2**31), 2**63, 10**30]), st.floats()
)
junk = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        numbers,
        st.text(max_size=4),
        st.sampled_from(["observation", "Dense", "QuantTable", "Concat", "relu"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["array", "name", "op"]), inner, max_size=2),
    ),
    max_leaves=4,
)


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value inside a document."""
    found = [at]
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            found += paths(value[key], (*at, key))
    return found


SMALL: list[tuple[Any, bytes]] = [
    (read_policy_file, policy_bytes(cnn(rng(0)))),
    (read_policy_file, policy_bytes(two_branches(rng(0), Add(), None, "sigmoid"))),
    (read_quant_policy_file, quant_policy_bytes(image_policy())),
    (read_quant_policy_file, quant_policy_bytes(wide_policy())),
]


def read_or_refuse(read: Any, path: Path) -> None:
    """Read, and use what was read: a policy that is accepted must work."""
    with warnings.catch_warnings(), contextlib.suppress(QuarlError):
        warnings.simplefilter("ignore")
        policy = read(path)
        shape = policy.contract.observation.shape
        if (
            np.prod(shape, dtype=float) < 1e4
            and sum(getattr(n.op, "weights", np.zeros(0)).size for n in policy.nodes) < 1e5
        ):
            obs = np.zeros(
                (2, *shape), np.uint8 if policy.contract.observation.is_image else np.float32
            )
            integer_outputs(policy, obs) if isinstance(policy, QuantPolicy) else policy.outputs(obs)


@pytest.mark.long
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_document_with_anything_exchanged_is_read_or_refused_but_never_crashes(
    tmp_path: Path, data: st.DataObject
) -> None:
    read, original = data.draw(st.sampled_from(SMALL))

    def change(document: Any, arrays: Any) -> None:
        for _ in range(data.draw(st.integers(1, 2))):
            path = data.draw(st.sampled_from([p for p in paths(document) if p]))
            table = document
            for key in path[:-1]:
                table = table[key]
            if isinstance(table, dict) and data.draw(st.booleans()):
                table.pop(path[-1])
            else:
                table[path[-1]] = data.draw(junk)

    read_or_refuse(read, rewritten(original, tmp_path / "policy.npz", change))


@pytest.mark.long
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_arrays_of_another_kind_are_read_or_refused_but_never_crash(
    tmp_path: Path, data: st.DataObject
) -> None:
    read, original = data.draw(st.sampled_from(SMALL))

    def change(document: Any, arrays: Any) -> None:
        name = data.draw(st.sampled_from(sorted(set(arrays) - {"document"})))
        array = arrays[name]
        match data.draw(st.sampled_from(["type", "shape", "values", "drop"])):
            case "type":
                arrays[name] = array.astype(
                    data.draw(st.sampled_from(["f8", "f2", ">f4", "i1", "u1", "i8", "?", ">i4"]))
                )
            case "shape":
                arrays[name] = data.draw(
                    st.sampled_from(
                        [
                            array[None],
                            array[:0],
                            array[:1],
                            array.ravel(),
                            array.T,
                            array[..., None],
                            array.ravel()[:1].sum(),
                        ]
                    )
                )
            case "values":
                flat = array.copy().reshape(-1)
                with np.errstate(invalid="ignore", over="ignore"):
                    flat[:1] = np.array(
                        data.draw(st.sampled_from([0, -1, 127, np.nan, np.inf, 1e38]))
                    ).astype(array.dtype)
                arrays[name] = flat.reshape(array.shape)
            case "drop":
                arrays.pop(name)

    read_or_refuse(read, rewritten(original, tmp_path / "policy.npz", change))


@pytest.mark.long
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_file_with_flipped_bytes_is_read_or_refused_but_never_crashes(
    tmp_path: Path, data: st.DataObject
) -> None:
    read, original = data.draw(st.sampled_from(SMALL))
    damaged = bytearray(original)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(damaged)), st.integers(0, len(damaged))))
    read_or_refuse(read, written(tmp_path, bytes(damaged[:cut])))


def test_files_hold_no_clock_and_no_path(tmp_path: Path) -> None:
    with zipfile.ZipFile(written(tmp_path, policy_bytes(cnn(rng(0))))) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert all("/" not in info.filename for info in archive.infolist())
