#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# x86-5.10.sh - Linux 5.10 with two memory nodes.
# It has no MADV_COLLAPSE, MADV_POPULATE_WRITE or PAGEMAP_SCAN. What the heap put on base
# pages while it was small stays there.
. "$(dirname "$0")/lib.sh"
guest_kernel bullseye linux-image-cloud-amd64
run_guest 2 512 want_pct=80
