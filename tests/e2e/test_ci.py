"""What a user puts into a CI works as far as it can be tried without the service: files that follow
its schema, scripts that run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import need

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "action.yml"
GITLAB = ROOT / "toolchain" / "ci" / "gitlab.yml"
HOOKS = ROOT / ".pre-commit-hooks.yaml"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def environment(tmp_path: Path, **values: str) -> dict[str, str]:
    """The environment of a job: `quarl` on the path, and what the service and its user set."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        **values,
    }


def run(script: str, tmp_path: Path, **values: str) -> subprocess.CompletedProcess[str]:
    argv = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(
        argv,
        cwd=tmp_path,
        env=environment(tmp_path, **values),
        capture_output=True,
        text=True,
        timeout=300,
    )


def run_gitlab(tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the template's script with the variables of its job."""
    job = read(GITLAB)[".quarl-gate"]
    return run("\n".join(job["script"]), tmp_path, **{**job["variables"], **variables})


def action_step(name: str) -> dict[str, Any]:
    step: dict[str, Any] = next(
        step for step in read(ACTION)["runs"]["steps"] if step.get("id", step.get("name")) == name
    )
    return step


def run_action(tmp_path: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    """Run the action's script with its inputs as the service hands them over."""
    step, given = (
        action_step("gate"),
        {key: value["default"] for key, value in read(ACTION)["inputs"].items()} | inputs,
    )
    values = {}
    for name, expression in step["env"].items():
        values[name] = given[expression.removeprefix("${{ inputs.").removesuffix(" }}")]
    service = {name: value for name, value in inputs.items() if name.isupper()}
    return run(step["run"], tmp_path, **values, **service)


def outputs(tmp_path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (tmp_path / "output").read_text().splitlines())


@pytest.mark.parametrize(
    ("schema", "path"), [("vendor.github-actions", ACTION), ("vendor.gitlab-ci", GITLAB)]
)
def test_files_follow_the_schema_of_the_service(schema: str, path: Path) -> None:
    need("check_jsonschema")
    argv = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_action_passes_a_good_bundle_and_says_where_its_files_are(
    bundle_copy: Path, tmp_path: Path
) -> None:
    result = run_action(tmp_path, bundle="bundle")
    assert result.returncode == 0, result.stdout + result.stderr
    said = outputs(tmp_path)
    assert (said["passed"], said["answer"]) == ("true", "pass")
    assert all((tmp_path / said[name]).is_file() for name in ("verdict", "junit", "sarif"))


def test_the_action_stops_a_bundle_that_is_not_proven(bundle_copy: Path, tmp_path: Path) -> None:
    (bundle_copy / "parity.json").unlink()
    result = run_action(tmp_path, bundle="bundle")
    assert result.returncode == 5
    said = outputs(tmp_path)
    assert (said["passed"], said["answer"]) == ("false", "not_proven")
    assert "mean_return" in result.stdout


FAKE = "#!/bin/sh\nexit 0\n"


@pytest.mark.parametrize("verdict", ["none", "of another run", "of this run, and no"])
def test_an_exit_code_of_0_without_a_verdict_of_this_run_is_no_pass(
    bundle_copy: Path, tmp_path: Path, verdict: str
) -> None:
    """Something that ends quarl's process with 0, as an environment may, passes nothing."""
    stored = bundle_copy / "verdict.json"
    script = FAKE
    if verdict == "none":
        stored.unlink()
    elif verdict == "of this run, and no":
        script = (
            '#!/bin/bash\nwhile [ $# -gt 0 ]; do [ "$1" = --run-id ] && run=$2; shift; done\n'
            f'sed -i "s/\\"run\\": \\"\\"/\\"run\\": \\"$run\\"/; s/\\"may_ship\\": true/'
            f'\\"may_ship\\": false/" {stored}\n'
        )
    fake = tmp_path / "bin" / "quarl"
    fake.parent.mkdir()
    fake.write_text(script)
    fake.chmod(0o755)
    path = f"{fake.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    result = run_action(tmp_path, bundle="bundle", PATH=path)
    assert result.returncode == 70, result.stdout + result.stderr
    assert outputs(tmp_path)["passed"] == "false"
    job = read(GITLAB)[".quarl-gate"]
    gitlab = run("\n".join(job["script"]), tmp_path, **{**job["variables"], "PATH": path})
    assert gitlab.returncode == 1


def test_the_action_holds_a_shipped_policy_to_its_baseline(
    bundle_copy: Path, tmp_path: Path
) -> None:
    baseline = tmp_path / "accepted.json"
    baseline.write_text(
        (bundle_copy / "verdict.json").read_text().replace('"found": 0', '"found": -1', 1)
    )
    result = run_action(tmp_path, source="cartpole_ppo", bundle="shipped", baseline="accepted.json")
    assert result.returncode == 1, result.stdout + result.stderr
    assert "regression_" in result.stdout


def test_the_action_hands_on_every_option_of_ship_and_annotates_what_fails(
    bundle_copy: Path, tmp_path: Path
) -> None:
    (tmp_path / "my limits.toml").write_text("[gate]\nmin_agreement = 0.9999\n")
    words = '--rung 1 --limits "my limits.toml" --markdown gate.md'
    (bundle_copy / "parity.json").unlink()
    result = run_action(
        tmp_path, bundle="bundle", args=words.partition(" 1 ")[2], GITHUB_ACTIONS="true"
    )
    assert result.returncode in (1, 5), result.stdout + result.stderr
    assert (tmp_path / "gate.md").is_file()
    assert "::error title=quarl gate::" in result.stderr
    assert "title=quarl%3A mean_return::" in result.stderr
    refused = run_action(tmp_path, source="cartpole_ppo", args=f"{words} --rung 9")
    assert refused.returncode == 2
    assert "rung 9" in refused.stderr


def test_a_wrong_input_is_an_annotation_with_its_reason(tmp_path: Path) -> None:
    result = run_action(tmp_path, source="no%such", bundle="b", GITHUB_ACTIONS="true")
    assert result.returncode == 2
    assert "::error title=quarl::no%25such" in result.stderr
    assert "verdict" not in outputs(tmp_path)


def test_the_action_installs_what_the_user_names(tmp_path: Path) -> None:
    step = action_step("install")
    (tmp_path / "pip.py").write_text("import sys; print(sys.argv[1:]); sys.exit('bad' in sys.argv)")
    words = {"GITHUB_ACTION_PATH": "/quarl", "EXTRAS": "sb3", "PYTHONPATH": str(tmp_path)}
    words["SIGNED"] = ""
    good = run(step["run"], tmp_path, REQUIREMENTS="my file.txt", **words)
    assert good.stdout.strip() == "['install', '--quiet', '/quarl[sb3]', '-r', 'my file.txt']"
    signed = run(step["run"], tmp_path, REQUIREMENTS="", **{**words, "SIGNED": "sign"})
    assert signed.stdout.strip() == "['install', '--quiet', '/quarl[sb3,sign]']"
    bad = run(step["run"], tmp_path, REQUIREMENTS="bad", **words)
    assert bad.returncode == 3
    assert "::error title=quarl::quarl and bad do not install together" in bad.stdout


def test_the_gitlab_job_installs_what_the_user_names(tmp_path: Path) -> None:
    (tmp_path / "pip.py").write_text("import sys; print(sys.argv[1:])")
    job = read(GITLAB)[".quarl-gate"]
    values = {**job["variables"], "PYTHONPATH": str(tmp_path), "QUARL_REQUIREMENTS": "my file.txt"}
    for key, extras, installed in (
        ("", "firmware", "quarl[firmware]"),
        ("ci.pub", "firmware", "quarl[firmware,sign]"),
        ("ci.pub", "", "quarl[sign]"),
        ("", "", "quarl"),
    ):
        given = {**values, "QUARL_TRUSTED_KEY": key, "QUARL_EXTRAS": extras}
        done = run("\n".join(job["before_script"]), tmp_path, **given)
        assert done.stdout.strip() == f"['install', '--quiet', '{installed}', '-r', 'my file.txt']"


@pytest.mark.parametrize(
    ("service", "form"), [("github", "a file"), ("github", "its text"), ("gitlab", "its text")]
)
def test_a_bundle_that_the_trusted_key_has_not_signed_is_refused(
    bundle_copy: Path, tmp_path: Path, service: str, form: str
) -> None:
    need("cryptography")
    from quarl import pipeline
    from quarl.bundle.release import open_bundle
    from quarl.verdict.attestation.keys import new_key, read_secret_key

    public = new_key(tmp_path / "ci key")
    given = public.name if form == "a file" else public.read_text()
    step = tmp_path / "runner"
    step.mkdir()

    def judged() -> subprocess.CompletedProcess[str]:
        if service == "gitlab":
            return run_gitlab(tmp_path, TMPDIR=str(step), QUARL_TRUSTED_KEY=given)
        return run_action(tmp_path, bundle="bundle", TMPDIR=str(step), **{"trusted-key": given})

    unsigned = judged()
    assert unsigned.returncode == 1, unsigned.stdout + unsigned.stderr
    pipeline.sign(open_bundle(bundle_copy), read_secret_key(tmp_path / "ci key"), "")
    signed = judged()
    assert signed.returncode == 0, signed.stdout + signed.stderr
    middle = public.read_text().splitlines()[1]
    assert middle not in unsigned.stdout + unsigned.stderr + signed.stdout + signed.stderr
    assert not list(step.rglob("*.pub")), "the key's file is removed"


@pytest.mark.parametrize(
    ("source", "key", "words"),
    [
        ("cartpole_ppo", "ci.pub", "makes a new one: omit "),
        ("", "-----BEGIN PRIVATE KEY-----\nMC4CAQ", "holds a secret key"),
    ],
)
def test_a_trusted_key_that_cannot_be_one_is_refused_unprinted(
    tmp_path: Path, source: str, key: str, words: str
) -> None:
    github = run_action(tmp_path, bundle="bundle", source=source, **{"trusted-key": key})
    gitlab = run_gitlab(tmp_path, QUARL_SOURCE=source, QUARL_TRUSTED_KEY=key)
    for refused in (github, gitlab):
        assert refused.returncode == 2
        assert words in refused.stdout + refused.stderr
        assert "MC4CAQ" not in refused.stdout + refused.stderr


@pytest.mark.parametrize("words", ["; touch broken", "$(touch broken)", "'unclosed"])
def test_args_are_words_and_never_a_script(tmp_path: Path, words: str) -> None:
    result = run_action(tmp_path, source="cartpole_ppo", bundle="b", args=words)
    assert result.returncode == 2, result.stdout + result.stderr
    assert not (tmp_path / "broken").exists()
    gitlab = run_gitlab(tmp_path, QUARL_SOURCE="cartpole_ppo", QUARL_ARGS=words)
    assert gitlab.returncode != 0
    assert not (tmp_path / "broken").exists()


def test_the_gitlab_job_hands_on_options(bundle_copy: Path, tmp_path: Path) -> None:
    assert run_gitlab(tmp_path, QUARL_ARGS='--markdown "my gate.md"').returncode == 0
    assert (tmp_path / "my gate.md").is_file()


@pytest.mark.parametrize(
    "hostile", ["$(touch broken)", "; touch broken", "`touch broken`", "a b", "--help"]
)
def test_inputs_are_data_to_the_action(tmp_path: Path, hostile: str) -> None:
    result = run_action(tmp_path, source="cartpole_ppo", board=hostile)
    assert result.returncode == 2, result.stdout + result.stderr
    assert not (tmp_path / "broken").exists()


def test_no_script_of_the_action_takes_an_input_as_text() -> None:
    for step in read(ACTION)["runs"]["steps"]:
        assert "${{" not in step.get("run", "")


def test_the_gitlab_job_passes_a_good_bundle_and_stops_one_that_is_not_proven(
    bundle_copy: Path, tmp_path: Path
) -> None:
    job = read(GITLAB)[".quarl-gate"]
    assert run_gitlab(tmp_path).returncode == 0
    assert (tmp_path / job["artifacts"]["reports"]["junit"]).is_file()
    (bundle_copy / "parity.json").unlink()
    assert run_gitlab(tmp_path).returncode == 5


def test_the_hook_runs_in_a_repository(bundle_copy: Path, tmp_path: Path) -> None:
    need("pre_commit", "git")
    pre_commit = [sys.executable, "-m", "pre_commit"]
    subprocess.run([*pre_commit, "validate-manifest", str(HOOKS)], check=True, timeout=120)
    hook = read(HOOKS)[0]
    local = {
        **hook,
        "language": "system",
        "args": ["bundle"],
    }  # the environment of this test instead of one of its own
    (tmp_path / ".pre-commit-config.yaml").write_text(
        yaml.safe_dump({"repos": [{"repo": "local", "hooks": [local]}]})
    )
    values = environment(tmp_path, PRE_COMMIT_HOME=str(tmp_path / "cache"))
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True, timeout=60)
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True, timeout=60)
    argv = [*pre_commit, "run", "--all-files"]
    good = subprocess.run(
        argv, cwd=tmp_path, env=values, capture_output=True, text=True, timeout=300
    )
    assert good.returncode == 0, good.stdout
    (bundle_copy / "parity.json").unlink()
    bad = subprocess.run(
        argv, cwd=tmp_path, env=values, capture_output=True, text=True, timeout=300
    )
    assert bad.returncode == 1
    assert "mean_return" in bad.stdout
