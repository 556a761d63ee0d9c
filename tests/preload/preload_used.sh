#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# preload_used.sh - a preloaded program uses the library for every entry point of the malloc family.
. "$(dirname "$0")/../programs/lib.sh"
passes huma preload_used "$helpers/preload_used"
[ -s "$tmp/preload_used.huma/err" ] || fail "malloc_stats printed nothing on stderr"
huma_was_used preload_used
