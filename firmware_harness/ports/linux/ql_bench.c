/* SPDX-License-Identifier: Apache-2.0 */
/* Times the policy; contract: ql_program.h. */
#include "ql_program.h"
#include "ql_request.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { RECORDS = 64, BLOCK_NS = 100000, SHORT_CALL_NS = 20000 };

typedef struct {
    uint8_t *bytes; /* [records][record_bytes] */
    size_t record_bytes;
    size_t records;
} inputs;

static union {
    uint8_t observations[RECORDS][QL_REQUEST_BYTES];
    ql_policy_observation_t alignment;
    ql_policy_input_t integers[RECORDS][QL_POLICY_INPUT_LEN];
} room;
static volatile uint8_t answer; /* so that no call can be left out */

/* Observations of 0 to 1, pixels and integers of any value: the time does not depend on them. */
static void make_up(const ql_bench_settings *settings, inputs *made)
{
    uint32_t state = 0x2545F491U;
    for (size_t i = 0; i < made->records * made->record_bytes; i += 4U) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        uint32_t word = state;
        if (settings->acts && QL_POLICY_OBS_IS_VECTOR) {
            float value = (float)(state >> 8) / 16777216.0F;
            (void)memcpy(&word, &value, sizeof word);
        }
        size_t left = made->records * made->record_bytes - i;
        (void)memcpy(&made->bytes[i], &word, left < sizeof word ? left : sizeof word);
    }
}

static int get_inputs(const ql_bench_settings *settings, inputs *made)
{
    made->record_bytes =
        settings->acts ? QL_REQUEST_BYTES : sizeof(ql_policy_input_t) * QL_POLICY_INPUT_LEN;
    made->records = RECORDS;
    made->bytes = (uint8_t *)&room;
    if (settings->file == NULL) {
        make_up(settings, made);
        return QL_EXIT_OK;
    }
    FILE *file = fopen(settings->file, "rb");
    if (file == NULL) {
        (void)fprintf(stderr, "%s: cannot be read\n", settings->file);
        return QL_EXIT_USAGE;
    }
    made->records = fread(made->bytes, made->record_bytes, RECORDS, file);
    (void)fclose(file);
    if (made->records == 0U) {
        (void)fprintf(stderr, "%s: shorter than one record of %zu bytes\n", settings->file,
                      made->record_bytes);
        return QL_EXIT_USAGE;
    }
    return QL_EXIT_OK;
}

/* Nanoseconds of `calls` calls, from inputs in to outputs out; *next is the record to begin with.
 */
static uint64_t time_block(const ql_bench_settings *settings, const inputs *from, size_t *next,
                           int32_t calls)
{
    ql_policy_action action = {0};
    uint64_t began_ns = ql_clock_ns();
    for (int32_t call = 0; call < calls; call++) {
        const void *record = &from->bytes[*next * from->record_bytes];
        if (settings->acts) {
#if defined(QL_POLICY_STATE_BYTES)
            ql_request request;
            (void)memcpy(&request, record, QL_REQUEST_BYTES);
            (void)ql_act_on(&request, &action);
#else
            (void)ql_policy_act(record, &action);
#endif
            answer = *(const uint8_t *)&action;
        } else {
            (void)memcpy(ql_policy_input(), record, from->record_bytes);
            answer = *(const uint8_t *)ql_policy_infer();
        }
        *next = *next + 1U == from->records ? 0U : *next + 1U;
    }
    return ql_clock_ns() - began_ns;
}

/* A field of this process's memory in bytes; -1 where the system does not tell. */
static long memory_bytes(const char *field)
{
    char line[128];
    long kilobytes = -1;
    FILE *status = fopen("/proc/self/status", "r");
    while (status != NULL && fgets(line, sizeof line, status) != NULL) {
        if (strncmp(line, field, strlen(field)) == 0) {
            kilobytes = strtol(line + strlen(field), NULL, 10);
        }
    }
    if (status != NULL) {
        (void)fclose(status);
    }
    return kilobytes < 0 ? -1 : kilobytes * 1024;
}

int ql_bench(const ql_bench_settings *settings)
{
    inputs from;
    size_t next = 0U;
    if (get_inputs(settings, &from) != QL_EXIT_OK) {
        return QL_EXIT_USAGE;
    }
    long before_bytes = memory_bytes("VmRSS:");
    uint64_t first_ns = time_block(settings, &from, &next, 1);
    uint64_t began_ns = ql_clock_ns();
    int64_t warm_up_calls = 0;
    do {
        (void)time_block(settings, &from, &next, 1);
        warm_up_calls++;
    } while ((double)(ql_clock_ns() - began_ns) < settings->warm_up_s * 1e9);
    uint64_t one_ns = (ql_clock_ns() - began_ns) / (uint64_t)warm_up_calls;
    int32_t block = settings->block;
    if (block <= 0) {
        block = one_ns < SHORT_CALL_NS ? (int32_t)(BLOCK_NS / (one_ns + 1U)) + 1 : 1;
    }
    struct rusage before;
    struct rusage after;
    (void)getrusage(RUSAGE_SELF, &before);
    (void)printf("{\"kind\": \"measured\", \"what\": \"%s\", \"core\": \"%s\", "
                 "\"kernels\": \"%s\", \"contract_sha256\": \"%s\", ",
                 settings->acts ? "act" : "infer", QL_CORE_NAME, QL_KERNELS_NAME,
                 QL_POLICY_CONTRACT_SHA256);
    (void)printf("\"first_call_us\": %.3f, \"warm_up_calls\": %lld, "
                 "\"calls_per_sample\": %d, \"samples_us\": [",
                 (double)first_ns / 1e3, (long long)warm_up_calls, (int)block);
    uint64_t *samples_ns = calloc((size_t)settings->samples, sizeof *samples_ns);
    int32_t count = 0;
    began_ns = ql_clock_ns();
    while (samples_ns != NULL && count < settings->samples &&
           (double)(ql_clock_ns() - began_ns) < settings->seconds * 1e9) {
        samples_ns[count] = time_block(settings, &from, &next, block);
        count++;
    }
    (void)getrusage(RUSAGE_SELF, &after);
    for (int32_t i = 0; i < count; i++) {
        (void)printf("%s%.3f", i == 0 ? "" : ", ", (double)samples_ns[i] / 1e3 / block);
    }
    (void)printf("], \"rss_before_bytes\": %ld, \"rss_bytes\": %ld, "
                 "\"peak_bytes\": %ld, \"major_faults\": %ld, \"preemptions\": %ld}\n",
                 before_bytes, memory_bytes("VmRSS:"), memory_bytes("VmHWM:"),
                 after.ru_majflt - before.ru_majflt, after.ru_nivcsw - before.ru_nivcsw);
    free(samples_ns);
    return QL_EXIT_OK;
}
