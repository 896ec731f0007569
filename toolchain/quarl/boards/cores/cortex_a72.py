"""Cortex-A72, in a Raspberry Pi."""

from __future__ import annotations

from quarl.boards.core import CpuInfo, LinuxCore

CORE = LinuxCore(
    name="cortex-a72",
    zig=("-target", "aarch64-linux-musl", "-mcpu=cortex_a72"),
    kernels="neon",
    cpuinfo=CpuInfo("0xd08", "0x0", 3, "fp asimd evtstrm crc32 cpuid"),
)
