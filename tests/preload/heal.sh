#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# heal.sh - huge pages that a fork split are whole again when the child has gone.
. "$(dirname "$0")/../programs/lib.sh"

rc=0
for heap in small mapped; do
    under huma "$heap" "$helpers/heal" "$heap"
    cat "$tmp/$heap.huma/out" "$tmp/$heap.huma/err"
    status=$(status "$heap" huma)
    [ "$status" != 77 ] || exit 77
    [ "$status" = 0 ] || rc=1
done
[ "$rc" = 0 ] || fail "huge pages stay split, or a child's pages are copied"
