/* SPDX-License-Identifier: Apache-2.0 */
/* A control loop on Linux: readings come in on standard input, commands go out on standard output,
 * one decision a period. */
#define _POSIX_C_SOURCE 200809L
#include "ql_policy.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PERIOD_NS = 50000000, SECOND_NS = 1000000000, STALE_PERIODS = 5, LINE_BYTES = 256 };

typedef enum { NOTHING, READING, END } received;

/* The newest whole line of standard input; older ones are dropped. */
static received newest_line(char line[LINE_BYTES])
{
    static char kept[LINE_BYTES];
    static size_t length;
    received found = NOTHING;
    struct pollfd input = {STDIN_FILENO, POLLIN, 0};
    while (poll(&input, 1, 0) > 0) {
        char byte;
        if (read(STDIN_FILENO, &byte, 1) != 1) {
            return found == NOTHING ? END : found;
        }
        if (byte == '\n') {
            kept[length] = '\0';
            (void)memcpy(line, kept, length + 1);
            length = 0;
            found = READING;
        } else if (length < LINE_BYTES - 1) {
            kept[length++] = byte;
        }
    }
    return found;
}

static void wait_for(struct timespec *next)
{
    next->tv_nsec += PERIOD_NS;
    if (next->tv_nsec >= SECOND_NS) {
        next->tv_nsec -= SECOND_NS;
        next->tv_sec++;
    }
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, next, NULL) != 0) {
    }
}

static void command(float torque)
{
    (void)printf("%.9g\n", (double)torque);
    (void)fflush(stdout);
}

int main(void)
{
    static char line[LINE_BYTES];
    struct timespec next;
    int silent = 0;
    if (ql_policy_check() != QL_OK) {
        (void)fputs("this build computes something else than what was judged\n", stderr);
        return 1;
    }
    (void)mlockall(MCL_CURRENT | MCL_FUTURE); /* without the right to, pages may still be read in */
    (void)clock_gettime(CLOCK_MONOTONIC, &next);
    for (;;) {
        float observation[QL_POLICY_OBS_LEN];
        ql_policy_action action;
        received came;
        wait_for(&next);
        came = newest_line(line);
        if (came == END) {
            command(0.0f);
            return 0;
        }
        if (came == NOTHING) {
            if (++silent == STALE_PERIODS) {
                command(0.0f);
            }
            continue;
        }
        silent = 0;
        if (sscanf(line, "%f %f %f", &observation[0], &observation[1], &observation[2]) != 3) {
            (void)fprintf(stderr, "not a reading: %.40s\n", line);
            continue;
        }
        if (ql_policy_act(observation, &action) == QL_OK) {
            command(action.values[0]);
        }
    }
}
