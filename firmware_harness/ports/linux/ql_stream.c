/* SPDX-License-Identifier: Apache-2.0 */
/* Records in, answers out; contract: ql_program.h. */
#include "ql_program.h"
#include "ql_request.h"

/* One answer from the input in place; returns where it lies. */
static const void *infer(ql_request *request, int32_t acts, ql_policy_action *action)
{
    if (acts) {
        (void)ql_act_on(request, action);
        return action;
    }
    return ql_policy_infer();
}

int ql_stream(FILE *in, int32_t acts, int32_t is_marked)
{
    static ql_request request;
    ql_policy_action action = {0};
    const size_t needed = acts ? QL_REQUEST_BYTES : sizeof(ql_policy_input_t) * QL_POLICY_INPUT_LEN;
    const size_t answer_bytes =
        acts ? sizeof action : sizeof(ql_policy_output_t) * QL_POLICY_OUTPUT_LEN;
    for (;;) {
        size_t found = fread(acts ? (void *)&request : (void *)ql_policy_input(), 1U, needed, in);
        if (found != needed) {
            int is_written = fflush(stdout) == 0;
            if (found == 0U && !ferror(in) && is_written) {
                return QL_EXIT_OK;
            }
            if (is_written) {
                (void)fprintf(stderr, "the input ends within a record: %zu of %zu bytes\n", found,
                              needed);
            } else {
                (void)fprintf(stderr, "the output cannot be written\n");
            }
            return QL_EXIT_USAGE;
        }
        if (is_marked) {
            ql_mark(QL_MARK_EMPTY_BEGIN);
            ql_mark(QL_MARK_EMPTY_END);
            ql_mark(QL_MARK_BEGIN);
        }
        const void *answer = infer(&request, acts, &action);
        if (is_marked) {
            ql_mark(QL_MARK_END);
        }
        (void)fwrite(answer, 1U, answer_bytes, stdout);
    }
}
