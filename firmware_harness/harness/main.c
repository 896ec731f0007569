/* SPDX-License-Identifier: Apache-2.0 */
/* A firmware that answers frames until the link closes. */
#include "ql_frame.h"
#include "ql_port.h"

int main(void)
{
    ql_port_open();
    ql_serve();
    ql_port_exit(0);
    return 0;
}
