/* SPDX-License-Identifier: MIT */
/* choice.h - decisions of a test: from a seed, or from the bytes of a fuzzer's input.
 *
 * Problem     Random tests and fuzzers want the same operations and the same checks; they differ in
 *             who decides.
 * Idea        Whoever decides is asked one question: a number below a limit. A seed answers for
 *             ever; the bytes of an input are used up, a few for each question, and then it is
 *             over.
 */
#ifndef HM_TESTS_CHOICE_H
#define HM_TESTS_CHOICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct choice {
    uint64_t state;       /* of the random numbers; not 0 */
    const uint8_t *bytes; /* NULL: random numbers */
    size_t left_bytes;
};

static inline struct choice
choice_of_seed(uint64_t seed)
{
    return (struct choice){ .state = (seed + 1) * 0x9e3779b97f4a7c15u | 1 };
}

static inline struct choice
choice_of_bytes(const uint8_t *bytes, size_t len_bytes)
{
    return (struct choice){ .state = 1, .bytes = bytes, .left_bytes = len_bytes };
}

static inline bool
choice_is_over(const struct choice *choice)
{
    return choice->bytes != NULL && choice->left_bytes == 0;
}

/* Marsaglia's xorshift: the same numbers on every machine. For contents even with an input. */
static inline uint64_t
choice_random(struct choice *choice)
{
    choice->state ^= choice->state << 13;
    choice->state ^= choice->state >> 7;
    choice->state ^= choice->state << 17;
    return choice->state;
}

/* A number below `limit`. Of an input as many bytes as the limit needs; 0 once it is used up. */
static inline size_t
choice_below(struct choice *choice, size_t limit)
{
    size_t value = 0;

    if (choice->bytes == NULL)
        return (size_t)(choice_random(choice) % limit);
    for (size_t rest = limit - 1; rest != 0 && choice->left_bytes > 0; rest >>= 8) {
        value = value << 8 | *choice->bytes++;
        choice->left_bytes--;
    }
    return value % limit;
}

static inline bool
choice_one_in(struct choice *choice, size_t count)
{
    return choice_below(choice, count) == 0;
}

#endif
