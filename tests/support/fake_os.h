/* SPDX-License-Identifier: MIT */
/* fake_os.h - a kernel for tests: struct hm_os over a fake address space.
 *
 * Problem     What a kernel does with huge pages, and when it refuses, must be chosen by the test;
 *             and what the core asked of it must be seen.
 * Idea        The table of os.h bound to fake_space.h. Every call is counted and the latest are
 *             logged. The n-th call, of any or of one kind, can be made to fail. Clock and THP mode
 *             are set by the test. Only memory for metadata is real.
 * State       struct fake_os; a test builds as many as it likes. fake_os_fini takes all of it down.
 * Locking     A mutex of its own around each call, since threads may share one heap.
 */
#ifndef HM_TESTS_FAKE_OS_H
#define HM_TESTS_FAKE_OS_H

#include <pthread.h>

#include "os/os.h"
#include "support/fake_space.h"

/* The calls that can fail. Advice is counted by its kind. */
enum fake_call_kind {
    FAKE_RESERVE,
    FAKE_COMMIT,
    FAKE_UNMAP,
    FAKE_REMAP,
    FAKE_NODES,
    FAKE_PLACE,
    FAKE_NEAREST,
    FAKE_CARRY,
    FAKE_POOL_KERNEL, /* the steps of pool_map() are calls of their own, in their order */
    FAKE_POOL_RESERVE,
    FAKE_POOL_FILL,
    FAKE_POOL_MOVE,
    FAKE_POOL_UNMAP,
    FAKE_COPY,
    FAKE_SHORTAGE,
    FAKE_MAP_META,
    FAKE_SCAN,
    FAKE_SHARING,
    FAKE_ADVISE_HUGE,
    FAKE_ADVISE_BASE,
    FAKE_COLLAPSE,
    FAKE_DISCARD,
    FAKE_LAZY,
    FAKE_COLD,
    FAKE_LOCK,
    FAKE_HIDE,
    FAKE_SHOW,
    FAKE_NO_FORK,
    FAKE_FORK,
    FAKE_CALL_KINDS,
    FAKE_ANY = FAKE_CALL_KINDS,
};

struct fake_call {
    enum fake_call_kind kind;
    uintptr_t addr; /* of reserve and map_meta: what they returned */
    size_t len_bytes;
    uintptr_t to_addr; /* of remap */
    size_t new_bytes;  /* of remap */
    int rc;
};

/* Which calls fail, and how. */
struct fake_fault {
    enum fake_call_kind kind; /* FAKE_ANY: every kind counts */
    uint64_t
        left_count; /* so many calls of the kind until the one that fails; 0: no fault is set */
    bool stays;     /* later ones fail, too */
    int error;      /* errno, positive */
    uint64_t failed_count;           /* calls that failed by it */
    enum fake_call_kind failed_kind; /* the first of them */
};

/* Ranges and where they get their memory, the latest last. */
#define FAKE_PLACED_COUNT 1024

struct fake_placed {
    uintptr_t addr;
    size_t len_bytes;
    enum hm_policy policy;
    struct hm_node_mask mask;
};

#define FAKE_LOG_COUNT 64 /* the latest calls; a power of two */

struct fake_os {
    struct hm_os os; /* what the core is handed: &fake->os */
    struct fake_space space;
    pthread_mutex_t mutex;

    /* settable */
    enum hm_thp_mode thp_mode;
    bool has_mthp;             /* sizes below the PMD are enabled */
    struct hm_room room;       /* of the memory cgroup */
    int room_rc;               /* negative errno: it cannot be read */
    enum hm_filters filters;   /* of system calls */
    struct hm_node_mask nodes; /* with memory that the process may use */
    unsigned here;             /* the node that the calling thread runs on */
    unsigned nearest;          /* the node that is nearest to any other */
    uint64_t now_ns;
    uint64_t tick_ns;         /* added each time the clock is read */
    uint64_t collapse_ns;     /* added by each collapse */
    uint64_t sharing_ns;      /* ... by each question about sharing */
    size_t limit_bytes;       /* of address space reserved, as by RLIMIT_AS */
    size_t huge_room_bytes;   /* how much can be collapsed before -ENOMEM: no huge page is free */
    uint64_t available_bytes; /* memory of the machine that is free; 0: it cannot be read */
    size_t locked_bytes;      /* ever asked to be locked */
    size_t pool_max_bytes;    /* of hugetlb pages that can be filled, as under a control group */
    struct hm_shortage shortage; /* what files tell */
    bool is_pool_charged;        /* by the memory cgroup */
    uint64_t surplus_count;      /* of each pool; UINT64_MAX: cannot be read */
    bool no_room_to_grow;        /* a remap in place never grows */
    bool no_huge_flag;           /* a kernel that cannot tell what huge pages map */

