/* SPDX-License-Identifier: Apache-2.0 */
/* PCG32, one number; contract: ql_random.h. */
#include "ql_random.h"

uint32_t ql_random_next(ql_random *random)
{
    uint64_t state = random->state;
    random->state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    uint32_t mixed = (uint32_t)(((state >> 18U) ^ state) >> 27U);
    uint32_t turn = (uint32_t)(state >> 59U);
    return (mixed >> turn) | (mixed << ((32U - turn) & 31U));
}
