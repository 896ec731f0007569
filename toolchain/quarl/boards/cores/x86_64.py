"""x86-64, for a program that runs on this host."""

from __future__ import annotations

from quarl.boards.core import LinuxCore

CORE = LinuxCore(
    name="x86-64",
    zig=("-target", "x86_64-linux-musl", "-mcpu=x86_64_v2"),
    kernels="portable",
    cpuinfo=None,
)
