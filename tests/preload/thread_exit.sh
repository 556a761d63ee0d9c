#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# thread_exit.sh - threads allocate and free while they end: destructors of thread_local objects and
# of pthread keys, pthread_exit, cancellation.
. "$(dirname "$0")/../programs/lib.sh"
need "${CXX:-g++}"
"${CXX:-g++}" -std=c++17 -O1 -g -fno-builtin -pthread "$here/thread_exit.cc" -o "$tmp/thread_exit" ||
    broken "${CXX:-g++} cannot compile thread_exit.cc"
both thread-exit "$tmp/thread_exit"
