/* SPDX-License-Identifier: Apache-2.0 */
/* Frames between host and device, little-endian:
 *
 *     offset  bytes  what
 *     0       2      'Q' 'L'
 *     2       1      version, QL_FRAME_VERSION
 *     3       1      type
 *     4       4      length of the payload
 *     8       4      tag: the host's choice, sent back with the answer, so that an answer that
 * comes late is not taken for the next one 12      n      payload 12 + n  4      CRC-32 (IEEE
 * 802.3) of everything before
 *
 * request            payload                    answer's payload (same type)
 *     'I' identify   none                       sizes of observation, input, output, action: 4
 * uint32; contract's SHA-256 as 64 hex digits and 4 zeros 'R' run        graph input ticks
 * (uint32), output, action 'A' act        observation                ticks (uint32), action; vector
 * observations only 'X' end            none                       no answer; ql_serve returns
 * Anything else is answered by 'E' with one uint32: 1 bad CRC, 2 unknown type or version, 3 wrong
 * length, 4 the policy's own example came out differently at boot, so nothing is served, 5 the core
 * took a fault and has stopped (tag 0). Ticks are cycles of the core from first instruction to
 * last, 0 where it cannot count them.
 */
#ifndef QL_FRAME_H
#define QL_FRAME_H

#include <stdint.h>

enum { QL_FRAME_VERSION = 2, QL_FRAME_HEADER = 12 };
enum {
    QL_FRAME_BAD_CRC = 1,
    QL_FRAME_UNKNOWN = 2,
    QL_FRAME_BAD_LENGTH = 3,
    QL_FRAME_UNFIT = 4,
    QL_FRAME_FAULT = 5
};

/* Continues a CRC-32 over more bytes; start with 0. */
uint32_t ql_crc32(uint32_t crc, const void *bytes, uint32_t count);

/* Reads requests and answers them until 'X' comes or the link closes. */
void ql_serve(void);

#endif
