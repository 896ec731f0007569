/* SPDX-License-Identifier: Apache-2.0 */
/* What an act request brings: an observation and, of a recurrent policy, the state to begin with.
 */
#ifndef QL_REQUEST_H
#define QL_REQUEST_H

#include "ql_policy.h"

typedef struct {
    ql_policy_observation_t observation[QL_POLICY_OBS_LEN];
#if defined(QL_POLICY_STATE_BYTES)
    ql_policy_state state;
#endif
} ql_request;

#if defined(QL_POLICY_STATE_BYTES)
#define QL_REQUEST_BYTES \
    (sizeof(ql_policy_observation_t) * QL_POLICY_OBS_LEN + QL_POLICY_STATE_BYTES)
#else
#define QL_REQUEST_BYTES (sizeof(ql_policy_observation_t) * QL_POLICY_OBS_LEN)
#endif

static inline ql_status ql_act_on(ql_request *request, ql_policy_action *action)
{
#if defined(QL_POLICY_STATE_BYTES)
    return ql_policy_act(request->observation, &request->state, action);
#else
    return ql_policy_act(request->observation, action);
#endif
}

#endif
