/* SPDX-License-Identifier: MIT */
/* process.h - the one heap of the process, and what each thread has of it. */
#ifndef HM_API_PROCESS_H
#define HM_API_PROCESS_H

#include "api/foreign.h"
#include "cache/thread.h"
#include "conf/glibc.h"
#include "stats/stats.h"

#define HM_OPERATOR_COUNT 20 /* of new and delete in C++20 */

struct hm_process {
    struct hm_pagemap pagemap; /* first, for the shortest way from free() */
    struct hm_heap heap;
    struct hm_pool pool;
    struct hm_conf conf;       /* written once by configure() */
    struct hm_lock lock;       /* start-up and configuration (rank 1) */
    bool is_loaded;            /* the constructor has run; written there */
    bool is_started;           /* atomic */
    bool is_configured;        /* atomic */
    bool has_key;              /* exit_key is valid; atomic */
    unsigned exit_key;         /* pthread key whose destructor retires a thread's cache */
    size_t small_end_bytes;    /* requests from here on may be direct, or are for no size class */
    size_t cached_end_bytes;   /* from here on they do not come from the thread's cache by
                                  themselves */
    unsigned char perturb;     /* M_PERTURB: fills freed blocks, inverted new ones; 0: off */
    struct hm_foreign foreign; /* blocks of glibc's malloc that came to us */
    struct hm_kept_fd report;  /* stderr as it was at start; none: no text report */
    char report_path[256];     /* HUMA_STATS if it names a file; "" if not */

    uint64_t sized_free_mismatch_count;     /* see api/sized.h; atomic */
    uint32_t operators;                     /* whose new and delete count, see api/cxx.c; atomic */
    const void *plugin_caller;              /* of an operator, see api/cxx.c; atomic */
    void *next_operator[HM_OPERATOR_COUNT]; /* those of the C++ runtime, once asked for; atomic */
};

extern struct hm_process hm_process HM_HIDDEN;

/* This thread's cache; the empty one until it has its own. */
extern __thread struct hm_tcache *hm_thread_cache
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* Give this thread a cache, starting the process's heap if need be. Returns NULL if there is no
 * memory, or if the thread is ending; then hm_process_alloc_late serves. */
struct hm_tcache *hm_process_attach(void);

/* Ask the cutoff about requests of `size_bytes` and more, also if a size class would hold them. As
 * with all of mallopt, other threads may notice late. */
void hm_process_set_small_end(size_t size_bytes);

/* Fill blocks when they come and go, as mallopt(M_PERTURB) says; from now on every call of this
 * thread, and of those that are new, takes a slow path. */
void hm_process_set_perturb(int byte);

/* Make sure that the heap exists. Returns false if there is no memory for it. */
bool hm_process_start(void);

/* The same, and that options are read if libc is up. */
bool hm_process_configure(void);

/* Set what is given. */
void hm_process_tune(const struct hm_glibc *glibc);

/* A slot for a thread that is past the end of its cache; NULL if there is no memory. */
void *hm_process_alloc_late(unsigned class_idx);

/* End the program: what `call` was handed at `addr` is no block. */
HM_NORETURN HM_COLD void hm_process_not_ours(uintptr_t addr, const char *call);

/* hm_stats_read, and what only the process counts. The heap has started. */
void hm_process_stats(bool ask_kernel, struct hm_stats *out_stats);

/* Find out whether the program has operators new and delete of its own (api/cxx.c). */
void hm_process_ask_operators(void);

/* Write the report that HUMA_STATS asks for. Also runs at exit. */
void hm_process_report(void);

#endif
