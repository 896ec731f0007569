"""bakenn, a published int8 compiler with CMSIS-NN inside, measured as our firmware is: same
networks, harness, compiler and counters.

In: a quantised policy. Out: what one inference of its bakenn build executes on a core, and the size
of the firmware around it.
bakenn reads a `.tflite` with a fixed batch and one weight scale per dense layer; the file is given
to it so. Its kernels are compiled for speed (-O2), as its manual does; ours for size.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]
from numpy.typing import NDArray

from quarl.boards.microcontroller import Board
from quarl.emitters import emit_tflite
from quarl.firmware.build import ELF_FILE, GCC, compiler_version
from quarl.firmware.elf import read_image
from quarl.firmware.image import CompilerName, compile_command, harness_sources
from quarl.firmware.interface import interface_of
from quarl.firmware.lower import lower
from quarl.firmware.render_header import render_header
from quarl.graph.quant_policy import QuantDense, QuantPolicy
from quarl.graph.reference import quantize_observations, run_integers
from quarl.graph.rescale import rescale_factor
from quarl.links.count import merged
from quarl.links.firmware_link import QEMU, EmulatedDevice, default_emulator
from quarl.links.qemu import QemuDevice, emulated_board
from quarl.links.unicorn import UnicornDevice
from quarl.profiles.cycles import estimate_cycles
from quarl.resources import default_cache_dir, firmware_dir
from quarl.tools import run
from tests.support.tflite_models import packed

CLOSE = 2  # steps: its rounding is of the fixed-point family
MEMSET = """\
#include <stddef.h>

void *memset(void *to, int value, size_t count);
void *memset(void *to, int value, size_t count)
{
    unsigned char *bytes = to;
    for (; count >= 4; count -= 4) {
        bytes[0] = bytes[1] = bytes[2] = bytes[3] = (unsigned char)value;
        bytes += 4;
        __asm__ volatile(""); /* or the loop becomes a call of memset */
    }
    for (; count > 0; count--) {
        *bytes++ = (unsigned char)value;
        __asm__ volatile("");
    }
    return to;
}
"""
WARNINGS = ("-Werror", "-Wall", "-Wextra", "-Wconversion")
SHIM = """\
#include "bknn_peer.h"
#include "ql_policy.h"

static ql_policy_input_t peer_input[QL_POLICY_INPUT_LEN];
static ql_policy_output_t peer_output[QL_POLICY_OUTPUT_LEN];
static _Alignas(16) uint8_t peer_arena[BKNN_PEER_ARENA_SIZE];

ql_policy_input_t *ql_policy_input(void)
{
    return peer_input;
}

const ql_policy_output_t *ql_policy_infer(void)
{
    bknn_peer_infer(peer_arena, peer_input, peer_output);
    return peer_output;
}

void ql_policy_decode(const ql_policy_output_t *values, ql_policy_action *action)
{
    action->index = values[0];
}

ql_status ql_policy_act(const ql_policy_observation_t *obs, ql_policy_action *action)
{
    (void)obs;
    (void)action;
    return QL_ERR_ARG;
}
"""


@dataclass(frozen=True, slots=True)
class PeerCost:
    """One inference of the peer's build."""

    instructions: int
    cycles: int | None  # estimated, mid
    flash_bytes: int
    tensor_bytes: int  # its arena, with the input and the output beside it
    compiler: str


def measure(
    policy: QuantPolicy, obs: NDArray[Any], board: Board, *, with_cmsis_nn: bool = True
) -> PeerCost:
    """Return the cost of the policy's network, built by bakenn with CMSIS-NN, by the installed
    compiler that suits it best.

    Args:
        obs: observations [n, *shape] in environment units; the first is counted, all are compared.
        with_cmsis_nn: False: its own portable kernels.
    """
    policy = with_one_scale(policy)
    if default_emulator(board) == QEMU:
        board = emulated_board(board)
    compilers: list[CompilerName] = ["zig", "gcc"] if shutil.which(GCC["arm"][0]) else ["zig"]
    with tempfile.TemporaryDirectory(prefix="quarl-bakenn-") as text:
        folder = Path(text)
        sources, includes = _generate(policy, folder / "generated", with_cmsis_nn)
        return min(
            (_cost(policy, obs, board, folder, sources, includes, name) for name in compilers),
            key=lambda cost: cost.instructions,
        )


