"""`pytest --quarl-bundle DIR`: each check is a test, in a project that knows nothing of quarl."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest


def run_pytest(project: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    (project / "pytest.ini").write_text("[pytest]\n")
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        *map(str, arguments),
    ]
    return subprocess.run(argv, cwd=project, capture_output=True, text=True, timeout=300)


def test_each_check_is_a_test_beside_the_projects_own(bundle_copy: Path, tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text("def test_own(): pass\n")
    result = run_pytest(
        tmp_path, "test_own.py", "--quarl-bundle", bundle_copy, "--junitxml", "report.xml"
    )
    assert result.returncode == 0, result.stdout + result.stderr
    cases = [
        case.attrib["name"] for case in ElementTree.parse(tmp_path / "report.xml").iter("testcase")
    ]
    assert {"test_own", "equality_litert", "mean_return", "files_unchanged"} <= set(cases)


def test_a_check_that_is_not_proven_says_what_was_found_and_what_to_do(
    bundle_copy: Path, tmp_path: Path
) -> None:
    (bundle_copy / "parity.json").unlink()
    result = run_pytest(tmp_path, "--quarl-bundle", bundle_copy)
    assert result.returncode == 1
    assert "mean_return: NOT PROVEN: not measured" in result.stdout
    assert "Run quarl parity" in result.stdout
    assert "Traceback" not in result.stdout


def test_limits_of_the_user_are_judged(bundle_copy: Path, tmp_path: Path) -> None:
    (tmp_path / "gate.toml").write_text("[gate]\nbudgets = { model_tflite_bytes = 10 }\n")
    result = run_pytest(tmp_path, "--quarl-bundle", bundle_copy, "--quarl-limits", "gate.toml")
    assert result.returncode == 1
    assert "budget_model_tflite_bytes: FAIL: " in result.stdout


@pytest.mark.parametrize("name", ["unheard", "empty"])
def test_what_is_no_bundle_is_a_usage_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    result = run_pytest(tmp_path, "--quarl-bundle", name)
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert name in result.stderr


def test_without_a_bundle_nothing_of_quarl_is_imported(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text(
        "import sys\ndef test_own(): assert 'quarl.pipeline' not in sys.modules and 'numpy' "
        "not in sys.modules\n"
    )
    result = run_pytest(tmp_path, "test_own.py")
    assert result.returncode == 0, result.stdout
