"""`hf:owner/repo` is fetched by the Hub's client, here from a server of our own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from quarl.errors import InputError
from quarl.resources import models_dir
from quarl.sources.hub import HubFile, chosen, hub_file
from tests.conftest import need

COMMIT = "a" * 40
REPOSITORY = "robots/ppo-cartpole"


class Hub(BaseHTTPRequestHandler):
    """Answers as the Hub does, for one repository."""

    files: dict[str, bytes] = {}  # noqa: RUF012
    said: dict[str, int] = {}  # noqa: RUF012, sizes that are another's

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        name = self.path.partition("?")[0].rpartition(f"{REPOSITORY}/resolve/")[2].partition("/")[2]
        headers: dict[str, str] = {"X-Repo-Commit": COMMIT}
        if f"/api/models/{REPOSITORY}/tree/" in self.path:
            tree = [
                {
                    "type": "file",
                    "path": file,
                    "oid": COMMIT,
                    "size": self.said.get(file, len(content)),
                }
                for file, content in self.files.items()
            ]
            body, code = json.dumps(tree).encode(), 200
            headers["Content-Type"] = "application/json"
        elif "/api/models/" in self.path and REPOSITORY in self.path:
            listed: dict[str, Any] = {"id": REPOSITORY, "sha": COMMIT, "private": False}
            listed["siblings"] = [{"rfilename": file} for file in self.files]
            body, code = json.dumps(listed).encode(), 200
            headers["Content-Type"] = "application/json"
        elif name in self.files:
            body, code = self.files[name], 200
            headers["ETag"] = f'"{hashlib.sha256(body).hexdigest()}"'
        else:
            body, code = b"{}", 404
            headers["X-Error-Code"] = "RepoNotFound"
        self.send_response(code)
        for key, value in (*headers.items(), ("Content-Length", str(len(body)))):
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def endpoint() -> Iterator[str]:
    need("huggingface_hub")
    Hub.said = {}
    Hub.files = {
        "README.md": b"# a policy",
        "ppo-cartpole.zip": (models_dir() / "cartpole_ppo" / "policy.zip").read_bytes(),
        "replay.mp4": b"film",
    }
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def quarl(endpoint: str, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    variables = {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", "quarl", *words],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.long
def test_a_repository_of_the_hub_is_a_source(endpoint: str, tmp_path: Path) -> None:
    made = quarl(endpoint, tmp_path, "import", f"hf:{REPOSITORY}", "--env", "CartPole-v1")
    assert made.returncode == 0, made.stderr
    assert "PPO" in made.stdout
    assert "stable-baselines3" in made.stdout.lower()


@pytest.mark.long
def test_statistics_beside_the_policy_are_fetched_and_asked_about(
    endpoint: str, tmp_path: Path
) -> None:
    Hub.files["vec_normalize.pkl"] = b"\x80\x04."
    made = quarl(endpoint, tmp_path, "import", f"hf:{REPOSITORY}")
    assert made.returncode == 2
    assert "vec_normalize.pkl lies beside it" in made.stderr


@pytest.mark.long
def test_a_file_larger_than_any_policy_is_not_fetched(endpoint: str, tmp_path: Path) -> None:
    Hub.said = {"ppo-cartpole.zip": 10**12}
    made = quarl(endpoint, tmp_path, "import", f"hf:{REPOSITORY}")
    assert made.returncode == 2
    assert "1,000,000,000,000 bytes, at most" in made.stderr
    assert not list(tmp_path.rglob("*.zip"))


@pytest.mark.long
def test_what_is_not_there_is_said(endpoint: str, tmp_path: Path) -> None:
    made = quarl(endpoint, tmp_path, "import", "hf:nobody/nothing")
    assert made.returncode == 2
    assert "hf:nobody/nothing: cannot be fetched" in made.stderr


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("hf:a/b", HubFile("a/b", None, "")),
        ("hf:a/b@v1", HubFile("a/b", "v1", "")),
        ("hf:sb3/ppo-X.v2/best/model.zip", HubFile("sb3/ppo-X.v2", None, "best/model.zip")),
    ],
)
def test_a_word_names_repository_revision_and_file(word: str, found: HubFile) -> None:
    assert hub_file(word) == found


@pytest.mark.parametrize("word", ["hf:a", "hf:", "hf:a b/c"])
def test_another_word_is_refused(word: str) -> None:
    with pytest.raises(InputError, match="hf:OWNER/REPO"):
        hub_file(word)


def test_of_several_files_one_must_be_named() -> None:
    wanted = HubFile("a/b", None, "")
    assert chosen(wanted, ["policy.onnx", "README.md"]) == "policy.onnx"
    assert chosen(wanted, ["deep/policy.onnx", "agent.zip"]) == "agent.zip"
    with pytest.raises(InputError, match=r"name one, hf:a/b/x\.zip"):
        chosen(wanted, ["x.zip", "y.zip"])
    with pytest.raises(InputError, match="no file that quarl reads"):
        chosen(wanted, ["README.md"])
    with pytest.raises(InputError, match="has no file z"):
        chosen(HubFile("a/b", None, "z"), ["x.zip"])
