#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# x86-newest.sh - the newest kernel that Debian packages, with four memory nodes.
. "$(dirname "$0")/lib.sh"
guest_kernel sid linux-image-cloud-amd64
run_guest 4 512
