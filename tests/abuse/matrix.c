/* SPDX-License-Identifier: MIT */
/* matrix.c - the harness: every combination in a child of its own (see matrix.h).
 *
 * Problem     A child ends by a signal, so what it was about to do must be known outside; and a
 *             damaged heap must not keep the next case from running.
 * Idea        Nothing here allocates after the start. stderr of a child is a file in memory. With
 *             the argument "info" nothing fails: the program then tells, scenario by scenario, what
 *             an allocator that is not ours catches. A further argument picks scenarios.
 */
#include "abuse/matrix.h"

#include <dlfcn.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct expected *expected;

/* --- calls under test ------------------------------------------------------------------------- */

static void (*named)(void *ptr, size_t first, size_t second);
static volatile size_t answer;

static void
call_free(void *ptr, size_t size)
{
    (void)size;
    free(ptr);
}

static void
call_grow(void *ptr, size_t size)
{
    answer = (uintptr_t)realloc(ptr, size * 3);
}

static void
call_stay(void *ptr, size_t size)
{
    answer = (uintptr_t)realloc(ptr, size);
}

static void
call_shrink(void *ptr, size_t size)
{
    answer = (uintptr_t)realloc(ptr, size / 5 + 1);
}

static void
call_resize_to_zero(void *ptr, size_t size)
{
    (void)size;
    answer = (uintptr_t)realloc(ptr, 0);
}

static void
call_array(void *ptr, size_t size)
{
    answer = (uintptr_t)reallocarray(ptr, 2, size);
}

static void
call_usable(void *ptr, size_t size)
{
    (void)size;
    answer = malloc_usable_size(ptr);
}

/* Functions with one parameter find rubbish in the others, as the calling convention allows. */
static void
call_sized(void *ptr, size_t size)
{
    named(ptr, size, 16);
}

static void
call_aligned(void *ptr, size_t size)
{
    (void)size;
    named(ptr, 16, 0);
}

static void
call_aligned_sized(void *ptr, size_t size)
{
    named(ptr, 16, size);
}

struct call {
    const char *name;
    const char *word; /* what the line begins with */
    void (*run)(void *ptr, size_t size);
    const char *symbol; /* to be looked up; not every library has it */
};

static const struct call calls[] = {
    { "free", "free()", call_free, NULL },
    { "realloc to more", "realloc()", call_grow, NULL },
    { "realloc to the same", "realloc()", call_stay, NULL },
    { "realloc to less", "realloc()", call_shrink, NULL },
    { "realloc to 0", "free()", call_resize_to_zero, NULL },
    { "reallocarray", "realloc()", call_array, NULL },
    { "malloc_usable_size", "malloc_usable_size()", call_usable, NULL },
    { "cfree", "free()", call_sized, "cfree" },
    { "__libc_free", "free()", call_sized, "__libc_free" },
    { "free_sized", "free()", call_sized, "free_sized" },
    { "free_aligned_sized", "free()", call_aligned_sized, "free_aligned_sized" },
    { "delete", "free()", call_sized, "_ZdlPv" },
    { "delete[]", "free()", call_sized, "_ZdaPv" },
    { "sized delete", "free()", call_sized, "_ZdlPvm" },
    { "sized delete[]", "free()", call_sized, "_ZdaPvm" },
    { "aligned delete", "free()", call_aligned, "_ZdlPvSt11align_val_t" },
    { "aligned sized delete", "free()", call_sized, "_ZdlPvmSt11align_val_t" },
    { "aligned sized delete[]", "free()", call_sized, "_ZdaPvmSt11align_val_t" },
};

#define CALL_COUNT (sizeof(calls) / sizeof(calls[0]))

static const struct call *current_call;

/* --- for the scenarios ------------------------------------------------------------------------ */

bool has_spans;

#undef block
void *
block_in_span(size_t size)
{
    static __thread size_t ready_size;

    if (has_spans && size != ready_size && size <= SHARED_MAX) {
        ready_size = size;
        for (size_t i = 0; i < SHARED_MAX / size; i++)
            (void)block(size);
    }
    return block(size);
}

