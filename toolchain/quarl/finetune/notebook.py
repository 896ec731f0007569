"""The folder a distillation goes on from after a kill: lessons, students, and what has been tried.

Every file is written whole or not at all, and read as data: arrays and tensors, no pickled objects.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from quarl.bundle.policy_file import quant_policy_bytes, quant_policy_from
from quarl.errors import InputError
from quarl.files.atomic import write_whole
from quarl.files.npz import FRAMES_RATIO, npz_bytes, read_npz
from quarl.files.open import read_file
from quarl.files.work_folder import work_folder
from quarl.finetune.learn import Learner
from quarl.finetune.lessons import Lessons

TASK = "task.json"


class Notebook:
    """A folder for one task: a source, an environment, widths and a seed."""

    def __init__(self, folder: Path, task: dict[str, Any], *, resume: bool) -> None:
        self.folder = folder
        text = json.dumps(task, sort_keys=True, indent=1) + "\n"
        self.task = hashlib.sha256(text.encode()).hexdigest()
        path = folder / TASK
        if resume:
            if not path.is_file():
                raise InputError(f"{folder}: there is nothing to resume: omit --resume")
            if path.read_text(encoding="utf-8") != text:
                raise InputError(
                    f"{folder}: was begun with another source, environment, widths or seed: omit "
                    "--resume, or name another folder with --runs"
                )
            return
        work_folder(folder)
        for old in (*folder.glob("lessons-*.npz"), *folder.glob("student-*")):
            old.unlink()
        write_whole(path, text.encode())

    def keep_lessons(self, lessons: Lessons) -> None:
        """Write down the lessons that are new."""
        for number in range(len(lessons.obs)):
            path = self.folder / f"lessons-{number:03}.npz"
            if not path.exists():
                write_whole(path, npz_bytes({"obs": lessons.obs[number]}))

    def lessons(self) -> list[NDArray[Any]]:
        """Return the observations that were met, part by part."""
        paths = sorted(self.folder.glob("lessons-*.npz"))
        return [read_npz(path, max_ratio=FRAMES_RATIO)["obs"] for path in paths]

    def keep(self, name: str, learner: Learner) -> None:
        """Write down a student as it stands and its best integers."""
        assert learner.best is not None
        error, best = learner.best
        buffer = io.BytesIO()
        torch.save({**learner.state(), "best_error": error}, buffer)
        write_whole(self._path(name, "npz"), quant_policy_bytes(best))
        write_whole(self._path(name, "pt"), buffer.getvalue())

    def recall(self, name: str, learner: Learner) -> bool:
        """Continue with a student that was written down; return whether there was one."""
        path = self._path(name, "pt")
        if not path.is_file():
            return False
        try:
            state = torch.load(path, weights_only=True)
            best = quant_policy_from(
                read_file(self._path(name, "npz")), str(self._path(name, "npz"))
            )
            learner.go_on(state, (float(state["best_error"]), best))
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"{path}: is damaged ({error}): omit --resume") from error
        return True

    def _path(self, name: str, ending: str) -> Path:
        return self.folder / f"student-{name.replace(' ', '-')}.{ending}"
