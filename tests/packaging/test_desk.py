"""What greets a contributor: the Makefile's help, quarl's own CI, its hooks and its templates."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import need
from tests.support.kinds import KINDS

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml"))
HOOKS = ROOT / ".pre-commit-config.yaml"
MAKEFILE = (ROOT / "Makefile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = ("3.11", "3.12", "3.13")
FORM_PARTS = {"markdown", "textarea", "input", "dropdown", "checkboxes", "upload"}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def make(*arguments: str) -> str:
    need("make")
    environment = {**os.environ, "MAKEFLAGS": "", "MFLAGS": ""}
    argv = ["make", "--no-print-directory", *arguments]
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_make_help_lists_every_target() -> None:
    targets = set(re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[0].split())
    assert set(re.findall(r"^make (\S+) +\S", make("help"), re.MULTILINE)) == targets


def test_the_environment_may_lie_elsewhere() -> None:
    commands = make("--dry-run", "lint", "VENV=elsewhere/env")
    assert "elsewhere/env/bin/ruff check" in commands
    assert ".venv/" not in commands


def test_lint_checks_the_types_of_the_benchmarks() -> None:
    commands = make("--dry-run", "lint", "VENV=elsewhere/env")
    assert re.search(r"/mypy .* tests/bench$", commands, re.MULTILINE)


def test_the_quick_tests_leave_out_every_marker() -> None:
    markers = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = {
        re.split(r"[:(]", text)[0] for text in markers["tool"]["pytest"]["ini_options"]["markers"]
    }
    expression = re.findall(r"^QUICK := not \((.*)\)$", MAKEFILE, re.MULTILINE)[0]
    listed.remove("every")  # marks cases as slow
    assert set(expression.split(" or ")) == listed >= set(KINDS)


@pytest.mark.long
@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_follows_the_schema_of_the_service(path: Path) -> None:
    need("check_jsonschema")
    schema = "vendor.github-workflows"
    argv = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_workflow_tries_every_python_that_the_package_names() -> None:
    matrix = read(GITHUB / "workflows" / "tests.yml")["jobs"]["tests"]["strategy"]["matrix"]
    prefix = "Programming Language :: Python :: 3."
    named = [line.split(" :: ")[-1] for line in PROJECT["classifiers"] if line.startswith(prefix)]
    assert tuple(matrix["python"]) == tuple(named) == PYTHONS


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_calls_targets_that_the_makefile_has(path: Path) -> None:
    steps = [step for job in read(path)["jobs"].values() for step in job["steps"]]
    calls = [step["run"] for step in steps if step.get("run", "").startswith("make ")]
    assert calls
    for call in calls:
        make("--dry-run", *call.split()[1:])


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_an_issue_form_has_the_parts_that_the_service_wants(path: Path) -> None:
    form = read(path)
    if path.name == "config.yml":
        assert set(form) <= {"blank_issues_enabled", "contact_links"}
        return
    assert form["name"]
    assert form["description"]
    ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(ids) == len(set(ids))
    for part in form["body"]:
        assert part["type"] in FORM_PARTS
        assert part["attributes"].get("label") or part["type"] == "markdown"
        assert part["type"] != "dropdown" or part["attributes"]["options"]


def test_pre_commit_accepts_the_hooks() -> None:
    need("pre_commit")
    argv = [sys.executable, "-m", "pre_commit", "validate-config", str(HOOKS)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


def test_the_hooks_use_the_locked_versions() -> None:
    locked = (ROOT / "requirements" / "check.txt").read_text()
    hooks = read(HOOKS)["repos"][0]["hooks"]
    pinned = [name for hook in hooks for name in hook.get("additional_dependencies", [])]
    assert pinned
    assert [name for name in pinned if f"\n{name} " not in locked] == []


def test_the_hooks_mend_a_file(tmp_path: Path) -> None:
    need("pre_commit", "git")
    hooks = [hook for hook in read(HOOKS)["repos"][0]["hooks"] if "stages" not in hook]
    local = [  # the tools of this environment instead of downloaded ones
        {key: value for key, value in hook.items() if key != "additional_dependencies"}
        | {"language": "system"}
        for hook in hooks
    ]
    config = {"repos": [{"repo": "local", "hooks": local}]}
    (tmp_path / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    bad = tmp_path / "tests" / "test_bad.py"
    bad.parent.mkdir()
    bad.write_text("import os\nx = {  'a':1 }\n")
    environment = {
        **os.environ,
        "PRE_COMMIT_HOME": str(tmp_path / "cache"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    for argv in (["git", "init", "-q"], ["git", "add", "."]):
        subprocess.run(argv, cwd=tmp_path, check=True, timeout=60)
    run = [sys.executable, "-m", "pre_commit", "run", "--all-files"]
    first = subprocess.run(
        run, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert first.returncode == 1, first.stdout + first.stderr
    assert bad.read_text() == 'x = {"a": 1}\n'
