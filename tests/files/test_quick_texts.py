"""A megabyte of anything is read in time that grows with its length: no pattern looks at a text
again and again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from quarl.errors import QuarlError
from quarl.importers.sb3.data import Sb3Data
from quarl.importers.sb3.spaces import kind_of, parts_of
from quarl.importers.torch.trainers import _from_settings, _plain
from quarl.sources.beside import card_environment, stated_rate
from quarl.sources.run_folder import find_run

LENGTH = 200_000
MOST_CPU_S = 20.0  # on any machine; what was mended took minutes
FILLERS = ("\n", " ", " \n", "a", "'", "- ", "1", "a.", "\t-", "a\n", ": ")


def settings(folder: Path, filler: str) -> None:
    text = filler * (LENGTH // len(filler))
    for name in ("env.yaml", "agent.yaml", "deploy.yaml"):
        (folder / name).write_text(f"sim:{text}\nactivation{text}")
    (folder / "README.md").write_text(f"---\n{text}dataset:{text}\n---\n")
    run = folder / "run"
    run.mkdir()
    (run / "args.yml").write_text(text)
    (run / "config.yml").write_text(f"- - - env_wrapper\n    - {text}\n")
    (folder / "run.zip").write_text("")
    for read in (stated_rate, card_environment, _from_settings):
        read(folder / "policy.pt")
    find_run(folder)


def printed_classes(folder: Path, filler: str) -> None:
    text = filler * (LENGTH // len(filler))
    kind_of({":type:": text})
    kwargs = {"features_extractor_class": text, "activation_fn": text}
    data = Sb3Data("policy.zip", {"policy_kwargs": kwargs, "policy_class": {"__init__": text}})
    with suppress(QuarlError):
        data.check_extractor("")
    with suppress(QuarlError):
        parts_of("Dict", f"Dict('a': Box({text}", "policy.zip")


def tensor_names(folder: Path, filler: str) -> None:
    _plain({filler * (LENGTH // len(filler)): None})  # type: ignore[dict-item]


@pytest.mark.parametrize("filler", FILLERS, ids=repr)
@pytest.mark.parametrize("read", [settings, printed_classes, tensor_names])
def test_a_long_text_of_anything_is_read_at_once(
    tmp_path: Path, read: Callable[[Path, str], None], filler: str
) -> None:
    start = time.process_time()
    read(tmp_path, filler)
    assert time.process_time() - start < MOST_CPU_S
