#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# purge.sh - memory goes back: when all is freed, after a swing, with and without a call, on demand.
. "$(dirname "$0")/../programs/lib.sh"

rc=0
run() { # MODE [OPTION or VARIABLE=VALUE of env...]
    local mode=$1
    shift
    under huma "$mode" env "$@" "$helpers/purge" "$mode"
    cat "$tmp/$mode.huma/out" "$tmp/$mode.huma/err"
    case $(status "$mode" huma) in
    0) ;;
    *) echo "$mode: failed" && rc=1 ;;
    esac
}
run done
run swing HUMA_PURGE_DELAY_MS=600000
run later HUMA_PURGE_DELAY_MS=200
run idle HUMA_PURGE_DELAY_MS=200 HUMA_PURGE_THREAD=on
# The thread starts where nothing else asks for the heap before the program does.
run idle -u HUMA_STATS HUMA_PURGE_DELAY_MS=200 HUMA_PURGE_THREAD=on
run trim
run hidden
[ "$rc" = 0 ] || fail "memory stays"
