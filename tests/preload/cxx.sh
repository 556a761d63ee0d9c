#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# cxx.sh - operator new and delete, with each C++ compiler that is installed.
. "$(dirname "$0")/../programs/lib.sh"

found=0
for cxx in g++ clang++; do
    command -v "$cxx" >/dev/null || continue
    found=1
    "$cxx" -std=c++17 -O1 -fsized-deallocation -pthread "$here/cxx.cc" -o "$tmp/cxx-$cxx" ||
        broken "$cxx cannot compile cxx.cc"
    both "$cxx" "$tmp/cxx-$cxx"
done
[ "$found" = 1 ] || skip "neither g++ nor clang++ is installed"
