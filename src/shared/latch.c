/* SPDX-License-Identifier: MIT */
/* latch.c - locks for what programs keep in a shared arena (see shared.h).
 *
 * Problem     Who holds a lock may die, and the others must get it then, and know that what it
 *             guards may be half done. A robust mutex of pthreads names its holder by a number that
 *             differs between PID namespaces.
 * Idea        The word names the holder's seat, and how often the seat was taken: so it is seen
 *             from two words whether the holder still is who it was. A seat is given up only when
 *             its process has detached, or was found dead by its lock on the file. Who waits sleeps
 *             for 0.1 s at most, and then looks for the dead.
 * Sources     Ulrich Drepper, "Futexes Are Tricky" (2011), section 6, mutex 3.
 */
#include <errno.h>

#include "os/os_shared.h"
#include "shared/shared.h"

/* The word. 0: free. Bit 0: somebody may be asleep; 10 bits: seat; above: how often it was taken */
#define WAITED 1u

#define LOOK_FOR_DEAD_MS 100

static uint32_t
word_of_seat(const struct hm_shared *view, unsigned seat)
{
    uint32_t state = hm_load(&hm_shared_seat_of(view, seat)->state);

    return (uint32_t)seat << 1 | (state >> 1) << 11;
}

static bool
is_holder_gone(const struct hm_shared *view, uint32_t word)
{
    unsigned seat = word >> 1 & HM_SHARED_SEATS_MAX;

    return seat == 0 || seat > view->geom.seat_count
           || (hm_load(&hm_shared_seat_of(view, seat)->state) & HM_SEAT_TAKEN) == 0
           || word_of_seat(view, seat) != (word & ~WAITED);
}

static bool
swap(uint32_t *word, uint32_t from, uint32_t to)
{
    return __atomic_compare_exchange_n(word, &from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* Returns as hm_shared_latch.
 *   waited  WAITED if this process may not be the only one that sleeps for it */
static int
try_once(const struct hm_shared *view, uint32_t *word, uint32_t waited)
{
    uint32_t mine = word_of_seat(view, view->seat);
    uint32_t was = __atomic_load_n(word, __ATOMIC_ACQUIRE);

    if (was == 0)
        return swap(word, 0, mine | waited) ? 0 : -EAGAIN;
    if (is_holder_gone(view, was))
        return swap(word, was, mine | WAITED) ? 1 : -EAGAIN;
    return -EAGAIN;
}

/* Sleep until the word may be free, for some time at most. */
static void
sleep_on(uint32_t *word, unsigned left_ms)
{
    uint32_t was = __atomic_load_n(word, __ATOMIC_ACQUIRE);

    if (was == 0)
        return;
    if ((was & WAITED) == 0 && !swap(word, was, was | WAITED))
        return;
    hm_os_shared_sleep(word, was | WAITED, left_ms);
}

static void
look_for_dead(struct hm_shared *view)
{
    hm_lock_take(&view->lock);
    (void)hm_shared_recover(view);
    hm_lock_give(&view->lock);
}

static unsigned
next_sleep_ms(uint64_t end_ns, int timeout_ms)
{
    uint64_t now_ns = hm_os_now_ns(NULL);

    if (timeout_ms < 0 || end_ns > now_ns + LOOK_FOR_DEAD_MS * (uint64_t)1000000)
        return LOOK_FOR_DEAD_MS;
    return end_ns > now_ns ? (unsigned)((end_ns - now_ns + 999999) / 1000000) : 0;
}

static uint32_t *
find_word(const struct hm_shared *view, uint64_t word_off)
{
    /* What may be a cell may be a lock, but for roots. */
    return word_off >= view->geom.data_off ? (uint32_t *)(void *)hm_shared_find_cell(view, word_off)
                                           : NULL;
}

int
hm_shared_latch(struct hm_shared *view, uint64_t word_off, int timeout_ms)
{
    uint32_t *word = find_word(view, word_off);
    uint64_t end_ns = 0;
    int rc;

    if (word == NULL)
        return -EINVAL;
    rc = try_once(view, word, 0);
    if (rc != -EAGAIN)
        return rc;
    if (timeout_ms > 0)
        end_ns = hm_os_now_ns(NULL) + (uint64_t)timeout_ms * 1000000;
    for (;;) {
        unsigned left_ms = next_sleep_ms(end_ns, timeout_ms);
        uint64_t begin_ns = hm_os_now_ns(NULL);

        if (left_ms > 0)
            sleep_on(word, left_ms);
        /* Nobody has woken it. */
        if (hm_os_now_ns(NULL) - begin_ns >= left_ms * (uint64_t)1000000)
            look_for_dead(view);
        rc = try_once(view, word, WAITED);
        if (rc != -EAGAIN || left_ms == 0)
            return rc;
    }
}

int
hm_shared_unlatch(struct hm_shared *view, uint64_t word_off)
{
    uint32_t *word = find_word(view, word_off);
    uint32_t mine = word_of_seat(view, view->seat);

    if (word == NULL)
        return -EINVAL;
    if ((hm_load(word) & ~WAITED) != mine)
        return -EPERM;
    if ((__atomic_exchange_n(word, 0, __ATOMIC_SEQ_CST) & WAITED) != 0)
        hm_os_shared_wake(word, 1);
    return 0;
}
