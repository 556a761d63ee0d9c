/* SPDX-License-Identifier: MIT */
/* fuzz_calls.c - an input is a sequence of calls of the malloc family, checked by the oracle.
 *
 * Idea        Each byte or two answers a question of tests/support/oracle.c: which call, which
 *             block, what size. Whatever malloc the program has is tried: linked with ours for
 *             libFuzzer, preloaded when inputs are replayed.
 */
#include "fuzz/fuzz.h"
#include "support/oracle.h"

static struct oracle oracle;

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
    oracle = (struct oracle){
        .choice = choice_of_bytes(bytes, len_bytes),
        .limit_bytes = (size_t)96 << 20,
        .is_alone = true,
        .name = "fuzz_calls",
    };
    oracle_reset_settings();
    while (!choice_is_over(&oracle.choice))
        oracle_step(&oracle);
    oracle_end(&oracle);
    return 0;
}
