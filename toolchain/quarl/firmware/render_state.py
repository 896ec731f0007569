"""Render: what a recurrent policy has beside others: its state, the reset, act with the state."""

from __future__ import annotations

from itertools import pairwise

from quarl.firmware.c_text import c_int, c_list
from quarl.firmware.program import Program
from quarl.firmware.record import OBSERVATION, Records
from quarl.graph.reference import start_integers


def render_state_type(program: Program, records: Records) -> str:
    """Return the struct that the application owns, for the header."""
    state = program.names.symbol("state")
    members = "\n".join(f"    {f.ctype} {f.name}[{f.length}];" for f in records.state_fields)
    return f"""
/* What the policy remembers from one step to the next: {records.state_bytes} bytes of integers,
 * yours to keep, one for each episode that runs. Reset it when an episode begins. */
typedef struct {{
{members}
}} {state};
"""


def render_state_prototypes(program: Program) -> str:
    """Return the functions that take the state, for the header."""
    names = program.names
    observation = f"const {names.symbol('observation_t')} *obs"
    state = f"{names.symbol('state')} *state"
    parameters = [observation, state, f"{names.symbol('action')} *action"]
    return f"""\
/* Puts the state at the start of an episode. */
void {names.symbol("state_reset")}({state});

/* One step: reads the state and leaves the next one in it.
 * obs float [features], as the environment gives it.
 * QL_ERR_ARG: a pointer is null, nothing was written. */
{c_list(f"ql_status {names.symbol('act')}(", parameters, ");")}"""


def render_recurrent_act(program: Program, records: Records, declarations: str) -> str:
    """Return the reset, one step, and act with the state, for the source."""
    names = program.names
    stepped = [f"const {names.symbol('observation_t')} *obs", f"{names.symbol('state')} *state"]
    parameters = [*stepped, f"{names.symbol('action')} *action"]
    copies_in, copies_out = [], []
    for field in records.state_fields:
        size = f"sizeof state->{field.name}"
        made = records.output.field(field.name).offset
        copies_in.append(f"    (void)memcpy(input + {field.offset}, state->{field.name}, {size});")
        copies_out.append(f"    (void)memcpy(state->{field.name}, output + {made}, {size});")
    observed = f"(void *)(input + {records.input.field(OBSERVATION).offset})"
    observe = c_list(f"    {program.observe_function}(", ["&observation", "obs", observed], ");")
    lines = "\n".join
    return f"""\
{_reset(program, records)}

{declarations}

{c_list(f"static const {names.symbol('output_t')} *step(", stepped, ")")}
{{
    {names.symbol("input_t")} *input = {names.symbol("input")}();
{lines(copies_in)}
{observe}
    const {names.symbol("output_t")} *output = {names.symbol("infer")}();
{lines(copies_out)}
    return output;
}}

{c_list(f"ql_status {names.symbol('act')}(", parameters, ")")}
{{
    if (obs == NULL || state == NULL || action == NULL) {{
        return QL_ERR_ARG;
    }}
    {names.symbol("decode")}(step(obs, state), action);
    return QL_OK;
}}"""


def _reset(program: Program, records: Records) -> str:
    """Return the reset: runs of equal values become loops."""
    names, at, starts = program.names, 0, {}
    integers = start_integers(program.policy).tolist()
    for state, vector in zip(records.states, program.policy.contract.state, strict=True):
        starts[state.name] = integers[at : at + vector.length]
        at += vector.length
    body = []
    for field in records.state_fields:
        values = starts[field.name]
        ends = [0, *(i for i in range(1, len(values)) if values[i] != values[i - 1]), len(values)]
        for first, end in pairwise(ends):
            body.append(f"    for (int32_t i = {first}; i < {end}; i++) {{")
            body.append(f"        state->{field.name}[i] = {c_int(values[first])};")
            body.append("    }")
    lines = "\n".join(body)
    return f"""\
void {names.symbol("state_reset")}({names.symbol("state")} *state)
{{
{lines}
}}"""
