#!/bin/bash
# SPDX-License-Identifier: MIT
# model.sh - random operations on a heap, compared with a model; the seed is in the output.
set -eu
exec "$builddir/tests/model/model"
