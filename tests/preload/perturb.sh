#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# perturb.sh - blocks are filled when mallopt(M_PERTURB) asks for it, as under glibc without its
# thread caches, which forget to.
. "$(dirname "$0")/../programs/lib.sh"
export GLIBC_TUNABLES=glibc.malloc.tcache_count=0
both perturb "$helpers/perturb"
both perturb-variable env MALLOC_PERTURB_=0x35 "$helpers/perturb" 0x35
both perturb-tunable env GLIBC_TUNABLES=glibc.malloc.tcache_count=0:glibc.malloc.perturb=53 \
    "$helpers/perturb" 53
