#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# soak.sh - the long random run (soak.c) under huma.
# SOAK_SECONDS, SOAK_SEED and SOAK_LIVE_MIB pass through.
. "$(dirname "$0")/../live/lib.sh"
soak=$build_dir/tests/soak/soak
need_built "$soak"

# Room for the blocks, for what fork copies, and as much again.
available_kib=$(value_of MemAvailable /proc/meminfo)
[ "$available_kib" -ge $((2 << 20)) ] ||
    skip "needs 2 GiB of memory; $((available_kib >> 10)) MiB are available"
LD_PRELOAD=$huma_lib "$soak"
