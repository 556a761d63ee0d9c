#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# processes.sh - python/huma.py between processes: sockets, descriptors, fork, multiprocessing, kill.
. "$(dirname "$0")/lib.sh"
"$python" -c 'import multiprocessing, _multiprocessing' || skip "python3 lacks multiprocessing"
run "$python" "$here/processes.py"
