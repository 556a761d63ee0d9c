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

# Near the limit. vm.admin_reserve_kbytes is kept from all but root, so the limit meets the test
# alone, if that runs as nobody.
command -v setpriv >/dev/null || skip "setpriv (util-linux) is not installed; the rest passed"
left_mib=200
chmod 755 "$work_dir"
cp "$smoke" "$huma_lib" "$work_dir"
set_machine $overcommit 2
committed_kib=$(value_of Committed_AS /proc/meminfo)
limit_kib=$(value_of CommitLimit /proc/meminfo)
set_machine /proc/sys/vm/admin_reserve_kbytes $((limit_kib - committed_kib - (left_mib << 10)))

# grow LIB BYTES OUT
grow() {
    under "$1" setpriv --reuid=65534 --regid=65534 --clear-groups "$work_dir/smoke" grow 4096 "$2" \
        >"$3" 2>&1
}

for block_bytes in 1000 40000 1048576 40000000; do
    grow glibc $block_bytes "$work_dir/glibc" ||
        { cat "$work_dir/glibc"; broken "blocks of $block_bytes: exit status $? under glibc"; }
    grow "$work_dir/${huma_lib##*/}" $block_bytes "$work_dir/huma" ||
        { cat "$work_dir/huma"; fail "blocks of $block_bytes: exit status $?"; }
    [ "$(value_of refused "$work_dir/huma")" = yes ] || broken "the commit limit did not hold"
    glibc_mib=$(value_of got_mib "$work_dir/glibc")
    expect "commit limit, blocks of $block_bytes (glibc $glibc_mib MiB)" "$work_dir/huma" \
        got_mib ge $((glibc_mib * 3 / 4))
done
