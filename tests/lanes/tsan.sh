#!/bin/bash
# SPDX-License-Identifier: MIT
# tsan.sh - eight threads on one heap under ThreadSanitizer. Criterion aborts under it: plain programs only.
set -eu
. "$srcdir/tests/lanes/lib.sh"

flags=(-fsanitize=thread)
mkdir -p "$builddir/lanes"
seeded=$builddir/lanes/seeded-tsan
lane_seed 0 "$seeded" seeded.c "${flags[@]}"
lane_must_pass "$seeded"
lane_seed 4 "$seeded" seeded.c "${flags[@]}"
lane_must_find 'data race' "$seeded"

lane_build tsan thread,undefined tests/lanes/tsan_threads tests/lanes/tsan_arenas tests/model/model tests/fault/fault
lane_must_pass tests/lanes/tsan_threads 20
lane_must_pass tests/lanes/tsan_arenas
lane_must_pass tests/fault/fault 0
lane_must_pass tests/model/model 1 3
