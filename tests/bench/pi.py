"""What a Raspberry Pi's cores execute in one inference: our C program beside LiteRT, counted in the
same emulator by the same plugin.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median

import numpy as np

from quarl.boards.cores import LINUX_CORES
from quarl.errors import ToolMissingError
from quarl.firmware.linux import program_inputs, program_outputs
from quarl.graph.reference import integer_outputs
from quarl.links.qemu_user import EmulatedPi
from quarl.pi.root import open_root
from quarl.profiles.pi.measure import outputs_in
from quarl.profiles.pi.report import Instructions, instructions_from
from quarl.profiles.pi.request import Effort, package_of, run_request
from quarl.resources import default_cache_dir
from tests.bench.row import Row
from tests.support.linux_programs import build_linux_program
from tests.support.samples import observations, sample
from tests.support.workloads import workload_for

CORES: tuple[str, ...] = tuple(
    name for name, core in LINUX_CORES.items() if core.cpuinfo is not None
)
# most of LiteRT's invoke() alone, by core: the like for like of our inference
SHAPES: dict[str, dict[str, float]] = {
    "mlp_8_64_64_4": {"cortex-a53": 0.2, "cortex-a72": 0.2, "cortex-a76": 0.2},
    "mlp_24_256_256_4": {"cortex-a53": 0.39, "cortex-a72": 0.47, "cortex-a76": 0.43},
    "nature": {"cortex-a53": 0.5, "cortex-a72": 0.46, "cortex-a76": 0.62},
}
COUNTED = 4  # inferences


def bench_pi(folder: Path) -> list[Row]:
    """Instructions of one int8 inference on the cores of the Raspberry Pis (emulated): the C
    program against invoke() of LiteRT 2.3, which is the like for like; and with input and output,
    as a Python program must do it.
    """
    rows = []
    for name, goals in SHAPES.items():
        for core in CORES:
            try:
                own, peer, differing = instructions_of(name, core)
            except ToolMissingError as error:
                return [
                    Row(
                        "instructions on the cores of the Raspberry Pis",
                        f"not counted here: {error}",
                        "",
                        None,
                    )
                ]
            ours, theirs = median(own.per_inference), median(peer.of_invoke)
            ratio = round(ours / theirs, 2)
            whole = median(peer.per_inference)
            found = (
                f"{ours:,.0f} of {theirs:,.0f}, {ratio:.2f} x; of {whole:,.0f} with input and "
                f"output {ours / whole:.2f} x"
            )
            goal = goals[core]
            rows.append(Row(f"{name} on {core}", found, f"<= {goal:g} x", ratio <= goal))
            rows.append(
                Row(
                    "  outputs of both that differ from the host's",
                    str(differing),
                    "0",
                    differing == 0,
                )
            )
    return rows


def instructions_of(name: str, core: str) -> tuple[Instructions, Instructions, int]:
    """Return the instructions of the C program and of LiteRT for one shape, and how many outputs
    differ from the reference.

    LiteRT's inference is input in, invoke, output out, from Python; invoke() alone is counted too.
    Ours is the whole inference.
    """
    policy, quantized = sample(name, 0)
    obs = observations(policy, np.random.default_rng(5), COUNTED)
    expected = integer_outputs(quantized, obs)
    package = package_of(workload_for(quantized, obs, None, None), ("litert",))
    program = build_linux_program(quantized, obs, core, default_cache_dir())
    with EmulatedPi(core, open_root(default_cache_dir()), default_cache_dir()) as link:
        link.push(package.files)
        peer = link.ask(run_request(package, package.asked[0], Effort(marked=COUNTED)))
        own = link.run_program(
            program.read_bytes(), ["--marked", "--run"], program_inputs(quantized, obs)
        )
    differing = int((outputs_in(peer.fields) != expected).sum()) + int(
        (program_outputs(quantized, own.stdout) != expected).sum()
    )
    return instructions_from(own.marks), instructions_from(peer.marks), differing
