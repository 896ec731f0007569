/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-License-Identifier: MIT
 *
 * A TCG plugin for qemu-aarch64 (user mode): guest instructions executed between the marks a
 * program sets. Compiled on the host and loaded by QEMU, apart from everything else here; QEMU
 * itself is GPL-2.0.
 *
 *     -plugin ql_region_counter.so,out=FILE
 *
 * A mark is the system call lseek with any descriptor and the offset 0x514C00000000 | code, which
 * does nothing. Output, one line a mark, in order:
 *
 *     code instructions          instructions: executed by the process so far, all threads; the
 * last line, code 0, is its end
 *
 * Declared here from the documented plugin interface, version 1, because Debian's package brings no
 * header.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                           void (*callback)(qemu_plugin_id_t,
                                                            struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, int operation,
                                              void *counter, uint64_t value);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id,
                                          void (*callback)(qemu_plugin_id_t, unsigned, int64_t,
                                                           uint64_t, uint64_t, uint64_t, uint64_t,
                                                           uint64_t, uint64_t, uint64_t, uint64_t));
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*callback)(qemu_plugin_id_t, void *),
                                    void *data);

EXPORTED int qemu_plugin_version = 1;
EXPORTED int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv);

enum { ADD_U64 = 0, LSEEK = 62 };
static const uint64_t MARK = 0x514C; /* "QL", the upper half of the offset */

static uint64_t executed;
static FILE *out;

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, ADD_U64, &executed, qemu_plugin_tb_n_insns(tb));
}

static void on_system_call(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t descriptor,
                           uint64_t offset, uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6,
                           uint64_t a7, uint64_t a8)
{
    (void)id, (void)cpu, (void)descriptor, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7,
        (void)a8;
    if (number == LSEEK && offset >> 32 == MARK) {
        fprintf(out, "%" PRIu64 " %" PRIu64 "\n", offset & UINT32_MAX, executed);
    }
}

static void on_exit(qemu_plugin_id_t id, void *data)
{
    (void)id, (void)data;
    fprintf(out, "0 %" PRIu64 "\n", executed);
    fclose(out);
}

int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "out=", 4) == 0) {
            out = fopen(argv[i] + 4, "w");
        }
    }
    if (out == NULL) {
        fputs("ql_region_counter: needs out=FILE that can be written\n", stderr);
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_system_call);
    qemu_plugin_register_atexit_cb(id, on_exit, NULL);
    return 0;
}
