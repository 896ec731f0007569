"""Render: the C functions of a policy whose actions are drawn.

In: a program. Out: `sample`, which draws one action of the outputs, and `act_sampled`, which makes
one decision. The arithmetic is that of quarl.graph.sampling.
"""

from __future__ import annotations

import numpy as np

from quarl.firmware.c_text import c_float, c_list
from quarl.firmware.program import Program


def render_sampling(program: Program, real: str, observing: str) -> str:
    """Return the functions.

    Args:
        real: the call that makes real numbers of the outputs, in `probabilities`; empty where they
            are floats already.
        observing: the call that makes the graph's integers of `obs`.
    """
    names, action = program.names, program.policy.contract.action
    beta = c_float(np.float32(program.policy.softmax_beta or 1.0))
    source = "probabilities" if real else "output"
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
    return f"""\
{sample}
{{
    float probabilities[{names.macro("OUTPUT_LEN")}];
{real}{body}
}}

{act}
{{
    if (obs == NULL || random == NULL || action == NULL) {{
        return QL_ERR_ARG;
    }}
{observing}
    {names.symbol("sample")}({names.symbol("infer")}(), random, action);
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
    acted = [f"const {names.symbol('observation_t')} *obs", random, action]
    return (
        c_list(f"void {names.symbol('sample')}(", sampled, ")"),
        c_list(f"ql_status {names.symbol('act_sampled')}(", acted, ")"),
    )
