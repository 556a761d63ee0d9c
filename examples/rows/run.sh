#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# run.sh - the programs of this folder, a line for each: its technique, and what was seen.
#
# Usage   make check-rows, or as a test of make check. Exit status 1 if one failed.
# Needs   srcdir, builddir: absolute names; CC. Rows on a hugetlb pool take the lock that the tests
#         in tests/live share, for which they wait LIVE_WAIT_S seconds; without root, or if
#         somebody else has a pool, they are skipped with the reason.
# shellcheck shell=bash disable=SC1091,SC2154,SC2001
set -u
root=$(cd "$srcdir" && pwd)
builddir=$(cd "$builddir" && pwd)
export builddir LC_ALL=C LIVE_WAIT_S=${LIVE_WAIT_S:-0}
rows=$root/examples/rows
bindings=$root/python
work=$(mktemp -d "$builddir/rows.XXXXXX")
names=rows.$$
failed_count=0
# What a program that failed may have left is named after this run.
trap 'rm -rf "$work" /dev/shm/huma."$names".*' EXIT
trap 'exit 1' HUP INT TERM

build() {
    local cc
    read -ra cc <<<"$CC"
    find "$rows" -name 'row*.c' -printf '%f\n' | sed 's/\.c$//' |
        xargs -P 2 -I{} "${cc[@]}" -O2 -Wall -Wextra -Werror "-I$root/include" "$rows/{}.c" \
            -o "$work/{}" "-L$builddir/.libs" -lhuma "-Wl,-rpath,$builddir/.libs" ||
        { echo "the programs cannot be built"; exit 1; }
}

# Each is killed after a while, so that nothing hangs.
prog() { timeout -k 1 30 "$work/$1" "${@:2}"; }

skipped() { echo "$*"; return 77; }

# on_pool PAGES FUNCTION...: with a pool of so many hugetlb pages.
on_pool() (
    . "$root/tests/live/lib.sh"
    own_machine
    own_pool "$1"
    "${@:2}"
)

# pool_part PAGES FUNCTION...: the part of a row that needs a pool; what it says, or why it says
# nothing.
pool_part() {
    local said status=0
    said=$(on_pool "$@" 2>&1) || status=$?
    case $status in
    0) echo "$said" | tail -n 1 ;;
    77) echo "pool: skipped: $(echo "$said" | tail -n 1 | sed 's/^SKIP: //')" ;;
    *) echo "$said"; return 1 ;;
    esac
}

# resize PAGES: nobody else may hold one for a moment, as other programs with huma may.
resize() {
    local try
    echo "$1" >"$pool/nr_hugepages"
    for try in 1 2 3 4 5 6 7 8 9 10; do
        [ "$(cat "$pool/free_hugepages")" != "$1" ] || return 0
        sleep "0.$try"
    done
    skip "somebody else has pages of the pool"
}

# Others may take a page at any moment: what is seen three times is so.
thrice() { "$@" || { sleep 0.3; "$@"; } || { sleep 0.7; "$@"; }; }

# --- the rows -----------------------------------------------------------------------------------

row1() {
    command -v python3 >/dev/null || skipped "python3 is not installed" || return
    [ -r "$bindings/huma.py" ] || skipped "there is no huma.py in $bindings" || return
    HUMA_LIBRARY=$builddir/.libs/libhuma.so PYTHONPATH=$bindings PYTHONDONTWRITEBYTECODE=1 \
        timeout -k 1 30 python3 "$rows/row01.py"
}

row2() {
    local file=$work/2.huma
    prog row02_file a "$file" >"$work/2.a" 2>&1 &
    prog row02_file b "$file" || return
    wait $! || { cat "$work/2.a"; return 1; }
    grep -qaF 'B has stored that' "$file" || { echo "grep does not find it in the file"; return 1; }
    echo "$(cat "$work/2.a"); grep finds it in the file"
}

row3() {
    local cut full
    cut=$(prog row03_truncated cut "$work/3.huma" 2>&1) || { echo "$cut"; return 1; }
    mkdir "$work/3.full"
    # shellcheck disable=SC2016
    full=$(unshare -rm sh -c 'mount -t tmpfs -o size=8m none "$1" || exit 77
        exec timeout -k 1 30 "$2" full "$1"' sh "$work/3.full" "$work/row03_truncated" 2>&1)
    case $? in
    0) ;;
    1) [ "${full#unshare:}" != "$full" ] || { echo "$full"; return 1; } ;&
    77 | 127) full="full disk: skipped: no file system can be mounted here" ;;
    *) echo "$full"; return 1 ;;
    esac
    echo "$cut; $full"
}

pool_row4() { rm -f "$work/4.pool" && prog row04_zero_copy "$work/4.pool" hugetlb; }
row4() {
    local thp pool_said
    thp=$(prog row04_zero_copy "$work/4.huma" 2>&1) || { echo "$thp"; return 1; }
    if command -v strace >/dev/null &&
        strace -f -o "$work/4.calls" -e trace=sendmsg,read,pread64 "$work/row04_zero_copy" \
            "$work/4.strace" >/dev/null 2>&1; then
        if [ "$(grep -c 'sendmsg(.* = 10485' "$work/4.calls")" != 2 ] ||
            grep -q 'read.* = 10485' "$work/4.calls"; then
            cat "$work/4.calls"
            return 1
        fi
        thp="$thp; strace: 1 call each, no read"
    fi
    pool_said=$(pool_part 3 thrice pool_row4) ||
        { echo "$pool_said"; return 1; }
    echo "$thp; $(echo "$pool_said" | sed 's/.*pages of \(.*\) (.*/and from pages of \1/')"
}

row5() { prog row05_ipc; }
row6() { prog row06_sync "$work/6.huma"; }

