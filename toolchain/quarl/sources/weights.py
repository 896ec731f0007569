"""Weights that are too large for the wheel: found beside the recipe, in a folder the user names, or
fetched from a URL.

In: a policy's folder, the names of its files, and QUARL_WEIGHTS: a folder or a URL under which
files lie as under models/ of a checkout.
Out: the path of each file, whose SHA-256 is the one in models/weights.toml, which ships. What is
fetched is kept in the user's cache; a file is written under a temporary name and renamed when its
digest is right, so that a broken download leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated

from pydantic import Field

from quarl.errors import InputError
from quarl.files.tables import Count, Text, Whole, table, value_from
from quarl.files.toml import read_toml
from quarl.sources.fetching import open_url
from quarl.workers.progress import Progress, Stage, quietly

WEIGHTS_FILE = "weights.toml"
VARIABLE = "QUARL_WEIGHTS"
TIMEOUT_S = 30.0  # for each answer of the server, and for the head of the page as a whole
SLOWEST_BYTES_PER_S = 20_000
MOST_CACHED_BYTES = 512 * 2**20
_CHUNK = 2**16


@table
@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that is not in the wheel."""

    path: Text  # policy/name
    bytes: Whole
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    parameters: Count | None = None  # of the policy whose weights these are


def find_file(
    folder: Path, name: str, *, origin: str | None, cache: Path, fetching: Stage = quietly
) -> Path:
    """Return the path of a policy's file: in its own folder, or else, where weights.toml lists it,
    one of the right digest from `origin`.

    Args:
        folder: of the policy, in the folder of the shipped policies.
        origin: what QUARL_WEIGHTS says; None or empty: nothing.
        cache: where fetched files are kept.
    Raises:
        InputError: it is nowhere, cannot be fetched, or is not the file that was published; says
            what to do.
    """
    beside = folder / name
    stored = None if beside.is_file() else read_stored(folder.parent).get(f"{folder.name}/{name}")
    if stored is None:
        return beside
    kept = cache / "weights" / stored.sha256[:16] / name
    if kept.is_file() and _digest(kept) == stored.sha256:
        os.utime(kept)
        return kept
    if not origin:
        raise InputError(
            f"{folder.name}: {name} ({stored.bytes:,} B) is not part of the installed "
            f"package. Set {VARIABLE} to a folder or URL that holds"
            f" {stored.path}, for example the models folder of a checkout of the repository: "
            f"{VARIABLE}=quarl/models"
        )
    if origin.startswith(("http://", "https://")):
        url = f"{origin.rstrip('/')}/{stored.path}"
        with fetching(f"fetching {stored.path}") as progress:
            _fetch(url, stored, kept, progress)
        _bound(cache / "weights", kept)
        return kept
    given = Path(origin).expanduser() / stored.path
    if not given.is_file():
        raise InputError(
            f"{VARIABLE}={origin}: there is no {stored.path} in it: it must hold a folder for "
            "each policy, as models/ does"
        )
    found = _digest(given)
    if found != stored.sha256:
        raise InputError(f"{given}: {_wrong_digest(found, stored)}")
    return given


def read_stored(models: Path) -> Mapping[str, StoredFile]:
    """Return what `weights.toml` lists, by path; nothing where there is none.

    Raises:
        InputError: it is not of that form.
    """
    path = models / WEIGHTS_FILE
    if not path.is_file():
        return {}
    return {
        name: value_from(StoredFile, {"path": name, **_entry(entry)}, f"{path}: {name}")
        for name, entry in read_toml(path).items()
    }


def _entry(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {"entry": value}


def stored_text(models: Path, parameters: Mapping[str, int | None]) -> str:
    """Return the `weights.toml` that lists these files, paths relative to the folder of the
    policies, with their numbers of parameters.
    """
    lines = [
        "# Files of the policies that are not in the wheel. python -m "
        "toolchain.dev.write_weights writes this anew."
    ]
    for path, count in sorted(parameters.items()):
        file = models / path
        lines += [
            "",
            f'["{path}"]',
            f"bytes = {file.stat().st_size}",
            f'sha256 = "{_digest(file)}"',
        ]
        lines += [] if count is None else [f"parameters = {count}"]
    return "\n".join(lines) + "\n"


def _fetch(url: str, stored: StoredFile, target: Path, progress: Progress | None) -> None:
    """Write the file under its final name once it is whole and its digest right."""
    part = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        request = urllib.request.Request(url, headers={"User-Agent": "quarl"})
        with (
            open_url(request, TIMEOUT_S) as answer,
            tempfile.NamedTemporaryFile(
                dir=target.parent, prefix=".", suffix=".part", delete=False
            ) as scratch,
        ):
            part = Path(scratch.name)
            found = _copy(answer, scratch, stored, url, progress)
        if found != stored.sha256:
            raise InputError(f"{url}: {_wrong_digest(found, stored)}")
        part.replace(target)
    except urllib.error.HTTPError as error:
        raise InputError(
            f"{url}: the server answers {error.code} {error.reason}: check {VARIABLE}"
        ) from error
    except (http.client.HTTPException, OSError) as error:  # URLError and time-outs are OSErrors
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"{url}: cannot be fetched ({reason}): check the network and {VARIABLE}, then try again"
        ) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            target.parent.rmdir()  # only if it is empty


def _copy(
    answer: http.client.HTTPResponse,
    scratch: IO[bytes],
    stored: StoredFile,
    url: str,
    progress: Progress | None,
) -> str:
    """Copy at most as many bytes as the file has, and return their SHA-256."""
    digest, done = hashlib.sha256(), 0
    end = time.monotonic() + TIMEOUT_S + stored.bytes / SLOWEST_BYTES_PER_S
    while chunk := answer.read1(_CHUNK):
        done += len(chunk)
        if time.monotonic() > end:
            raise InputError(
                f"{url}: {done:,} of {stored.bytes:,} B came within the time for all of them: try "
                f"again, or check {VARIABLE}"
            )
        if done > stored.bytes:
            raise InputError(
                f"{url}: longer than the {stored.bytes:,} B that were published: check {VARIABLE}"
            )
        digest.update(chunk)
        scratch.write(chunk)
        if progress is not None:
            progress(done, stored.bytes)
    if done < stored.bytes:
        raise InputError(
            f"{url}: the connection was cut after {done:,} of {stored.bytes:,} B: try again"
        )
    return digest.hexdigest()


def _bound(folder: Path, keep: Path) -> None:
    """Remove the files used longest ago until the cache is within its bound; never the one just
    fetched.
    """
    files = sorted(
        (path for path in folder.glob("*/*") if path.is_file() and path != keep),
        key=lambda path: path.stat().st_mtime,
    )
    held = keep.stat().st_size + sum(path.stat().st_size for path in files)
    for path in files:
        if held <= MOST_CACHED_BYTES:
            return
        held -= path.stat().st_size
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _wrong_digest(found: str, stored: StoredFile) -> str:
    return (
        f"SHA-256 is {found[:16]}..., published was {stored.sha256[:16]}...: the file was "
        "changed, or is of another version of quarl; "
        f"check {VARIABLE}"
    )
