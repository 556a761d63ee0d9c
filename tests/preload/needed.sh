#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# needed.sh - the library needs libc and nothing else, is bound at once, and is never unloaded.
. "$(dirname "$0")/../programs/lib.sh"

dynamic=$("${READELF:-readelf}" -dW "$huma_lib")
others=$(echo "$dynamic" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
    grep -vE '^(libc\.|ld-linux|ld64)' || true)
[ -z "$others" ] || fail "needs $others"
for flag in NOW NODELETE; do
    echo "$dynamic" | grep -qE "FLAGS_1.* $flag( |\$)" || fail "not linked with -z ${flag,,}"
done
! echo "$dynamic" | grep -q TEXTREL || fail "has text relocations"
echo "needs libc only; NOW NODELETE"
