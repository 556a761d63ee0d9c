#!/bin/bash
# SPDX-License-Identifier: MIT
# spaces.sh - processes of a shared arena in PID namespaces of their own (spaces.c).
set -eu
exec "$builddir/tests/shared/spaces"
