/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-License-Identifier: MIT
 *
 * A TCG plugin for qemu-system-arm and qemu-system-riscv32: exact executions of every block between
 * the call of a function and its return. Compiled on the host and loaded by QEMU, apart from
 * everything else here; QEMU itself is GPL-2.0.
 *
 *     -plugin ql_block_counter.so,out=FILE,start=A,end=B,caller=C,caller_end=D
 *
 * [A, B) is the function, [C, D) the one that calls it. Counting begins at A and ends when the
 * caller goes on; it is cut into parts wherever [A, B) goes on after a call. Only the first call
 * from [C, D) is counted. Output, one block a line:
 *
 *     part address end instructions executions taken          taken: the next block was not the one
 * that follows
 *
 * Declared here from the documented plugin interface, version 1, because Debian's package brings no
 * header.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                           void (*callback)(qemu_plugin_id_t,
                                                            struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
                                          void (*callback)(unsigned, void *), int flags,
                                          void *data);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*callback)(qemu_plugin_id_t, void *),
                                    void *data);

EXPORTED int qemu_plugin_version = 1;
EXPORTED int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv);

enum { BUCKETS = 1 << 12, PARTS_STEP = 16 };

typedef struct block {
    struct block *next;
    uint64_t address, end, instructions;
    uint64_t *counts; /* [parts][2]: executions, taken */
    size_t parts;
} block;

static block *buckets[BUCKETS];
static char *out_path;
static bool is_riscv;
static uint64_t start, end, caller, caller_end;
static bool is_active, is_done, was_inside;
static size_t part;
static block *last;
static uint64_t previous; /* address of the block before, counted or not */
static size_t last_part;

static uint64_t *counts_of(block *b, size_t index)
{
    if (index >= b->parts) {
        size_t parts = index + PARTS_STEP;
        b->counts = realloc(b->counts, parts * 2 * sizeof *b->counts);
        if (b->counts == NULL) {
            abort();
        }
        memset(b->counts + 2 * b->parts, 0, (parts - b->parts) * 2 * sizeof *b->counts);
        b->parts = parts;
    }
    return b->counts + 2 * index;
}

static void executed(unsigned cpu, void *data)
{
    block *b = data;
    uint64_t from = previous;
    (void)cpu;
    previous = b->address;
    if (!is_active) {
        if (is_done || b->address != start || from < caller || from >= caller_end) {
            return;
        }
        is_active = true;
        part = 0;
        was_inside = true;
        last = NULL;
    } else {
        if (last != NULL && last->end != b->address) {
            counts_of(last, last_part)[1]++;
        }
        if (b->address >= caller && b->address < caller_end) {
            is_active = false;
            is_done = true;
            return;
        }
        bool is_inside = b->address >= start && b->address < end;
        if (is_inside && !was_inside) {
            part++;
        }
        was_inside = is_inside;
    }
    counts_of(b, part)[0]++;
    last = b;
    last_part = part;
}

/* From the encoding of Thumb or of RISC-V: QEMU 7.2 gives sizes that are 2 too large at the end of
 * a page. */
static uint64_t size_of(const struct qemu_plugin_insn *insn)
{
    const uint8_t *data = qemu_plugin_insn_data(insn);
    if (is_riscv) {
        return (data[0] & 3) == 3 ? 4 : 2;
    }
    return (data[1] >> 3) >= 0x1D ? 4 : 2;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    size_t count = qemu_plugin_tb_n_insns(tb);
    struct qemu_plugin_insn *final = qemu_plugin_tb_get_insn(tb, count - 1);
    uint64_t address = qemu_plugin_tb_vaddr(tb);
    uint64_t after = qemu_plugin_insn_vaddr(final) + size_of(final);
    block **slot = &buckets[(address >> 1) % BUCKETS];
    (void)id;
    while (*slot != NULL && ((*slot)->address != address || (*slot)->end != after)) {
        slot = &(*slot)->next;
    }
    if (*slot == NULL) {
        *slot = calloc(1, sizeof **slot);
        if (*slot == NULL) {
            abort();
        }
        (*slot)->address = address;
        (*slot)->end = after;
        (*slot)->instructions = count;
    }
    qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, 0, *slot);
}

static void finished(qemu_plugin_id_t id, void *data)
{
    (void)id;
    (void)data;
    FILE *file = fopen(out_path, "w");
    if (file == NULL) {
        return;
    }
    for (size_t i = 0; i < BUCKETS; i++) {
        for (const block *b = buckets[i]; b != NULL; b = b->next) {
            for (size_t p = 0; p < b->parts; p++) {
                if (b->counts[2 * p] != 0) {
                    fprintf(file,
                            "%zu %" PRIx64 " %" PRIx64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", p,
                            b->address, b->end, b->instructions, b->counts[2 * p],
                            b->counts[2 * p + 1]);
                }
            }
        }
    }
    fclose(file);
}

int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
    const char *const *target_name = info; /* the first member of qemu_info_t */
    is_riscv = strncmp(*target_name, "riscv", 5) == 0;
    for (int i = 0; i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        if (equals == NULL) {
            return 1;
        }
        *equals = '\0';
        uint64_t value = strtoull(equals + 1, NULL, 0);
        if (strcmp(argv[i], "out") == 0) {
            out_path = strdup(equals + 1);
        } else if (strcmp(argv[i], "start") == 0) {
            start = value;
        } else if (strcmp(argv[i], "end") == 0) {
            end = value;
        } else if (strcmp(argv[i], "caller") == 0) {
            caller = value;
        } else if (strcmp(argv[i], "caller_end") == 0) {
            caller_end = value;
        }
    }
    if (out_path == NULL) {
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, finished, NULL);
    return 0;
}
