#!/bin/bash
# SPDX-License-Identifier: MIT
# matrix.sh - thousands of combinations of misuse, each caught with the right line (matrix.c).
#
# By hand: `matrix.sh info` tells what the system's malloc catches of the same cases; further
# arguments name the scenarios to run.
set -eu
: "${builddir:=$PWD}"
ulimit -c 0
preload=${HM_PRELOAD:-}
if [ "${1:-}" = info ]; then
    preload=
    shift
    set -- info "$@"
elif [ -z "$preload" ]; then
    echo "HM_PRELOAD must name libhuma_preload.so"
    exit 99
else
    set -- check "$@"
fi
LD_PRELOAD=$preload exec "$builddir/tests/abuse/matrix" "$@"
