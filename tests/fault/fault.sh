#!/bin/bash
# SPDX-License-Identifier: MIT
# fault.sh - the n-th kernel call fails, for every n.
set -eu
exec "$builddir/tests/fault/fault"
