#include "ql_program.h"

int ql_stream(FILE *in, int32_t acts)
{
    static ql_observation_t observation[QL_POLICY_OBS_LEN];
    ql_action action = {0};
    const size_t needed = acts ? sizeof observation : sizeof(ql_input_t) * QL_POLICY_INPUT_LEN;
    for (;;) {
        size_t found = fread(acts ? (void *)observation : (void *)ql_policy_input(), 1U, needed, in);
        if (found != needed) {
            int is_written = fflush(stdout) == 0;
            if (found == 0U && !ferror(in) && is_written) {
                return QL_EXIT_OK;
            }
            (void)fprintf(stderr, is_written ? "the input ends within a record: %zu of %zu bytes\n" : "the output cannot be written\n", found, needed);
            return QL_EXIT_USAGE;
        }
        if (acts) {
            (void)ql_policy_act(observation, &action);
            (void)fwrite(&action, sizeof action, 1U, stdout);
        } else {
            (void)fwrite(ql_policy_infer(), sizeof(ql_output_t), QL_POLICY_OUTPUT_LEN, stdout);
        }
    }
}
