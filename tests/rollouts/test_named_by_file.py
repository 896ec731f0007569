"""What a recipe or a bundle names is made where it is an environment, and never called otherwise:
`os:system` with a `command` is `module:callable`, too. What the user names is called.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from quarl import pipeline
from quarl.bundle.release import open_bundle
from quarl.cli.env_options import EnvOptions
from quarl.errors import InputError
from quarl.exporter.export import ExportRequest
from quarl.graph.env_spec import EnvElsewhere, EnvSpec, TypedEnv, as_made, as_stored
from quarl.resources import models_dir
from quarl.rollouts import env_process
from quarl.rollouts.foreign_env import make_env
from quarl.sources.in_memory import env_spec

CARTPOLE = "gymnasium.envs.classic_control:CartPoleEnv"
CLASS = "gymnasium.wrappers:TransformReward"
HERE = f"{__name__}:cartpole"


def cartpole(**kwargs: Any) -> gymnasium.Env[Any, Any]:
    """A function that makes an environment."""
    return gymnasium.make("CartPole-v1", **kwargs)


def touched(folder: Path) -> tuple[EnvSpec, Path]:
    """Return an environment that is no environment, and the file that it would make."""
    return EnvSpec("os:system", {"command": f"touch {folder}/there"}), folder / "there"


def test_what_a_file_names_is_not_called(tmp_path: Path) -> None:
    spec, mark = touched(tmp_path)
    with pytest.raises(InputError, match="'os:system' is named by a file"):
        make_env(spec)
    assert not mark.exists()
    assert os.system(str(spec.kwargs["command"])) == 0, "the attack itself must work"
    assert mark.exists()


@pytest.mark.parametrize("named", ["subprocess:Popen", "builtins:exec", "pathlib:Path", HERE])
def test_neither_functions_nor_other_classes_are_called(named: str) -> None:
    with pytest.raises(InputError, match="is named by a file, and is not a class of"):
        make_env(EnvSpec(named))


def test_an_environment_that_a_file_names_is_made() -> None:
    make_env(EnvSpec(CARTPOLE)).close()
    make_env(EnvSpec("CartPole-v1")).close()


def test_a_wrapper_that_a_file_names_is_a_wrapper() -> None:
    wrapped = EnvSpec("CartPole-v1", {}, ("gymnasium.wrappers:FlattenObservation",))
    make_env(wrapped).close()
    with pytest.raises(InputError, match=r"'builtins:print' is named.*class of gymnasium.Wrapper"):
        make_env(replace(wrapped, wrappers=("builtins:print",)))


def test_what_the_user_names_is_called() -> None:
    make_env(TypedEnv(HERE)).close()
    for named in (EnvOptions(env=HERE).env_spec(), env_spec(HERE), env_spec(EnvSpec(HERE))):
        assert named is not None
        assert named.may_call
        make_env(named).close()


def test_what_was_stored_is_named_by_a_file_from_then_on() -> None:
    stored = as_made(as_stored(TypedEnv(HERE)))
    assert stored == TypedEnv(HERE)
    assert stored is not None
    assert not stored.may_call
    own = EnvOptions(env_python=sys.executable).env_spec(stored)
    assert isinstance(own, EnvElsewhere)
    assert not own.may_call


def test_a_recipe_of_a_stranger_runs_nothing(tmp_path: Path) -> None:
    spec, mark = touched(tmp_path)
    folder = tmp_path / "cartpole_ppo"
    folder.mkdir()
    for path in (models_dir() / "cartpole_ppo").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    recipe = folder / "recipe.toml"
    text = recipe.read_text().replace('id = "CartPole-v1"', f'id = "{spec.id}"')
    command = spec.kwargs["command"]
    recipe.write_text(text.replace("[env]\n", f'[env]\nkwargs = {{ command = "{command}" }}\n'))
    with pytest.raises(InputError, match="is named by a file"):
        pipeline.import_source(str(folder))
    assert not mark.exists()


def test_a_bundle_of_a_stranger_runs_nothing(tmp_path: Path) -> None:
    spec, mark = touched(tmp_path)
    pipeline.export(pipeline.import_source("cartpole_ppo"), tmp_path / "b", ExportRequest(rung=0))
    honest = open_bundle(tmp_path / "b")
    manifest = replace(honest.manifest, env=spec)
    (tmp_path / "b" / "manifest.json").write_bytes(manifest.to_json())
    release = open_bundle(tmp_path / "b")
    assert release.manifest.env == spec
    with pytest.raises(InputError, match="is named by a file"):
        pipeline.parity(release)
    assert not mark.exists()


def test_another_interpreter_calls_nothing_that_a_file_names(tmp_path: Path) -> None:
    spec, mark = touched(tmp_path)
    elsewhere = EnvElsewhere(spec.id, spec.kwargs, (), sys.executable)
    try:
        with pytest.raises(InputError, match="named by a file"):
            make_env(elsewhere)
        assert not mark.exists()
        make_env(EnvElsewhere(CARTPOLE, {}, (), sys.executable)).close()
        typed = EnvElsewhere("gymnasium:make", {"id": "CartPole-v1"}, (), sys.executable, True)
        make_env(typed).close()
    finally:
        env_process.end_all()
