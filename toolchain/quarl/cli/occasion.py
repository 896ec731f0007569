"""When and where a verdict is given: for the history and for trackers of experiments."""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from quarl.errors import QuarlError
from quarl.resources import VERSION

if TYPE_CHECKING:
    from quarl.bundle.release import Release
    from quarl.verdict.history import Occasion

COMMIT_VARIABLES = ("GITHUB_SHA", "CI_COMMIT_SHA")  # what CI services call it
COMMIT = re.compile(r"[0-9a-f]{7,64}")
GIT_TIMEOUT_S = 10.0


def occasion_of(release: Release) -> Occasion:
    """Return when, where and on what a verdict is given now."""
    from quarl.verdict.history import Occasion

    manifest = release.manifest
    return Occasion(
        at=datetime.now(UTC),
        version=VERSION,
        manifest_sha256=release.manifest_sha256,
        board=manifest.board or "",
        commit=commit_here(),
        rung=manifest.rung,
        host=platform.node()[:200],
    )


def commit_here() -> str:
    """Return the commit that the CI service names, or that the current folder stands on; "" where
    there is none.
    """
    from quarl.tools import run

    for name in COMMIT_VARIABLES:
        if COMMIT.fullmatch(os.environ.get(name, "")):
            return os.environ[name]
    try:
        done = run(["git", "rev-parse", "HEAD"], timeout=GIT_TIMEOUT_S)
    except QuarlError:  # no git, or it hangs: a record without a commit is still a record
        return ""
    text = done.stdout.decode(errors="replace").strip()
    return text if done.returncode == 0 and COMMIT.fullmatch(text) else ""
