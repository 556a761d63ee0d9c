#!/bin/bash
# SPDX-License-Identifier: MIT
# apart.sh - a process is stopped in the middle of a call in a shared arena (apart.c).
set -eu
exec "$builddir/tests/shared/apart"
