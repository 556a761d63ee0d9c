#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# x86-4node.sh - Linux 6.1 with four memory nodes.
. "$(dirname "$0")/lib.sh"
guest_kernel bookworm linux-image-cloud-amd64
run_guest 4 512
