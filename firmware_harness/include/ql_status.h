/* SPDX-License-Identifier: Apache-2.0 */
/* What a call of a policy can answer. */
#ifndef QL_STATUS_H
#define QL_STATUS_H

typedef enum {
    QL_OK = 0,
    QL_ERR_ARG = 1, /* a null pointer; nothing was written */
    QL_ERR_EXAMPLE =
        2 /* an example came out differently: compiler, flags or core do not keep the arithmetic */
} ql_status;

#endif
