#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# gcc.sh - C compilers (gcc; clang where installed): -O2 -g of a generated file; object and program
# the same byte for byte.
. "$(dirname "$0")/lib.sh"
need gcc

bash "$here/gen-source.sh" c >"$tmp/big.c"
for cc in gcc clang; do
    command -v "$cc" >/dev/null || { echo "$cc is not installed: left out"; continue; }
    both "$cc" bash -eu -c '
        cp "$2/big.c" .
        "$1" -O2 -g -c big.c
        "$1" big.o -o big
        ./big "some words to chew on"' - "$cc" "$tmp"
done
