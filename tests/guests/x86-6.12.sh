#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# x86-6.12.sh - Linux 6.12 with one memory node. It aligns large maps by itself, has mTHP and
# splits underused huge pages.
. "$(dirname "$0")/lib.sh"
guest_kernel trixie linux-image-cloud-amd64
run_guest 1 1024
