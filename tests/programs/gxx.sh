#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# gxx.sh - C++ compilers (g++; clang++ where installed): -O2 of generated templates; object and
# program the same byte for byte.
. "$(dirname "$0")/lib.sh"
need g++

bash "$here/gen-source.sh" cxx >"$tmp/big.cc"
for cxx in g++ clang++; do
    command -v "$cxx" >/dev/null || { echo "$cxx is not installed: left out"; continue; }
    both "$cxx" bash -eu -c '
        cp "$2/big.cc" .
        "$1" -std=c++17 -O2 -c big.cc
        "$1" big.o -o big
        ./big' - "$cxx" "$tmp"
done
