"""Packages: each builds as it is, in its build system or with what its own files state."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

from quarl.boards.core import Kernels
from quarl.errors import InputError
from quarl.firmware.example import with_example
from quarl.firmware.interface import interface_of
from quarl.firmware.lower import lower
from quarl.firmware.names import Names
from quarl.firmware.package import Packed, Provenance, package_names, write_package
from quarl.firmware.source_tree import write_source_tree
from quarl.firmware.sources import program_sources
from quarl.graph.contract import Contract
from quarl.quantize.ladder import quantize_on_rung
from quarl.resources import VERSION, firmware_dir
from quarl.tools import run
from tests.conftest import need
from tests.firmware.test_examples import ARDUINO, TARGET
from tests.firmware.test_format import violations
from tests.support.recurrent_policies import calibration_of, recurrent_policy
from tests.support.samples import observations, sample

STRICT = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
ORIGIN = Provenance("arm; rm -rf", "policy.zip", "0" * 64, "PPO", "sb3", 1, "int8", None)
ARM = Names("left_arm")
# What stands in for each build system: names and files only, at the place where it enters.
ZEPHYR_CMAKE = """\
set(CONFIG_LEFT_ARM y)
enable_language(C)
function(zephyr_include_directories)
  include_directories(${ARGV})
endfunction()
macro(zephyr_library_named name)
  set(ZEPHYR_CURRENT_LIBRARY ${name})
  add_library(${name} STATIC)
endmacro()
function(zephyr_library_sources)
  target_sources(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGV})
endfunction()
function(zephyr_library_compile_options)
  target_compile_options(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGV})
endfunction()
set(CMAKE_C_FLAGS "-Wall -Wextra -Werror")
include_directories(${CMAKE_CURRENT_LIST_DIR}/include)
foreach(module ${EXTRA_ZEPHYR_MODULES})
  add_subdirectory(${module} module)
  include_directories(${module}/src)
endforeach()
file(WRITE ${CMAKE_BINARY_DIR}/empty.c "int unused;")
add_executable(app ${CMAKE_BINARY_DIR}/empty.c)
target_link_libraries(app PRIVATE left_arm)
"""
ZEPHYR_KERNEL = """\
#include <stddef.h>
#include <stdlib.h>
struct k_timer { int ticks; };
#define K_TIMER_DEFINE(name, expired, stopped) static struct k_timer name
#define K_USEC(us) (us)
static inline void k_timer_start(struct k_timer *t, int first, int period)
{ t->ticks = first + period; }
static inline int k_timer_status_sync(struct k_timer *t)
{ if (t->ticks-- < 0) { exit(0); } t->ticks -= 9000; return 1; }
"""
ESP_PROJECT = """\
set(CMAKE_C_FLAGS "-Wall -Wextra -Werror")
macro(project name)
  _project(${name} C)
  include_directories($ENV{IDF_PATH}/include)
  file(GLOB components ${CMAKE_SOURCE_DIR}/components/* ${CMAKE_SOURCE_DIR}/main)
  foreach(component ${components})
    get_filename_component(COMPONENT_LIB ${component} NAME)
    add_subdirectory(${component} ${COMPONENT_LIB})
  endforeach()
endmacro()
function(idf_component_register)
  cmake_parse_arguments(C "" "" "SRCS;INCLUDE_DIRS;REQUIRES" ${ARGN})
  get_filename_component(name ${CMAKE_CURRENT_SOURCE_DIR} NAME)
  if(name STREQUAL main)
    add_executable(main ${C_SRCS} $ENV{IDF_PATH}/start.c)
  else()
    add_library(${name} STATIC ${C_SRCS})
  endif()
  target_include_directories(${name} PUBLIC ${C_INCLUDE_DIRS})
  foreach(required ${C_REQUIRES})
    target_link_libraries(${name} PRIVATE ${required})
  endforeach()
endfunction()
"""
ESP_HEADERS = {
    "esp_log.h": '#include <stdio.h>\n#define ESP_LOGE(t, f) printf("%s " f "\\n", t)\n'
    '#define ESP_LOGI(t, f, v) printf("%s " f "\\n", t, v)\n',
    "freertos/FreeRTOS.h": "#include <stdint.h>\ntypedef uint32_t TickType_t;\n"
    "#define pdMS_TO_TICKS(ms) ((TickType_t)(ms) / 10)\n",
    "freertos/task.h": "#include <stdlib.h>\n"
    "static inline TickType_t xTaskGetTickCount(void) { return 0; }\n"
    "static inline void vTaskDelayUntil(TickType_t *last, TickType_t t) "
    "{ *last += t; if (*last > 3 * t) { exit(0); } }\n",
}


def packed(
    name: str = "squashed",
    names: Names = ARM,
    kernels: Kernels = "portable",
    *,
    has_words: bool = False,
) -> Packed:
    policy, quantized = sample(name, 1)
    if has_words:
        quantized = replace(quantized, contract=with_words(quantized.contract))
    program = replace(lower(quantized, kernels), names=names)
    program = with_example(program, observations(policy, np.random.default_rng(5), 4))
    interface = interface_of(program)
    sources = program_sources(program)
    return Packed(sources, interface.names, interface.kernels, interface.contract, ORIGIN)


def with_words(contract: Contract) -> Contract:
    """Return the contract with a name and a unit for each feature, and names of actions."""
    seen, done = contract.observation, contract.action
    features = seen.shape[0]
    return replace(
        contract,
        observation=replace(
            seen, names=tuple(f"x{i}" for i in range(features)), units=("*/ rad",) * features
        ),
        action=replace(done, names=tuple(f"a{i}" for i in range(len(done.counts) or done.count))),
    )


