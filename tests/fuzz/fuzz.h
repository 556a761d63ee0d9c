/* SPDX-License-Identifier: MIT */
/* fuzz.h - what a fuzzer calls: one input, as libFuzzer wants it; replay.c calls it for files. */
#ifndef HM_TESTS_FUZZ_H
#define HM_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Returns 0; what is wrong ends in abort(). */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len_bytes);

#endif
