"""Render: a program becomes `ql_policy.h` and `ql_policy.c`, the same bytes for the same policy."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

import quarl
from quarl.firmware.program import SIZES, Array, Call, CType, Example, Operand, Program, float_text
from quarl.graph.quant_policy import ObservationQuantizer

PER_LINE = 24  # values in a line of a table
LETTERS: dict[CType, str] = {"int8_t": "s8", "int16_t": "s16", "float": "f32"}


def render_header(program: Program) -> str:
    """Return `ql_policy.h`: what an application includes."""
    contract = program.policy.contract
    observation, action = contract.observation, contract.action
    layout = {
        "vector": "[features]",
        "hwc": "[height][width][channels]",
        "chw": "[channels][height][width], oldest frame first",
    }
    obs_type = "uint8_t" if observation.is_image else "float"
    if action.kind == "discrete":
        members = f"    int32_t index; /* of {action.count} actions */"
    else:
        members = f"    float values[{action.count}]; /* units of the environment */"
    rate = (
        ""
        if contract.step_hz is None
        else f"#define QL_POLICY_STEP_HZ {float_text(np.float32(contract.step_hz))}\n"
    )
    return f"""\
/* A policy in C, written by quarl {quarl.__version__}; do not edit. Contract: contract.json.
 *
 *     ql_action action;
 *     if (ql_policy_act(observation, &action) == QL_OK) ...
 *
 * Not re-entrant: all calls share one arena of QL_POLICY_ARENA_BYTES. With an FPU its rounding mode must be to nearest, as after reset.
 */
#ifndef QL_POLICY_H
#define QL_POLICY_H

#include "ql_status.h"

#include <stdint.h>

#if defined(__cplusplus)
extern "C" {{
#endif

#define QL_POLICY_OBS_LEN {int(np.prod(observation.shape))}
#define QL_POLICY_OBS_IS_VECTOR {int(not observation.is_image)}
#define QL_POLICY_INPUT_LEN {program.input_len}
#define QL_POLICY_OUTPUT_LEN {program.output_len}
#define QL_POLICY_ARENA_BYTES {program.plan.arena_bytes}
#define QL_POLICY_EXAMPLES {0 if program.example is None else len(program.example.inputs)}
#define QL_POLICY_CONTRACT_SHA256 "{contract.digest}"
#define QL_POLICY_SOURCE_SHA256 "{program.policy.source_sha256}"
{rate}
typedef {obs_type} ql_observation_t;
typedef {program.input.ctype} ql_input_t;
typedef {program.output.ctype} ql_output_t;

typedef struct {{
{members}
}} ql_action;

/* obs {obs_type} {layout[observation.layout]}, as the environment gives it. QL_ERR_ARG: a pointer is null, nothing was written. */
ql_status ql_policy_act(const ql_observation_t *obs, ql_action *action);

/* The same in three parts, for an application that makes the integers itself: write QL_POLICY_INPUT_LEN of them to
 * ql_policy_input(), infer, decode. Inferring consumes the input; the output [QL_POLICY_OUTPUT_LEN] stays until the next call. */
ql_input_t *ql_policy_input(void);
const ql_output_t *ql_policy_infer(void);
void ql_policy_decode(const ql_output_t *output, ql_action *action);
{_probabilities_prototype(program)}
#if QL_POLICY_EXAMPLES > 0
/* Replays the examples of ql_policy_check.c. QL_ERR_EXAMPLE: one byte differs, the policy must not be used. */
ql_status ql_policy_check(void);
#endif

#if defined(__cplusplus)
}}
#endif