    struct fake_fault fault;
    uint64_t call_count[FAKE_CALL_KINDS]; /* with those that failed */
    uint64_t thp_mode_count;              /* how often the mode was read */
    uint64_t mthp_count;                  /* ... the smaller sizes */
    uint64_t room_count;                  /* ... the room */
    uint64_t clock_count;
    size_t discarded_bytes;    /* by successful calls */
    size_t lazy_bytes;         /* lent to the kernel */
    size_t no_fork_bytes;      /* that a child would not have */
    uintptr_t unreadable_addr; /* as if the program had taken the right to read there; 0: nowhere */
    uint64_t copied_count;     /* pages that a collapse had to copy, since a child has them, too */
    size_t meta_bytes;         /* real memory mapped for metadata */
    const char *latest_name;   /* that was given to memory */
    uint64_t here_count;       /* how often it was asked where a thread runs */
    struct fake_placed placed[FAKE_PLACED_COUNT];
    size_t placed_count;
    struct fake_call log[FAKE_LOG_COUNT];
    uint64_t log_count; /* calls ever logged */
    struct fake_meta *meta;
};

/* A machine with THP in mode "madvise" and the given page sizes; hpage_bytes 0: without huge
 * pages. */
void fake_os_init(struct fake_os *fake, size_t page_bytes, size_t hpage_bytes);
void fake_os_fini(struct fake_os *fake);

/* Let the n-th call from now (1 is the next) of a kind fail; with `stays`, all later ones fail as
 * well. */
void fake_os_fail(struct fake_os *fake, enum fake_call_kind kind, uint64_t nth, int error,
                  bool stays);
void fake_os_heal(struct fake_os *fake);

/* The errnos that calls of this kind can give on Linux, 0 behind the last. */
const int *fake_os_errors(enum fake_call_kind kind);
const char *fake_os_kind_name(enum fake_call_kind kind);

/* The idx-th latest call, 0 is the last. */
const struct fake_call *fake_os_logged(const struct fake_os *fake, size_t idx);

/* The policy that holds at `addr`; NULL: the kernel's own. */
const struct fake_placed *fake_os_placed(const struct fake_os *fake, uintptr_t addr);

/* parts of the table: count a call, and return 0 or the negative errno that it shall fail with;
 * then log it. Between the two, fake->mutex is held, and further steps may be counted. */
int fake_os_begin(struct fake_os *fake, enum fake_call_kind kind);
int fake_os_step(struct fake_os *fake, enum fake_call_kind kind);
int fake_os_end(struct fake_os *fake, struct fake_call call);

/* ... those in fake_nodes.c */
int fake_os_nodes(void *ctx, struct hm_node_mask *out_mask);
unsigned fake_os_here(void *ctx);
int fake_os_place(void *ctx, uintptr_t addr, size_t len_bytes, enum hm_policy policy,
                  const struct hm_node_mask *mask);
int fake_os_nearest(void *ctx, unsigned node, const struct hm_node_mask *mask, unsigned *out_node);

/* ... those in fake_large.c */
bool fake_os_has_mthp(void *ctx);

/* ... those in fake_pool.c */
int fake_os_pool_map(void *ctx, const struct hm_pool_range *range, enum hm_pool_step *out_step);
int fake_os_pool_unmap(void *ctx, uintptr_t addr, size_t len_bytes);
int fake_os_available(void *ctx, uint64_t *out_bytes);
int fake_os_copy(void *ctx, uintptr_t to_addr, uintptr_t from_addr, size_t len_bytes);
int fake_os_shortage(void *ctx, size_t len_bytes, unsigned page_shift,
                     struct hm_shortage *out_shortage);
int fake_os_pool_charged(void *ctx, bool *out_is_charged);
int fake_os_surplus(void *ctx, unsigned page_shift, uint64_t *out_count);

/* A range with hugetlb pages in it is misuse, told as `what`. */
void fake_os_forbid_pool(const struct fake_os *fake, uintptr_t addr, size_t len_bytes,
                         const char *what);

/* Whether a range ends inside of a hugetlb page: the kernel parts none. */
bool fake_os_parts_pool(const struct fake_os *fake, uintptr_t addr, size_t len_bytes);

/* All calls that can fail, together. */
uint64_t fake_os_calls(const struct fake_os *fake);

/* Zero the counters and the log. */
void fake_os_forget(struct fake_os *fake);

#endif
