#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# x86-6.12.sh - Linux 6.12 with three memory nodes, of which the last has no memory. It aligns large
# maps by itself, has mTHP, splits underused huge pages, and a memory cgroup can count hugetlb pages.
. "$(dirname "$0")/lib.sh"
guest_kernel trixie linux-image-cloud-amd64
has_bare_node=1
run_guest 3 768
