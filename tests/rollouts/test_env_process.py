"""Environments in an interpreter of the user's: the same returns, bit for bit, and one sentence for
whatever goes wrong there.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from quarl.cli.env_options import EnvOptions
from quarl.errors import InputError
from quarl.graph.contract import Action, Contract, Observation
from quarl.graph.env_spec import EnvElsewhere, EnvSpec, TypedEnv, as_made, as_stored
from quarl.importers.spaces import spaces_of
from quarl.rollouts import env_process
from quarl.rollouts.env_child import Other, pack, unpack
from quarl.rollouts.episodes import Episodes, random_episodes
from quarl.rollouts.first_steps import check_first_steps
from quarl.rollouts.foreign_env import make_env
from quarl.rollouts.shares import Field, play_at_random
from quarl.workers.processes import Processes
from tests.fuzz.around import answers

ENVS = """
import os, sys, time
import gymnasium, numpy as np
from gymnasium.envs.registration import register

class Theirs(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 25}
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, how="", fails_at=3, kind="box", render_mode=None):
        self.how, self.fails_at, self.kind = how, fails_at, kind
        box = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
        self.observation_space = box if kind == "box" else gymnasium.spaces.Dict(
            {"b": box, "a": gymnasium.spaces.Discrete(3)})
        if "quarl" in sys.modules:
            raise RuntimeError("quarl is here")

    def _obs(self):
        box = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return box if self.kind == "box" else {"b": box, "a": np.int64(self.np_random.integers(3))}

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0
        return self._obs(), {}

    def step(self, action):
        self.at += 1
        obs = self._obs()
        if self.at == self.fails_at:
            if self.how == "print": print("their words")
            if self.how == "leave": sys.exit("enough")
            if self.how == "die": os._exit(3)
            if self.how == "hang": time.sleep(60)
            if self.how == "raise": raise ValueError("the motor fell off")
            if self.how == "nan": return obs * np.nan, 1.0, False, False, {}
        done = self.at == 12
        reward = np.float32(self.np_random.normal()) * (1 + int(action))
        first = obs["b"][0] if self.kind != "box" else obs[0]
        return obs, reward, done, False, {"success": bool(first > 0)}

    def render(self):
        return np.full((4, 6, 3), self.at, np.uint8)

class Doubled(gymnasium.RewardWrapper):
    def reward(self, reward):
        return 2 * reward

def made(**kwargs):
    return Theirs(**kwargs)

register(id="Theirs-v0", entry_point=Theirs, max_episode_steps=50)
"""
SEEDS = range(20)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bare venv that sees gymnasium and numpy alone, and a module of environments beside it."""
    folder = tmp_path_factory.mktemp("theirs")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    packages = next((folder / "venv").glob("lib/python*/site-packages"))
    for name in ("gymnasium", "numpy", "cloudpickle", "farama_notifications", "typing_extensions"):
        found = __import__(name)
        where = Path(str(found.__file__))
        source = where if where.name != "__init__.py" else where.parent
        (packages / source.name).symlink_to(source)
    for beside in Path(np.__file__).parents[1].glob("numpy.libs"):
        (packages / beside.name).symlink_to(beside)
    (folder / "modules").mkdir()
    (folder / "modules" / "their_envs.py").write_text(ENVS)
    (packages / "theirs.pth").write_text(f"{folder / 'modules'}\n")
    sys.path.append(str(folder / "modules"))
    yield str(folder / "venv" / "bin" / "python")
    env_process.end_all()
    sys.path.remove(str(folder / "modules"))


def contract_of(env: EnvSpec) -> Contract:
    length = 6 if env.kwargs.get("kind") == "dict" else 3
    return Contract(Observation((length,), "float32", "vector"), Action("discrete", 2))


def bits(episodes: Episodes) -> tuple[bytes, bytes, object]:
    successes = None if episodes.successes is None else episodes.successes.tolist()
    return episodes.returns.tobytes(), episodes.lengths.tobytes(), successes


def here(env: EnvSpec, monkeypatch: pytest.MonkeyPatch) -> Episodes:
    """The same episodes in this process, where the environment refuses to live beside quarl."""
    import their_envs

    class Blind:
        modules: dict[str, object] = {}  # noqa: RUF012

    monkeypatch.setattr(their_envs, "sys", Blind)
    return random_episodes(env, contract_of(env), SEEDS)


