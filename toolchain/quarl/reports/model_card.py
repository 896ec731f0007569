"""A model card for the Hugging Face Hub: what the policy is, what was judged, how to run it.

In: a bundle and its stored verdict. Out: the text of a README.md with its metadata in front. Each
number is from the bundle; what was not judged is said to be so.
"""

from __future__ import annotations

import json

from quarl.bundle.release import Release
from quarl.files.text import markdown_line, printable
from quarl.graph.contract import Action, Observation
from quarl.verdict.formats.three_lines import three_lines
from quarl.verdict.stored import verdict_on
from quarl.verdict.verdict import Verdict

RUN = """\
```python
import numpy as np
from quarl import open_bundle
from quarl.graph.reference import act

release = open_bundle("BUNDLE")  # the downloaded folder
obs = np.zeros((1, {shape}), np.{dtype})  # as the environment gives it
print(act(release.quantized, obs))
```
"""


def model_card(release: Release) -> str:
    """Return the card.

    Raises:
        InputError: verdict.json is not what its name says, or was given on other files.
    """
    verdict = verdict_on(release)
    return f"{_metadata(release, verdict)}\n{_body(release, verdict)}"


def _metadata(release: Release, verdict: Verdict | None) -> str:
    """Return the front matter; texts as JSON strings, which YAML reads as they are."""
    manifest = release.manifest
    env = None if manifest.env is None else manifest.env.registered_id
    tags = ["reinforcement-learning", "int8", "quantized", "tflite", "onnx", "quarl"]
    tags += [] if env is None else [env]
    lines = ["---", "library_name: quarl", "tags:", *(f"- {_quoted(tag)}" for tag in tags)]
    loop = None if verdict is None else verdict.closed_loop
    if loop is not None:
        lines += [
            "model-index:",
            f"- name: {_quoted(manifest.name)}",
            "  results:",
            "  - task:",
            "      type: reinforcement-learning",
            "      name: reinforcement-learning",
            "    dataset:",
            f"      name: {_quoted(loop.env_id)}",
            f"      type: {_quoted(loop.env_id)}",
            "    metrics:",
            "    - type: mean_reward",
            f"      value: {_quoted(f'{loop.candidate.mean:.2f} +/- {loop.candidate.std:.2f}')}",
            f"      name: {_quoted(f'mean reward of int8, {loop.episodes} episodes')}",
            "      verified: false",
        ]
    return "\n".join([*lines, "---", ""])


def _body(release: Release, verdict: Verdict | None) -> str:
    manifest, contract = release.manifest, release.contract
    origin = manifest.origin
    rows = [
        ("source", f"{origin.file}, {origin.made_by}"),
        ("environment", "none" if manifest.env is None else manifest.env.id),
        ("observation", _observation(contract.observation)),
        ("action", _action(contract.action)),
        ("control rate", "not stated" if contract.step_hz is None else f"{contract.step_hz:g} Hz"),
        ("weights", manifest.weights),
        ("rung", "trained elsewhere" if manifest.rung is None else str(manifest.rung)),
        ("board", manifest.board or "none"),
        *((name, f"{len(release.files[name]):,} B") for name in _models(release)),
    ]
    table = [f"| {name} | {markdown_line(text)} |" for name, text in rows]
    lines = [
        f"# {markdown_line(manifest.name)} in int8",
        "",
        "A trained policy, quantised and compared with its float source by quarl.",
        "",
        "## What was judged",
        *_judged(verdict),
        "",
        "## What it is",
        "| | |",
        "|---|---|",
        *table,
        "",
        "## How to run it",
        RUN.format(
            shape=", ".join(map(str, contract.observation.shape)), dtype=contract.observation.dtype
        ),
        "`model.tflite` and `model.onnx` hold the same integers; `contract.json` says what goes in "
        "and out.",
        "",
        "## Where it comes from",
        f"- source: SHA-256 `{origin.sha256}`",
        f"- manifest: SHA-256 `{release.manifest_sha256}`",
        *(f"- {markdown_line(name)} {markdown_line(v)}" for name, v in manifest.tools.items()),
    ]
    return "\n".join(lines) + "\n"


def _judged(verdict: Verdict | None) -> list[str]:
    if verdict is None:
        return ["Nothing yet: `quarl gate BUNDLE` judges it."]
    said = three_lines(verdict)
    lines = [f"**{markdown_line(said.answer)}**", "", f"It rests on: {markdown_line(said.basis)}."]
    loop = verdict.closed_loop
    if loop is not None:
        lines += [
            "",
            f"Mean return over {loop.episodes} paired episodes of {markdown_line(loop.env_id)}: "
            f"{loop.source.mean:.4g} in float32, {loop.candidate.mean:.4g} in int8.",
        ]
    return lines


def _observation(observation: Observation) -> str:
    shape = " x ".join(map(str, observation.shape))
    return f"{shape} {observation.dtype}, {observation.layout}"


def _action(action: Action) -> str:
    return f"{action.kind}, {action.count} outputs"


def _models(release: Release) -> list[str]:
    return [name for name in ("model.tflite", "model.onnx") if name in release.files]


def _quoted(text: str) -> str:
    return json.dumps(printable(text))
