"""parity.json is read strictly: types, ranges, lengths and words, all problems in one message."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from quarl.errors import InputError
from quarl.evidence.evidence import Evidence, evidence_from_json
from quarl.graph.env_spec import EnvSpec
from tests.support.release import GOOD

TEXT = Evidence(
    **{
        **{name: getattr(GOOD, name) for name in Evidence.__slots__},
        "manifest_sha256": "ab" * 32,
        "env": EnvSpec("CartPole-v1", {"a": [1, {"b": None}]}),
    }
).to_json()


def test_evidence_comes_back_as_it_was_written() -> None:
    back = evidence_from_json(TEXT)
    assert json.loads(back.to_json()) == json.loads(TEXT)
    assert evidence_from_json(back.to_json()).to_json() == back.to_json()


def change(*place: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(document: dict[str, Any]) -> None:
        here: Any = document
        for step in place[:-1]:
            here = here[step]
        here[place[-1]] = to

    return apply


BAD: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (change("format", to=2), "format 2"),
    (change("format", to=True), "format True"),
    (change("manifest_sha256", to="x"), "manifest_sha256"),
    (change("surprise", to=1), "surprise"),
    (change("backends", to={}), "backends"),
    (change("backends", 0, "backend", to="lite rt\n"), "backend"),
    (change("backends", 0, "backend", to="x" * 65), "backend"),
    (change("backends", 0, "differing", to=-1), "differing"),
    (change("backends", 0, "differing", to=0.5), "differing"),
    (change("backends", 0, "differing", to="0"), "differing"),
    (change("backends", 0, "version", to="\x1b[2J"), "version"),
    (change("backends", 0, "version", to="x" * 3000), "version"),
    (change("paired", "source", "returns", to=[]), "0 returns"),
    (change("paired", "seeds", 0, to=-1), "seeds"),
    (change("paired", "seeds", 0, to=1.5), "seeds"),
    (change("paired", "candidate", "returns", 0, to="500"), "returns"),
    (change("paired", "candidate", "returns", 0, to=10**400), "JSON|returns"),
    (change("paired", "candidate", "lengths", 0, to=2**31), "lengths"),
    (change("paired", "divergence", to=[1]), "divergence"),
    (change("paired", "env_id", to="a\nb"), "env_id"),
    (change("agreement", "agreement", to=1.5), "agreement"),
    (change("agreement", "actions", to="other"), "agreement"),
    (change("figures", 0, "name", to="<img>"), "name"),
    (change("figures", 0, "kind", to="guessed"), "kind"),
    (change("clipped", "worst_feature", to="\u202e"), "worst_feature"),
    (change("has_source", to=1), "has_source"),
    (change("import_proof", "max_abs_error", to=-1.0), "max_abs_error"),
    (lambda document: document.pop("worst"), "worst"),
]


@pytest.mark.parametrize(("damage", "found"), BAD, ids=[found for _, found in BAD])
def test_what_cannot_be_is_refused_by_its_place(
    damage: Callable[[dict[str, Any]], None], found: str
) -> None:
    document = json.loads(TEXT)
    damage(document)
    with pytest.raises(InputError, match=found):
        evidence_from_json(json.dumps(document))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 10_000,
        b'{"format": 3}', b'{"format": NaN}', b'{"format": 1e999}', b'"\\ud800"',
    ],
)  # fmt: skip
def test_what_is_no_evidence_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match=r"parity\.json"):
        evidence_from_json(data)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_are_finite(word: str) -> None:
    first = json.dumps(GOOD.paired.source.returns.tolist()[0]) if GOOD.paired else ""
    with pytest.raises(InputError):
        evidence_from_json(TEXT.replace(first, word, 1))


def test_two_values_for_one_key_are_refused() -> None:
    with pytest.raises(InputError, match="twice"):
        evidence_from_json(TEXT.replace('"worst": []', '"worst": [], "worst": []'))


def test_all_problems_are_named_at_once() -> None:
    document = json.loads(TEXT)
    for damage, _ in (BAD[2], BAD[7], BAD[22]):
        damage(document)
    with pytest.raises(InputError) as refused:
        evidence_from_json(json.dumps(document))
    assert all(word in str(refused.value) for word in ("manifest_sha256", "differing", "name"))
