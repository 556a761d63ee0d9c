#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# tls.sh - the library's static thread-local storage is small: dlopen must fit it into the little
# that the loader keeps.
. "$(dirname "$0")/../programs/lib.sh"
limit_bytes=64

size=$("${READELF:-readelf}" -lW "$huma_lib" | awk '$1 == "TLS" { print $6 }') # MemSiz, hexadecimal
echo "thread-local storage: $((${size:-0})) bytes, at most $limit_bytes"
((${size:-0} <= limit_bytes)) || fail "too much"
