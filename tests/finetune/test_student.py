"""The student's forward pass is the deployment arithmetic: 0 outputs differ, however it was
trained.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from quarl.finetune.fake_layers import rounded  # noqa: E402
from quarl.finetune.student import Student, settings_of  # noqa: E402
from quarl.graph.policy import Policy  # noqa: E402
from quarl.graph.quant_policy import QuantWeighted  # noqa: E402
from quarl.graph.reference import integer_outputs, real_outputs  # noqa: E402
from quarl.quantize.calibration import calibrate  # noqa: E402
from quarl.quantize.ladder import LADDER, TRAINED_RUNG, rung_name  # noqa: E402
from quarl.quantize.quantizer import quantize  # noqa: E402
from quarl.quantize.widths import Widths, largest_weight  # noqa: E402
from tests.quantize.test_widths import backends_differ, sources  # noqa: E402
from tests.support.samples import observations  # noqa: E402

rng = np.random.default_rng
WIDTHS = (
    Widths(8, 8, 8, 8),
    Widths(4, 8, 4, 12),
    Widths(3, 8, 8, 16),
    Widths(2, 2, 2, 3),
    Widths(2, 8, 12, 10),
    Widths(4, 4, 8, 8, 8),
)


def student_of(source: Policy, widths: Widths) -> Student:
    is_image = source.contract.observation.is_image
    obs = observations(source, rng(1), 40 if is_image else 300)
    fitting = replace(widths, edges=widths.weights, inputs=None if is_image else widths.inputs)
    return Student(source, calibrate(obs, source.contract), settings_of(fitting))


def learn(student: Student, source: Policy, steps: int, rate: float = 3e-3) -> list[float]:
    obs = observations(source, rng(2), 32 if source.contract.observation.is_image else 256)
    inputs = torch.from_numpy(student.offsets(obs))
    wanted = torch.from_numpy(source.outputs(obs).astype(np.float32))
    wanted = wanted - wanted.mean(dim=1, keepdim=True)
    optimizer = torch.optim.Adam(student.parameters(), rate)
    losses = []
    for _ in range(steps):
        made = student(inputs)
        loss = (made - made.mean(dim=1, keepdim=True) - wanted).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        student.project()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("widths", WIDTHS[1:4], ids=lambda w: w.sentence().replace(" ", "_"))
@pytest.mark.parametrize("name", sources())
def test_no_output_differs_from_the_export_after_training(name: str, widths: Widths) -> None:
    source = sources()[name]
    student = student_of(source, widths)
    learn(student, source, 8)
    fresh = observations(source, rng(9), 40 if source.contract.observation.is_image else 500)
    assert student.differing(fresh) == 0


def test_a_layer_may_have_any_name() -> None:
    source = sources()["relu"]
    first, *others = ("values", "keys", "forward", "training", "a.b", "pop", "T_destination")
    names = {node.name: name for node, name in zip(source.nodes, [first, *others], strict=False)}
    nodes = [
        replace(node, name=names[node.name], inputs=tuple(names.get(n, n) for n in node.inputs))
        for node in source.nodes
        if node.name in names
    ]
    assert len(nodes) == len(source.nodes)
    renamed = replace(source, nodes=tuple(nodes))
    obs = observations(source, rng(9), 100)
    expected = student_of(source, WIDTHS[1]).outputs(obs)
    np.testing.assert_array_equal(student_of(renamed, WIDTHS[1]).outputs(obs), expected)


def test_one_changed_bias_is_seen_as_a_difference() -> None:
    source = sources()["relu"]
    student = student_of(source, WIDTHS[1])
    obs = observations(source, rng(9), 100)
    made = student.outputs(obs)
    with torch.no_grad():
        student.layer("dense2").bias += 0.1  # type: ignore[union-attr, operator]
    exported = student.export()
    assert (made != real_outputs(exported, integer_outputs(exported, obs))).any()


@pytest.mark.parametrize("name", sources())
def test_training_brings_the_outputs_closer(name: str) -> None:
    source = sources()[name]
    losses = learn(student_of(source, Widths(4, 4, 8, 12)), source, 40)
    assert min(losses[-10:]) < 0.9 * losses[0]


@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0.1, 1.0, 3.0]))
@settings(max_examples=12, deadline=None)
def test_steps_that_left_the_limits_are_brought_back(seed: int, spread: float) -> None:
    """However far learning throws steps and weights, what is exported keeps every limit."""
    random = rng(seed)
    names = list(sources())
    source = sources()[names[seed % len(names)]]
    student = student_of(source, WIDTHS[seed % len(WIDTHS)])
    with torch.no_grad():
        for parameter in student.parameters():
            if parameter.requires_grad:
                noise = random.normal(0, spread, tuple(parameter.shape))
                parameter += torch.tensor(noise, dtype=torch.float32)
    student.project()
    student.export()  # QuantPolicy's constructor enforces the limits
    assert student.differing(observations(source, rng(3), 20)) == 0


@pytest.mark.parametrize("widths", WIDTHS[1:4], ids=lambda w: w.name)
def test_a_trained_export_is_exact_on_every_backend(widths: Widths, tmp_path: Path) -> None:
    for name in ("tanh", "squashed", "convolution", "added"):
        source = sources()[name]
        student = student_of(source, widths)
        learn(student, source, 5)
        count = 20 if source.contract.observation.is_image else 200
        differing = backends_differ(
            student.export(), observations(source, rng(4), count), tmp_path / name
        )
        assert differing == {"litert": 0, "onnxruntime": 0, "c": 0}, name


def test_the_export_has_the_widths_and_the_rung_of_what_was_trained() -> None:
    student = student_of(sources()["relu"], Widths(3, 3, 5, 12))
    exported = student.export()
    assert exported.rung == TRAINED_RUNG
    assert rung_name(TRAINED_RUNG) == "trained"
    for node in exported.nodes:
        assert isinstance(node.op, QuantWeighted)
        assert np.abs(node.op.weights).max() <= largest_weight(3)
    assert exported.has_wide_head


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
@pytest.mark.parametrize("name", sources())
def test_it_starts_as_fitted_integers_when_told_to(name: str, bits: int) -> None:
    """Not from their weights alone, which another step would round a second time."""
    source = sources()[name]
    is_image = source.contract.observation.is_image
    calibration = calibrate(observations(source, rng(1), 300), source.contract)
    chosen = settings_of(Widths(bits, bits, 8, None if is_image else 12))
    fitted = quantize(source, calibration, replace(chosen, data_rounding=True), len(LADDER) - 1)
    student = Student(source, calibration, chosen)
    student.start_from(fitted)
    for made, wanted in zip(student.export().nodes, fitted.nodes, strict=True):
        assert made.output == wanted.output
        if isinstance(wanted.op, QuantWeighted):
            assert isinstance(made.op, QuantWeighted)
            np.testing.assert_array_equal(made.op.weights, wanted.op.weights)
            np.testing.assert_array_equal(made.op.weight_scale, wanted.op.weight_scale)
            np.testing.assert_allclose(made.op.bias, wanted.op.bias, rtol=1e-6, atol=1)
    fresh = observations(source, rng(2), 200)
    outputs = real_outputs(fitted, integer_outputs(fitted, fresh))
    assert np.abs(student.outputs(fresh) - outputs).max() <= 1e-3 * np.abs(outputs).max()


def test_rounding_is_half_even_and_its_gradient_one() -> None:
    x = torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5, 0.49], requires_grad=True)
    y = rounded(x)
    assert y.tolist() == [0, 2, 2, 0, -2, 0]
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0] * 6
