/* SPDX-License-Identifier: MIT */
/* bench_arenas.c - arenas against mimalloc's heaps and APR's pools, and what arenas cost besides.
 *
 * Usage   bench_arenas MODE [ROUNDS [LOAD [CONTENDER]]]
 *           default   the loads, and each contender as it is if nobody tells it otherwise
 *           huge      the same on transparent huge pages from the first byte, if a contender can
 *           create    an empty arena
 *           reset     an arena of a million blocks
 *           prefault  1 GiB of memory that an arena begins with, by one thread and by two
 * Prints  TSV. For the loads: medians over the rounds, of nanoseconds of CPU time for each block,
 *         with its touching and all frees; the ratio to the best that is not huma; page faults of
 *         all rounds.
 * Loads   churn-3M   16 to 512 bytes, one of twenty up to 4 KiB; 8192 live, each freed singly
 *         churn-95M  the same with 262144 live
 *         drop       the same sizes, 20000 blocks, then all are freed at once
 *         request    100 to 2000 blocks of up to 512 bytes, then all are freed at once
 * Idea    Each contender has an arena, heap or pool of its own for each load. In each round each
 *         contender runs each load twice, and the second time counts: so that it finds its memory
 *         as it left it, and not what others did meanwhile. Who begins rotates. A contender whose
 *         library is not installed is left out. LOAD and CONTENDER are the only ones to run, for
 *         profiles.
 */
#include "arenas.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { CONTENDERS_MAX = 8, ROUNDS_MAX = 1000 };

struct result {
    double times_ns[ROUNDS_MAX];
    double median_ns;
    long fault_count;
};

static struct bench_contender contenders[CONTENDERS_MAX];
static unsigned contender_count;
static struct result results[BENCH_LOADS][CONTENDERS_MAX];

/* The only ones to run; NULL: all. For profiles. */
static const char *only_load;
static const char *only_contender;

/* --- values ----------------------------------------------------------------------------------- */

static int
compare(const void *a, const void *b)
{
    const double *x = a;
    const double *y = b;

    return (*x > *y) - (*x < *y);
}

double
bench_median(double *values, unsigned count)
{
    qsort(values, count, sizeof(values[0]), compare);
    return values[count / 2];
}

static long
fault_count(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
}

/* --- loads ------------------------------------------------------------------------------------ */

static uint32_t
draw_small(uint64_t *state)
{
    return 16 + (uint32_t)bench_below(state, 512 - 16 + 1);
}

/* One of twenty is larger. */
static uint32_t
draw_mixed(uint64_t *state)
{
    if (bench_below(state, 20) > 0)
        return draw_small(state);
    return (uint32_t)(513 + bench_below(state, 4096 - 512));
}

static void *
obtain(size_t count, size_t each_bytes)
{
    void *mem = bench_alloc(count * each_bytes);

    memset(mem, 0, count * each_bytes);
    return mem;
}

static struct bench_load
make_churn(const char *name, uint32_t count, uint32_t slot_count)
{
    struct bench_load load = { .name = name, .is_freed_singly = true };
    uint64_t state = 1;

    load.count = count;
    load.slot_count = slot_count;
    load.sizes_bytes = obtain(count, sizeof(uint32_t));
    load.slots = obtain(count, sizeof(uint32_t));
    load.blocks = obtain(slot_count, sizeof(void *));
    for (uint32_t i = 0; i < count; i++) {
        load.sizes_bytes[i] = draw_mixed(&state);
        load.slots[i] = (uint32_t)bench_below(&state, slot_count);
    }
    return load;
}

static struct bench_load
make_phases(const char *name, uint32_t phase_count, uint32_t least, uint32_t most,
            uint32_t (*draw)(uint64_t *))
{
    struct bench_load load = { .name = name, .phase_count = phase_count };
    uint64_t state = 1;

    load.phase_lens = obtain(phase_count, sizeof(uint32_t));
    for (uint32_t i = 0; i < phase_count; i++) {
        load.phase_lens[i] = least + (uint32_t)bench_below(&state, most - least + 1);
        load.count += load.phase_lens[i];
    }
    load.sizes_bytes = obtain(load.count, sizeof(uint32_t));
    for (uint32_t i = 0; i < load.count; i++)
        load.sizes_bytes[i] = draw(&state);
    return load;
}

