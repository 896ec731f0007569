"""Policies of the Hugging Face Hub: `hf:owner/repo`, fetched by its own client.

In: `hf:owner/repo`, `hf:owner/repo@revision` or `hf:owner/repo/path/in/repo`. Out: the file, in the
client's cache, with the statistics of observations that lie beside it. Nothing of it is run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from quarl.errors import InputError, ToolMissingError, UntrustedFileError
from quarl.files.open import MAX_FILE_BYTES
from quarl.sources.beside import CARD

PREFIX = "hf:"
MOST_FILES = 10_000
_WORD = re.compile(r"hf:([\w.-]+/[\w.-]+?)(?:@([\w./-]+?))?(?:/(.+))?")
# what a policy's file ends in, the likeliest first
ENDINGS = (".zip", ".cleanrl_model", ".onnx", ".safetensors", ".keras", ".tflite", ".pt2", ".h5")
STATISTICS = re.compile(r".*vec.*norm.*\.pkl", re.IGNORECASE)
NOT_POLICIES = re.compile(r"replay_buffer|train_eval_metrics|optimizer", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a repository; an empty name means the policy in it."""

    repository: str
    revision: str | None
    name: str


def is_hub_file(word: str) -> bool:
    """Whether a source names a repository of the Hub."""
    return word.startswith(PREFIX)


def hub_file(word: str) -> HubFile:
    """Return what a word names.

    Raises:
        InputError: it is not of the form above.
    """
    found = _WORD.fullmatch(word)
    if found is None:
        raise InputError(
            f"{word}: must be hf:OWNER/REPO, hf:OWNER/REPO@REVISION or hf:OWNER/REPO/FILE"
        )
    return HubFile(found[1], found[2], found[3] or "")


def chosen(wanted: HubFile, files: Sequence[str]) -> str:
    """Return the name of the policy among a repository's files.

    Raises:
        InputError: none or several could be it; names them.
    """
    if wanted.name:
        if wanted.name not in files:
            raise InputError(
                f"hf:{wanted.repository}: has no file {wanted.name}, it has {_listed(files)}"
            )
        return wanted.name
    for ending in ENDINGS:
        fitting = [f for f in files if f.endswith(ending) and not NOT_POLICIES.search(f)]
        top = [name for name in fitting if "/" not in name] or fitting
        if len(top) == 1:
            return top[0]
        if top:
            raise InputError(
                f"hf:{wanted.repository}: has {len(top)} files that may be the policy "
                f"({_listed(top)}): name one, hf:{wanted.repository}/{top[0]}"
            )
    raise InputError(
        f"hf:{wanted.repository}: has no file that quarl reads, it has {_listed(files)}: "
        f"a policy ends in {', '.join(ENDINGS)}"
    )


def fetch(word: str) -> Path:
    """Return the file that a word names, fetched or from the cache.

    Raises:
        InputError: no such repository or file, or it cannot be fetched.
        UntrustedFileError: it is larger than any policy.
        ToolMissingError: the Hub's client is not installed.
    """
    wanted = hub_file(word)
    try:
        from huggingface_hub import HfApi, RepoFile, hf_hub_download
    except ImportError as error:
        raise ToolMissingError(
            f"{word}: fetching from the Hub needs its client: pip install 'quarl[hub]'"
        ) from error
    try:
        tree = HfApi().list_repo_tree(wanted.repository, recursive=True, revision=wanted.revision)
        sizes = {f.path: f.size for f in islice(tree, MOST_FILES) if isinstance(f, RepoFile)}
        files = list(sizes)
        name = chosen(wanted, sorted(files))
        folder = name.rpartition("/")[0]
        near = [f for f in files if f.rpartition("/")[0] == folder]
        beside = [f for f in near if STATISTICS.fullmatch(f) or f.rpartition("/")[2] == CARD]
        for each in (name, *beside):
            if sizes[each] > MAX_FILE_BYTES:
                raise UntrustedFileError(
                    f"hf:{wanted.repository}: {each} has {sizes[each]:,} bytes, at most "
                    f"{MAX_FILE_BYTES:,} are fetched: this is not a policy for a small board"
                )
        for other in beside:
            hf_hub_download(wanted.repository, other, revision=wanted.revision)
        return Path(hf_hub_download(wanted.repository, name, revision=wanted.revision))
    except InputError:
        raise
    except Exception as error:  # the client raises many kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{word}: cannot be fetched ({reason[:200]})") from error


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "none"
