"""The core of an ESP32-C3: RV32IMC. Espressif publishes no timing table of it."""

from __future__ import annotations

from dataclasses import replace

from quarl.boards.cores.riscv32_imc import CORE as ANY

CORE = replace(ANY, name="esp32-c3")
