#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# ppc64el-64k.sh - ppc64el with base pages of 64 KiB and huge pages of 2 MiB.
. "$(dirname "$0")/cross.sh" ppc64el
guest_kernel trixie linux-image-powerpc64le-64k
run_guest 1 1024 want_page_kib=64 want_huge_kib=2048
