#!/bin/bash
# SPDX-License-Identifier: MIT
# interleave.sh - every interleaving of a few processes in a shared arena.
set -eu
exec "$builddir/tests/shared/interleave"
