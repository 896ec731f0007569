"""The statements about a bundle: in-toto Statement v1 with a predicate of quarl's own, and one of
SLSA provenance v1.

In: a release and what its stages stored. Out: canonical JSON. A statement names every file of the
bundle by SHA-256, but for the file it is written to.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from quarl.bundle.manifest import ATTESTATION, SOURCE, tool_versions
from quarl.bundle.release import Release
from quarl.files.atomic import SCRATCH
from quarl.files.digests import digests
from quarl.graph.env_spec import EnvSpec
from quarl.profiles.host import cpu_name
from quarl.verdict.verdict import Verdict

STATEMENT = "https://in-toto.io/Statement/v1"
RELEASE = "urn:quarl:release:v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
BUILD = "urn:quarl:export:v1"


@dataclass(frozen=True, slots=True)
class Signer:
    """Who speaks, in their own words, and on what machine."""

    by: str
    cpu: str
    system: str
    python: str


def signer_here(by: str = "") -> Signer:
    """Return who signs on this machine.

    Args:
        by: a job or a person; "" takes the job that the CI service names, if any.
    """
    return Signer(
        by or _job(),
        cpu_name(),
        f"{platform.system()} {platform.release()}",
        platform.python_version(),
    )


def _job() -> str:
    """Return the address of the job on GitHub or GitLab, "" elsewhere."""
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    server, repository, run = (os.environ.get(name) for name in names)
    if server and repository and run:
        return f"{server}/{repository}/actions/runs/{run}"
    return os.environ.get("CI_JOB_URL", "")


def subjects(release: Release) -> dict[str, str]:
    """Return the SHA-256 of every file in the bundle by its path there, but for the attestation."""
    names = sorted(
        path.relative_to(release.folder).as_posix()
        for path in release.folder.rglob("*")
        if not path.is_dir() and path.name != ATTESTATION and not path.name.startswith(SCRATCH)
    )
    stored = {name: release.stored(name) for name in names if name not in release.files}
    files = {**release.files, **{name: data for name, data in stored.items() if data is not None}}
    return digests({name: files[name] for name in names if name in files})


def release_statement(
    release: Release, files: Mapping[str, str], verdict: Verdict, signer: Signer
) -> bytes:
    """Return what was measured, by whom and on what, and how it was judged.

    Args:
        files: the subjects, SHA-256 by path.
    """
    manifest = release.manifest
    return _statement(
        files,
        RELEASE,
        {
            "policy": manifest.name,
            "answer": verdict.answer,
            "source": {**asdict(manifest.origin), "is_in_bundle": SOURCE in release.files},
            "contract_sha256": manifest.contract_sha256,
            "env": None if manifest.env is None else _env(manifest.env),
            "limits": manifest.limits.to_table(),
            "allowed": {c.name: c.allowed for c in verdict.checks if c.allowed is not None},
            "manifest_sha256": verdict.manifest_sha256,
            "evidence_sha256": verdict.evidence_sha256,
            "run": verdict.run,
            "exported_with": dict(manifest.tools),
            "signed_with": tool_versions(),
            "measured": asdict(signer),
        },
    )


def provenance_statement(
    release: Release, files: Mapping[str, str], verdict: Verdict, signer: Signer
) -> bytes:
    """Return how the bundle came to be, as SLSA wants it said: from what, by what, with what."""
    manifest = release.manifest
    external = {
        "source": manifest.origin.file,
        "recipe": manifest.origin.recipe,
        "rung": manifest.rung,
        "weights": manifest.weights,
        "board": manifest.board,
        "env": None if manifest.env is None else _env(manifest.env),
    }
    packages = [{"uri": f"pkg:pypi/{name}@{v}"} for name, v in sorted(manifest.tools.items())]
    source = {"name": manifest.origin.file, "digest": {"sha256": manifest.origin.sha256}}
    build = {
        "buildType": BUILD,
        "externalParameters": external,
        "internalParameters": {},
        "resolvedDependencies": [source, *packages],
    }
    run: dict[str, Any] = {"builder": {"id": signer.by or "urn:quarl:unnamed"}}
    if verdict.run:
        run["metadata"] = {"invocationId": verdict.run}
    return _statement(files, PROVENANCE, {"buildDefinition": build, "runDetails": run})


def _statement(files: Mapping[str, str], kind: str, predicate: Mapping[str, Any]) -> bytes:
    statement = {
        "_type": STATEMENT,
        "subject": [
            {"name": name, "digest": {"sha256": sha256}} for name, sha256 in sorted(files.items())
        ],
        "predicateType": kind,
        "predicate": predicate,
    }
    return json.dumps(statement, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _env(env: EnvSpec) -> dict[str, Any]:
    wrappers = {"wrappers": list(env.wrappers)} if env.wrappers else {}
    return {"id": env.id, "kwargs": dict(env.kwargs), **wrappers}
