#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# thread_exit.sh - threads allocate and free while they end: destructors of thread_local objects and
# of pthread keys, pthread_exit, cancellation. What they ask for so late must not make thread caches
# that nobody takes back.
. "$(dirname "$0")/../programs/lib.sh"
need "${CXX:-g++}"
"${CXX:-g++}" -std=c++17 -O1 -g -fno-builtin -pthread "$here/thread_exit.cc" -o "$tmp/thread_exit" ||
    broken "${CXX:-g++} cannot compile thread_exit.cc"
both thread-exit "$tmp/thread_exit"
[ "$standin" != 1 ] || exit 0
caches=$(sed -n 's/^ *"cache_count": \([0-9]*\),*$/\1/p' "$tmp/stats/thread-exit".*.json)
# Six threads at a time, main, the last one, and one for threads that are past their end.
((caches <= 9)) || fail "$caches thread caches, though 6 threads run at a time"
echo "$caches thread caches"
