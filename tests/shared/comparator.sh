#!/bin/bash
# SPDX-License-Identifier: MIT
# comparator.sh - what images.c finds where it must find something (comparator.c).
set -eu
exec "$builddir/tests/shared/comparator"