def _cost(
    policy: QuantPolicy,
    obs: NDArray[Any],
    board: Board,
    folder: Path,
    sources: list[Path],
    includes: list[Path],
    compiler: CompilerName,
) -> PeerCost:
    program = lower(policy, "portable")
    program = replace(program, calls=program.calls[:1])  # the shim makes one call
    files = {
        **harness_sources(board),
        "ql_policy.h": render_header(program).encode(),
        "ql_policy.c": SHIM.encode(),
    }
    files["ql_status.h"] = (firmware_dir() / "include" / "ql_status.h").read_bytes()
    files["math.h"] = b""  # CMSIS-NN's headers ask for it; its integer kernels use nothing of it
    if compiler == "gcc":
        files["memset.c"] = MEMSET.encode()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    freestanding = firmware_dir() / "freestanding"
    every = [
        *sorted(folder.glob("*.c")),
        *sources,
        *(sorted(freestanding.glob("*.c")) if compiler == "gcc" else []),
    ]
    argv = [sys.executable, "-m", "ziglang"] if compiler == "zig" else [GCC["arm"][0]]
    command = compile_command(
        compiler, argv, board, every, [folder, *includes, freestanding], folder / ELF_FILE
    )
    command = ["-O2" if word == "-Os" else word for word in command if word not in WARNINGS]
    done = run(command, timeout=600)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    elf = (folder / ELF_FILE).read_bytes()
    image, interface = read_image(elf, board), interface_of(program)
    device: EmulatedDevice = (
        QemuDevice(elf, image, board, interface, default_cache_dir())
        if default_emulator(board) == QEMU
        else UnicornDevice(image, board, interface)
    )
    integers = quantize_observations(policy, obs)
    wanted = run_integers(policy, integers)[policy.nodes[-1].name]
    assert np.abs(device.run(integers).astype(np.int32) - wanted).max() <= CLOSE, (
        "the peer computes something else"
    )
    count = merged(device.count_calls(integers[:1]))
    cycles = estimate_cycles(count, board)
    tensors = sum(image.symbols[name].bytes for name in ("peer_arena", "peer_input", "peer_output"))
    return PeerCost(
        count.instructions,
        None if cycles is None else cycles.mid,
        image.flash_bytes,
        tensors,
        compiler_version(compiler),
    )


def with_one_scale(policy: QuantPolicy) -> QuantPolicy:
    """Return the policy with one weight scale per dense layer, its largest; for counting
    instructions any network of the shape will do.
    """
    nodes = []
    for node in policy.nodes:
        if isinstance(node.op, QuantDense):
            assert node.output is not None
            scale = np.full_like(node.op.weight_scale, node.op.weight_scale.max())
            multiplier = rescale_factor(
                policy.tensor(node.inputs[0]).scale, scale, node.output.scale
            )
            node = replace(node, op=replace(node.op, weight_scale=scale, multiplier=multiplier))
        nodes.append(node)
    return replace(policy, nodes=tuple(nodes))


def _generate(
    policy: QuantPolicy, folder: Path, with_cmsis_nn: bool
) -> tuple[list[Path], list[Path]]:
    """Return the C sources and include folders that bakenn writes."""
    import bakenn

    model = folder.with_suffix(".tflite")
    model.write_bytes(_as_it_reads(emit_tflite(policy)))
    kernels = bakenn.KernelPolicy.STATIC_PRIORITY
    options = bakenn.CBackendOptions(
        kernel_policy=kernels, enable_cmsis_nn=with_cmsis_nn, target=bakenn.CORTEX_M4
    )
    compiled = bakenn.compile_tflite(str(model), folder, name="peer", backend_options=options)
    artifacts = compiled.artifacts
    return sorted(folder.rglob("*.c")), [folder, *map(Path, artifacts.support_include_dirs)]


def _as_it_reads(content: bytes) -> bytes:
    """Return the file with a fixed batch, one scale per dense layer and the operator version that
    goes with it.
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    for tensor in graph.tensors:
        tensor.shapeSignature = None
    for code in model.operatorCodes:
        if code.builtinCode == schema.BuiltinOperator.FULLY_CONNECTED:
            code.version = 4
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        if code == schema.BuiltinOperator.FULLY_CONNECTED:
            for index in operator.inputs[1:]:
                quantization = graph.tensors[index].quantization
                quantization.scale, quantization.zeroPoint = (
                    quantization.scale[:1],
                    quantization.zeroPoint[:1],
                )
        elif code == schema.BuiltinOperator.RESHAPE:
            shape = np.array(graph.tensors[operator.outputs[0]].shape, np.int32)
            operator.builtinOptions.newShape = shape
            model.buffers[graph.tensors[operator.inputs[1]].buffer].data = shape.view(np.uint8)
    return packed(model)
