"""Render: the C functions of a policy whose actions are drawn.

In: a program. Out: `sample`, which draws one action of the outputs, and `act_sampled`, which makes
one decision. The arithmetic is that of quarl.graph.sampling.
"""

from __future__ import annotations

import numpy as np

from quarl.firmware.c_text import c_float, c_list
from quarl.firmware.program import Program


def render_sampling(program: Program, real: str, source: str, observing: str) -> str:
    """Return the functions.

    Args:
        real: the lines that make real numbers of the outputs, in `source`.
        source: where the real numbers are.
        observing: the call that makes the graph's integers of `obs`; of a recurrent policy its
            step does.
    """
    names, action = program.names, program.policy.contract.action
    beta = c_float(np.float32(program.policy.softmax_beta or 1.0))
    lines, first = [], 0
    for place, count in enumerate(action.counts or (action.count,)):
        shift = f" + {first}" if first else ""
        arguments = [f"{source}{shift}", beta, str(count), f"probabilities{shift}"]
        lines.append(c_list("    ql_softmax_f32(", arguments, ");"))
        start = f" + {action.start}" if action.start > 0 else f" - {-action.start}"
        target = f"action->indices[{place}]" if action.counts else "action->index"
        drawn = f"ql_sample_f32(probabilities{shift}, {count}, ql_random_next(random))"
        lines.append(f"    {target} = {drawn}{start if action.start else ''};")
        first += count
    body = "\n".join(lines)
    sample, act = _heads(program)
    is_recurrent = program.records is not None
    length = str(action.count) if is_recurrent else names.macro("OUTPUT_LEN")
    output = "step(obs, state)" if is_recurrent else f"{names.symbol('infer')}()"
    pointers = ["obs", *(["state"] if is_recurrent else []), "random", "action"]
    is_missing = " || ".join(f"{pointer} == NULL" for pointer in pointers)
    return f"""\
{sample}
{{
    float probabilities[{length}];
{real}{body}
}}

{act}
{{
    if ({is_missing}) {{
        return QL_ERR_ARG;
    }}
{observing}    {names.symbol("sample")}({output}, random, action);
    return QL_OK;
}}"""


def render_sampling_prototypes(program: Program) -> str:
    """Return the prototypes; empty where actions are not drawn."""
    if not program.policy.contract.action.sampled:
        return ""
    names = program.names
    sample, act = _heads(program)
    return f"""
/* This policy was trained to be drawn from: its action is a choice by the softmax of its outputs.
 * Seed a generator at the start of each episode: ql_random_seed(&random, seed);
 * {names.symbol("act")} takes the likeliest action instead.
 * QL_ERR_ARG: a pointer is null, nothing was written. */
{act};

/* The same choice for an application that infers itself; `output` is what infer returned. */
{sample};
"""


def _heads(program: Program) -> tuple[str, str]:
    names = program.names
    random, action = "ql_random *random", f"{names.symbol('action')} *action"
    sampled = [f"const {names.symbol('output_t')} *output", random, action]
    state = [] if program.records is None else [f"{names.symbol('state')} *state"]
    acted = [f"const {names.symbol('observation_t')} *obs", *state, random, action]
    return (
        c_list(f"void {names.symbol('sample')}(", sampled, ")"),
        c_list(f"ql_status {names.symbol('act_sampled')}(", acted, ")"),
    )
