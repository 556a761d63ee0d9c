#!/bin/bash
# SPDX-License-Identifier: MIT
# asan.sh - units, model and faults under AddressSanitizer, LeakSanitizer and UBSan.
set -eu
. "$srcdir/tests/lanes/lib.sh"

export LSAN_OPTIONS=suppressions=$srcdir/tests/lanes/lsan.supp:print_suppressions=0
flags=(-fsanitize=address,undefined -fno-sanitize-recover=all)
mkdir -p "$builddir/lanes"
seeded=$builddir/lanes/seeded-asan
lane_seed 0 "$seeded" seeded.c "${flags[@]}"
lane_must_pass "$seeded"
lane_seed 1 "$seeded" seeded.c "${flags[@]}"
lane_must_find heap-buffer-overflow "$seeded"
lane_seed 2 "$seeded" seeded.c "${flags[@]}"
lane_must_find 'signed integer overflow' "$seeded"
lane_seed 3 "$seeded" seeded.c "${flags[@]}"
lane_must_find 'detected memory leaks' "$seeded"
if [ -n "$(pkg-config --libs criterion 2>/dev/null)" ]; then
    # For TAP, Criterion would keep what the test writes to itself.
    unset CRITERION_OUTPUTS
    lane_seed 0 "$seeded" seeded_test.c "${flags[@]}" -lcriterion
    lane_must_pass "$seeded"
    lane_seed 1 "$seeded" seeded_test.c "${flags[@]}" -lcriterion
    lane_must_find heap-buffer-overflow "$seeded"
fi

mkdir -p "$builddir/lanes/asan"
rm -f "$builddir"/lanes/asan/found.*
export ASAN_OPTIONS=log_path=$builddir/lanes/asan/found UBSAN_OPTIONS=log_path=$builddir/lanes/asan/found
lane_build asan address,undefined check
grep -E '^# (TOTAL|PASS|SKIP|FAIL):' make.out
