"""A Raspberry Pi that is none: a real sshd on the loopback, whose python3 is the emulated core's,
with files as a Pi has them.

A run goes through every line that a real Pi would see. `fault` is a line of shell that the Pi runs
before each command.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from quarl.pi.root import EMULATOR, PYTHON, EmulatedRoot

PI_FILES = {  # what the kernel and the firmware of a Raspberry Pi 4 write there, in their form
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "proc/vmstat": "pswpin 12\npswpout 40\npgmajfault 900\n",
    "proc/loadavg": "0.42 0.30 0.20 1/123 4567\n",
    "sys/class/thermal/thermal_zone0/temp": "48199\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "1500000\n",
}
QUIET = (
    'case "$1" in get_throttled) echo throttled=0x0 ;; measure_clock) echo '
    '"frequency(48)=1500345728" ;; esac\n'
)
START_S = 20.0


class FakePi:
    """The sshd, its keys and its files, all in one folder. Close it in the end."""

    def __init__(self, folder: Path, root: EmulatedRoot) -> None:
        self.folder, self.home, self.temporary, self.bin = (
            folder,
            folder / "home",
            folder / "tmp",
            folder / "bin",
        )
        for path in (self.home, self.temporary, self.bin, folder / "client"):
            path.mkdir()
        self.prefix = folder / "root"
        shutil.copytree(root.of_core("cortex-a72"), self.prefix, symlinks=True)
        for name in ("usr", "lib", "bin", "sbin"):
            (self.prefix / name).unlink()
            (self.prefix / name).symlink_to(root.folder / "debian" / name)
        self._root, self._ssh = root, shutil.which("ssh")
        self.restore()
        self._keys()
        self._process = self._start()

    def restore(self) -> None:
        """Make the Pi healthy, its runtimes in place, its temporary folder empty."""
        for name, content in PI_FILES.items():
            self.write(name, content)
        self.vcgencmd(QUIET)
        self.fault("")
        self.python(
            f"exec {EMULATOR} -cpu cortex-a72 -L {self.prefix} "
            f'{self.prefix / "usr" / "bin" / f"python{PYTHON}"} -S "$@"\n'
        )
        self.packages(self._root.site())
        shutil.rmtree(self.temporary)
        self.temporary.mkdir()

    @property
    def site(self) -> Path:
        """Where quarl provision puts the runtimes."""
        return self.home / ".local" / "share" / "quarl" / "pi"

    def packages(self, folder: Path | None) -> None:
        """Let the Pi have the packages of a folder, or none."""
        self.site.parent.mkdir(parents=True, exist_ok=True)
        if self.site.is_symlink():
            self.site.unlink()
        elif self.site.exists():
            shutil.rmtree(self.site)
        if folder is not None:
            self.site.symlink_to(folder)

    def python(self, script: str) -> None:
        """Let the Pi's python3 be a script."""
        self._program("python3", script)

    def write(self, name: str, content: str) -> None:
        """Write a file of the Pi's /proc or /sys."""
        path = self.prefix / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def vcgencmd(self, script: str) -> None:
        """Let the Pi's vcgencmd answer by a script."""
        self._program("vcgencmd", script)

    def fault(self, line: str) -> None:
        """Let the Pi run a line of shell before each command."""
        # the kernel here runs no program of the Pi's, which the link starts with "$@"
        emulated = f's/&& "$@"/\\&\\& {EMULATOR} -cpu cortex-a72 "$@"/'
        line += f"\nSSH_ORIGINAL_COMMAND=$(printf %s \"$SSH_ORIGINAL_COMMAND\" | sed '{emulated}')"
        places = f"export HOME={self.home} TMPDIR={self.temporary} PATH={self.bin}:$PATH\n"
        self._program("force", f'{places}{line}\neval "$SSH_ORIGINAL_COMMAND"\n', self.folder)

    def left_behind(self) -> list[str]:
        """Return what lies in the Pi's temporary folder when its processes have ended, which may
        take a moment.
        """
        end = time.monotonic() + START_S
        while any(self.temporary.iterdir()) and time.monotonic() < end:
            time.sleep(0.05)
        return [str(path) for path in self.temporary.rglob("*")]

    def client(self, *options: str, known: str | None = None) -> str:
        """Return a PATH whose ssh knows this Pi as `fakepi`, with more lines of configuration or
        another known_hosts.
        """
        folder = self.folder / "client"
        (folder / "known").write_text(self._host_key() if known is None else known)
        lines = [
            "Host fakepi",
            "HostName 127.0.0.1",
            f"Port {self.port}",
            f"User {getpass.getuser()}",
            f"IdentityFile {self.folder / 'user'}",
        ]
        lines += [
            "IdentitiesOnly yes",
            f"UserKnownHostsFile {folder / 'known'}",
            "GlobalKnownHostsFile /dev/null",
            *options,
        ]
        (folder / "config").write_text("\n".join(lines) + "\n")
        self._program("ssh", f'exec {self._ssh} -F {folder / "config"} "$@"\n', folder)
        return f"{folder}{os.pathsep}{os.environ['PATH']}"

    def other_host_key(self) -> str:
        """Return a known_hosts line with a key that is not the Pi's."""
        self._keygen("other")
        return self._known("other")

    def close(self) -> None:
        """Stop the sshd."""
        self._process.terminate()
        self._process.wait(timeout=START_S)

    def _host_key(self) -> str:
        return self._known("host")

    def _known(self, name: str) -> str:
        kind, key, *_ = (self.folder / f"{name}.pub").read_text().split()
        return f"[127.0.0.1]:{self.port} {kind} {key}\n"

    def _program(self, name: str, script: str, folder: Path | None = None) -> None:
        path = (folder or self.bin) / name
        scratch = path.with_name(f".{name}.new")
        scratch.write_text(f"#!/bin/sh\n{script}")
        scratch.chmod(0o755)
        scratch.replace(path)

    def _keys(self) -> None:
        for name in ("host", "user"):
            self._keygen(name)
        shutil.copy(self.folder / "user.pub", self.folder / "authorized_keys")

    def _keygen(self, name: str) -> None:
        if not (self.folder / name).exists():
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)],
                check=True,
            )

    def _start(self) -> subprocess.Popen[bytes]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        config = self.folder / "sshd_config"
        config.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey "
            f"{self.folder / 'host'}\nPidFile none\n"
            f"AuthorizedKeysFile {self.folder / 'authorized_keys'}\nStrictModes no\nUsePAM "
            "no\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nPermitRootLogin yes\nForceCommand "
            f"{self.folder / 'force'}\n"
        )
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(
                mode=0o755, exist_ok=True
            )  # where sshd locks its helper process in, when it is root's
        process = subprocess.Popen(
            [sshd_program(), "-D", "-f", str(config), "-E", str(self.folder / "log")]
        )
        end = time.monotonic() + START_S
        while process.poll() is None and time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return process
        raise RuntimeError(f"sshd did not start: {(self.folder / 'log').read_text()}")


def sshd_program() -> str:
    """Return the path of sshd, which lies outside a user's PATH."""
    return shutil.which("sshd") or "/usr/sbin/sshd"


DROPPER = """
import socket, sys, threading
host, port, limit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
line = socket.create_connection((host, port))
def down():
    while data := line.recv(65536):
        sys.stdout.buffer.write(data); sys.stdout.buffer.flush()
threading.Thread(target=down, daemon=True).start()
while limit > 0 and (data := sys.stdin.buffer.raw.read(min(limit, 4096))):
    line.sendall(data); limit -= len(data)
line.close()
"""


def dropping_proxy(folder: Path, port: int, limit: int) -> str:
    """Return a line of ssh's configuration that cuts the connection after `limit` bytes towards the
    Pi.
    """
    script = folder / "dropper.py"
    script.write_text(DROPPER)
    return f"ProxyCommand {sys.executable} {script} 127.0.0.1 {port} {limit}"
