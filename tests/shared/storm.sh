#!/bin/bash
# SPDX-License-Identifier: MIT
# storm.sh - processes of a shared arena are killed at random, for STORM_SECONDS.
set -eu
exec "$builddir/tests/shared/storm" "${STORM_SECONDS:-10}"
