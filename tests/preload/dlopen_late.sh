#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# dlopen_late.sh - the library is loaded by a running, threaded program.
. "$(dirname "$0")/../programs/lib.sh"
passes glibc dlopen_late "$helpers/dlopen_late" "$huma_lib"
