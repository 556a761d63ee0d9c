#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# many_threads.sh - 10000 threads leave no more behind than 1000: resident memory, which the program
# looks at itself, thread caches, and metadata.
. "$(dirname "$0")/../programs/lib.sh"
batch=16       # threads at a time
allowed_kib=64 # of metadata, more than after a tenth of the threads

# figure NAME KEY: from the statistics of a run.
figure() { sed -n "s/^ *\"$2\": \([0-9]*\),*\$/\1/p" "$tmp/stats/$1".*.json; }

passes glibc reference "$helpers/many_threads" 1000
passes huma few "$helpers/many_threads" 1000
passes huma many "$helpers/many_threads" 10000
[ "$standin" != 1 ] || exit 0
huma_was_used few
huma_was_used many
caches=$(figure many cache_count) few_kib=$(($(figure few meta_bytes) / 1024))
many_kib=$(($(figure many meta_bytes) / 1024))
echo "thread caches $(figure few cache_count) and $caches, metadata $few_kib and $many_kib KiB"
# One for the main thread, one for threads that are past their end.
((caches <= batch + 2)) || fail "$caches thread caches, though $batch threads run at a time"
((many_kib <= few_kib + allowed_kib)) || fail "metadata grows with the number of threads ended"
