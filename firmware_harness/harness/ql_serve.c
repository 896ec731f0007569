/* SPDX-License-Identifier: Apache-2.0 */
/* Frames answered by the policy; the byte layout is drawn in ql_frame.h. */
#include "ql_frame.h"
#include "ql_policy.h"
#include "ql_port.h"
#include "ql_request.h"
#include "ql_ticks.h"

#include <stddef.h>

typedef struct {
    const void *bytes;
    uint32_t count;
} part;

static const struct {
    uint32_t sizes[4];
    char contract[68]; /* 64 digits, zeros */
} identity = {{QL_REQUEST_BYTES, sizeof(ql_policy_input_t) * QL_POLICY_INPUT_LEN,
               sizeof(ql_policy_output_t) * QL_POLICY_OUTPUT_LEN, sizeof(ql_policy_action)},
              QL_POLICY_CONTRACT_SHA256};

static ql_policy_action action;
static uint32_t tag; /* of the request being answered */
#if QL_POLICY_OBS_IS_VECTOR
static ql_request request;
#endif

/* Words are sent as they lie in memory: Cortex-M is little-endian. */
static void answer(uint32_t type, const part *parts, int32_t count)
{
    uint32_t header[3] = {'Q' | 'L' << 8 | QL_FRAME_VERSION << 16 | type << 24, 0U, tag};
    for (int32_t i = 0; i < count; i++) {
        header[1] += parts[i].count;
    }
    part next = {header, sizeof header};
    uint32_t crc = 0U;
    for (int32_t i = 0; i <= count; i++) {
        ql_port_write(next.bytes, next.count);
        crc = ql_crc32(crc, next.bytes, next.count);
        if (i < count) {
            next = parts[i];
        }
    }
    ql_port_write(&crc, sizeof crc);
}

static void refuse(uint32_t reason)
{
    const part parts[1] = {{&reason, sizeof reason}};
    answer('E', parts, 1);
}

static void serve_identity(void)
{
    const part parts[1] = {{&identity, sizeof identity}};
    answer('I', parts, 1);
}

static void serve_run(void)
{
    ql_ticks_start();
    const ql_policy_output_t *output = ql_policy_infer();
    uint32_t ticks = ql_ticks_passed();
    ql_policy_decode(output, &action);
    const part parts[3] = {{&ticks, sizeof ticks},
                           {output, sizeof(ql_policy_output_t) * QL_POLICY_OUTPUT_LEN},
                           {&action, sizeof action}};
    answer('R', parts, 3);
}

#if QL_POLICY_OBS_IS_VECTOR
static void serve_act(void)
{
    ql_ticks_start();
    (void)ql_act_on(&request, &action);
    uint32_t ticks = ql_ticks_passed();
    const part parts[2] = {{&ticks, sizeof ticks}, {&action, sizeof action}};
    answer('A', parts, 2);
}
#endif

/* Where the payload of a request belongs, and how long it must be. */
static void *place_for(uint8_t type, uint32_t *length)
{
    if (type == 'R') {
        *length = sizeof(ql_policy_input_t) * QL_POLICY_INPUT_LEN;
        return ql_policy_input();
    }
#if QL_POLICY_OBS_IS_VECTOR
    if (type == 'A') {
        *length = QL_REQUEST_BYTES;
        return &request;
    }
#endif
    *length = 0U;
    return type == 'I' || type == 'X' ? &action : NULL;
}

/* Reads a header; bytes before the next 'Q' 'L' are dropped. Returns 0 when the link has closed. */
static int32_t read_header(uint8_t *header)
{
    header[1] = 0U;
    do {
        header[0] = header[1];
        if (ql_port_read(&header[1], 1U) == 0) {
            return 0;
        }
    } while (header[0] != 'Q' || header[1] != 'L');
    return ql_port_read(&header[2], QL_FRAME_HEADER - 2U);
}

void ql_serve(void)
{
    union {
        uint8_t bytes[QL_FRAME_HEADER];
        uint32_t words[3];
    } header;
#if QL_POLICY_EXAMPLES > 0
    const ql_status fitness = ql_policy_check();
#endif
    while (read_header(header.bytes) != 0) {
        uint8_t type = header.bytes[3];
        uint32_t needed;
        uint32_t sent_crc;
        void *place = place_for(type, &needed);
        tag = header.words[2];
        if (place == NULL || header.bytes[2] != QL_FRAME_VERSION) {
            refuse(QL_FRAME_UNKNOWN);
            continue;
        }
        if (header.words[1] != needed) {
            refuse(QL_FRAME_BAD_LENGTH);
            continue;
        }
        if (ql_port_read(place, needed) == 0 || ql_port_read(&sent_crc, sizeof sent_crc) == 0) {
            return;
        }
        if (ql_crc32(ql_crc32(0U, header.bytes, sizeof header), place, needed) != sent_crc) {
            refuse(QL_FRAME_BAD_CRC);
            continue;
        }
#if QL_POLICY_EXAMPLES > 0
        if (fitness != QL_OK && type != 'X') {
            refuse(QL_FRAME_UNFIT);
            continue;
        }
#endif
        switch (type) {
        case 'R':
            serve_run();
            break;
#if QL_POLICY_OBS_IS_VECTOR
        case 'A':
            serve_act();
            break;
#endif
        case 'I':
            serve_identity();
            break;
        default:
            return;
        }
    }
}
