"""What is full ends in one message, and the checkpoint before stays."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from quarl.actorq.checkpoint import newest_checkpoint, write_checkpoint
from quarl.errors import DeviceError, InputError
from quarl.workers.cluster import message_of
from tests.conftest import need

need("ray", "torch")
pytestmark = pytest.mark.long


def test_a_full_disk_is_one_message_and_the_checkpoint_before_stays(tmp_path: Path) -> None:
    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = write_checkpoint(tmp_path, 1, {}, lambda folder: None)
    with pytest.raises(InputError, match=r"No space left on device\): free space; --resume"):
        write_checkpoint(tmp_path, 2, {}, full)
    assert newest_checkpoint(tmp_path) == before
    assert [path.name for path in before.parent.iterdir()] == [before.name]


def test_a_full_object_store_is_one_message() -> None:
    from ray.exceptions import ObjectStoreFullError, OutOfDiskError

    for error in (ObjectStoreFullError("pages of text"), OutOfDiskError("pages of text")):
        found = message_of(error)
        assert isinstance(found, DeviceError)
        assert "the object store of Ray is full: use fewer" in str(found)
        assert "pages" not in str(found)
