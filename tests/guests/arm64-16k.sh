#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# arm64-16k.sh - arm64 with base pages of 16 KiB and huge pages of 32 MiB.
. "$(dirname "$0")/cross.sh" arm64
guest_kernel trixie linux-image-arm64-16k
run_guest 1 1024 want_page_kib=16 want_huge_kib=32768
