"""Render: a program becomes `ql_policy.h` and `ql_policy.c`, the same bytes for the same policy.

The text is formatted as `.clang-format` says. Whatever comes from the policy goes through
`quarl.firmware.c_text`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from quarl.firmware.c_text import c_comment, c_float, c_int, c_list, c_names
from quarl.firmware.c_types import SIZES, CType
from quarl.firmware.lowering import RESULTS, SCRATCH
from quarl.firmware.program import (
    Array,
    Call,
    Descriptor,
    Example,
    Function,
    Operand,
    Program,
    Struct,
    Value,
)
from quarl.firmware.render_sampling import render_sampling
from quarl.firmware.render_state import render_recurrent_act
from quarl.graph.policy import INPUT
from quarl.resources import VERSION

TABLE_COLUMNS = 96  # of a line of a table, without its indent


def banner(what: str) -> str:
    """Return the first lines of a generated file: what it is, and whose."""
    return f"""\
/* SPDX-License-Identifier: LicenseRef-owner-of-the-policy */
/* {what}; written by quarl {VERSION}, do not edit.
 * This file is yours: quarl claims no rights in it. The runtime beside it is Apache-2.0. */
"""


def render_source(program: Program) -> str:
    """Return `ql_policy.c`: tables, descriptors and the calls."""
    names, places = program.names, place_names(program)
    own = "" if program.kernels == "portable" else f'#include "ql_kernels_{program.kernels}.h"\n'
    parts = [
        f"{banner('Tables and calls')}"
        f'#include "{names.header}"\n\n#include "ql_kernels.h"\n{own}\n#include <stddef.h>'
        + ("" if program.records is None else "\n#include <string.h>"),
        _arena(program, places),
    ]
    for call in program.calls:
        if call.arrays:
            parts.append(render_arrays(*call.arrays))
        if call.descriptor is not None:
            parts.append(_descriptor(program, call, call.descriptor))
    parts.append(_input(program, places))
    parts.append(_infer(program, places))
    parts.append(_decode(program))
    parts.append(_act(program))
    if program.policy.contract.action.sampled:
        parts.append(_sampling(program))
    if program.policy.softmax_beta is not None:
        parts.append(_probabilities(program, program.policy.softmax_beta))
    return "\n\n".join(parts) + "\n"


def render_check(program: Program, example: Example) -> str:
    """Return `ql_policy_check.c`: the example, and its replay."""
    names = program.names
    inputs = Array("example_inputs", program.input_ctype, example.inputs)
    outputs = Array("example_outputs", program.output_ctype, example.outputs)
    input_t, output_t = names.symbol("input_t"), names.symbol("output_t")
    count = f"sizeof({output_t}) * {names.macro('OUTPUT_LEN')}"
    return f"""\
{banner("Examples with the outputs they must give")}\
#include "{names.header}"

{render_arrays(inputs, outputs)}

ql_status {names.symbol("check")}(void)
{{
    const {input_t} *wanted_input = example_inputs;
    const uint8_t *wanted = (const uint8_t *)example_outputs;
    const uint32_t count = {count};
    uint32_t difference = 0U;
    for (int32_t example = 0; example < {names.macro("EXAMPLES")}; example++) {{
        {input_t} *input = {names.symbol("input")}();
        for (int32_t i = 0; i < {names.macro("INPUT_LEN")}; i++) {{
            input[i] = *wanted_input;
            wanted_input++;
        }}
        const uint8_t *found = (const uint8_t *){names.symbol("infer")}();
        for (uint32_t i = 0U; i < count; i++) {{
            difference |= (uint32_t)(found[i] ^ *wanted);
            wanted++;
        }}
    }}
    return difference == 0U ? QL_OK : QL_ERR_EXAMPLE;
}}
"""


def render_arrays(*arrays: Array) -> str:
    """Return the definitions of tables; their lines are ours, not clang-format's."""
    texts = "\n\n".join(_array(array) for array in arrays)
    return f"/* clang-format off */\n{texts}\n/* clang-format on */"


def place_names(program: Program) -> dict[str, str]:
    """Return buffer -> name of its offset in the arena."""
    steps = [node.name for node in program.policy.nodes]
    shown = {
        name: f"at_{steps[int(name[len(SCRATCH) :])]}_scratch"
        if name.startswith(SCRATCH)
        else "at_results"
        if name == RESULTS
        else f"at_{name}"
        for name in program.plan.offsets
    }
    names = c_names(shown.values())
    return {name: names[text] for name, text in shown.items()}


def observation_bytes(program: Program) -> int:
    """Return the flash bytes of the observation quantiser's tables."""
    quantizer = program.policy.observation
    return quantizer.inv_scale.size * (SIZES["float"] + SIZES["int32_t"])