#endif
"""


def render_source(program: Program) -> str:
    """Return `ql_policy.c`: tables, descriptors and the calls."""
    parts = [
        f"/* Written by quarl {quarl.__version__}; do not edit. */",
        '#include "ql_policy.h"\n\n#include "ql_kernels.h"',
    ]
    if program.kernels != "portable":
        parts.append(f'#include "ql_kernels_{program.kernels}.h"')
    parts.append("#include <stddef.h>")
    parts.append(
        "#if !defined(QL_ARENA_ATTRIBUTE)\n#define QL_ARENA_ATTRIBUTE /* for instance a "
        "section in fast memory */\n#endif\n\n"
        "static union {\n    uint64_t alignment;\n    uint8_t "
        "bytes[QL_POLICY_ARENA_BYTES];\n} arena QL_ARENA_ATTRIBUTE;"
    )
    for call in program.calls:
        parts.extend(_array(array) for array in call.arrays)
        if call.descriptor:
            fields = "".join(f"    .{name} = {value},\n" for name, value in call.fields)
            parts.append(
                f"/* {_comment(call.node)} */\nstatic const {call.descriptor_type} "
                f"{call.descriptor} = {{\n{fields}}};"
            )
    parts.append(
        f"ql_input_t *ql_policy_input(void)\n{{\n    return (ql_input_t *)(void "
        f"*){_place(program, program.input)};\n}}"
    )
    lines = "".join(f"    {_call(program, call)};\n" for call in program.calls)
    parts.append(
        f"const ql_output_t *ql_policy_infer(void)\n{{\n{lines}    return (const ql_output_t "
        "*)(const void *)"
        f"{_place(program, program.output)};\n}}"
    )
    parts.append(_decode(program))
    parts.append(_act(program))
    if program.policy.softmax_beta is not None:
        parts.append(_probabilities(program, program.policy.softmax_beta))
    return "\n\n".join(parts) + "\n"


def render_check(program: Program, example: Example) -> str:
    """Return `ql_policy_check.c`: the example, and its replay."""
    inputs = Array("example_inputs", program.input.ctype, example.inputs)
    outputs = Array("example_outputs", program.output.ctype, example.outputs)
    return f"""\
/* Written by quarl {quarl.__version__}; do not edit. */
#include "ql_policy.h"

{_array(inputs)}

{_array(outputs)}

ql_status ql_policy_check(void)
{{
    const ql_input_t *wanted_input = example_inputs;
    const uint8_t *wanted = (const uint8_t *)example_outputs;
    uint32_t difference = 0U;
    for (int32_t example = 0; example < QL_POLICY_EXAMPLES; example++) {{
        ql_input_t *input = ql_policy_input();
        for (int32_t i = 0; i < QL_POLICY_INPUT_LEN; i++) {{
            input[i] = *wanted_input;
            wanted_input++;
        }}
        const uint8_t *found = (const uint8_t *)ql_policy_infer();
        for (uint32_t i = 0U; i < sizeof(ql_output_t) * QL_POLICY_OUTPUT_LEN; i++) {{
            difference |= (uint32_t)(found[i] ^ *wanted);
            wanted++;
        }}
    }}
    return difference == 0U ? QL_OK : QL_ERR_EXAMPLE;
}}
"""


def _call(program: Program, call: Call) -> str:
    arguments = ([f"&{call.descriptor}"] if call.descriptor else []) + list(call.leading)
    for operand, is_const in zip(call.operands, call.is_const, strict=True):
        qualifier = "const " if is_const else ""
        arguments.append(
            f"({qualifier}{operand.ctype} "
            f"*){'(const void *)' if is_const else '(void *)'}{_place(program, operand)}"
        )
    return f"{call.kernel}({', '.join(arguments)})"


def _place(program: Program, operand: Operand) -> str:
    return f"&arena.bytes[{program.plan.offsets[operand.buffer]}]"


def _array(array: Array) -> str:
    texts = _texts(array.ctype, array.values)
    lines = [", ".join(texts[i : i + PER_LINE]) for i in range(0, len(texts), PER_LINE)]
    body = ",\n    ".join(lines)
    alignment = f"_Alignas({array.alignment}) " if array.alignment > 1 else ""
    return (
        f"static const {alignment}{array.ctype} {array.name}[{len(texts)}] = {{\n    {body},\n}};"
    )


def _texts(ctype: CType, values: NDArray[np.generic]) -> list[str]:
    flat = values.ravel().tolist()
    if ctype == "float":
        return [float_text(np.float32(value)) for value in flat]
    return (
        [str(value) for value in flat] if ctype != "int32_t" else [_int32(value) for value in flat]
    )


def _int32(value: int) -> str:
    return (
        str(value) if value != -(2**31) else "INT32_MIN"
    )  # -2147483648 is not an int constant in C


def _decode(program: Program) -> str:
    action = program.policy.contract.action
    head = "void ql_policy_decode(const ql_output_t *output, ql_action *action)\n{\n"
    letters = LETTERS[program.output.ctype]
    if action.kind == "discrete":
        return f"{head}    action->index = ql_argmax_{letters}(output, QL_POLICY_OUTPUT_LEN);\n}}"
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
    texts = "\n\n".join(_array(array) for array in arrays)
    box = f"static const ql_box box = {{box_low, box_high, {half}, {action.count}}};"
    tensor = program.policy.nodes[-1].output
    values = "output"
    convert = ""
    if tensor is not None:
        convert = (
            f"    ql_real_{letters}(output, {float_text(tensor.scale)}, "
            f"{tensor.zero_point}, QL_POLICY_OUTPUT_LEN, action->values);\n"
        )
        values = "action->values"
    return f"{texts}\n\n{box}\n\n{head}{convert}    ql_act_box(&box, {values}, action->values);\n}}"


def _probabilities_prototype(program: Program) -> str:
    if program.policy.softmax_beta is None:
        return ""
    return """
