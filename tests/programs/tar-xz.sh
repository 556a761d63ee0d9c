#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# tar-xz.sh - tar with xz -T0 (one thread per CPU, large blocks): pack a generated tree, unpack it,
# compare with the original.
. "$(dirname "$0")/lib.sh"
need tar xz awk

mkdir "$tmp/tree"
awk -v dir="$tmp/tree" 'BEGIN {
    seed = 1
    for (f = 0; f < 200; f++) {
        name = dir "/file" f
        for (line = 0; line < 2500; line++) {
            seed = (seed * 69069 + 1) % 4294967296
            printf "%d the quick %d brown fox %x\n", line, seed % 1000, seed > name
        }
        close(name)
    }
}'
both tar-xz bash -eu -c '
    tar -C "$1" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - tree |
        xz -T0 -2 --block-size=3MiB >tree.tar.xz
    xz -T0 -t tree.tar.xz
    tar -I "xz -T0" -tvf tree.tar.xz | tail -n 3
    tar -I "xz -T0" -xf tree.tar.xz
    diff -r tree "$1/tree"
    rm -r tree' - "$tmp"
