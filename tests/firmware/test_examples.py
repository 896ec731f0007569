"""The example projects: with one folder of an export copied in, they compile without a warning and
need only their vendor's library.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from quarl.boards.microcontroller import find_board
from quarl.firmware.source_tree import write_source_tree
from quarl.importers import ImportOptions
from quarl.quantize.ladder import DEFAULT_RUNG, quantize_on_rung
from quarl.resources import firmware_dir, targets_dir
from quarl.sources.observations import observations_of
from quarl.sources.source import open_source
from quarl.tools import run
from tests.conftest import need

TARGET = ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"]
FLAGS = ["-Os", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-c"]
EXPECTED = {  # what a project's own libraries supply
    "stm32_hal": {
        "HAL_TIM_Encoder_Start",
        "HAL_TIM_PWM_Start",
        "HAL_TIM_Base_Start_IT",
        "Error_Handler",
        "htim2",
        "htim3",
        "htim6",
    },
    "arduino": {
        "pinMode",
        "digitalWrite",
        "analogRead",
        "analogWrite",
        "micros",
        "delay",
        "Serial",
    },
}
LIBRARIES = {"memcpy", "memset", "cosf", "sinf", "__aeabi_"}  # C's and the compiler's own
HAL = """\
/* Stand-in for what CubeMX and ST's HAL declare: names and types only. */
#include <stdint.h>
typedef struct { volatile uint32_t CNT, CCR1; } TIM_TypeDef;
typedef struct { TIM_TypeDef *Instance; } TIM_HandleTypeDef;
typedef int HAL_StatusTypeDef;
#define TIM_CHANNEL_1 0U
#define TIM_CHANNEL_ALL 0x3CU
#define __HAL_TIM_GET_COUNTER(handle) ((handle)->Instance->CNT)
#define __HAL_TIM_SET_COMPARE(handle, channel, value) \\
    ((handle)->Instance->CCR1 = (value) + (channel))
HAL_StatusTypeDef HAL_TIM_Encoder_Start(TIM_HandleTypeDef *htim, uint32_t channel);
HAL_StatusTypeDef HAL_TIM_PWM_Start(TIM_HandleTypeDef *htim, uint32_t channel);
HAL_StatusTypeDef HAL_TIM_Base_Start_IT(TIM_HandleTypeDef *htim);
void HAL_TIM_PeriodElapsedCallback(TIM_HandleTypeDef *htim);
void Error_Handler(void);
"""
MATH = """\
/* Stand-in for the vendor's C library. */
#if defined(__cplusplus)
extern "C" {
#endif
float cosf(float x);
float sinf(float x);
float fabsf(float x);
#if defined(__cplusplus)
}
#endif
"""
ARDUINO = """\
// Stand-in for the Arduino core: names and types only.
#include <math.h>
#include <stdint.h>
enum { LOW, HIGH, INPUT, OUTPUT };
static const uint8_t A0 = 14;
extern "C" {
void pinMode(uint8_t pin, uint8_t mode);
void digitalWrite(uint8_t pin, uint8_t value);
int analogRead(uint8_t pin);
void analogWrite(uint8_t pin, int value);
unsigned long micros(void);
void delay(unsigned long ms);
}
struct Port { void begin(unsigned long baud); void println(const char *text); };
extern Port Serial;
void setup();
void loop();
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `firmware` of an exported pendulum policy."""
    source = open_source("pendulum_sac", ImportOptions(), None)
    calibration, held = observations_of(source, None)
    quantized = quantize_on_rung(source.policy, calibration, DEFAULT_RUNG)  # type: ignore[arg-type]
    folder = tmp_path_factory.mktemp("firmware")
    for name, content in write_source_tree(
        quantized, find_board("nucleo_l4r5zi", targets_dir()), held.obs
    ).files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("name", "place", "header", "declarations"),
    [
        ("stm32_hal", "Core/Src/policy", "main.h", HAL),
        ("arduino", "src/policy", "Arduino.h", ARDUINO),
    ],
)
def test_an_example_compiles_with_one_folder_copied_in(
    name: str, place: str, header: str, declarations: str, exported: Path, tmp_path: Path
) -> None:
    need("arm-none-eabi-gcc", "arm-none-eabi-g++")
    project = tmp_path / name
    shutil.copytree(firmware_dir() / "examples" / name, project)
    shutil.copytree(exported / "policy", project / place)
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor" / header).write_text(declarations)
    (tmp_path / "vendor" / "math.h").write_text(MATH)
    includes = [
        f"-I{tmp_path / 'vendor'}",
        f"-I{project / place}",
        f"-I{project / 'Core/Inc'}",
        f"-I{exported / 'freestanding'}",
    ]
    sources = sorted([*project.rglob("*.c"), *project.rglob("*.cpp")])
    objects = []
    for source in sources:
        compiler, standard = (
            ("arm-none-eabi-g++", "-std=gnu++14")
            if source.suffix == ".cpp"
            else ("arm-none-eabi-gcc", "-std=gnu11")
        )
        objects.append(tmp_path / f"{source.stem}.o")
        done = run(
            [compiler, *TARGET, *FLAGS, standard, *includes, source, "-o", objects[-1]], timeout=120
        )
        assert done.returncode == 0, done.stderr.decode()
    done = run(
        ["arm-none-eabi-gcc", *TARGET, "-nostdlib", "-r", *objects, "-o", tmp_path / "all.o"],
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    undefined = (
        run(["arm-none-eabi-nm", "-u", tmp_path / "all.o"], timeout=60).stdout.decode().split()
    )
    needed = {symbol for symbol in undefined if symbol != "U"}
    missing = {
        symbol
        for symbol in needed
        if not any(known in symbol for known in EXPECTED[name] | LIBRARIES) and "Port" not in symbol
    }
    assert missing == set(), "more than one folder would have to be copied"
    assert any("HAL_" in symbol or "analog" in symbol for symbol in needed)
