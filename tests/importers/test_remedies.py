"""What a message advises can be done: options that it names exist, and following it leads on, never
in a circle.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import typer

import quarl
from quarl.cli.verbs import VERBS
from quarl.errors import InputError, QuarlError
from quarl.importers import ImportOptions, read_policy
from quarl.sources.spaces import action_from, observation_from
from tests.conftest import need
from tests.support.remedies import DONE, NAMES, NOT_DONE, clauses_in, docstrings_of
from tests.support.sources.torch_files import chain, program, saved

ROOMS = ("importers", "sources")
TESTS = Path(__file__).parents[1]
FOREIGN = {"--no-deps", "--extra"}


def texts(room: str) -> set[str]:
    """Return every text in the room's code but its docstrings."""
    found: set[str] = set()
    for file in (Path(quarl.__file__).parent / room).rglob("*.py"):
        tree = ast.parse(file.read_text())
        docs = docstrings_of(tree)
        found |= {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docs
        }
    return found


def options_known() -> set[str]:
    """Return the options of all verbs."""
    whole = typer.Typer()
    for name, verb in VERBS.items():
        whole.command(name)(verb)
    verbs = getattr(typer.main.get_command(whole), "commands", {}).values()
    return {word for verb in verbs for parameter in verb.params for word in parameter.opts}


@pytest.mark.long
@pytest.mark.parametrize("room", ROOMS)
def test_every_option_that_a_message_names_exists(room: str) -> None:
    named = {
        word for text in texts(room) for word in re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text)
    }
    assert named - options_known() - FOREIGN == set()


@pytest.mark.long
def test_spaces_that_messages_give_as_examples_are_spaces() -> None:
    given = {text for room in ROOMS for text in texts(room)}
    actions = {w for t in given for w in re.findall(r"--action ((?:box|discrete):[\w.:-]*\w)", t)}
    seen = {w for t in given for w in re.findall(r"((?:vector:\d+|image:\d+x\d+x\d+))", t)}
    assert seen
    for text in actions:
        action_from(text, "--action")
    for text in seen:
        observation_from(text, "--observation")


def test_following_what_is_said_of_a_bare_state_dict_leads_to_a_policy(tmp_path: Path) -> None:
    need("torch")
    path = saved(lambda: chain("net.", 6, 16, 3))(tmp_path)
    options = ImportOptions()
    met: list[str] = []
    for _ in range(4):
        try:
            policy = read_policy(path, options)
            break
        except QuarlError as error:
            met.append(str(error))
        if "--activation" in met[-1]:
            options = ImportOptions(activation="tanh")
        elif found := re.search(r"--action (discrete:\d+)", met[-1]):
            action = action_from(found[1], "--action")
            options = ImportOptions(activation="tanh", action_space=action)
    assert len(set(met)) == len(met), "advice that leads in a circle"
    assert policy.contract.action.count == 3
    assert len(met) == 2


def test_following_what_is_said_of_a_program_leads_to_a_policy(tmp_path: Path) -> None:
    need("torch")
    path = program("script")(tmp_path)
    with pytest.raises(InputError, match=r"--action box:4:-1\.\.1") as caught:
        read_policy(path)
    found = re.search(r"--action (box:\d+:-1\.\.1)", str(caught.value))
    assert found is not None
    policy = read_policy(path, ImportOptions(action_space=action_from(found[1], "--action")))
    assert policy.contract.action.count == 4


def test_what_a_message_advises_is_done_by_a_test() -> None:
    """Each clause is quoted by a test, or its test is named, or the reason why none does it."""
    known, quoted = {*DONE, *NOT_DONE, *NAMES}, quoted_in_tests()
    clauses = {clause for room in ROOMS for clause in clauses_in(room)}
    assert {clause for clause in clauses if clause not in quoted} - known == set()
    assert {*DONE, *NOT_DONE} - clauses == set(), "advice that no message gives any more"
    for place in DONE.values():
        file, _, test = place.partition("::")
        assert f"def {test}(" in (TESTS.parent / file).read_text(), place
    assert len(NOT_DONE) <= 15


def quoted_in_tests() -> str:
    """Return the texts of the tests of these rooms, as they are compared with."""
    files = [file for room in ROOMS for file in (TESTS / room).rglob("*.py")]
    return re.sub(r"\\(.)", r"\1", "".join(file.read_text() for file in files))


@pytest.mark.parametrize("content", [b"hello, world" * 9, np.zeros(40).tobytes()])
def test_what_was_never_a_policy_is_not_said_to_be_cut_off(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "policy.bin"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_policy(path)
    assert "cut off" not in str(caught.value)
