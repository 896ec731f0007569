"""What the ladder computes once for several candidates changes none of them."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from quarl.bundle.policy_file import quant_policy_bytes
from quarl.errors import QuantizationError, UnsupportedError
from quarl.graph.policy import Add, Concat, Policy
from quarl.quantize.calibration import Calibration, calibrate
from quarl.quantize.folding import float64_results, fold
from quarl.quantize.kept import Kept
from quarl.quantize.ladder import LADDER, makings, variants
from quarl.quantize.quantizer import Quantizer, quantize
from quarl.quantize.settings import QuantSettings
from tests.support.samples import observations
from tests.support.small_policies import cnn, mlp, two_branches

rng = np.random.default_rng

SOURCES = {
    "relu": mlp(rng(0), (6, 20, 20, 4)),
    "squashed": mlp(rng(2), (6, 20, 20, 2), squash=True),
    "convolution": cnn(rng(3)),
    "added": two_branches(rng(4), Add(), "relu", None),
    "joined": two_branches(rng(4), Concat(), "tanh", "relu"),
}


def calibration_of(policy: Policy) -> Calibration:
    count = 40 if policy.contract.observation.is_image else 200
    return calibrate(observations(policy, rng(1), count), policy.contract)


def ways(policy: Policy) -> list[tuple[int, QuantSettings]]:
    """Return settings that share much with one another."""
    found = [(rung.number, way) for rung in LADDER for way in variants(policy, rung.settings)]
    top = LADDER[-1].settings
    changes: tuple[dict[str, Any], ...] = (
        {"hidden_bits": 10},
        {"wide_layers": 1},
        {"wide_layers": 1, "inner_bits": 10},
        {"weight_bits": 4},
        {"edge_bits": 6, "weight_bits": 6},
        {"output_bits": 6, "wide_head": False},
        {"head_copies": 2},
    )
    return found + [(len(LADDER) - 1, replace(top, **change)) for change in changes]


def integers(make: Any) -> bytes | None:
    try:
        return quant_policy_bytes(make())
    except (QuantizationError, UnsupportedError):
        return None


@pytest.mark.parametrize("name", list(SOURCES))
@pytest.mark.parametrize("seed", [0, 1])
def test_in_any_order_each_is_what_it_is_alone(name: str, seed: int) -> None:
    policy = SOURCES[name]
    calibration = calibration_of(policy)
    quantizer = Quantizer(policy, calibration)
    tried = ways(policy)
    for place in rng(seed).permutation(len(tried)):
        rung, way = tried[place]
        assert integers(lambda: quantizer.quantize(way, rung)) == integers(  # noqa: B023
            lambda: quantize(policy, calibration, way, rung)  # noqa: B023
        ), way


def test_settings_that_only_round_otherwise_fold_alike() -> None:
    """Whatever a folding reads is part of what it is known by."""
    policy, read = SOURCES["relu"], set()

    class Watched(QuantSettings):
        def __getattribute__(self, name: str) -> Any:
            read.add(name)
            return object.__getattribute__(self, name)

    fold(policy, calibration_of(policy), Watched(equalize_power=0.5, head_copies=2))
    read &= {field.name for field in fields(QuantSettings)}
    assert {"center_head", "input_bits", "equalize_power", "head_copies"} <= read
    other = {"int": 5, "bool": True, "float": 0.25, "int | None": 3}
    for field in fields(QuantSettings):
        changed = replace(QuantSettings(), **{field.name: other[str(field.type)]})
        is_folding = changed.of_folding() != QuantSettings().of_folding()
        assert is_folding == (field.name in read), field.name


def test_the_ladder_computes_the_float_results_of_images_once_for_each_folding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy, computed = SOURCES["convolution"], []

    def counted(*args: Any) -> Any:
        computed.append(1)
        return float64_results(*args)

    monkeypatch.setattr("quarl.quantize.quantizer.float64_results", counted)
    for making in makings(policy, calibration_of(policy)):
        integers(making.make)
    assert len(computed) == 2, "with a head as it is, and with a centred one"


def test_what_is_kept_is_bounded_and_the_last_stays() -> None:
    made: list[int] = []
    kept: Kept[bytes] = Kept(10, len)

    def ask(size: int) -> int:
        return len(kept.of(size, lambda: made.append(size) or bytes(size)))

    assert [ask(size) for size in (4, 5, 4, 5)] == [4, 5, 4, 5]
    assert made == [4, 5]
    ask(6)  # 4 was asked for longest ago, and 5 then
    assert ask(6) == 6
    ask(4)
    assert made == [4, 5, 6, 4]
    ask(50)
    ask(50)
    assert made == [4, 5, 6, 4, 50], "larger than all that may be kept, and yet asked for again"
    ask(4)
    assert made[-1] == 4
