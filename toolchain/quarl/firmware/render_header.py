"""Render: a program becomes `ql_policy.h`, what an application includes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quarl.firmware.c_text import (
    COLUMNS,
    c_comment,
    c_define,
    c_enumerators,
    c_float,
    c_list,
    c_string,
)
from quarl.firmware.names import (
    FUNCTIONS,
    MACROS,
    OWN,
    STATE_FUNCTIONS,
    STATE_MACROS,
    STATE_TYPES,
    TYPES,
    Names,
)
from quarl.firmware.program import Program
from quarl.firmware.record import Record
from quarl.firmware.render import banner
from quarl.firmware.render_sampling import render_sampling_prototypes
from quarl.firmware.render_state import render_state_prototypes, render_state_type
from quarl.graph.contract import Action

FEATURE, ACTION = "FEATURE", "ACTION"  # what follows the prefix in the names of an enum
LAYOUTS = {
    "vector": "[features]",
    "hwc": "[height][width][channels]",
    "chw": "[channels][height][width], oldest frame first",
}


def render_header(program: Program) -> str:
    """Return `ql_policy.h`: sizes, types and functions of the policy."""
    names = program.names
    guard = names.macro("H")
    return f"""\
{banner("A policy in C")}\
#ifndef {guard}
#define {guard}

/* Contract: contract.json. {_usage(program)}
 *
 * Not re-entrant: all calls share one arena of {names.macro("ARENA_BYTES")}.
 * With an FPU its rounding mode must be to nearest, as after reset. */

{_includes(program)}
#include <stdint.h>

#if defined(__cplusplus)
extern "C" {{
#endif

{_sizes(program)}
{_places(program)}
{_types(program)}

{_functions(program)}

#if defined(__cplusplus)
}}
#endif

#endif
"""


def _includes(program: Program) -> str:
    random = '#include "ql_random.h"\n' if program.policy.contract.action.sampled else ""
    return f'{random}#include "ql_status.h"\n'


def render_served(names: Names, *, is_recurrent: bool = False) -> str:
    """Return a `ql_policy.h` by which the harness calls a policy that has a prefix of its own."""
    own = (STATE_MACROS, STATE_TYPES, STATE_FUNCTIONS) if is_recurrent else ((), (), ())
    macros = "\n".join(c_define(OWN.macro(m), names.macro(m)) for m in (*MACROS, *own[0]))
    types = "\n".join(f"typedef {names.symbol(t)} {OWN.symbol(t)};" for t in (*TYPES, *own[1]))
    named = (*FUNCTIONS, *own[2])
    functions = "\n".join(c_define(OWN.symbol(f), names.symbol(f)) for f in named)
    return f"""\
{banner(f"{names.header} by the names that the harness knows")}\
#ifndef QL_POLICY_H
#define QL_POLICY_H

#include "{names.header}"

{macros}

{types}

{functions}

#endif
"""


def _sizes(program: Program) -> str:
    names = program.names
    contract = program.policy.contract
    observation = contract.observation
    values = {
        "OBS_LEN": str(int(np.prod(observation.shape))),
        "OBS_IS_VECTOR": str(int(not observation.is_image)),
        "INPUT_LEN": str(program.input_len),
        "OUTPUT_LEN": str(program.output_len),
        "ARENA_BYTES": str(program.plan.arena_bytes),
        "EXAMPLES": str(0 if program.example is None else len(program.example.inputs)),
        "CONTRACT_SHA256": c_string(contract.digest),
        "SOURCE_SHA256": c_string(program.policy.source_sha256),
    }
    lines = [c_define(names.macro(name), values[name]) for name in MACROS]
    if program.records is not None:
        lines.append(c_define(names.macro("STATE_BYTES"), str(program.records.state_bytes)))
    if contract.step_hz is not None:
        lines.append(c_define(names.macro("STEP_HZ"), c_float(np.float32(contract.step_hz))))
    return "\n".join(lines)


def _places(program: Program) -> str:
    """Return the enums by which an application names features and actions; a blank line without
    names.
    """
    observation, action = program.policy.contract.observation, program.policy.contract.action
    places = program.names
    text = ""
    if observation.names:
        notes = observation.units or ("",) * len(observation.names)
        rows = _rows(places.macro(FEATURE), observation.names, notes, 0)
        text += (
            f"\n/* What an observation holds: its place, and its unit. */\nenum {{\n{rows}\n}};\n"
        )
    if action.names:
        title = (
            "The actions: their index"
            if action.kind == "discrete"
            else "What an action holds: its place, and its unit"
        )
        rows = _rows(places.macro(ACTION), action.names, _action_notes(action), action.start)
        text += f"\n/* {title}. */\nenum {{\n{rows}\n}};\n"
    return text


def _action_notes(action: Action) -> list[str]:
    units = action.units or ("",) * len(action.names)
    if action.kind != "box":
        return list(units)
    bounds = zip(units, action.low, action.high, strict=True)
    return [f"{unit}{', ' if unit else ''}{low:g} to {high:g}" for unit, low, high in bounds]


def _rows(prefix: str, names: Sequence[str], notes: Sequence[str], first: int) -> str:
    """Return the rows of an enum; a comment behind each where one place has a note."""
    words = [
        f"    {prefix}_{name} = {first + place}," for place, name in enumerate(c_enumerators(names))
    ]
    if not any(notes):
        return "\n".join(words)
    width = max(map(len, words))
    room = COLUMNS - width - len(" /*  */")
    shown = [c_comment(note or "no unit")[:room].rstrip() for note in notes]
    rows = zip(words, shown, strict=True)
    return "\n".join(f"{word:<{width}} /* {note} */" for word, note in rows)


def _types(program: Program) -> str:
    names = program.names
    action = program.policy.contract.action
    if action.kind == "discrete":
        first = f", counted from {action.start}" if action.start else ""
        member = f"int32_t index; /* of {action.count} actions{first} */"
    elif action.kind == "multi_discrete":
        counts = ", ".join(map(str, action.counts))
        member = f"int32_t indices[{action.width}]; /* of {counts} values */"
    else:
        member = f"float values[{action.count}]; /* units of the environment */"
    state = "" if program.records is None else render_state_type(program, program.records)
    return f"""\
