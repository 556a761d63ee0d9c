#!/bin/bash
# SPDX-License-Identifier: MIT
# images.sh - a process in a shared arena is killed after each instruction (images.c).
set -eu
exec "$builddir/tests/shared/images"
