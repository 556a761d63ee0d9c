#!/bin/bash
# SPDX-License-Identifier: MIT
# forks.sh - processes of a shared arena come in all ways, and go (forks.c).
set -eu
exec "$builddir/tests/shared/forks"
