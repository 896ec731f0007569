"""Cortex-A76, in a Raspberry Pi. It has the SDOT instruction."""

from __future__ import annotations

from quarl.boards.core import CpuInfo, LinuxCore

CORE = LinuxCore(
    name="cortex-a76",
    zig=("-target", "aarch64-linux-musl", "-mcpu=cortex_a76+dotprod"),
    kernels="dot",
    cpuinfo=CpuInfo(
        "0xd0b",
        "0x4",
        1,
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm "
        "lrcpc dcpop asimddp",
    ),
)
