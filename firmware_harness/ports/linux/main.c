/* SPDX-License-Identifier: Apache-2.0 */
/* A policy as a program: see toolchain/quarl/firmware/linux.py for its command line and byte
 * streams. */
#define _GNU_SOURCE
#include "ql_frame.h"
#include "ql_program.h"
#include "ql_request.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: policy --identify | --serve | [--marked] --run [FILE] | [--marked] --act [FILE]\n"
    "       policy --bench [--act] [--inputs FILE] [--seconds S] "
    "[--warm-up S] [--samples N] [--block N] [--cpu N]\n";

static int refuse_usage(const char *what)
{
    (void)fprintf(stderr, "%s\n%s", what, usage);
    return QL_EXIT_USAGE;
}

static int identify(void)
{
    static const char *const types[3] = {"int8", "int16", "float32"};
    (void)printf("{\"program\": \"quarl\", \"core\": \"%s\", \"kernels\": \"%s\", "
                 "\"contract_sha256\": \"%s\", \"source_sha256\": \"%s\", ",
                 QL_CORE_NAME, QL_KERNELS_NAME, QL_POLICY_CONTRACT_SHA256, QL_POLICY_SOURCE_SHA256);
    (void)printf("\"observation_bytes\": %zu, \"input_bytes\": %zu, \"output_bytes\": %zu, "
                 "\"action_bytes\": %zu, ",
                 QL_REQUEST_BYTES, sizeof(ql_policy_input_t) * QL_POLICY_INPUT_LEN,
                 sizeof(ql_policy_output_t) * QL_POLICY_OUTPUT_LEN, sizeof(ql_policy_action));
    (void)printf("\"input_type\": \"%s\", \"output_type\": \"%s\", \"examples\": %d}\n",
                 types[sizeof(ql_policy_input_t) / 2U], types[sizeof(ql_policy_output_t) / 2U],
                 QL_POLICY_EXAMPLES);
    return QL_EXIT_OK;
}

/* Reads a number that is at least `least`. Returns 0 where there is none. */
static int32_t number(const char *text, double least, double *value)
{
    char *end = NULL;
    if (text == NULL) {
        return 0;
    }
    *value = strtod(text, &end);
    return end != text && *end == '\0' && *value >= least && *value <= 1e9;
}

static int bench(int count, char **options)
{
    ql_bench_settings settings = {NULL, 0, 0.5, 2.0, 2000, 0};
    for (int i = 0; i < count; i++) {
        const char *argument = i + 1 < count ? options[i + 1] : NULL;
        double value = 0.0;
        if (strcmp(options[i], "--act") == 0) {
            settings.acts = 1;
            continue;
        }
        if (strcmp(options[i], "--inputs") == 0 && argument != NULL) {
            settings.file = argument;
        } else if (strcmp(options[i], "--seconds") == 0 && number(argument, 0.0, &value)) {
            settings.seconds = value;
        } else if (strcmp(options[i], "--warm-up") == 0 && number(argument, 0.0, &value)) {
            settings.warm_up_s = value;
        } else if (strcmp(options[i], "--samples") == 0 && number(argument, 1.0, &value)) {
            settings.samples = (int32_t)value;
        } else if (strcmp(options[i], "--block") == 0 && number(argument, 1.0, &value)) {
            settings.block = (int32_t)value;
        } else if (strcmp(options[i], "--cpu") == 0 && number(argument, 0.0, &value)) {
            cpu_set_t cpus;
            CPU_ZERO(&cpus);
            CPU_SET((size_t)value % CPU_SETSIZE, &cpus);
            if (sched_setaffinity(0, sizeof cpus, &cpus) != 0) {
                return refuse_usage("--cpu: this process may not run on that CPU");
            }
        } else {
            return refuse_usage(options[i]);
        }
        i++;
    }
    return ql_bench(&settings);
}

static int stream(const char *path, int32_t acts, int32_t is_marked)
{
    FILE *in = path == NULL ? stdin : fopen(path, "rb");
    if (in == NULL) {
        (void)fprintf(stderr, "%s: cannot be read\n", path);
        return QL_EXIT_USAGE;
    }
    return ql_stream(in, acts, is_marked);
}

int main(int argc, char **argv)
{
    int is_marked = argc > 1 && strcmp(argv[1], "--marked") == 0;
    argc -= is_marked;
    argv += is_marked;
    const char *verb = argc > 1 ? argv[1] : "";
#if QL_POLICY_EXAMPLES > 0
    if (ql_policy_check() != QL_OK) {
        (void)fprintf(stderr,
                      "the policy's own example came out differently: "
                      "this core does not keep the arithmetic, the policy must not be used\n");
        return QL_EXIT_UNFIT;
    }
#endif
    if (strcmp(verb, "--bench") == 0) {
        return bench(argc - 2, &argv[2]);
    }
    if ((strcmp(verb, "--run") == 0 || strcmp(verb, "--act") == 0) && argc <= 3) {
        return stream(argc == 3 ? argv[2] : NULL, strcmp(verb, "--act") == 0, is_marked);
    }
    if (argc == 2 && strcmp(verb, "--identify") == 0) {
        return identify();
    }
    if (argc == 2 && strcmp(verb, "--serve") == 0) {
        ql_serve();
        return fflush(stdout) == 0 ? QL_EXIT_OK : QL_EXIT_USAGE;
    }
    return refuse_usage(verb[0] == '\0' ? "what to do is missing" : verb);
}
