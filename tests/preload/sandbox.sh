#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# sandbox.sh - a process that has locked itself in is not ended because the library opens a file.
#
# A filter of system calls comes when the heap is small, and kills at the next open; then the heap
# grows to 100 MB and on huge pages. Once more where it comes before the first block, and in a process
# that had a filter from its start, which cannot tell whether another was added.
. "$(dirname "$0")/../programs/lib.sh"
[ "$standin" != 1 ] || skip "only about this library's own files"

rc=0
"$helpers/sandbox" || rc=$?
[ "$rc" != 77 ] || skip "no seccomp filters here"
[ "$rc" = 0 ] || broken "exit status $rc under glibc"
for how in "" late "again $helpers/sandbox"; do
    rc=0
    # shellcheck disable=SC2086
    LD_PRELOAD=$huma_lib "$helpers/sandbox" $how || rc=$?
    [ "$rc" = 0 ] || fail "sandbox $how: exit status $rc; 159: it was ended by its filter"
done
echo "a heap grows in a sandbox, whether filters were there before or not"
