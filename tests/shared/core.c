/* SPDX-License-Identifier: MIT */
/* core.c - the core of shared arenas, with a stop before each access to a shared word. */
#include "shared/steps.h"

#include "../../src/shared/cell.c"
#include "../../src/shared/large.c"
#include "../../src/shared/layout.c"
#include "../../src/shared/recover.c"
#include "../../src/shared/ring.c"
#include "../../src/shared/shared.c"
#include "../../src/shared/small.c"
#include "../../src/shared/verify.c"