def recurrent(folder: Path) -> Packed:
    """Return a policy that carries a state from decision to decision."""
    policy = recurrent_policy("GRU", folder)
    fitted = calibration_of(policy)
    quantized = quantize_on_rung(policy, fitted, 1)
    tree = write_source_tree(quantized, None, fitted.obs[:4], ARM.prefix)
    interface = tree.interface
    sources = tree.folder("policy")
    return Packed(sources, interface.names, interface.kernels, interface.contract, ORIGIN)


def written(system: str, folder: Path, made: Packed | None = None) -> Path:
    for path, data in write_package(system, made or packed()).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def ran(*argv: Any) -> str:
    done = run([str(word) for word in argv], timeout=300)
    assert done.returncode == 0, done.stdout.decode()[-3000:] + done.stderr.decode()[-3000:]
    return done.stdout.decode()


def built(source: Path, build: Path, *options: str) -> Path:
    ran("cmake", "-S", source, "-B", build, "-G", "Unix Makefiles", *options)
    ran("cmake", "--build", build)
    return build


@pytest.mark.parametrize("name", ["squashed", "argmax_mlp"])
def test_cmake_builds_the_library_and_runs_the_example(name: str, tmp_path: Path) -> None:
    need("cmake", "gcc")
    folder = written("cmake", tmp_path / "package", packed(name))
    build = built(folder, tmp_path / "build", f"-DCMAKE_C_FLAGS={' '.join(STRICT)}")
    assert len(ran(build / "left_arm_example").splitlines()) == 10
    assert "100% tests passed" in ran("ctest", "--test-dir", build)


def test_an_example_carries_the_state_of_a_recurrent_policy(tmp_path: Path) -> None:
    need("cmake", "gcc")
    folder = written("cmake", tmp_path / "package", recurrent(tmp_path))
    build = built(folder, tmp_path / "build", f"-DCMAKE_C_FLAGS={' '.join(STRICT)}")
    lines = ran(build / "left_arm_example").splitlines()
    assert len(set(lines)) > 1, "equal observations, another state, another action"


def test_cmake_package_is_a_part_of_another_project(tmp_path: Path) -> None:
    need("cmake", "gcc")
    written("cmake", tmp_path / "arm")
    written("cmake", tmp_path / "leg", packed("argmax_mlp", Names("leg")))
    text = (
        "cmake_minimum_required(VERSION 3.16)\nproject(app C)\n"
        "add_subdirectory(arm)\nadd_subdirectory(leg)\n"
        "add_executable(app main.c)\ntarget_link_libraries(app PRIVATE left_arm leg)\n"
    )
    (tmp_path / "CMakeLists.txt").write_text(text)
    (tmp_path / "main.c").write_text(
        '#include "left_arm.h"\n#include "leg.h"\n'
        "int main(void) { return left_arm_check() != QL_OK || leg_check() != QL_OK; }\n"
    )
    ran(built(tmp_path, tmp_path / "build") / "app")


def test_cmake_package_is_a_part_of_a_cortex_m_project(tmp_path: Path) -> None:
    need("cmake", "arm-none-eabi-gcc")
    written("cmake", tmp_path / "policy", packed(kernels="dsp"))
    freestanding = firmware_dir() / "freestanding"
    flags = [*TARGET, "-ffreestanding", "-isystem", str(freestanding)]
    (tmp_path / "core.cmake").write_text(
        "set(CMAKE_SYSTEM_NAME Generic)\nset(CMAKE_C_COMPILER arm-none-eabi-gcc)\n"
        "set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)\n"
        f'set(CMAKE_C_FLAGS_INIT "{" ".join(flags)}")\n'
    )
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(app C)\nadd_subdirectory(policy)\n"
        f"add_executable(app main.c {freestanding / 'memcpy.c'})\n"
        "target_link_libraries(app PRIVATE left_arm gcc)\n"
        "target_link_options(app PRIVATE -nostdlib -Wl,-e,main)\n"
    )
    (tmp_path / "main.c").write_text(
        '#include "left_arm.h"\nint main(void) { return left_arm_check() != QL_OK; }\n'
    )
    build = built(tmp_path, tmp_path / "build", f"--toolchain={tmp_path / 'core.cmake'}")
    assert "smla" in ran("arm-none-eabi-objdump", "-d", build / "app")


