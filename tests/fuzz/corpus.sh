#!/bin/bash
# SPDX-License-Identifier: MIT
# corpus.sh - replays the corpora of heap, conf and shared: these targets have the core linked in, so that
# they run in every build, with sanitizers too.
set -eu
shopt -s nullglob
for target in heap conf shared; do
    files=("$srcdir"/tests/fuzz/corpus/$target/*)
    [ ${#files[@]} != 0 ] || { echo "the corpus of $target is empty"; exit 1; }
    "$builddir/tests/fuzz/fuzz_$target" "${files[@]}" >/dev/null
    "$builddir/tests/fuzz/fuzz_$target" <"${files[0]}" >/dev/null
    echo "fuzz_$target: ok, ${#files[@]} inputs"
done
