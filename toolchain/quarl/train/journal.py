"""The run folder of a training: its learning curve, what a later call resumes from, which
checkpoint was the best.

Goes in: a return each time the policy is judged. Comes out: `curve.csv`, `state.json`, and the
answer whether this one is the best so far; `log.txt` takes what else is worth a line.
"""

from __future__ import annotations

import csv
import json
import time

from quarl.errors import InputError
from quarl.files.work_folder import work_folder
from quarl.rollouts.episodes import Episodes
from quarl.train.trained import CURVE_FIELDS, Progress, Run


class Journal:
    """Keeps the books of one training of `total` steps, over all calls that take part in it."""

    def __init__(self, run: Run, total: int) -> None:
        folder = run.folder
        self.curve_path = folder / "curve.csv"
        self.steps = 0  # when it was last judged
        self.total = total
        self._state_path, self._log_path = folder / "state.json", folder / "log.txt"
        self._progress = run.progress
        self._best_return = float("-inf")
        self._cpu_s = 0.0
        self._cpu_start_s = time.process_time()
        if run.resume:
            if not self._state_path.exists():
                raise InputError(
                    f"{folder}: there is no checkpoint to resume from. Train without --resume."
                )
            state = json.loads(self._state_path.read_text(encoding="utf-8"))
            self.steps, self._best_return, self._cpu_s = (
                state["steps"],
                state["best_return"],
                state["cpu_s"],
            )
            return
        work_folder(folder)
        with self.curve_path.open("w", newline="") as file:
            csv.writer(file).writerow(CURVE_FIELDS)
        self._log_path.unlink(missing_ok=True)

    def judge(self, steps: int, episodes: Episodes, *, may_be_best: bool = True) -> bool:
        """Write down how the policy of `steps` plays; return whether it is to be kept: none before
        it that might have been was better.
        """
        mean = float(episodes.returns.mean())
        success = None if episodes.successes is None else float(episodes.successes.mean())
        cpu_s = self._spent_s()
        with self.curve_path.open("a", newline="") as file:
            row = [
                steps,
                f"{mean:.3f}",
                f"{episodes.returns.std():.3f}",
                f"{episodes.lengths.mean():.1f}",
            ]
            csv.writer(file).writerow(
                [*row, "" if success is None else f"{success:.3f}", f"{cpu_s:.1f}"]
            )
        is_best = may_be_best and mean >= self._best_return
        self.steps, self._best_return = steps, mean if is_best else self._best_return
        state = {"steps": steps, "best_return": self._best_return, "cpu_s": cpu_s}
        self._state_path.write_text(json.dumps(state), encoding="utf-8")
        if self._progress is not None:
            self._progress(Progress(steps, self.total, mean, success, cpu_s))
        return is_best

    def note(self, line: str) -> None:
        """Add a line to the log."""
        with self._log_path.open("a", encoding="utf-8") as file:
            file.write(f"{self._spent_s():8.0f} cpu s  {line}\n")

    def _spent_s(self) -> float:
        return self._cpu_s + time.process_time() - self._cpu_start_s