@pytest.mark.long
@pytest.mark.parametrize(
    "env",
    [
        EnvSpec("their_envs:Theirs-v0"),
        EnvSpec("their_envs:Theirs-v0", {"kind": "dict"}),
        TypedEnv("their_envs:made", {"fails_at": 7}),
        EnvSpec("their_envs:Theirs", wrappers=("their_envs:Doubled",)),
    ],
    ids=str,
)
def test_their_python_plays_the_same_episodes_bit_for_bit(
    env: EnvSpec, theirs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = EnvElsewhere(env.id, env.kwargs, env.wrappers, theirs, env.may_call)
    played = random_episodes(there, contract_of(env), SEEDS, lanes=5)
    assert bits(played) == bits(here(env, monkeypatch))
    assert len(set(played.returns.tolist())) > 10


@pytest.mark.long
def test_workers_give_the_same_episodes(theirs: str) -> None:
    env = EnvElsewhere("their_envs:Theirs-v0", python=theirs)
    alone = random_episodes(env, contract_of(env), SEEDS)
    workers = Processes(2)
    try:
        played = play_at_random(Field(env, workers), contract_of(env), SEEDS)
    finally:
        workers.close()
    assert bits(played) == bits(alone)


@pytest.mark.slow
def test_a_vectorised_form_is_theirs_too() -> None:
    """CartPole's lanes share a generator and are refused there as here; quarl's own rest."""
    for env in (EnvSpec("CartPole-v1"), EnvSpec("quarl.envs:quarl/PointToPoint-v0")):
        contract, few = Contract(*spaces_of(env)), range(4)
        there = EnvElsewhere(env.id, env.kwargs, (), sys.executable)
        assert spaces_of(there) == spaces_of(env)
        played = random_episodes(there, contract, few)
        assert bits(played) == bits(random_episodes(env, contract, few))
    env_process.end_all()


@pytest.mark.long
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("leave", "failed in step, seed .*: SystemExit: enough"),
        ("die", r"ended its process \(exit code 3\)"),
        ("hang", "gave no answer for 1 s, so its process was ended"),
        ("raise", "failed in step, seed .*: ValueError: the motor fell off"),
        ("nan", r"observation \[0\] is nan at step 3"),
    ],
)
def test_what_goes_wrong_there_is_one_sentence(
    how: str, words: str, theirs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(env_process, "ANSWER_S", 1.0)
    env = EnvElsewhere("their_envs:Theirs-v0", {"how": how}, (), theirs)
    with pytest.raises(InputError, match=words) as caught:
        check_first_steps(env, contract_of(env))
    assert "\n" not in str(caught.value)
    check_first_steps(EnvElsewhere("their_envs:Theirs-v0", python=theirs), contract_of(env))


def test_what_it_prints_goes_beside(theirs: str, capfd: pytest.CaptureFixture[str]) -> None:
    env_process.end_all()  # the next process writes where this test looks
    env = EnvElsewhere("their_envs:Theirs-v0", {"how": "print"}, (), theirs)
    check_first_steps(env, contract_of(env))
    out, err = capfd.readouterr()
    assert "their words" not in out
    assert "their words" in err


def test_pictures_come_through(theirs: str) -> None:
    env = make_env(EnvElsewhere("their_envs:Theirs-v0", {"render_mode": "rgb_array"}, (), theirs))
    env.reset(1)
    env.step(np.int64(1))
    assert np.array_equal(env.render(), np.full((4, 6, 3), 1, np.uint8))
    assert env.metadata["render_fps"] == 25
    assert env.time_limit == 50
    env.close()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (None, "there is no such program"),
        ("exec true", "did not say hello: is it Python 3.8 or newer"),
        (
            'exec {python} -c "import sys, runpy; sys.version_info = (3, 7, 2);'
            " sys.path.insert(0, 1); sys.argv = sys.argv[:1] + ['$2'];"
            " runpy.run_path('$1', run_name='__main__')\"",
            "is Python 3.7.2, environments need 3.8 or newer",
        ),
        (
            "exec {python} -S -I $1 $2",
            "has no (gymnasium|numpy), which CartPole-v1 needs: .* -m pip install",
        ),
    ],
    ids=["missing", "not a Python", "too old", "without gymnasium"],
)
def test_an_interpreter_that_cannot_serve_is_named(
    script: str | None, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "python"
    if script is not None:
        path.write_text("#!/bin/sh\n" + script.replace("{python}", sys.executable) + "\n")
        path.chmod(0o755)
    with pytest.raises(InputError, match=words) as caught:
        make_env(EnvElsewhere("CartPole-v1", python=str(path)))
    assert str(path) in str(caught.value)


def test_a_module_that_is_not_there_is_named(theirs: str) -> None:
    with pytest.raises(InputError, match="has no Python module their_other"):
        make_env(EnvElsewhere("their_other:Env-v0", python=theirs))
    with pytest.raises(InputError, match="gymnasium knows no such environment"):
        make_env(EnvElsewhere("their_envs:Missing-v0", python=theirs))


def test_no_bundle_names_the_interpreter(theirs: str) -> None:
    env = EnvElsewhere("A-v0", {"x": 1}, ("m:W",), theirs)
    assert env == EnvSpec("A-v0", {"x": 1}, ("m:W",))
    assert env != EnvSpec("A-v0", {"x": 1})
    for plain in (as_stored(env), as_made(env)):
        assert type(plain) is EnvSpec
        assert plain == env


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -3,
        0.1,
        float("inf"),
        "text",
        np.float32(0.1),
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.zeros((0, 2), np.uint8),
        (1, [2.5, {"a": np.array([True])}]),
    ],
    ids=str,
)
def test_values_travel_unchanged(value: object) -> None:
    back = unpack(pack(value))
    assert type(back) is type(value)
    np.testing.assert_equal(back, value)
    assert repr(unpack(pack({1, 2}))) == "{1, 2}"
    assert isinstance(unpack(pack({1, 2})), Other)


