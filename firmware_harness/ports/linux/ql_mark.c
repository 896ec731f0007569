/* SPDX-License-Identifier: Apache-2.0 */
/* Marks for an emulator; contract: ql_program.h. */
#define _GNU_SOURCE
#include "ql_program.h"

#include <unistd.h>

void ql_mark(uint32_t code)
{
    (void)lseek(-1, (off_t)(0x514C00000000 | code),
                SEEK_SET); /* no such descriptor: EBADF, whatever the offset */
}
