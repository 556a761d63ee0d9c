#!/bin/bash
# SPDX-License-Identifier: MIT
# hostile.sh - a shared arena is attached that is none, or a damaged one (hostile.c).
set -eu
exec "$builddir/tests/fuzz/hostile"
