#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# overcommit.sh - vm.overcommit_memory=2, where all that is mapped writable counts: programs work.
. "$(dirname "$0")/lib.sh"
need_built "$smoke"
own_machine
overcommit=/proc/sys/vm/overcommit_memory

# The limit counts for everybody: all that runs now must fit, with 2 GiB to spare.
committed_kib=$(value_of Committed_AS /proc/meminfo)
limit_kib=$(value_of CommitLimit /proc/meminfo)
[ $((committed_kib + (2 << 20))) -lt "$limit_kib" ] ||
    skip "strict overcommit would hurt what runs here ($committed_kib of $limit_kib kB committed)"
set_machine $overcommit 2

# committed LIB: the sum of the machine, in kB, as read by a small process that is part of it.
# shellcheck disable=SC2016
committed() { under "$1" awk '/^Committed_AS/ { print $2 }' /proc/meminfo; }
glibc_kib=$(committed glibc)
huma_kib=$(committed "$huma_lib") || fail "a small program does not start"
added_kib=$((huma_kib - glibc_kib))

under "$huma_lib" "$smoke" heap 128 2 >"$work_dir/heap" || fail "a heap of 128 MiB: exit status $?"
put_back
echo "a small process commits $added_kib kB more than under glibc"
[ "$added_kib" -le $((64 << 10)) ] || fail "that is more than 64 MiB"
echo "a heap of 128 MiB works: $(value_of rss_kib "$work_dir/heap") kB resident"