typedef {_obs_type(program)} {names.symbol("observation_t")};
typedef {program.input_ctype} {names.symbol("input_t")};
typedef {program.output_ctype} {names.symbol("output_t")};
{state}
typedef struct {{
    {member}
}} {names.symbol("action")};"""


def _functions(program: Program) -> str:
    names = program.names
    layout = LAYOUTS[program.policy.contract.observation.layout]
    observation = f"const {names.symbol('observation_t')} *obs"
    action = f"{names.symbol('action')} *action"
    output = f"const {names.symbol('output_t')} *output"
    act = c_list(f"ql_status {names.symbol('act')}(", [observation, action], ");")
    decode = c_list(f"void {names.symbol('decode')}(", [output, action], ");")
    first = f"""\
/* obs {_obs_type(program)} {layout}, as the environment gives it.
 * QL_ERR_ARG: a pointer is null, nothing was written. */
{act}"""
    parts = f" *   input   [{names.macro('INPUT_LEN')}]\n *   output  [{names.macro('OUTPUT_LEN')}]"
    if program.records is not None:
        first = render_state_prototypes(program)
        parts = _record_lines("input ", program.records.input)
        parts += "\n" + _record_lines("output", program.records.output)
    return f"""\
{first}

/* The same in three parts, for an application that makes the integers itself: write the input,
 * infer, decode. Inferring consumes the input; the output stays until the next call.
{parts} */
{names.symbol("input_t")} *{names.symbol("input")}(void);
const {names.symbol("output_t")} *{names.symbol("infer")}(void);
{decode}
{render_sampling_prototypes(program)}{_probabilities(program)}
#if {names.macro("EXAMPLES")} > 0
/* Replays the examples of {names.check}.
 * QL_ERR_EXAMPLE: one byte differs, the policy must not be used. */
ql_status {names.symbol("check")}(void);
#endif"""


def _usage(program: Program) -> str:
    """Return how one decision is made."""
    names = program.names
    if program.records is None:
        return f"""One decision:
 *
 *     {names.symbol("action")} action;
 *     if ({names.symbol("act")}(observation, &action) == QL_OK) ..."""
    return f"""One episode:
 *
 *     {names.symbol("state")} state;
 *     {names.symbol("action")} action;
 *     {names.symbol("state_reset")}(&state);
 *     while ({names.symbol("act")}(observation, &state, &action) == QL_OK) ..."""


def _record_lines(what: str, record: Record) -> str:
    """Return what lies where in a record, as lines of a comment."""
    return "\n".join(
        f" *   {what}  byte {field.offset}: {field.ctype} {field.name} [{field.length}]"
        for field in sorted(record.fields, key=lambda field: field.offset)
    )


def _probabilities(program: Program) -> str:
    if program.policy.softmax_beta is None:
        return ""
    names = program.names
    parameters = [f"const {names.symbol('output_t')} *output", "float *probabilities"]
    prototype = c_list(f"void {names.symbol('probabilities')}(", parameters, ");")
    return f"""
/* The softmax that the model ended in: a probability of each action, as many as outputs.
 * OUTSIDE THE EXACT SET: computed in float, not compared with any other runtime bit for bit; within
 * 1/256 of LiteRT's. The action never depends on it. */
{prototype}
"""


def _obs_type(program: Program) -> str:
    return "uint8_t" if program.policy.contract.observation.is_image else "float"