def test_zephyr_module_and_sample_build_and_run(tmp_path: Path) -> None:
    need("cmake", "gcc")
    folder = written("zephyr", tmp_path / "module")
    stand_in = tmp_path / "zephyr"
    (stand_in / "include/zephyr/sys").mkdir(parents=True)
    (stand_in / "ZephyrConfig.cmake").write_text(ZEPHYR_CMAKE)
    (stand_in / "include/zephyr/kernel.h").write_text(ZEPHYR_KERNEL)
    (stand_in / "include/zephyr/sys/printk.h").write_text(
        "#include <stdio.h>\n#define printk printf\n"
    )
    build = built(folder / "samples/control", tmp_path / "build", f"-DZephyr_DIR={stand_in}")
    assert "thousandths" in ran(build / "app")
    module = yaml.safe_load((folder / "zephyr/module.yml").read_text())
    assert module == {
        "name": "left_arm",
        "build": {"cmake": ".", "kconfig": "Kconfig"},
        "samples": ["samples"],
    }
    assert (folder / "Kconfig").read_text().count("config LEFT_ARM") == 1
    sample_file = yaml.safe_load((folder / "samples/control/sample.yaml").read_text())
    assert set(sample_file) == {"sample", "tests"}


def test_esp_idf_project_builds_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("cmake", "gcc")
    folder = written("esp-idf", tmp_path / "project")
    stand_in = tmp_path / "idf"
    (stand_in / "tools/cmake").mkdir(parents=True)
    (stand_in / "tools/cmake/project.cmake").write_text(ESP_PROJECT)
    (stand_in / "start.c").write_text(
        "void app_main(void);\nint main(void) { app_main(); return 1; }\n"
    )
    for name, text in ESP_HEADERS.items():
        (stand_in / "include" / name).parent.mkdir(parents=True, exist_ok=True)
        (stand_in / "include" / name).write_text(text)
    monkeypatch.setenv("IDF_PATH", str(stand_in))
    lines = ran(built(folder, tmp_path / "build") / "main/main").splitlines()
    assert len(lines) == 3
    assert all("thousandths" in line for line in lines)
    manifest = yaml.safe_load((folder / "components/left_arm/idf_component.yml").read_text())
    assert set(manifest) == {"version", "description", "license", "dependencies"}


def compiled(sources: list[Path], flags: list[str], folder: Path) -> list[Path]:
    """Return the objects of C and C++ sources, for an M4 with an FPU."""
    objects = []
    for source in sources:
        is_c = source.suffix == ".c"
        program = "arm-none-eabi-gcc" if is_c else "arm-none-eabi-g++"
        standard = "-std=gnu11" if is_c else "-std=gnu++14"
        objects.append(folder / f"{source.stem}.o")
        ran(
            program,
            *TARGET,
            "-Os",
            "-Wall",
            "-Werror",
            standard,
            *flags,
            "-c",
            source,
            "-o",
            objects[-1],
        )
    return objects


def arduino_core(folder: Path) -> list[str]:
    """Return the options that the Arduino IDE compiles with, with a stand-in for its core."""
    folder.mkdir()
    (folder / "Arduino.h").write_text(
        ARDUINO.replace("const char *text", "float value); void println(const char *text")
    )
    (folder / "math.h").write_text("#pragma once\n")
    shutil.copy(Path(__file__).parents[2] / "firmware_harness/freestanding/string.h", folder)
    return ["-DARDUINO=10819", f"-I{folder}"]


def test_arduino_library_and_sketch_compile_without_flags_of_their_own(tmp_path: Path) -> None:
    need("arm-none-eabi-gcc", "arm-none-eabi-g++")
    folder = written("arduino", tmp_path / "left_arm", packed(kernels="dsp"))
    core = arduino_core(tmp_path / "core")
    sketch = tmp_path / "sketch.cpp"  # the IDE puts the include in front
    ino = (folder / "examples/Control/Control.ino").read_text()
    sketch.write_text("#include <Arduino.h>\n" + ino)
    sources = [*sorted((folder / "src").glob("*.c")), sketch]
    objects = compiled(sources, [*core, f"-I{folder / 'src'}"], tmp_path)
    for made in objects:
        text = ran("arm-none-eabi-objdump", "-d", made)
        assert re.search(r"\bvfn?m[as]\.f32", text) is None, f"{made.name} fuses"
    properties = dict(
        line.split("=", 1) for line in (folder / "library.properties").read_text().splitlines()
    )
    required = {"name", "version", "author", "maintainer", "sentence", "paragraph", "category"}
    assert required | {"url", "architectures", "includes"} == set(properties)
    assert properties["category"] == "Device Control"
    assert properties["version"] == VERSION


