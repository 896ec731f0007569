"""A finished bundle taken apart, so that a test can forge any part and set digests right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from quarl.bundle.example import example_of
from quarl.bundle.policy_file import policy_bytes, quant_policy_bytes
from quarl.bundle.release import open_bundle
from quarl.emitters import EMITTERS
from quarl.files.npz import npz_bytes
from quarl.graph.policy import Policy
from quarl.graph.quant_policy import QuantPolicy
from quarl.quantize.error_report import quant_report


class Forgery:
    """A copy of a bundle with its manifest and evidence as plain values."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
        self.evidence: dict[str, Any] = json.loads((folder / "parity.json").read_text())

    @property
    def limits(self) -> dict[str, Any]:
        """What the manifest asks."""
        limits: dict[str, Any] = self.manifest["limits"]
        return limits

    def put(self, name: str, data: bytes | str) -> None:
        """Write a file."""
        (self.folder / name).write_bytes(data.encode() if isinstance(data, str) else data)

    def stamp(self) -> None:
        """Put every digest right: the manifest's of its files, the evidence's of the manifest. The
        profile, which no limit asks for, is left out.
        """
        (self.folder / "profile.json").unlink(missing_ok=True)
        for name in self.manifest["files"]:
            data = (self.folder / name).read_bytes()
            self.manifest["files"][name] = hashlib.sha256(data).hexdigest()
        text = json.dumps(self.manifest, indent=1, sort_keys=True) + "\n"
        self.put("manifest.json", text)
        self.evidence["manifest_sha256"] = hashlib.sha256(text.encode()).hexdigest()
        self.store_evidence()

    def store_evidence(self) -> None:
        """Write the evidence as it stands, for the manifest it speaks of."""
        self.put("parity.json", json.dumps(self.evidence, indent=1, sort_keys=True) + "\n")

    def bad_evidence(self) -> None:
        """Let the int8 policy lose everything in every episode."""
        int8 = self.evidence["paired"]["candidate"]
        int8["returns"] = [0.0] * len(int8["returns"])

    def edit_contract(self, edit: Callable[[dict[str, Any]], None]) -> None:
        """Change contract.json alone."""
        contract = json.loads((self.folder / "contract.json").read_text())
        edit(contract)
        self.put("contract.json", json.dumps(contract, sort_keys=True, separators=(",", ":")))

    def swap_policy(self) -> None:
        """Put other integers in the place of the policy, with artifacts and example to fit."""
        release = open_bundle(self.folder)
        bad = _contrary(release.quantized)
        self.put("policy.npz", quant_policy_bytes(bad))
        for name, emit in EMITTERS.items():
            self.put(f"model.{name}", emit(bad))
        self.put("example.npz", example_of(bad, release.example.obs).to_npz())

    def swap_source(self) -> None:
        """Put the float policy of `swap_policy` in the place of the source."""
        release = open_bundle(self.folder)
        assert release.source is not None
        source = _contrary_source(release.source)
        self.put("source.npz", policy_bytes(source))
        report = quant_report(source, release.quantized, release.example.obs)
        self.put("quantization.json", report.to_json())

    def shorten_example(self, count: int) -> None:
        """Keep the first observations of the example."""
        example = open_bundle(self.folder).example
        arrays = {"obs": example.obs, "outputs": example.outputs, "actions": example.actions}
        self.put("example.npz", npz_bytes({key: a[:count] for key, a in arrays.items()}))

    def drop_source(self) -> None:
        """Say nothing of a source any more, as a policy does that came as integers."""
        for name in ("source.npz", "quantization.json"):
            del self.manifest["files"][name]
            (self.folder / name).unlink()
        self.limits["without_source"] = True
        self.limits.pop("min_agreement", None)
        self.evidence |= {"agreement": None, "paired": None, "has_source": False}


def _contrary(policy: QuantPolicy) -> QuantPolicy:
    """Return the policy that likes best what the other likes least."""
    last = policy.nodes[-1]
    weights = np.negative(last.op.weights)  # type: ignore[union-attr]
    op = replace(last.op, weights=weights, bias=np.negative(last.op.bias))  # type: ignore[union-attr,type-var,call-arg]
    return replace(policy, nodes=(*policy.nodes[:-1], replace(last, op=op)))  # type: ignore[arg-type]


def _contrary_source(policy: Policy) -> Policy:
    last = policy.nodes[-1]
    op = replace(last.op, weights=-last.op.weights, bias=-last.op.bias)  # type: ignore[union-attr,type-var,call-arg]
    return replace(policy, nodes=(*policy.nodes[:-1], replace(last, op=op)))  # type: ignore[arg-type]