def _arena(program: Program, places: dict[str, str]) -> str:
    lines = []
    for buffer, offset in sorted(program.plan.offsets.items(), key=lambda item: item[1]):
        what = "scratch" if buffer.startswith(SCRATCH) else _held(program, buffer)
        lines.append(f"    {places[buffer]} = {offset}, /* {what} */")
    offsets = "\n".join(_aligned(lines))
    return f"""\
/* Where tensors lie in the arena, in bytes. A tensor may take the place of one that is read out. */
enum {{
{offsets}
}};

#if !defined(QL_ARENA_ATTRIBUTE)
#define QL_ARENA_ATTRIBUTE /* for instance a section in fast memory */
#endif

static union {{
    uint64_t alignment;
    uint8_t bytes[{program.names.macro("ARENA_BYTES")}];
}} arena QL_ARENA_ATTRIBUTE;

static inline void *at(int32_t offset)
{{
    return &arena.bytes[offset];
}}"""


def _held(program: Program, buffer: str) -> str:
    """Return what a buffer holds, in words."""
    if program.records is None or buffer not in (INPUT, RESULTS):
        return _tensor(program, buffer)
    record = program.records.input if buffer == INPUT else program.records.output
    fields = sorted(record.fields, key=lambda field: field.offset)
    return c_comment(", ".join(f"{field.name} [{field.length}]" for field in fields))


def _tensor(program: Program, name: str) -> str:
    shape = "".join(f"[{size}]" for size in program.shapes[name])
    return c_comment(f"{'input' if name == INPUT else name} {shape}")


def _aligned(lines: list[str]) -> list[str]:
    """Return the lines with their comments in one column, as clang-format puts them."""
    heads = [line.partition(" /*")[0] for line in lines]
    width = max(map(len, heads))
    return [head.ljust(width) + line[len(head) :] for head, line in zip(heads, lines, strict=True)]


def _descriptor(program: Program, call: Call, descriptor: Descriptor) -> str:
    fields = "".join(f"    {name} = {text},\n" for name, text in _flat(descriptor.value))
    return (
        f"/* {_tensor(program, call.node)} */\n"
        f"static const {descriptor.ctype} {descriptor.name} = {{\n{fields}}};"
    )


