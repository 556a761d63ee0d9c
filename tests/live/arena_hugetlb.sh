#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# arena_hugetlb.sh - arenas on the pool of hugetlb pages: enough of them, too few, none.
#
# Problem  An arena promises huge pages from the pool as far as it goes, transparent ones behind it,
#          and to give all of them back when it ends, or is reset and trimmed.
# Idea     512 MiB in blocks of all sizes, with pools of 256, 128 and no pages; what the kernel says
#          is on huge pages is compared, and the pool's free pages are counted after each step.
. "$(dirname "$0")/lib.sh"
prog=$build_dir/tests/live/arena_pool
need_built "$prog"
own_machine
own_pool 0
set_machine "$thp_enabled" madvise

# run NAME PAGES STEP...: the output goes to $work_dir/NAME.
run() {
    local name=$1 pages=$2
    shift 2
    echo "$pages" >"$pool/nr_hugepages"
    [ "$(cat "$pool/nr_hugepages")" = "$pages" ] ||
        skip "the machine has no $pages hugetlb pages to spare"
    under glibc "$prog" "$@" >"$work_dir/$name" 2>&1 || { cat "$work_dir/$name"; fail "$name"; }
    [ "$(cat "$pool/free_hugepages")" = "$pages" ] || fail "$name: pages are missing after exit"
}

# figure NAME KEY OP NUMBER: one in the output of run.
figure() { expect "$1" "$work_dir/$1" "${@:2}"; }

# Enough pages: no other memory is used. 8 MiB less than the pool, for what no block fills.
run enough 256 create default fill 496 look full check destroy look ended
figure enough full_resident_kib ge $((496 * 1024))
figure enough full_permille eq 1000
figure enough full_thp_kib eq 0
figure enough full_hugetlb_kib eq "$(value_of full_resident_kib "$work_dir/enough")"
figure enough ended_free_pages eq 256

# The same to the last page, in one block.
run whole 256 create default one 512 look full check destroy look ended
figure whole full_hugetlb_kib eq $((512 * 1024))
figure whole full_permille eq 1000
figure whole full_free_pages eq 0
figure whole ended_free_pages eq 256

# Half of them: all are used, and the rest is on transparent ones.
run half 128 create default fill 512 look full check destroy look ended
figure half full_hugetlb_kib eq $((256 * 1024))
figure half full_free_pages eq 0
figure half full_permille ge 995
figure half ended_free_pages eq 128

run none 0 create default fill 512 look full check destroy
figure none full_hugetlb_kib eq 0
figure none full_permille ge 990

# A reset keeps the pages for blocks to come; a trim after it gives them back.
run emptied 128 create default fill 200 reset look reset fill 200 look again check \
    reset trim look trimmed fill 200 look full check destroy look ended
figure emptied reset_free_pages le 30
figure emptied again_permille eq 1000
figure emptied again_thp_kib eq 0
figure emptied trimmed_free_pages eq 128
figure emptied full_hugetlb_kib ge $((200 * 1024))
figure emptied ended_free_pages eq 128

# Nothing but the pool: what does not fit is refused with a reason, and what was there serves on.
run required 64 create hugetlb fill 100 one 64 look full check destroy look ended
figure required refused eq 12
grep -q '^said huma_arena_alloc(): arena live: .*the pool of hugetlb pages has too few' \
    "$work_dir/required" || { cat "$work_dir/required"; fail "required: no sentence"; }
figure required full_hugetlb_kib ge $((100 * 1024))
figure required ended_free_pages eq 64

# Two threads touch what is there from the beginning.
run ahead 128 ahead 256 2 look full fill 240 look used check destroy look ended
figure ahead full_resident_kib eq $((256 * 1024))
figure ahead full_hugetlb_kib eq $((256 * 1024))
figure ahead full_free_pages eq 0
figure ahead used_permille eq 1000
figure ahead ended_free_pages eq 128

# The same for more than the pool has: all of that, and the rest is on transparent ones.
run beyond 128 ahead 320 2 look full check destroy look ended
figure beyond full_resident_kib eq $((320 * 1024))
figure beyond full_hugetlb_kib eq $((256 * 1024))
figure beyond full_permille eq 1000
figure beyond ended_free_pages eq 128
