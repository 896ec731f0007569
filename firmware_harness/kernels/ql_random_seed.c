/* SPDX-License-Identifier: Apache-2.0 */
/* PCG32, its start; contract: ql_random.h. */
/* needs: ql_random_next */
#include "ql_random.h"

void ql_random_seed(ql_random *random, uint64_t seed)
{
    random->state = 0U;
    (void)ql_random_next(random);
    random->state += seed;
    (void)ql_random_next(random);
}
