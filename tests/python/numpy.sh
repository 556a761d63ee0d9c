#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# numpy.sh - arrays of numpy in a shared arena: the same memory in all processes, nothing is copied.
. "$(dirname "$0")/lib.sh"
find_python "import numpy" || skip "no python3 has numpy (Debian: python3-numpy)"
run "$python" "$here/arrays.py"
