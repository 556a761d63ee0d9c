/* SPDX-License-Identifier: MIT */
/* procs.c - what processes of a scene do, and what the kernel does for them (see explore.c). */
#include "shared/steps.h"

struct proc procs[STEPS_PROCS];
struct proc auditor;
struct kernel kernel;
unsigned char image[STEPS_IMAGE_BYTES] __attribute__((aligned(4096)));
unsigned char stacks[STEPS_PROCS][STEPS_STACK_BYTES] __attribute__((aligned(64)));
struct hm_shared_geom arena;
const struct scene *scene;
static struct proc *running; /* NULL: all happens at once */
static ucontext_t scheduler;
const char *wrong;

/* --- steps ------------------------------------------------------------------------------------ */

void
steps_wrong(bool is_so, const char *what)
{
    if (is_so && wrong == NULL)
        wrong = what;
}

uint64_t
steps_mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 29;
}

void
steps_saw(uint64_t value)
{
    if (running != NULL)
        running->hash = steps_mix(running->hash, value + 1);
}

static bool
is_step(uint64_t off)
{
    uint64_t span = (off - arena.spans_off) / 8;

    if (off >= arena.data_off || off < arena.spans_off)
        return true;
    if (off >= arena.blocks_off)
        span = (off - arena.blocks_off) / 4096;
    if (span >= arena.span_count)
        return false; /* one that is not there in this scene: nobody changes it */
    return !scene->is_partial || span == 0 || span == arena.span_count - 1;
}

void
steps_wait(const volatile void *word)
{
    uint64_t off = (uint64_t)((const volatile unsigned char *)word - image);

    if (running != NULL && is_step(off)) {
        running->at = word;
        running->hash = steps_mix(running->hash, off);
        running->stack_low = (uintptr_t)__builtin_frame_address(0) - 512;
        (void)swapcontext(&running->context, &scheduler);
    }
    steps_wrong(off < sizeof(image) && off >= arena.blocks_off && !kernel.has_words,
                "a word without memory is touched");
}

static void
begin(unsigned idx)
{
    scene->programs[idx](&procs[idx]);
    procs[idx].status = PROC_ENDED;
}

/* Up to the next access. */
void
take_step(struct proc *proc)
{
    if (proc->status == PROC_READY) {
        (void)getcontext(&proc->context);
        proc->context.uc_stack.ss_sp = stacks[proc - procs];
        proc->context.uc_stack.ss_size = STEPS_STACK_BYTES;
        proc->context.uc_link = &scheduler;
        makecontext(&proc->context, (void (*)(void))begin, 1, (unsigned)(proc - procs));
        proc->status = PROC_RUNS;
    }
    running = proc;
    (void)swapcontext(&scheduler, &proc->context);
    running = NULL;
}

/* --- the kernel ------------------------------------------------------------------------------- */

static int
fill(void *ctx, uint64_t off, uint64_t len_bytes)
{
    (void)ctx;
    (void)off;
    steps_wait(&kernel.has_memory);
    if (len_bytes == HM_SHARED_CHUNK_BYTES)
        kernel.has_memory = true;
    else
        kernel.has_words = true;
    return 0;
}

static bool
is_held_by(const struct proc *proc, uint64_t block_off)
{
    for (unsigned i = 0; i < proc->held_count; i++)
        if (proc->held[i] == block_off)
            return true;
    return false;
}

static int
punch(void *ctx, uint64_t off, uint64_t len_bytes)
{
    (void)ctx;
    (void)off;
    (void)len_bytes;
    steps_wait(&kernel.has_memory);
    for (unsigned i = 0; i < STEPS_PROCS; i++)
        steps_wrong(procs[i].status != PROC_DEAD && procs[i].held_count > 0,
                    "memory of a block is given back");
    kernel.has_memory = false;
    return 0;
}

static bool
hold(void *ctx, unsigned seat)
{
    uint8_t *holder = &kernel.holders[seat];
    bool is_free;

    steps_wait(holder);
    is_free = *holder == 0;
    if (is_free)
        *holder = (uint8_t)((struct proc *)ctx == &auditor ? STEPS_PROCS + 1
                                                           : (struct proc *)ctx - procs + 1);
    steps_saw(is_free);
    return is_free;
}

static void
let_go(void *ctx, unsigned seat)
{
    (void)ctx;
    steps_wait(&kernel.holders[seat]);
    kernel.holders[seat] = 0;
}

void
init_proc(struct proc *proc)
{
    struct hm_shared_env env = { proc, fill, punch, hold, let_go };

    hm_shared_init(&proc->view, image, &arena, &env, proc->rings);
}

/* --- what programs do ------------------------------------------------------------------------- */

void
proc_attach(struct proc *me)
{
    (void)hm_shared_attach(&me->view);
}

