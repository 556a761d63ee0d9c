/* SPDX-License-Identifier: MIT */
/* fuzz_heap.c - an input is a machine, its settings, and operations on a heap over the fake kernel,
 * checked by the model of tests/model/heap.c: several threads' caches, threads that end, forks. */
#include "fuzz/fuzz.h"
#include "model/heap.h"

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes)
{
    struct choice choice = choice_of_bytes(bytes, len_bytes);

    (void)model_run(&choice, 20000);
    return 0;
}
