#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# refused.sh - memory calls of a running program fail, as in a sandbox, with each chain of backings.
. "$(dirname "$0")/../programs/lib.sh"
refused=$huma_build/tests/fault/refused

run() { # NAME COMMAND...
    local status=0
    under huma "$@"
    status=$(status "$1" huma)
    cat "$tmp/$1.huma/out"
    [ "$status" != 77 ] || exit 77
    [ "$status" = 0 ] || { show "$1" huma; fail "$1"; }
}
run refused "$refused"
run refused-thp env HUMA_BACKING=thp HUMA_HUGE_START=0 "$refused" 2
run refused-4k env HUMA_BACKING=4k "$refused" 3
huma_was_used refused