void
release(void *ptr)
{
    free(hidden(ptr));
}

size_t
room_of(void *ptr)
{
    return malloc_usable_size(hidden(ptr));
}

void
misuse_once(void *ptr, unsigned kinds, size_t size_bytes)
{
    size_t size = size_bytes != 0 ? size_bytes : 100;

    expected->kinds = kinds;
    expected->size_bytes = size_bytes;
    expected->addr = (uintptr_t)ptr;
    current_call->run(hidden(ptr), size);
}

void
misuse(void *ptr, unsigned kinds, size_t size_bytes)
{
    misuse_once(ptr, kinds, size_bytes);
    not_caught();
}

void
not_caught(void)
{
    _exit(NOT_CAUGHT);
}

void
not_here(void)
{
    _exit(NOT_HERE);
}

/* A slot that is handed out twice shows as a block that lost its number. */
void
settle(size_t size)
{
    static size_t *many[PLENTY_MAX];
    size_t count = plenty_of(size);

    for (unsigned round = 0; round < 3; round++) {
        for (size_t i = 0; i < count; i++) {
            many[i] = hidden(malloc(size));
            if (many[i] == NULL)
                return;
            *many[i] = i;
        }
        for (size_t i = 0; i < count; i++)
            if (*many[i] != i)
                not_caught();
        for (size_t i = 0; i < count; i++)
            release(many[i]);
    }
}

size_t
plenty_of(size_t size)
{
    size_t count = ((size_t)4 << 20) / size;

    return count < 8 ? 8 : count > PLENTY_MAX ? PLENTY_MAX : count;
}

/* --- one case --------------------------------------------------------------------------------- */

static bool is_info;
static int err_fd;
static char line[512];

/* Programs write a last report from such a handler. The library must have let go of its locks, and
 * what it refused must have done no harm. */
static void
on_abort(int number)
{
    (void)signal(number, SIG_DFL);
    for (size_t size = 10; size < 1000000 && (expected->kinds & DAMAGED) == 0; size *= 9)
        release(malloc(size));
    (void)raise(number);
}

/* Runs the child; returns its status, with what it wrote to stderr in `line`. */
static int
run_child(scenario_fn *run, size_t size, unsigned step)
{
    pid_t pid;
    ssize_t len;
    int status;

    memset(expected, 0, sizeof(*expected));
    if (ftruncate(err_fd, 0) != 0 || lseek(err_fd, 0, SEEK_SET) != 0)
        exit(BROKEN);
    pid = fork();
    if (pid == 0) {
        (void)dup2(err_fd, STDERR_FILENO);
        (void)alarm(60);
        if (!is_info)
            (void)signal(SIGABRT, on_abort);
        run(size, step);
        _exit(BROKEN);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        exit(BROKEN);
    len = pread(err_fd, line, sizeof(line) - 1, 0);
    line[len > 0 ? len : 0] = '\0';
    return status;
}

/* Whether `number` stands in `text` by itself. */
static bool
names_number(const char *text, size_t number)
{
    char digits[24];
    size_t len = (size_t)snprintf(digits, sizeof(digits), "%zu", number);

    for (const char *at = text; (at = strstr(at, digits)) != NULL; at++)
        if (at[-1] == ' ' && (at[len] < '0' || at[len] > '9'))
            return true;
    return false;
}

/* Whether `line` begins with the text and the address; then *out_rest is what follows. */
static bool
begins_with(const char *call, const char *kind, const char **out_rest)
{
    char head[128];
    size_t len = (size_t)snprintf(head, sizeof(head), "huma: %s: %s 0x%lx:", call, kind,
                                  (unsigned long)expected->addr);

    *out_rest = line + len;
    return strncmp(line, head, len) == 0;
}

/* Whether `line` is the one line that the case must give. */
static bool
line_is_right(void)
{
    const char *end = strchr(line, '\n');
    const char *freed = current_call->word[0] == 'f' ? "double free of" : "freed block";
    const char *rest;
    unsigned kind = 0;

    if (end == NULL || end[1] != '\0')
        return false;
    if (begins_with(current_call->word, freed, &rest))
        kind = FREED;
    else if (begins_with(current_call->word, "invalid pointer", &rest))
        kind = INVALID;
    else if (begins_with("malloc()", "damaged free block", &rest))
        kind = DAMAGED;
    if ((expected->kinds & kind) == 0)
        return false;
    /* A pointer where no block is left has no size to name. */
    return expected->size_bytes == 0 || names_number(rest, expected->size_bytes)
           || (kind == INVALID && strstr(rest, "no live block") != NULL);
}

struct scenario {
    const char *name;
    scenario_fn *run;
    unsigned step_count;
    unsigned sizes;      /* which it is run with */
    bool with_all_calls; /* else by free() only */
};

struct tally {
    unsigned long caught, missed, crashed;
};

static struct tally sum;

static void
tell_missed(const struct scenario *scenario, size_t size, unsigned step, int status)
{
    if (is_info)
        return;
    printf("MISSED: %s, size %zu (%d), variant %u, by %s of %#lx: ", scenario->name, size,
           has_spans, step, current_call->name, (unsigned long)expected->addr);
    if (WIFSIGNALED(status))
        printf("ended by signal %d; stderr: %s\n", WTERMSIG(status), line);
    else
        printf("it went on; stderr: %s\n", line);
}

static void
run_case(const struct scenario *scenario, size_t size, unsigned step, struct tally *tally)
{
    int status = run_child(scenario->run, size, step);
    bool is_caught = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && expected->addr != 0
                     && (is_info || line_is_right());

    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_HERE)
        return;
    if (WIFEXITED(status) && WEXITSTATUS(status) == BROKEN) {
        printf("set-up failed: %s, size %zu, variant %u\n%s", scenario->name, size, step, line);
        exit(BROKEN);
    }
    if (is_caught)
        tally->caught++;
    else if (is_info && WIFSIGNALED(status) && WTERMSIG(status) != SIGALRM)
        tally->crashed++;
    else
        tally->missed++;
    if (!is_caught)
        tell_missed(scenario, size, step, status);
}