def _flat(struct: Struct, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield designator and C text of every member, those of inner structs in full."""
    for name, value in struct.fields:
        if isinstance(value, Struct):
            yield from _flat(value, f"{path}.{name}")
        else:
            yield f"{path}.{name}", _text(value)


def _text(value: Value) -> str:
    match value:
        case Array() | Function():
            return value.name
        case np.floating():
            return c_float(value)
        case int():
            return c_int(value)
    raise AssertionError(value)


def _input(program: Program, places: dict[str, str]) -> str:
    names = program.names
    return f"""\
{names.symbol("input_t")} *{names.symbol("input")}(void)
{{
    return at({places[program.input.buffer]});
}}"""


def _infer(program: Program, places: dict[str, str]) -> str:
    names = program.names
    calls = "\n".join(_call(places, call) for call in program.calls)
    return f"""\
const {names.symbol("output_t")} *{names.symbol("infer")}(void)
{{
{calls}
    return at({places[program.output.buffer]});
}}"""


def _call(places: dict[str, str], call: Call) -> str:
    arguments = [] if call.descriptor is None else [f"&{call.descriptor.name}"]
    arguments += [str(size) for size in call.sizes]
    arguments += [_place(places, operand) for operand in call.operands]
    return c_list(f"    {call.kernel}(", arguments, ");")


def _place(places: dict[str, str], operand: Operand) -> str:
    offset = f" + {operand.offset}" if operand.offset else ""
    return f"at({places[operand.buffer]}{offset})"


def _array(array: Array) -> str:
    texts = _texts(array.ctype, array.values)
    alignment = f"_Alignas({array.alignment}) " if array.alignment > 1 else ""
    body = "\n".join(f"    {line}" for line in _filled(texts))
    return f"static const {alignment}{array.ctype} {array.name}[{len(texts)}] = {{\n{body}\n}};"


def _filled(texts: list[str]) -> Iterator[str]:
    line = ""
    for text in texts:
        if line and len(line) + len(text) + 2 > TABLE_COLUMNS:
            yield line
            line = ""
        line += f"{' ' if line else ''}{text},"
    yield line


def _texts(ctype: CType, values: NDArray[np.generic]) -> list[str]:
    flat = values.ravel().tolist()
    if ctype == "float":
        return [c_float(np.float32(value)) for value in flat]
    return [c_int(value) for value in flat]


def _decode(program: Program) -> str:
    names, action = program.names, program.policy.contract.action
    parameters = [f"const {names.symbol('output_t')} *output", f"{names.symbol('action')} *action"]
    head = c_list(f"void {names.symbol('decode')}(", parameters, ")") + "\n{\n"
    results, source, count = _results(program)
    head += results
    if action.kind == "discrete":
        start = f" + {c_int(action.start)}" if action.start else ""
        index = f"{program.decide_function}({source}, {count}){start}"
        return f"{head}    action->index = {index};\n}}"
    if action.kind == "multi_discrete":
        lines, first = [], 0
        for place, choices in enumerate(action.counts):
            index = f"{program.decide_function}({source} + {first}, {choices})"
            lines.append(f"    action->indices[{place}] = {index};")
            first += choices
        return f"{head}" + "\n".join(lines) + "\n}"
    # Results are finite, so the largest float clips no more than infinity does, and needs no
    # <math.h>.
    low, high = (
        np.nan_to_num(np.array(bounds, np.float32)) for bounds in (action.low, action.high)
    )
    arrays = [Array("box_low", "float", low), Array("box_high", "float", high)]
    half = "NULL"
    if action.transform == "unscale":
        arrays.append(Array("box_half_range", "float", (high - low) * np.float32(0.5)))
        half = "box_half_range"
    box = f"static const ql_box box = {{box_low, box_high, {half}, {action.count}}};"
    real = _real(program, "action->values", source, count)
    values = "action->values" if real else source
    decide = f"    {program.decide_function}(&box, {values}, action->values);\n"
    return f"{render_arrays(*arrays)}\n\n{box}\n\n{head}{real}{decide}}}"


def _results(program: Program) -> tuple[str, str, str]:
    """Return what finds the last step's result in what `infer` gave, its name and its length."""
    if program.records is None:
        return "", "output", program.names.macro("OUTPUT_LEN")
    found = (
        f"    const {program.output.ctype} *results = "
        f"(const void *)(output + {program.output.offset});\n"
    )
    return found, "results", str(program.policy.contract.action.count)


def _sampling(program: Program) -> str:
    """Return the functions that draw an action."""
    results, source, count = _results(program)
    real = _real(program, "probabilities", source, count)
    observing = "" if program.records is not None else f"{_observing(program)}\n"
    return render_sampling(program, results + real, "probabilities" if real else source, observing)


def _real(program: Program, target: str, source: str = "output", count: str = "") -> str:
    """Return the call that makes real numbers of the outputs; empty where they are floats."""
    tensor = program.policy.nodes[-1].output
    if program.real_function is None or tensor is None:
        return ""
    arguments = [source, c_float(tensor.scale), c_int(tensor.zero_point)]
    arguments += [count or program.names.macro("OUTPUT_LEN"), target]
    return c_list(f"    {program.real_function}(", arguments, ");") + "\n"


def _probabilities(program: Program, beta: float) -> str:
    names = program.names
    parameters = [f"const {names.symbol('output_t')} *output", "float *probabilities"]
    head = c_list(f"void {names.symbol('probabilities')}(", parameters, ")") + "\n{\n"
    real = _real(program, "probabilities")
    arguments = ["probabilities" if real else "output", c_float(np.float32(beta))]
    arguments += [names.macro("OUTPUT_LEN"), "probabilities"]
    return f"{head}{real}{c_list('    ql_softmax_f32(', arguments, ');')}\n}}"


def _act(program: Program) -> str:
    if program.records is not None:
        return render_recurrent_act(program, program.records, _observation(program))
    names = program.names
    is_image = program.policy.contract.observation.is_image
    declarations = "" if is_image else _observation(program) + "\n\n"
    parameters = [
        f"const {names.symbol('observation_t')} *obs",
        f"{names.symbol('action')} *action",
    ]
    return f"""\
{declarations}{c_list(f"ql_status {names.symbol('act')}(", parameters, ")")}
{{
    if (obs == NULL || action == NULL) {{
        return QL_ERR_ARG;
    }}
{_observing(program)}
    {names.symbol("decode")}({names.symbol("infer")}(), action);
    return QL_OK;
}}"""


def _observing(program: Program) -> str:
    """Return the call that makes the graph's integers of `obs`."""
    observation, source = program.policy.contract.observation, f"{program.names.symbol('input')}()"
    arguments = ["&observation", "obs", source]
    if observation.is_image:
        planes = observation.shape[0] if observation.layout == "chw" else 1
        length = int(np.prod(observation.shape)) // planes
        arguments = ["obs", str(planes), str(length), source]
    return c_list(f"    {program.observe_function}(", arguments, ");")


def _observation(program: Program) -> str:
    quantizer = program.policy.observation
    inv_scale = Array("observation_inv_scale", "float", quantizer.inv_scale)
    zero_point = Array("observation_zero_point", "int32_t", quantizer.zero_point)
    tensor = quantizer.tensor
    return f"""\
{render_arrays(inv_scale, zero_point)}

static const ql_observation observation = {{
    .inv_scale = observation_inv_scale,
    .zero_point = observation_zero_point,
    .count = {quantizer.inv_scale.size},
    .qmin = {c_int(tensor.qmin)},
    .qmax = {c_int(tensor.qmax)},
}};"""
