/* SPDX-License-Identifier: MIT */
/* conf.h - the settings of a heap, as read from the environment.
 *
 * Problem     A wrong value must neither stop a program nor pass unnoticed.
 * Idea        One table (options.def). Each row is read once; a wrong value is told in one line and
 *             the default stays. Afterwards struct hm_conf is read-only.
 */
#ifndef HM_CONF_CONF_H
#define HM_CONF_CONF_H

#include "base/units.h"
#include "os/os.h"

/* Where the memory of a range may come from. */
enum hm_backing_kind {
    HM_BACKING_HUGETLB, /* pages of the reserved pool */
    HM_BACKING_THP,     /* transparent huge pages */
    HM_BACKING_MTHP,    /* transparent huge pages smaller than a PMD */
    HM_BACKING_4K,      /* base pages, whatever their size */
    HM_BACKING_KINDS,
};

/* Whether a region on it is made of pages smaller than a region, which come and go one by one. */
HM_INLINE bool
hm_backing_is_base(unsigned kind)
{
    return kind == HM_BACKING_4K || kind == HM_BACKING_MTHP;
}

/* Which memory nodes serve a heap. */
enum hm_numa {
    HM_NUMA_LOCAL,      /* the one that the thread runs on */
    HM_NUMA_INTERLEAVE, /* all in turn */
    HM_NUMA_OFF,        /* the kernel decides at each touch */
    HM_NUMA_BIND,       /* some, and no others. Not from the environment */
    HM_NUMA_PREFER,     /* one while it has memory. Not from the environment */
};

/* What is done about hugetlb pages when the process forks. */
enum hm_fork {
    HM_FORK_SAFE, /* the child gets copies of its own */
    HM_FORK_KEEP, /* nothing: parent and child share them until one writes */
};

/* An ordered list of backings without repetition; hugetlb may be there with several sizes. */
#define HM_CHAIN_MAX 8

struct hm_chain {
    uint8_t kind[HM_CHAIN_MAX];       /* enum hm_backing_kind */
    uint8_t page_shift[HM_CHAIN_MAX]; /* of hugetlb: log2 of the page size; 0: a huge page of the
                                         kernel's own size, as thp has */
    uint8_t kind_count;
};

struct hm_conf {
    const char *name;   /* of its memory in /proc/PID/maps */
    size_t limit_bytes; /* of pages in use; SIZE_MAX: none. Not from the environment */
    bool has_guards;    /* what is around its memory cannot be accessed. Not from the environment */
    bool is_locked;     /* pages that were touched stay in memory. Not from the environment */
    struct hm_chain backing;
    bool is_passed_over; /* HUMA_ONLY does not mean this executable */
    bool is_late;        /* the heap starts when the program runs already */
    size_t huge_start_bytes;
    enum hm_fork fork;
    enum hm_numa numa;
    struct hm_node_mask nodes; /* for INTERLEAVE, BIND, PREFER: these; none: all. Not from the
                                  environment */
    const char *only;          /* may point into the environment */
    const char *stats;         /* "0" = no report; may point into the environment */
    bool verbose;
    unsigned purge_delay_ms; /* how long memory is kept for a program that swings */
    bool purge_thread;
};

/* Reads one variable: secure_getenv in the library, a table in tests. Returns NULL if it is
 * unset. */
typedef const char *(*hm_getenv_fn)(const char *name);

/* The defaults of options.def. */
void hm_conf_defaults(struct hm_conf *out_conf);

/* Read all options; *out_conf must hold the defaults. An empty value is as good as none. Wrong
 * values are reported to descriptor `err_fd`, one line each, and leave the default in place.
 * Returns the number of wrong values. */
unsigned hm_conf_read(struct hm_conf *out_conf, hm_getenv_fn getenv_fn, int err_fd);

/* A chain as HUMA_BACKING spells it. Returns false, and nothing changed, if `text` is none. */
bool hm_chain_parse(const char *text, struct hm_chain *out_chain);

/* Put a backing, of hugetlb with this page_shift, before the others of a chain. Returns false, and
 * nothing changed, if there is no room. */
bool hm_chain_put_first(struct hm_chain *inout_chain, enum hm_backing_kind kind,
                        unsigned page_shift);

/* Obey HUMA_ONLY in the executable with this absolute path; "" if that is not known. */
void hm_conf_select(struct hm_conf *inout_conf, const char *exe_path);

/* Name of a backing as HUMA_BACKING spells it. */
const char *hm_backing_name(enum hm_backing_kind kind);

/* Whether the chain contains the kind. */
bool hm_chain_has(const struct hm_chain *chain, enum hm_backing_kind kind);

#endif