/* --- rounds ----------------------------------------------------------------------------------- */

static void
run(const struct bench_load *load, const struct bench_contender *contender, double *out_ns,
    long *inout_fault_count)
{
    void (*fn)(const struct bench_load *)
        = load->is_freed_singly ? contender->free_singly : contender->free_at_once;
    long begin_faults;
    int64_t begin_ns;

    if (fn == NULL || !contender->is_there
        || (only_load != NULL && strcmp(load->name, only_load) != 0)
        || (only_contender != NULL && strcmp(contender->name, only_contender) != 0))
        return;
    fn(load);
    begin_faults = fault_count();
    begin_ns = bench_now_ns(CLOCK_PROCESS_CPUTIME_ID);
    fn(load);
    *out_ns = (double)(bench_now_ns(CLOCK_PROCESS_CPUTIME_ID) - begin_ns) / load->count;
    *inout_fault_count += fault_count() - begin_faults;
}

static void
print(const struct bench_load *load, struct result *of_load, unsigned round_count)
{
    double best_ns = 0;

    for (unsigned k = 0; k < contender_count; k++) {
        struct result *result = &of_load[k];

        result->median_ns = bench_median(result->times_ns, round_count);
        if (!contenders[k].is_ours && result->median_ns > 0
            && (best_ns == 0 || result->median_ns < best_ns))
            best_ns = result->median_ns;
    }
    for (unsigned k = 0; k < contender_count; k++) {
        double median_ns = of_load[k].median_ns;

        if (median_ns > 0)
            bench_say("%s\t%s\t%.1f\t%.2f\t%ld", load->name, contenders[k].name, median_ns,
                      best_ns > 0 ? median_ns / best_ns : 0, of_load[k].fault_count);
    }
}

static void
compare_all(unsigned round_count, bool is_huge)
{
    struct bench_load loads[BENCH_LOADS];
    char rollup[4096] = "";

    loads[0] = make_churn("churn-3M", 400000, 8192);
    loads[1] = make_churn("churn-95M", 1000000, 262144);
    loads[2] = make_phases("drop", 20, 20000, 20000, draw_mixed);
    loads[3] = make_phases("request", 400, 100, 2000, draw_small);
    contender_count = bench_arenas_huma(contenders, is_huge);
    contender_count += bench_arenas_mimalloc(&contenders[contender_count], is_huge);
    contender_count += bench_arenas_apr(&contenders[contender_count]);
    for (unsigned i = 0; i < round_count; i++)
        for (unsigned l = 0; l < BENCH_LOADS; l++)
            for (unsigned k = 0; k < contender_count; k++) {
                unsigned turn = (k + i) % contender_count;
                struct result *result = &results[l][turn];

                if (contenders[turn].is_there)
                    contenders[turn].turn_to(l);
                run(&loads[l], &contenders[turn], &result->times_ns[i], &result->fault_count);
            }
    bench_say("load\tcontender\tns_per_block\tratio\tfaults");
    for (unsigned l = 0; l < BENCH_LOADS; l++)
        print(&loads[l], results[l], round_count);
    (void)bench_read_file("/proc/self/smaps_rollup", rollup, sizeof(rollup));
    bench_say("# KiB resident %ld, on transparent huge pages %ld", bench_field(rollup, "\nRss:"),
              bench_field(rollup, "\nAnonHugePages:"));
}

int
main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    int rounds = argc > 2 ? atoi(argv[2]) : 15;

    only_load = argc > 3 ? argv[3] : NULL;
    only_contender = argc > 4 ? argv[4] : NULL;
    if (rounds < 1 || rounds > ROUNDS_MAX)
        bench_stop(2, "ROUNDS: expected 1 to %d", ROUNDS_MAX);
    if (strcmp(mode, "default") == 0 || strcmp(mode, "huge") == 0)
        compare_all((unsigned)rounds, mode[0] == 'h');
    else if (strcmp(mode, "create") == 0)
        bench_arenas_create((unsigned)rounds);
    else if (strcmp(mode, "reset") == 0)
        bench_arenas_reset((unsigned)rounds);
    else if (strcmp(mode, "prefault") == 0)
        bench_arenas_prefault((unsigned)rounds);
    else
        bench_stop(
            2,
            "usage: bench_arenas default|huge|create|reset|prefault [ROUNDS [LOAD [CONTENDER]]]");
    return 0;
}
