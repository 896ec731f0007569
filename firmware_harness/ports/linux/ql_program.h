/* SPDX-License-Identifier: Apache-2.0 */
/* A policy as a Linux program: what its source files share. The command line and the byte streams
 * are described in toolchain/quarl/firmware/linux.py. */
#ifndef QL_PROGRAM_H
#define QL_PROGRAM_H

#include "ql_policy.h"

#include <stdint.h>
#include <stdio.h>

#if !defined(QL_CORE_NAME)
#define QL_CORE_NAME "host" /* given by the build: the core and the kernels it was made for */
#define QL_KERNELS_NAME "portable"
#endif

/* From EMPTY_BEGIN to EMPTY_END is what a mark costs by itself. The codes are those of
 * toolchain/quarl/pi/agent.py. */
enum { QL_MARK_BEGIN = 1, QL_MARK_END = 2, QL_MARK_EMPTY_BEGIN = 5, QL_MARK_EMPTY_END = 6 };
enum { QL_EXIT_OK = 0, QL_EXIT_USAGE = 2, QL_EXIT_UNFIT = 5 };

typedef struct {
    const char *file; /* of observations or integers; NULL: made up from a fixed seed */
    int32_t acts;     /* 1: from observation to action; 0: from integers to outputs */
    double warm_up_s; /* before anything is kept */
    double seconds;   /* at most */
    int32_t samples;  /* at most */
    int32_t block;    /* calls timed together; 0: by how long one takes */
} ql_bench_settings;

/* Reads records from `in` until it ends and writes one answer for each. acts: 1 observations to
 * actions, 0 integers to outputs. is_marked: marks are set around each inference and around
 * nothing, for an emulator that counts. Returns an exit code; says on standard error what was
 * wrong. */
int ql_stream(FILE *in, int32_t acts, int32_t is_marked);

/* A system call without effect that firmware_harness/emulator/ql_region_counter.c notes. */
void ql_mark(uint32_t code);

/* Times the policy and prints one JSON object; every figure in it is measured. Returns an exit
 * code. */
int ql_bench(const ql_bench_settings *settings);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t ql_clock_ns(void);

#endif
