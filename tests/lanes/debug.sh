#!/bin/bash
# SPDX-License-Identifier: MIT
# debug.sh - make check with --enable-debug: our own invariants and the order of locks are checked while
# real programs run. The unit test of the locks breaks the order on purpose.
set -eu
. "$srcdir/tests/lanes/lib.sh"

lane_build debug no check
grep -E '^# (TOTAL|PASS|SKIP|FAIL):' make.out
