#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# arm64-4k.sh - arm64 with base pages of 4 KiB and huge pages of 2 MiB.
. "$(dirname "$0")/cross.sh" arm64
guest_kernel trixie linux-image-cloud-arm64
run_guest 1 1024 want_page_kib=4 want_huge_kib=2048
