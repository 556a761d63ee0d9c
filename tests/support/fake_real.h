/* SPDX-License-Identifier: MIT */
/* fake_real.h - memory behind the fake kernel's address space. */
#ifndef HM_TESTS_FAKE_REAL_H
#define HM_TESTS_FAKE_REAL_H

#include "base/compiler.h"

/* The start of address space that is free in this process. */
uintptr_t fake_real_base(void);

/* Memory at exactly this place; returns false if there is none, or if nobody could want so much. */
bool fake_real_map(uintptr_t addr, size_t len_bytes);

/* Unmap it; let it read as zero from now on. Nothing happens unless `is_real`, what fake_real_map
 * returned. */
void fake_real_unmap(bool is_real, uintptr_t addr, size_t len_bytes);
void fake_real_discard(bool is_real, uintptr_t addr, size_t len_bytes);

#endif
