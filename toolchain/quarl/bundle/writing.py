"""Writes a bundle, whole or not at all; what a stranger put into an older one is never lost."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from quarl.bundle.manifest import MANIFEST, is_stage_file
from quarl.errors import InputError
from quarl.files.folder import replace_folder
from quarl.files.open import digest_of, open_member, read_member


def check_target(folder: Path) -> None:
    """Check, before any work, that a bundle can be written at `folder`.

    Raises:
        InputError: it is a file, a folder that holds anything but a bundle, or cannot be written.
    """
    try:
        target = _target(folder)
        if target.is_dir():
            own_files(target)
        elif target.exists():
            raise InputError(f"--out {folder}: is a file, a bundle is a folder: name another path")
        parent = target.parent
        while not parent.exists():
            parent = parent.parent
    except OSError as error:
        raise InputError(
            f"--out {folder}: cannot be used ({error.strerror or error}): name another path"
        ) from error
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"--out {folder}: {parent} cannot be written: name a folder of your own")


def own_files(folder: Path) -> tuple[str, ...]:
    """Return the names of a bundle's files, the manifest last; of an empty folder none.

    Raises:
        InputError: a file in it is not one that quarl wrote, or was changed since; names the first.
    """
    if not any(folder.iterdir()):
        return ()
    listed = _listed_files(folder)
    folders = {str(parent) for name in listed for parent in PurePosixPath(name).parents}
    names = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode) and name in folders:
            continue
        is_ours = name in {*listed, MANIFEST} or is_stage_file(name)
        if not stat.S_ISREG(mode) or not is_ours:
            raise InputError(_stranger(folder, name, "is not a file that quarl wrote"))
        if name in listed and _digest(folder, name) != listed[name]:
            raise InputError(_stranger(folder, name, "was changed since quarl wrote it"))
        names.append(name)
    return tuple(sorted(names, key=lambda name: name == MANIFEST))


def _listed_files(folder: Path) -> dict[str, str]:
    """Return the digests a manifest of any format lists; a manifest of something else is
    refused.
    """
    try:
        document = json.loads(read_member(folder, MANIFEST))
        listed = {str(name): str(digest) for name, digest in document["files"].items()}
        if not listed or type(document["format"]) is not int or not document["origin"]["sha256"]:
            raise KeyError("files")
    except (
        InputError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
    ) as error:
        raise InputError(
            f"--out {folder}: is a folder that holds other files, not a bundle of quarl: name a "
            "new or empty folder"
        ) from error
    return listed


def _digest(folder: Path, name: str) -> str:
    with open_member(folder, name) as file:
        return digest_of(file)


def _stranger(folder: Path, name: str, what: str) -> str:
    return (
        f"--out {folder}: {name} {what}, and a bundle is only replaced where nothing else is "
        "lost: move it elsewhere, or name a new folder"
    )


def _target(folder: Path) -> Path:
    """Return the absolute path that is written; a link is resolved once.

    Raises:
        InputError: a link that leads nowhere.
    """
    if folder.is_symlink() and not folder.exists():
        raise InputError(
            f"--out {folder}: is a link to {folder.readlink()}, which does not exist: name a folder"
        )
    return folder.resolve()


def bundle_bytes(folder: Path) -> dict[str, bytes]:
    """Return the bytes of a bundle's files by their path in it, those of later stages too.

    Raises:
        InputError: as `own_files`.
    """
    return {name: read_member(folder, name) for name in own_files(folder)}


def write_bundle(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files of a bundle whole or not at all; an older bundle there is replaced.

    Args:
        files: by path in the bundle, the manifest among them.

    Raises:
        InputError: as `check_target`; or the disk is full. Nothing half written is left.
    """
    check_target(folder)
    try:
        replace_folder(_target(folder), files, own_files)
    except OSError as error:
        raise InputError(
            f"--out {folder}: cannot be written ({error.strerror or error}): free space or "
            "name another place"
        ) from error
