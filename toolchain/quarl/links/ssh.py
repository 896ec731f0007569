"""A Pi over SSH: the system's OpenSSH client as a subprocess, so the user's configuration, keys and
agents count.

In: as `links.pi`, and where the Pi is (`ssh:pi@host`, any Host of the user's configuration). Out:
    the Pi's own answers.
Host keys are always checked, whatever the configuration says. What is pushed goes through one
stream, is verified by its SHA-256 on the Pi and lies in a temporary folder of its own, which is
removed at the end; a stream that breaks off leaves nothing behind.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

from quarl import tools
from quarl.errors import DeviceError, InputError, ToolMissingError
from quarl.links.pi import (
    AGENT,
    AGENT_TIMEOUT_S,
    Answer,
    ProgramAnswer,
    agent_source,
    last_words,
    read_answer,
    sha256_of,
    wheels_for,
)
from quarl.pi.wheels import WheelSet

PREFIX = "ssh:"
SITES: dict[WheelSet, str] = {
    "litert": "~/.local/share/quarl/pi",
    "tflite-runtime": "~/.local/share/quarl/pi-tflite-runtime",
}
"""The environments that quarl provision makes there."""
OPTIONS = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ConnectTimeout=15",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
)
SHORT_TIMEOUT_S = 60.0
PUSH_TIMEOUT_S = 600.0
CLIENT_FAILED = 255  # ssh's own exit code for everything that is not the remote command's
UNREACHABLE = ("Could not resolve", "Connection refused", "No route", "timed out")
CHECKSUMS = "SHA256SUMS"
FOLDER = re.compile(r"/[^\n\0]*/quarl-run-[A-Za-z0-9]{10}")
STALE_MINUTES = 720  # a folder older than that was left by a run whose connection never came back

PUSH_SCRIPT = f"""
set -e
umask 077
place=${{TMPDIR:-/tmp}}
find "$place" -maxdepth 1 -type d -name 'quarl-run-*' -user "$(id -u)" -mmin +{STALE_MINUTES} \\
    -exec rm -rf {{}} + 2>/dev/null || true
folder=$(mktemp -d "$place/quarl-run-XXXXXXXXXX")
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
tar -x -o -f - -C "$folder"
cd "$folder"
sha256sum -c {CHECKSUMS} >/dev/null
cd /
printf '%s\\n' "$folder"
trap - EXIT
"""
"""Unpacks what comes in on standard input and says where, or leaves nothing: where the stream ends
early, tar or the sums fail.
"""


class SshPi:
    """A Pi that the system's `ssh` reaches."""

    link: Literal["local", "emulated", "ssh"] = "ssh"
    kind: Literal["measured", "emulated"] = "measured"
    is_timed = True

    def __init__(self, host: str) -> None:
        if (
            not host
            or host.startswith("-")
            or any(c.isspace() or not c.isprintable() for c in host)
        ):
            raise InputError(
                f"--link {PREFIX}{host}: must be ssh:USER@HOST, or ssh:NAME of a Host in your "
                "SSH configuration"
            )
        if shutil.which("ssh") is None:
            raise ToolMissingError(
                "there is no ssh on this machine: apt-get install openssh-client"
            )
        self.name = f"{PREFIX}{host}"
        self.remedy = f"quarl provision {self.name}"
        self._host = host
        self._folder: str | None = None

    def push(self, files: Mapping[str, bytes]) -> None:
        """Bring the agent and files into a new temporary folder on the Pi, all of them whole or
        none.

        Raises:
            DeviceError: the connection, the disk or the transfer failed; nothing is then left on
                the Pi.
        """
        done = self._remote(
            ["sh", "-c", PUSH_SCRIPT], _archive({**files, AGENT: agent_source()}), PUSH_TIMEOUT_S
        )
        folder = done.stdout.decode(errors="replace").strip()
        if done.returncode or FOLDER.fullmatch(folder) is None:
            raise DeviceError(
                f"{self.name}: the files did not arrive whole, nothing of them is left there: "
                f"{last_words(done.stderr)}"
            )
        self._remove()
        self._folder = folder

    def ask(self, request: Mapping[str, Any]) -> Answer:
        """Return the agent's answer; errors as `read_answer`, or the connection was lost."""
        assert self._folder is not None, "push comes first"
        text = json.dumps(
            {**request, "site": SITES[wheels_for(request)], "temporary": True}
        ).encode()
        # the shell stays, so that a killed agent is told from a lost connection
        command = ["sh", "-c", 'python3 "$1"; exit $?', "sh", f"{self._folder}/{AGENT}"]
        return Answer(read_answer(self._remote(command, text, AGENT_TIMEOUT_S), self.name))

    def run_program(self, data: bytes, arguments: Sequence[str], stdin: bytes) -> ProgramAnswer:
        """Return what an aarch64 program answers on the Pi."""
        self.push({"program": data})
        command = [
            "sh",
            "-c",
            'chmod 700 "$1" && "$@"; exit $?',
            "sh",
            f"{self._folder}/program",
            *arguments,
        ]
        done = self._remote(command, stdin, AGENT_TIMEOUT_S)
        if done.returncode:
            raise DeviceError(
                f"{self.name}: the program ended with code {done.returncode}: "
                f"{last_words(done.stderr)}"
            )
        return ProgramAnswer(done.stdout, done.stderr)

    def _remote(
        self, command: Sequence[str], stdin: bytes, timeout: float
    ) -> subprocess.CompletedProcess[bytes]:
        options = [word for option in OPTIONS for word in ("-o", option)]
        done = tools.run(
            ["ssh", "-T", *options, "--", self._host, shlex.join(command)],
            input=stdin,
            timeout=timeout,
        )
        if done.returncode == CLIENT_FAILED:
            raise DeviceError(
                f"{self.name}: {connection_advice(done.stderr.decode(errors='replace'))}"
            )
        return done

    def _remove(self) -> None:
        if self._folder is not None:
            folder, self._folder = self._folder, None
            done = self._remote(["rm", "-rf", folder], b"", SHORT_TIMEOUT_S)
            if done.returncode:
                raise DeviceError(
                    f"{self.name}: {folder} could not be removed: {last_words(done.stderr)}"
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._remove()
        except DeviceError:
            if error is None:  # else the first error is the one to tell
                raise


def connection_advice(words: str) -> str:
    """Return what ssh's complaint means and what to do."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    last = lines[-1] if lines else "no message"
    if "IDENTIFICATION HAS CHANGED" in words:
        return (
            "its host key is not the one you know: either it was installed anew, or something "
            "stands between. "
            "Compare the key on the Pi itself, then ssh-keygen -R HOST and connect once by "
            f"hand. ({last})"
        )
    if "Host key verification failed" in words:
        return (
            "its host key is not known yet: connect once by hand, compare the key and "
            f"accept it. ({last})"
        )
    if "Permission denied" in words:
        return (
            "the login was refused: quarl never types passwords; ssh-copy-id brings your "
            f"key there. ({last})"
        )
    if any(sign in words for sign in UNREACHABLE):
        return (
            "cannot be reached: is it switched on, in this network, and SSH enabled "
            f"(raspi-config)? ({last})"
        )
    return f"the connection was lost; nothing half written was left there. Try again. ({last})"


def _archive(files: Mapping[str, bytes]) -> bytes:
    """Return a tar of the files and their checksums."""
    sums = "".join(f"{sha256_of(data)}  {name}\n" for name, data in files.items()).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in {**files, CHECKSUMS: sums}.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o600
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
