/* SPDX-License-Identifier: Apache-2.0 */
/* How a port of frames ends. */
#include "ql_frame.h"
#include "ql_port.h"

/* There is nothing to return to. A fault is told to the host, whatever it asked. */
void ql_port_exit(int32_t code)
{
    if (code != 0) {
        const uint32_t told[4] = {'Q' | 'L' << 8 | QL_FRAME_VERSION << 16 | (uint32_t)'E' << 24, 4U,
                                  0U, QL_FRAME_FAULT};
        const uint32_t crc = ql_crc32(0U, told, sizeof told);
        ql_port_write(told, sizeof told);
        ql_port_write(&crc, sizeof crc);
    }
    for (;;) {
    }
}
