#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# calls.sh - replays the corpus of calls under the library, once with huge pages from the first byte.
. "$(dirname "$0")/../programs/lib.sh"
target=$huma_build/tests/fuzz/fuzz_calls
files=("$here"/corpus/calls/*)
[ -r "${files[0]}" ] || fail "the corpus of calls is empty"

both fuzz-calls "$target" "${files[@]}"
passes huma fuzz-calls-huge env HUMA_HUGE_START=0 "$target" "${files[@]}" >/dev/null
huma_was_used fuzz-calls-huge
echo "fuzz_calls: ok, ${#files[@]} inputs"
