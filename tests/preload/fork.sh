#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# fork.sh - fork in a threaded program. Children that exit or exec write statistics of their own: 5
# + 5, and the parent.
. "$(dirname "$0")/../programs/lib.sh"
both fork "$helpers/fork"
[ "$standin" = 1 ] || [ "$used" -ge 11 ] ||
    fail "11 processes should have written statistics, but $used did"
