"""A verb that is killed at any moment leaves the old state or the new one. `make kill` does it a
thousand times.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kill import verbs
from tests.kill.verbs import kill_verbs


@pytest.mark.long
def test_what_is_killed_leaves_the_old_state_or_the_new_one(tmp_path: Path) -> None:
    tally = kill_verbs(tmp_path, {"export": 8, "gate": 5, "history": 5}, seed=3)
    assert tally.wrong == []
    assert sum(tally.kills.values()) == 18


@pytest.mark.play
def test_a_chain_that_is_killed_leaves_the_old_state_or_the_new_one(tmp_path: Path) -> None:
    tally = kill_verbs(tmp_path, {"ship": 2, "command": 2}, seed=4)
    assert tally.wrong == []
    assert tally.kills == {"ship": 2, "command": 2}


@pytest.mark.long
def test_a_writer_of_halves_would_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_place(stage: verbs.Stage) -> None:
        for path in (stage.bundle / "model.tflite", stage.bundle / "policy.npz"):
            data = path.read_bytes()
            with path.open("wb", buffering=0) as file:
                for at in range(0, len(data), 64):
                    file.write(data[at : at + 64])
                    verbs.time.sleep(0.0005)

    monkeypatch.setitem(verbs.VERBS, "export", in_place)
    tally = kill_verbs(tmp_path, {"export": 4}, seed=5)
    assert any("half a bundle" in wrong or "no bundle" in wrong for wrong in tally.wrong)
