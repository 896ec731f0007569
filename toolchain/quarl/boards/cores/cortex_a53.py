"""Cortex-A53, in a Raspberry Pi."""

from __future__ import annotations

from quarl.boards.core import CpuInfo, LinuxCore

CORE = LinuxCore(
    name="cortex-a53",
    zig=("-target", "aarch64-linux-musl", "-mcpu=cortex_a53"),
    kernels="neon",
    cpuinfo=CpuInfo("0xd03", "0x0", 4, "fp asimd evtstrm crc32 cpuid"),
)
