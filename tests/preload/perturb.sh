#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# perturb.sh - blocks are filled when mallopt(M_PERTURB) asks for it, as under glibc without its
# thread caches, which forget to.
. "$(dirname "$0")/../programs/lib.sh"
export GLIBC_TUNABLES=glibc.malloc.tcache_count=0
both perturb "$helpers/perturb"
