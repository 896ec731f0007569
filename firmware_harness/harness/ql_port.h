/* SPDX-License-Identifier: Apache-2.0 */
/* What a board must supply to the harness: bytes in, bytes out. */
#ifndef QL_PORT_H
#define QL_PORT_H

#include <stdint.h>

void ql_port_open(void);

/* Waits for exactly `count` bytes. Returns 0 when the other side has closed the link. */
int32_t ql_port_read(void *to, uint32_t count);

void ql_port_write(const void *from, uint32_t count);

/* Ends the program where there is something to return to. */
void ql_port_exit(int32_t code);

#endif
