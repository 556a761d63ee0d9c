#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# numa.sh - on a machine with several memory nodes, threads that stay on one have its memory. Where
# there is one node, its pages are counted all the same.
. "$(dirname "$0")/../programs/lib.sh"

passes huma numa "$helpers/numa" 32
nodes=$(awk '$1 == "nodes" { print $2 }' "$tmp/numa.huma/out")
awk '$1 == "cpu" && $6 < 99 { bad = 1 } END { exit bad }' "$tmp/numa.huma/out" ||
    fail "less than 99 % of the pages of a thread lie on its node"
grep -q node_bytes "$tmp"/stats/numa.*.json && is_told=1 || is_told=0
[ "$is_told" = $((nodes > 1)) ] || fail "$nodes nodes, but the report says otherwise"
for where in interleave off; do
    passes huma numa env HUMA_NUMA=$where "$helpers/numa" 32
done