def test_an_option_without_its_environment_is_refused(theirs: str) -> None:
    for options in (
        EnvOptions(env_python=theirs),
        EnvOptions(wrapper=["m:W"]),
        EnvOptions(env_arg=["a=1"]),
    ):
        with pytest.raises(InputError, match="needs --env"):
            options.env_spec()
    own = EnvSpec("A-v0", {"x": 1}, ("m:W",))
    assert EnvOptions().env_spec(own) is None
    assert EnvOptions(env_python=theirs).env_spec(own) == own
    named = EnvOptions(env="m:f", env_arg=["x=1", "y=b"], wrapper=["m:W"]).env_spec()
    assert named == EnvSpec("m:f", {"x": 1, "y": "b"}, ("m:W",))


@pytest.mark.slow
def test_another_version_of_gymnasium_serves_as_well(tmp_path: Path) -> None:
    """An older gymnasium, from the package index; skipped where it cannot be had."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    python = venv / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "gymnasium==0.29.1", "numpy==1.26.4"]
    if subprocess.run(install, check=False, capture_output=True).returncode:
        pytest.skip("gymnasium 0.29.1 could not be installed")
    contract = Contract(Observation((4,), "float32", "vector"), Action("discrete", 2))
    env = EnvElsewhere("CartPole-v1", python=str(python))
    theirs = random_episodes(env, contract, range(10))
    assert gymnasium.__version__ != "0.29.1"
    assert bits(theirs) == bits(random_episodes(EnvSpec("CartPole-v1"), contract, range(10)))
    env_process.end_all()


def block(tree: object) -> bytes:
    text = json.dumps(tree).encode()
    return (len(text) + 4).to_bytes(8, "little") + len(text).to_bytes(4, "little") + text


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"not a block at all", "a block of "),
        ((1 << 40).to_bytes(8, "little"), "a block of 1,099,511,627,776 bytes"),
        (b"\x05\0\0\0\0\0\0\0\x01\0\0\0\xff", "codec can't decode"),
        (block(["array", "<f4", [1 << 50]]), "buffer is smaller"),
        (block(["list", []]), "a list"),
        (block(["dict", []]), "did not say which Python"),
        (block(["dict", [["plain", ["dict", [["python", "3"]]]]]]), "did not say which Python"),
    ],
)
def test_what_is_no_answer_is_named_and_ends_the_process(answer: bytes, words: str) -> None:
    with pytest.raises(InputError, match=f"--env-python x: answered something else.*{words}"):
        answers(answer, Path())


def test_an_error_with_a_name_that_is_none_is_an_error() -> None:
    for raised in (("a\0b", "words", None), ([], [], []), ("class", "words", 7)):
        assert isinstance(env_process._as_raised(raised, "here"), BaseException)
