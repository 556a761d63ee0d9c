#!/bin/bash
# SPDX-License-Identifier: MIT
# threads.sh - threads share one heap, and many arenas: frees across, deaths, adoption.
set -eu
"$builddir/tests/lanes/tsan_arenas"
exec "$builddir/tests/lanes/tsan_threads" "${HM_LANE_SECONDS:-3}"
