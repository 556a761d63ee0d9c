#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# calls.sh - random calls of the whole malloc family under huma, held to the contract. The seed is in
# the output; `calls.sh SEED` repeats it. Under glibc first: the checks must accept what is right.
. "$(dirname "$0")/../programs/lib.sh"
calls=$huma_build/tests/model/calls
seed=${1:-$(date +%s)}

passes glibc calls-reference env ORACLE_KEEP_PERTURB=1 "$calls" "$seed" 15000
passes huma calls "$calls" "$seed" 150000
passes huma calls-huge env HUMA_HUGE_START=0 "$calls" "$((seed + 1))" 50000
huma_was_used calls
