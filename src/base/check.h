/* SPDX-License-Identifier: MIT */
/* check.h - what happens when something is wrong that the program cannot handle.
 *
 * Problem     An allocator finds damage that others did, and must say so without allocating.
 * Idea        hm_fail() writes one line to stderr and aborts. hm_assert() guards our own invariants
 *             and exists only in --enable-debug builds.
 */
#ifndef HM_BASE_CHECK_H
#define HM_BASE_CHECK_H

#include "base/compiler.h"

/* Write "huma: WHAT 0xADDR: WHY" to stderr and abort().
 *
 *   what  the call and its fault, e.g. "free(): double free of"
 *   addr  the pointer in question; printed in hex
 *   why   what the address is, and what a right call would pass
 */
HM_NORETURN HM_COLD void hm_fail(const char *what, uintptr_t addr, const char *why);

/* The same without an address: "huma: WHAT". */
HM_NORETURN HM_COLD void hm_fail_plain(const char *what);

HM_NORETURN HM_COLD void hm_assert_fail(const char *cond, const char *file, int line);

#ifdef HM_DEBUG
#define hm_assert(cond) (HM_LIKELY(cond) ? (void)0 : hm_assert_fail(#cond, __FILE__, __LINE__))
#else
#define hm_assert(cond) ((void)sizeof(!(cond)))
#endif

#endif