def test_platformio_project_builds_by_what_its_files_state(tmp_path: Path) -> None:
    need("gcc", "g++", "arm-none-eabi-gcc", "arm-none-eabi-g++")
    folder = written("platformio", tmp_path / "project", packed(has_words=True))
    library = folder / "lib/left_arm"
    stated = json.loads((library / "library.json").read_text())
    flags = [*stated["build"]["flags"], f"-I{library / stated['build']['includeDir']}"]
    sources = sorted((library / stated["build"]["srcDir"]).glob("*.c"))
    objects = []
    for source in sources:
        objects.append(tmp_path / f"host_{source.stem}.o")
        ran("gcc", "-std=gnu11", *STRICT, *flags, "-c", source, "-o", objects[-1])
    main = folder / "src/main.cpp"
    ran("g++", *STRICT, *flags, main, *objects, "-o", tmp_path / "program")
    assert float(ran(tmp_path / "program")) != 0
    compiled([*sources, main], [*arduino_core(tmp_path / "core"), *flags], tmp_path)
    assert "default_envs = native" in (folder / "platformio.ini").read_text()


def test_cmsis_pack_lists_its_files_and_they_compile(tmp_path: Path) -> None:
    need("arm-none-eabi-gcc")
    folder = written("cmsis-pack", tmp_path / "pack", packed(kernels="dsp"))
    root = ElementTree.parse(folder / "quarl.left_arm.pdsc").getroot()
    # Checked by hand against PACK.xsd 1.7.46 of the specification, which is valid.
    head = ["vendor", "name", "description", "url", "license", "releases", "taxonomy", "components"]
    assert [child.tag for child in root] == head
    files = {file.get("name", ""): file.get("category") for file in root.iter("file")}
    assert all((folder / name).exists() for name in files)
    listed = {Path(name).name for name, kind in files.items() if kind in ("sourceC", "header")}
    assert listed == {path.name for path in (folder / "src").iterdir()}
    sources = [folder / name for name, kind in files.items() if kind == "sourceC"]
    includes = [f"-I{folder / name}" for name, kind in files.items() if kind == "include"]
    project = folder / "examples/control"
    shutil.copy(Path(__file__).parents[2] / "firmware_harness/freestanding/string.h", tmp_path)
    flags = yaml.safe_load((project / "control.cproject.yml").read_text())["project"]["misc"][0][
        "C"
    ]
    compiled([*sources, project / "main.c"], [*includes, *flags, f"-I{tmp_path}"], tmp_path)
    solution = yaml.safe_load((project / "control.csolution.yml").read_text())["solution"]
    assert solution["projects"] == [{"project": "control.cproject.yml"}]


@pytest.mark.parametrize("system", package_names())
def test_every_package_says_what_it_is_and_whose(system: str) -> None:
    made = packed(has_words=True)
    files = write_package(system, made)
    assert b"Apache License" in files["LICENSE"]
    assert files["LICENSE"] == (Path(__file__).parents[2] / "LICENSE").read_bytes()
    found = {Path(path).name: data for path, data in files.items()}
    provenance = json.loads(found["provenance.json"])
    assert provenance["contract_sha256"] == made.contract.digest
    assert provenance["source_sha256"] == ORIGIN.source_sha256
    assert set(provenance["files"]) == set(made.sources)
    assert found["contract.json"].decode() == made.contract.to_json()
    assert files == write_package(system, made), "the same policy gives the same bytes"
    for path, data in files.items():
        if not path.endswith(".json"):
            assert b"rm -rf" not in data, f"{path}: a policy's name is data"
            assert b"@prefix@" not in data, path


@pytest.mark.parametrize("system", package_names())
@pytest.mark.parametrize("name", ["squashed", "argmax_mlp"])
def test_examples_are_formatted(system: str, name: str, tmp_path: Path) -> None:
    folder = written(system, tmp_path / system, packed(name, has_words=True))
    paths = [p for p in folder.rglob("main.c*") if p.is_file()]
    assert paths or system == "arduino"
    assert not paths or violations(paths) == ""


def test_linux_kernels_are_for_cmake_alone() -> None:
    made = replace(packed(kernels="neon"), provenance=replace(ORIGIN, board="raspberrypi_4"))
    assert write_package("cmake", made)
    with pytest.raises(InputError, match="raspberrypi_4 runs Linux"):
        write_package("zephyr", made)


def test_an_unknown_build_system_is_refused_with_the_closest_one() -> None:
    with pytest.raises(InputError, match="zephyr"):
        write_package("zepyr", packed())
