/* SPDX-License-Identifier: Apache-2.0 */
/* The port over two rings in RAM, which a debug probe reads and fills while the core runs. Layout
 * of the control block: SEGGER, UM08001 (RTT), 16.4; pyOCD and probe-rs find it by its first bytes.
 */
#include "ql_port.h"

enum { UP_BYTES = 1024, DOWN_BYTES = 1024, ID_BYTES = 16 };

typedef struct {
    const char *name;
    volatile uint8_t *bytes;
    uint32_t size;             /* of the ring; one byte of it stays empty */
    volatile uint32_t written; /* place of the next byte, moved by the writer alone */
    volatile uint32_t read;    /* place of the next byte, moved by the reader alone */
    uint32_t flags;
} ring;

typedef struct {
    volatile char id[ID_BYTES];
    int32_t up_count;
    int32_t down_count;
    ring up;   /* device to host */
    ring down; /* host to device */
} control_block;

static volatile uint8_t up_bytes[UP_BYTES];
static volatile uint8_t down_bytes[DOWN_BYTES];

extern control_block ql_rtt;
control_block ql_rtt;

static uint32_t after(uint32_t place, uint32_t size)
{
    return place + 1U == size ? 0U : place + 1U;
}

/* The name is written last: before, a host finds nothing. */
void ql_port_open(void)
{
    static const char id[] = "SEGGER RTT";
    ql_rtt.up_count = 1;
    ql_rtt.down_count = 1;
    ql_rtt.up.name = "quarl";
    ql_rtt.up.bytes = up_bytes;
    ql_rtt.up.size = UP_BYTES;
    ql_rtt.down.name = "quarl";
    ql_rtt.down.bytes = down_bytes;
    ql_rtt.down.size = DOWN_BYTES;
    for (uint32_t i = 0U; i < sizeof id; i++) {
        ql_rtt.id[i] = id[i];
    }
}

int32_t ql_port_read(void *to, uint32_t count)
{
    uint8_t *at = (uint8_t *)to;
    uint32_t place = ql_rtt.down.read;
    for (uint32_t i = 0U; i < count; i++) {
        while (ql_rtt.down.written == place) {
        }
        at[i] = down_bytes[place];
        place = after(place, DOWN_BYTES);
        ql_rtt.down.read = place;
    }
    return 1;
}

void ql_port_write(const void *from, uint32_t count)
{
    const uint8_t *at = (const uint8_t *)from;
    uint32_t place = ql_rtt.up.written;
    for (uint32_t i = 0U; i < count; i++) {
        const uint32_t next = after(place, UP_BYTES);
        while (ql_rtt.up.read == next) {
        }
        up_bytes[place] = at[i];
        place = next;
        ql_rtt.up.written = place;
    }
}