/* --- all cases -------------------------------------------------------------------------------- */

static const struct scenario scenarios[] = {
    { "freed twice, alone", lone, 1, ALL, true },
    { "freed twice, among others", among_others, 1, ALL, true },
    { "freed twice in a full span", in_full_span, 1, SMALL, false },
    { "freed twice, much in between", delayed, 2, ALL, false },
    { "freed twice, other frees in between", interleaved, 5, ALL, false },
    { "freed twice, a neighbour used again", neighbour_reused, 2, ALL, false },
    { "freed twice, all freed in between", all_freed, 3, ALL, false },
    { "freed twice, trimmed in between", trimmed, 1, ALL, false },
    { "freed after realloc moved it", moved, 1, ALL, true },
    { "freed after mremap moved it", mapping_moved, 1, MAPPED, true },
    { "freed twice, of another call", other_source, 7, ALL, false },
    { "freed twice, written to beside the second word", written_beside, 3, SMALL, false },
    { "freed twice, overwritten in between", written_over, 5, SMALL, false },
    { "freed before fork and again in the child", parent_freed, 1, ALL, false },
    { "inside a block", inside, 32, ALL, false },
    { "at each offset of a block", every_offset, 1, SMALL, false },
    { "beside a block", beside, 9, MEDIUM | LARGE | MAPPED, true },
    { "a slot that was never handed out", never_issued, 3, SMALL, true },
    { "the ends of a span", span_ends, 5, SMALL, false },
    { "a block's address plus what no program can have", aliased, 6, ALL, false },
    { "cut off by realloc", shrunk, 3, MEDIUM | LARGE | MAPPED, false },
    { "memory of the program", foreign, 14, ONCE, true },
    { "far away", far_away, 14, ONCE, true },
    { "memory that is no heap's", own_memory, 60, ONCE, true },
    { "small blocks that went back to the kernel", gone_small, 4, ONCE, true },
    { "large blocks that went back to the kernel", gone_large, 4, ONCE, true },
    { "second free by another thread", second_by_other, 1, ALL, true },
    { "a wrong pointer by another thread", wrong_by_other, 8, ALL, false },
    { "second free by the owner", first_by_other, 2, ALL, true },
    { "both frees by others", both_by_others, 2, ALL, false },
    { "twice by one that is not the owner", twice_by_other, 2, ALL, false },
    { "twice after the owner ended", owner_ended, 3, ALL, false },
    { "the owner freed it and ended", owner_freed_and_ended, 1, ALL, false },
    { "second free after the owner merged the first", merged, 3, SMALL, false },
    { "twice, in a span that was adopted", adopted, 3, SMALL, false },
    { "a consumer frees twice", consumer_twice, 3, ALL, false },
    { "two threads free at a time", concurrent, 600, ONCE, false },
};

