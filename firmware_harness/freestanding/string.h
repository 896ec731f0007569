/* SPDX-License-Identifier: Apache-2.0 */
/* What the runtime needs of <string.h>, for a compiler that comes without a C library (zig). Its
 * own run-time library has the code. */
#ifndef QL_FREESTANDING_STRING_H
#define QL_FREESTANDING_STRING_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t count);
void *memset(void *to, int value, size_t count);

/* -ffreestanding forbids the compiler to know these functions; by their other names it may still
 * turn small copies into moves. */
#define memcpy __builtin_memcpy
#define memset __builtin_memset

#endif
