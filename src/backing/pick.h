/* SPDX-License-Identifier: MIT */
/* pick.h - which backing a range shall have: a pure decision.
 *
 * Problem     The choice hangs on the chain, the machine, the administrator and the size of the
 *             heap, and whoever asks why must get one answer.
 * Idea        A function without side effects from all that to the first backing of the chain that
 *             may serve, with the reason if it is not the chain's first. hugetlb is passed over:
 *             what comes before the answer is tried first (hugetlb.h).
 */
#ifndef HM_BACKING_PICK_H
#define HM_BACKING_PICK_H

#include "conf/conf.h"
#include "os/os.h"

enum hm_reason {
    HM_REASON_NONE, /* the first backing of the chain serves */
#define HM_REASON(id, code, sentence, detected, cure) id,
#include "backing/reasons.def"
#undef HM_REASON
    HM_REASON_COUNT,
};

/* Whether huge pages smaller than a PMD are to be had. */
enum hm_mthp_mode {
    HM_MTHP_UNKNOWN, /* not looked up: if they are picked, it is to be done again with the answer */
    HM_MTHP_OFF,
    HM_MTHP_ON,
};

/* What the decision depends on. */
struct hm_pick_in {
    const struct hm_chain *chain;
    bool is_passed_over; /* by HUMA_ONLY: the chain is not the one of HUMA_BACKING */
    const struct hm_geom *geom;
    enum hm_thp_mode thp_mode;
    enum hm_mthp_mode mthp_mode;
    size_t heap_bytes;       /* size of the heap with the request in it */
    size_t huge_start_bytes; /* the ramp: below this, base pages */
    size_t len_bytes;        /* of the request, as far as huge pages go */
    bool is_mapping;         /* ... which is to stay one mapping, that can be resized */
    struct hm_room room;     /* what the memory cgroup has left now */
};

struct hm_pick {
    enum hm_backing_kind kind; /* HM_BACKING_KINDS: the chain allows nothing that can serve */
    enum hm_reason reason;     /* why the first that was passed over was */
};

struct hm_pick hm_pick_backing(const struct hm_pick_in *in);

/* With less left than this, of so much, a memory cgroup is near its limit. */
uint64_t hm_pick_reserve_bytes(const struct hm_geom *geom, uint64_t limit_bytes);

/* For reports. The code of HM_REASON_NONE is "none". */
const char *hm_reason_code(enum hm_reason reason);
const char *hm_reason_sentence(enum hm_reason reason);
const char *hm_reason_cure(enum hm_reason reason);

#endif