/* The size classes, in steps of 16 and then eight to a doubling; pages; mappings. */
static size_t
next_size(size_t size)
{
    static const size_t large[] = { 40960,   65536,   100000,  131072,   200000,   524288,  1048576,
                                    1048577, 2097152, 3333333, 10000000, 31000000, 67108864 };

    if (size < 128)
        return size + 16;
    if (size < 32768)
        return size + ((size_t)1 << (63 - __builtin_clzl(size))) / 8;
    for (unsigned i = 0; i < sizeof(large) / sizeof(large[0]); i++)
        if (large[i] > size)
            return large[i];
    return 0;
}

static unsigned
sort_of(size_t size)
{
    return size <= 32768 ? SMALL : size <= 1048576 ? MEDIUM : size <= 31000000 ? LARGE : MAPPED;
}

/* The scenario with one size and every variant, by one call. */
static void
run_call(const struct scenario *scenario, const struct call *call, size_t size, struct tally *tally)
{
    void *symbol = NULL;

    if (call->symbol != NULL) {
        symbol = dlsym(RTLD_DEFAULT, call->symbol);
        if (symbol == NULL)
            return;
        memcpy(&named, &symbol, sizeof(named));
    }
    current_call = call;
    for (unsigned step = 0; step < scenario->step_count; step++) {
        has_spans = scenario->sizes == ONCE && step % 2 != 0;
        run_case(scenario, size, step, tally);
        has_spans = true;
        if (scenario->sizes != ONCE && size <= SHARED_MAX)
            run_case(scenario, size, step, tally);
    }
}

static void
tell(const struct tally *tally)
{
    printf("%lu misuse cases caught, %lu missed", tally->caught, tally->missed);
    if (is_info)
        printf(", %lu crashed", tally->crashed);
    printf("\n");
}

static void
run_scenario(const struct scenario *scenario)
{
    struct tally tally = { 0 };

    for (size_t size = 16; size != 0; size = next_size(size)) {
        /* By the calls besides free(), a few sizes do. */
        bool is_sample = size == 16 || size == 112 || size == 4096 || size > 32768;
        size_t call_count = scenario->with_all_calls && is_sample ? CALL_COUNT : 1;

        if (scenario->sizes != ONCE && (scenario->sizes & sort_of(size)) == 0)
            continue;
        for (size_t i = 0; i < call_count; i++)
            run_call(scenario, &calls[i], size, &tally);
        if (scenario->sizes == ONCE)
            break;
    }
    printf("%s: ", scenario->name);
    tell(&tally);
    if (!is_info && tally.caught == 0) {
        printf("%s: nothing was tried\n", scenario->name);
        tally.missed++;
    }
    sum.caught += tally.caught;
    sum.missed += tally.missed;
    sum.crashed += tally.crashed;
}

int
main(int argc, char **argv)
{
    static char out_buf[BUFSIZ];

    is_info = argc > 1 && strcmp(argv[1], "info") == 0;
    /* line buffered: a child must not inherit text that it would write once more */
    (void)setvbuf(stdout, out_buf, _IOLBF, sizeof(out_buf));
    expected = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    err_fd = memfd_create("stderr", 0);
    if (expected == MAP_FAILED || err_fd < 0)
        return BROKEN;
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
        if (argc < 3 || strstr(scenarios[i].name, argv[2]) != NULL)
            run_scenario(&scenarios[i]);
    tell(&sum);
    return !is_info && (sum.missed != 0 || sum.caught == 0);
}
