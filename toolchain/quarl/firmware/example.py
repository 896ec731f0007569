"""The example a firmware carries: a few graph inputs with the outputs it must give, replayed at
every boot.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarl.firmware.c_types import DTYPES
from quarl.firmware.program import Example, Program
from quarl.graph.reference import integer_outputs, quantize_observations

# of inputs, which a small policy's flash can spare; one observation where even that is larger
EXAMPLE_BYTES = 1024
EXAMPLES = 8


def with_example(program: Program, obs: NDArray[Any]) -> Program:
    """Return the program with the first of the observations [n, *shape], in environment units, as
    its example.
    """
    policy = program.policy
    dtype = np.dtype(DTYPES[program.input_ctype])
    count = max(1, min(EXAMPLES, len(obs), EXAMPLE_BYTES // (program.input_len * dtype.itemsize)))
    inputs, outputs = (
        quantize_observations(policy, obs[:count]),
        integer_outputs(policy, obs[:count]),
    )
    if program.records is not None:
        packed = program.records.input.pack(inputs), program.records.output.pack(outputs)
        return replace(program, example=Example(*packed))
    return replace(program, example=Example(inputs.astype(dtype), outputs))