/* The softmax that the model ended in: probabilities [QL_POLICY_OUTPUT_LEN] of the actions. OUTSIDE THE EXACT SET: computed in float,
 * not compared with any other runtime bit for bit; within 1/256 of LiteRT's. The action never depends on it. */
void ql_policy_probabilities(const ql_output_t *output, float *probabilities);
"""


def _probabilities(program: Program, beta: float) -> str:
    head = "void ql_policy_probabilities(const ql_output_t *output, float *probabilities)\n{\n"
    tensor = program.policy.nodes[-1].output
    values, convert = "output", ""
    if tensor is not None:
        real = (
            f"ql_real_{LETTERS[program.output.ctype]}(output, {float_text(tensor.scale)}, "
            f"{tensor.zero_point}"
        )
        values, convert = "probabilities", f"    {real}, QL_POLICY_OUTPUT_LEN, probabilities);\n"
    return (
        f"{head}{convert}    ql_softmax_f32({values}, {float_text(np.float32(beta))}, "
        "QL_POLICY_OUTPUT_LEN, probabilities);\n}"
    )


def _act(program: Program) -> str:
    quantizer = program.policy.observation
    observation = program.policy.contract.observation
    declarations = ""
    if observation.is_image:
        planes = observation.shape[0] if observation.layout == "chw" else 1
        length = int(np.prod(observation.shape)) // planes
        observe = f"ql_observe_pixels(obs, {planes}, {length}, ql_policy_input())"
    else:
        declarations = _observation(quantizer) + "\n\n"
        observe = f"ql_observe_{LETTERS[program.input.ctype]}(&observation, obs, ql_policy_input())"
    return f"""\
{declarations}ql_status ql_policy_act(const ql_observation_t *obs, ql_action *action)
{{
    if (obs == NULL || action == NULL) {{
        return QL_ERR_ARG;
    }}
    {observe};
    ql_policy_decode(ql_policy_infer(), action);
    return QL_OK;
}}"""


def _observation(quantizer: ObservationQuantizer) -> str:
    arrays = (
        Array("observation_inv_scale", "float", quantizer.inv_scale),
        Array("observation_zero_point", "int32_t", quantizer.zero_point),
    )
    tensor = quantizer.tensor
    fields = (
        f"observation_inv_scale, observation_zero_point, {quantizer.inv_scale.size}, "
        f"{tensor.qmin}, {tensor.qmax}"
    )
    return _paragraphs(
        [
            *(_array(array) for array in arrays),
            f"static const ql_observation observation = {{{fields}}};",
        ]
    )


def _paragraphs(parts: Iterable[str]) -> str:
    return "\n\n".join(parts)


def _comment(name: str) -> str:
    """Return a layer's name with nothing in it that could end a comment."""
    return "".join(c if c.isalnum() or c in "_.- " else "_" for c in name)


def observation_bytes(program: Program) -> int:
    """Return the flash bytes of the observation quantiser's tables."""
    quantizer = program.policy.observation
    return quantizer.inv_scale.size * (SIZES["float"] + SIZES["int32_t"])
