#!/bin/bash
# SPDX-License-Identifier: MIT
# arena.sh - random calls on arenas, compared with a model; the seed is in the output.
set -eu
exec "$builddir/tests/model/arena"
