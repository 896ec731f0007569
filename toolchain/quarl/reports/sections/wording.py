"""Words that several sections share: how a check, a kind of figure and an environment are
called.
"""

from __future__ import annotations

from quarl.profiles.figure import Kind
from quarl.reports.numbers import GAP, with_unit
from quarl.reports.page import Tag
from quarl.verdict.verdict import Check, Outcome

TITLES = {
    "import_error": "Read as its framework computes it",
    "example_outputs": "The example, replayed",
    "files_unchanged": "Files as they were exported",
    "action_agreement": "Equal actions",
    "action_error": "Error of the actions",
    "weighted_agreement": "Of what is at stake, kept",
    "worst_action_error": "Largest error of an action",
    "worst_decision": "Most at stake in one decision",
    "state_drift": "Drift of the state",
    "decisions": "Decisions compared",
    "mean_return": "Mean return",
    "failure_rate": "Rise of the failure rate",
    "low_quantile": "Loss of the worst tenth",
    "control": "Control: the source in float64",
    "equivalence": "Equivalence, either way",
    "rank_test": "Signed ranks",
    "interquartile_mean": "Mean of the middle half",
    "source_comparison": "Comparison with a source",
    "int8_return": "Return of the int8 policy",
}
_PREFIXES = (("equality_", "Same integers in "), ("budget_", ""), ("regression_", "Not worse: "))
_WORDS = {
    "litert": "LiteRT",
    "onnxruntime": "ONNX Runtime",
    "ram": "RAM",
    "onnx": "ONNX",
    "tflite": "TFLite",
    "bytes": "",
    "us": "",
}
HELPS, HELPS_NOT = Tag("\N{CHECK MARK} helps", "pass"), Tag("no gain", "none")
_TAGS = {
    Outcome.PASS: Tag("\N{CHECK MARK} pass", "pass"),
    Outcome.FAIL: Tag("\N{MULTIPLICATION X} fail", "fail"),
    Outcome.NOT_PROVEN: Tag("? not proven", "open"),
    Outcome.REPORTED: Tag("no limit", "none"),
}


def title_of(name: str) -> str:
    """Return what a check is called for people."""
    if name in TITLES:
        return TITLES[name]
    for prefix, words in _PREFIXES:
        if name.startswith(prefix):
            rest = title_of(name.removeprefix(prefix))
            return words + (
                rest[:1].lower() + rest[1:]
                if words and rest.split()[0] not in _WORDS.values()
                else rest
            )
    words = " ".join(filter(None, (_WORDS.get(word, word) for word in name.split("_"))))
    return words[:1].upper() + words[1:]


def kind_tag(kind: Kind) -> Tag:
    """Return the word for how a figure was made."""
    return Tag(kind, kind)


def answer_tag(outcome: Outcome) -> Tag:
    """Return the word for how a check went."""
    return _TAGS[outcome]


def found_text(check: Check) -> str:
    """Return what was found, with its unit."""
    if check.found is None:
        return "not known" if check.outcome is Outcome.REPORTED else "not measured"
    return with_unit(check.found, check.unit)


def limit_text(check: Check) -> str:
    """Return the limit with its relation and unit."""
    sign = (
        "\N{LESS-THAN OR EQUAL TO}"
        if check.relation == "at most"
        else "\N{GREATER-THAN OR EQUAL TO}"
    )
    return (
        "no limit"
        if check.allowed is None
        else f"{sign}{GAP}{with_unit(check.allowed, check.unit)}"
    )


def plain_env(env_id: str) -> str:
    """Return an environment's id without the module that registers it."""
    return env_id.rpartition(":")[2]
