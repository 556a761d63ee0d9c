#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# arena.sh - python/huma.py in one process: what each call does, refuses, and raises.
. "$(dirname "$0")/lib.sh"
run "$python" "$here/arena.py" "$srcdir/include/huma_shared.h" "$tmp"