void
proc_detach(struct proc *me)
{
    me->held_count = 0;
    hm_shared_detach(&me->view);
}

/* A block came into a process's hands. */
static void
receive(struct proc *me, uint64_t block_off)
{
    uint64_t end_off = block_off + hm_shared_room(&auditor.view, block_off);

    for (unsigned i = 0; i < STEPS_PROCS; i++)
        for (unsigned k = 0; k < procs[i].held_count && procs[i].status != PROC_DEAD; k++) {
            uint64_t other = procs[i].held[k];

            steps_wrong(other < end_off && block_off < other + hm_shared_room(&auditor.view, other),
                        "a block is in the hands of two");
        }
    steps_wrong(!kernel.has_memory, "a block has no memory");
    me->held[me->held_count++ % STEPS_HELD] = block_off;
}

static void
lose(struct proc *me, uint64_t block_off)
{
    for (unsigned i = 0; i < me->held_count; i++)
        if (me->held[i] == block_off)
            me->held[i--] = me->held[--me->held_count];
}

/* Look without a step. */
static void
receive_now(struct proc *me, uint64_t block_off)
{
    struct proc *was = running;

    running = NULL;
    if (block_off != 0)
        receive(me, block_off);
    running = was;
}

uint64_t
proc_alloc(struct proc *me, uint64_t size_bytes)
{
    uint64_t block_off = hm_shared_alloc(&me->view, size_bytes, 16);

    receive_now(me, block_off);
    return block_off;
}

void
proc_free(struct proc *me, uint64_t block_off)
{
    steps_wrong(!is_held_by(me, block_off), "the scene is wrong");
    lose(me, block_off); /* from now on it may be anybody's */
    steps_wrong(hm_shared_free(&me->view, block_off) != 0, "a block cannot be freed");
}

uint64_t
cell_off_of(unsigned root)
{
    return arena.roots_off + root * sizeof(struct hm_shared_root)
           + offsetof(struct hm_shared_root, block);
}

bool
proc_publish(struct proc *me, unsigned root, uint64_t block_off)
{
    int rc;

    lose(me, block_off);
    me->cell_change = 1;
    rc = hm_shared_publish(&me->view, cell_off_of(root), block_off);
    me->cell_change = 0;
    steps_wrong(rc != 0 && rc != -17, "a block cannot be published");
    if (rc != 0)
        receive_now(me, block_off);
    kernel.published += rc == 0;
    kernel.published_max += rc == 0;
    return rc == 0;
}

uint64_t
proc_take(struct proc *me, unsigned root)
{
    uint64_t block_off;

    me->cell_change = -1;
    block_off = hm_shared_take(&me->view, cell_off_of(root));
    me->cell_change = 0;
    receive_now(me, block_off);
    kernel.published -= block_off != 0;
    kernel.published_max -= block_off != 0;
    return block_off;
}

uint64_t *
steps_ring(void)
{
    return (uint64_t *)(void *)(image + arena.data_off + STEPS_RING_BYTES) - 1;
}

bool
proc_put(struct proc *me, uint64_t block_off)
{
    int rc;

    lose(me, block_off);
    me->cell_change = 1;
    rc = hm_shared_ring_put(&me->view, arena.data_off, block_off, 0);
    me->cell_change = 0;
    steps_wrong(rc != 0 && rc != -11, "a block cannot be put into the ring");
    if (rc != 0)
        receive_now(me, block_off);
    kernel.published += rc == 0;
    kernel.published_max += rc == 0;
    return rc == 0;
}

uint64_t
proc_get(struct proc *me)
{
    uint64_t block_off;

    me->cell_change = -1;
    (void)hm_shared_ring_get(&me->view, arena.data_off, &block_off, 0);
    me->cell_change = 0;
    receive_now(me, block_off);
    kernel.published -= block_off != 0;
    kernel.published_max -= block_off != 0;
    return block_off;
}

void
proc_recover(struct proc *me)
{
    hm_lock_take(&me->view.lock);
    (void)hm_shared_recover(&me->view);
    hm_lock_give(&me->view.lock);
}

void
proc_trim(struct proc *me)
{
    (void)hm_shared_trim(&me->view);
}

void
proc_kill(struct proc *me)
{
    uint8_t mark = (uint8_t)(me - procs + 1);

    for (unsigned i = 0; i <= STEPS_SEATS; i++)
        if (kernel.holders[i] == mark)
            kernel.holders[i] = 0;
    kernel.published += me->cell_change < 0 ? me->cell_change : 0;
    kernel.published_max += me->cell_change > 0 ? me->cell_change : 0;
    me->status = PROC_DEAD;
    me->held_count = 0;
    kernel.dead_count++;
}
