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
SHAPES = {
    "mlp_8_64_64_4": 0.5,
    "mlp_24_256_256_4": 0.5,
    "nature": 1.0,
}  # most of LiteRT's instructions
WITH_GOAL: tuple[str, ...] = ("cortex-a72", "cortex-a76")
COUNTED = 4  # inferences


def bench_pi(folder: Path) -> list[Row]:
    """Instructions of one int8 inference on the cores of the Raspberry Pis (emulated): the C
    program against LiteRT 2.3.
    """
    rows = []
    for name, goal in SHAPES.items():
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
            ratio = median(own.per_inference) / median(peer.per_inference)
            of_invoke = median(own.per_inference) / median(peer.of_invoke)
            found = (
                f"{median(own.per_inference):,.0f} of {median(peer.per_inference):,.0f}, "
                f"{ratio:.2f} x; of invoke() alone {of_invoke:.2f} x"
            )
            has_goal = core in WITH_GOAL
            rows.append(
                Row(
                    f"{name} on {core}",
                    found,
                    f"<= {goal:g} x" if has_goal else "",
                    ratio <= goal if has_goal else None,
                )
            )
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
