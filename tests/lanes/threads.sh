#!/bin/bash
# SPDX-License-Identifier: MIT
# threads.sh - threads share one heap: frees across, deaths, adoption.
set -eu
exec "$builddir/tests/lanes/tsan_threads" "${HM_LANE_SECONDS:-3}"