row7() {
    prog row07_demo reader "$names.7" >"$work/7.reader" 2>&1 &
    sleep 0.05
    prog row07_demo writer "$names.7" || return
    wait $! || { cat "$work/7.reader"; return 1; }
    prog row07_demo writer "$names.7" || return
    prog row07_demo reader "$names.7" >"$work/7.reader" 2>&1 || { cat "$work/7.reader"; return 1; }
    echo "either order: the whole text; $(prog row07_demo kill "$names.7")"
}

pool_of() { resize "$1" && prog row08_hugetlb "$2"; }
row8() { on_pool 4 pool_row8; }
pool_row8() {
    local enough few status=0
    enough=$(thrice pool_of 4 enough 2>&1) || status=$?
    [ $status = 0 ] || { echo "$enough"; return $status; }
    few=$(thrice pool_of 3 few 2>&1) || status=$?
    [ $status = 0 ] || { echo "$few"; return $status; }
    echo "$few"
    echo "$enough; $(echo "$few" | tail -n 1)"
}

row9() { prog row09_fork; }
row10() { prog row10_read_mmap "$work/10"; }

row11() {
    local how
    for how in exit kill; do
        prog row11_poll a "$names.11" >"$work/11.$how" 2>&1 &
        prog row11_poll b "$names.11" ${how#exit} >"$work/11.b" 2>&1
        wait $! || { cat "$work/11.$how" "$work/11.b"; return 1; }
    done
    echo "$(cat "$work/11.exit"); killed: $(sed 's/.*; //' "$work/11.kill")"
}

row12() { prog row12_page_end; }

# A second server on the folder; then the first is killed.
interlock() {
    local server said status=0 try
    "$work/row13_pgshm" "$work/13" try 30 >"$work/13.first" 2>&1 &
    server=$!
    for try in {1..400}; do
        [ ! -s "$work/13.first" ] || break
        sleep 0.05
    done
    said=$(prog row13_pgshm "$work/13" try 2>&1) || status=$?
    kill -9 "$server"
    wait "$server" 2>/dev/null
    [ $status = 3 ] || { echo "the second start: $status: $said"; return 1; }
    prog row13_pgshm "$work/13" off || return
}

refuses() {
    "$@"
    [ $? = 4 ]
}

# With too few pages, and with enough of which a cgroup may have some only.
pool_row13() {
    local said
    said=$(thrice prog row13_pgshm "$work/13" on) || { echo "$said"; return 1; }
    echo "$said"
    resize 6
    refuses prog row13_pgshm "$work/13" on || return
    resize 8
    make_pool_group || { echo "on: ${said##*, }, too few: refused"; return; }
    echo $((4 << 20)) >"$pool_max" || skip "may not set the limit of a cgroup"
    refuses in_group prog row13_pgshm "$work/13" on || return
    in_group prog row13_pgshm "$work/13" try || return
    echo "on: ${said##*, }, too few: refused; cgroup's limit: on refused, try falls back"
}

row13() {
    local said pool_said
    mkdir "$work/13"
    said=$(interlock 2>&1) || { echo "$said"; return 1; }
    pool_said=$(pool_part 8 pool_row13) || { echo "$pool_said"; return 1; }
    echo "$(sed 's/huge=//' "$work/13.first"); 2nd start refused, after kill -9 not; $pool_said"
}

row14() {
    ! grep -qs '\[never\]' /sys/kernel/mm/transparent_hugepage/enabled ||
        skipped "transparent huge pages are switched off" || return
    LD_PRELOAD=${HM_PRELOAD:-$builddir/.libs/libhuma_preload.so} "$work/row14_preload"
}

row15() { prog row15_addresses; }
row16() { prog row16_sysv "$work/16.alive"; }

row17() {
    local said pool_said
    said=$(prog row17_offsets "$rows/row17.py" 2>&1) || { local status=$?; echo "$said"; return $status; }
    pool_said=$(pool_part 5 thrice prog row17_offsets "$rows/row17.py" hugetlb) ||
        { echo "$pool_said"; return 1; }
    echo "$said; $(echo "$pool_said" | sed 's/.*python3 mapped \(.* KiB\).*/of the pool: \1/')"
}

row18() { prog row18_closed "$work/18.huma"; }
row20() { prog row20_posix "$names.20"; }

# show NUMBER TECHNIQUE: run a row, and tell.
show() {
    local said status=0 verdict=ok last
    said=$("row$1" 2>&1 </dev/null) || status=$?
    last=$(echo "$said" | tail -n 1)
    case $status in
    0) ;;
    77) verdict="skipped: ${last#SKIP: }" last= ;;
    *)
        verdict="FAILED ($status)"
        failed_count=$((failed_count + 1))
        echo "$said" | sed 's/^/    | /'
        ;;
    esac
    printf 'row %2d  %-38s  %s\n' "$1" "$2" "${last:+$last   }$verdict"
}

build
show 1 "an image for Python's mmap"
show 2 "a file, mapped by two processes"
show 3 "a file that is cut short: no SIGBUS"
show 4 "mapped memory to a socket, no copy"
show 5 "pipe, socket, shared memory"
show 6 "msync: when it is on the disk"
show 7 "writer and reader, in either order"
show 8 "huge pages reserved before use"
show 9 "memory shared over fork"
show 10 "read against mmap"
show 11 "A polls, B changes it and is gone"
show 12 "where the last page ends"
show 13 "a database's memory: on, try, off"
show 14 "malloc from mmap, on huge pages"
show 15 "addresses differ, the memory does not"
show 16 "a System V segment"
show 17 "offsets that are no multiples"
show 18 "descriptors closed after mmap"
show 20 "POSIX: shared memory with a name"
[ "$failed_count" = 0 ]
