# SPDX-License-Identifier: MIT
# lib.sh - run a test on a machine whose settings it changes. Sourced by tests/live and tests/soak.
#
# Problem  THP modes and overcommit belong to the whole machine: two tests must not change them at
#          once, and none may leave them changed, not even when it is killed.
# Idea     One lock for all of them. set_machine() writes the old value down before it changes one;
#          the trap puts all of them back. What a killed test left behind, the next one puts back.
# Needs    HUMA_PRELOAD_LIB or HM_PRELOAD, the library; else the one in the build folder, which is
#          $builddir or build/ of this source tree. Programs in C come from there, too.
#          LIVE_WAIT_S (300), how long to wait for the lock.
# shellcheck shell=bash

set -eu
unset LD_PRELOAD HUMA_STATS GLIBC_TUNABLES
export LC_ALL=C

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build_dir=${builddir:-$source_dir/build}
huma_lib=${HUMA_PRELOAD_LIB:-${HM_PRELOAD:-$build_dir/.libs/libhuma_preload.so}}
# shellcheck disable=SC2034
smoke=$build_dir/tests/support/smoke
# shellcheck disable=SC2034
thp_enabled=/sys/kernel/mm/transparent_hugepage/enabled

skip() { echo "SKIP: $*"; exit 77; }
fail() { echo "FAIL: $*"; exit 1; }
broken() { echo "ERROR: $*"; exit 99; }

# need_built FILE...: the test cannot be run without them.
need_built() {
    local file
    for file; do
        [ -r "$file" ] || broken "$file is missing; build it: make check-live in the build folder"
    done
}
need_built "$huma_lib"
! grep -qE '__(asan|tsan|msan)_init' "$huma_lib" ||
    skip "a sanitizer's malloc cannot be replaced: $huma_lib is built with one"

work_dir=$(mktemp -d "${TMPDIR:-/tmp}/huma-live.XXXXXX")
lock_dir=/run/lock
[ -d "$lock_dir" ] || lock_dir=/tmp
lock_file=$lock_dir/huma-live.lock
saved_file=$lock_dir/huma-live.saved
group_dir=
pool_group_dir=

# put_back: restore what the saved file says, newest first.
put_back() {
    local path value
    [ -s "$saved_file" ] || return 0
    while read -r path value; do
        echo "$value" 2>/dev/null >"$path" || echo "WARNING: cannot set $path back to $value"
    done < <(tac "$saved_file")
    rm -f "$saved_file"
}

leave() {
    local rc=$?
    trap '' HUP INT TERM
    # What runs still may hold what is to be put back.
    jobs -p | while read -r job; do kill "$job" 2>/dev/null || :; done
    wait
    remove_group
    [ -z "${is_locked:-}" ] || put_back
    rm -rf "$work_dir"
    exit "$rc"
}
trap leave EXIT
trap 'exit 1' HUP INT TERM

# own_machine: from here on this test alone changes settings.
own_machine() {
    [ "$(id -u)" = 0 ] || skip "needs root to change settings of the machine"
    command -v flock >/dev/null || skip "flock (util-linux) is not installed"
    exec 9>"$lock_file"
    flock -w "${LIVE_WAIT_S:-300}" 9 || skip "another test holds $lock_file"
    is_locked=1
    put_back
}

# set_machine PATH VALUE: change a setting until this test ends.
set_machine() {
    local path=$1 value=$2 old
    [ -e "$path" ] || skip "this kernel has no $path"
    old=$(cat "$path")
    # sysfs shows all choices and marks the one in force: always [madvise] never
    case $old in *\[*\]*) old=${old#*\[}; old=${old%%\]*} ;; esac
    echo "$path $old" >>"$saved_file"
    echo "$value" 2>/dev/null >"$path" || skip "may not write $path (a container?)"
}

# own_pool PAGES: a pool of so many hugetlb pages of 2 MiB that nobody else uses; sets pool.
own_pool() {
    pool=/sys/kernel/mm/hugepages/hugepages-2048kB
    [ -d "$pool" ] || skip "no hugetlb pages of 2 MiB"
    [ "$(cat "$pool/nr_hugepages")" = 0 ] && [ "$(cat "$pool/surplus_hugepages")" = 0 ] ||
        skip "somebody else has hugetlb pages here"
    case $(uname -r) in
        [0-4].* | 5.[0-9].* | 5.1[0-5].*) skip "hugetlb pages are not used before Linux 5.16" ;;
    esac
    set_machine "$pool/nr_overcommit_hugepages" 0
    set_machine "$pool/nr_hugepages" "$1"
    [ "$(cat "$pool/nr_hugepages")" = "$1" ] || skip "the machine has no $1 hugetlb pages to spare"
}

# under LIB CMD ARG...: run CMD with a library preloaded; LIB is a file, or "glibc" for none.
under() {
    local lib=$1
    shift
    [ "$lib" != glibc ] || lib=
    timeout -k 5 60 env LD_PRELOAD="$lib" "$@" 9>&-
}

# value_of KEY FILE: from lines "key value", or "Key:  value kB" as the kernel writes them.
value_of() { awk -v key="$1" '$1 == key || $1 == key ":" { print $2; exit }' "$2"; }

# expect NAME FILE KEY OP NUMBER: compare a figure in FILE, and say which it was.
expect() {
    local name=$1 file=$2 key=$3 op=$4 limit=$5 value
    value=$(value_of "$key" "$file")
    [ -n "$value" ] || { cat "$file"; fail "$name: no $key in its output"; }
    test "$value" "-$op" "$limit" ||
        { cat "$file"; fail "$name: $key is $value, expected -$op $limit"; }
    echo "$name: $key $value"
}

# expect_reason REASON FILE: the JSON report gives this reason, and counts it at least once.
expect_reason() {
    local reason=$1 file=$2
    [ -s "$file" ] || fail "no JSON report in $file: was huma in use?"
    tr -d ' \n' <"$file" | grep -qE "\"$reason\":[1-9]" ||
        { cat "$file"; fail "the report does not give the reason $reason"; }
    echo "report: reason $reason"
}

# make_group LIMIT_BYTES: a memory cgroup of our own, v1 or v2; sets group_dir, and group_limit, the
# file with the limit.
make_group() {
    local limit_bytes=$1 parent file
    for parent in /sys/fs/cgroup/memory /sys/fs/cgroup/unified /sys/fs/cgroup; do
        [ -e "$parent/memory.limit_in_bytes" ] && file=memory.limit_in_bytes && break
        grep -qw memory "$parent/cgroup.controllers" 2>/dev/null && file=memory.max && break
    done
    [ -n "${file:-}" ] || skip "no memory cgroup is mounted"
    if [ "$file" = memory.max ] && ! grep -qw memory "$parent/cgroup.subtree_control"; then
        echo "$parent/cgroup.subtree_control -memory" >>"$saved_file"
        echo +memory 2>/dev/null >"$parent/cgroup.subtree_control" ||
            skip "may not hand the memory controller down in $parent"
    fi
    mkdir "$parent/huma-live.$$" 2>/dev/null || skip "may not make a cgroup in $parent"
    group_dir=$parent/huma-live.$$
    group_limit=$group_dir/$file
    echo "$limit_bytes" >"$group_limit" || skip "may not set $file"
}

# make_pool_group: one for limits on hugetlb pages of 2 MiB, v1 or v2, if need be that of make_group;
# sets pool_group_dir, and pool_max, the file with the limit on pages in use. Fails if there is none.
make_pool_group() {
    local parent
    for parent in /sys/fs/cgroup/hugetlb /sys/fs/cgroup /sys/fs/cgroup/unified; do
        [ -e "$parent/hugetlb.2MB.limit_in_bytes" ] ||
            grep -qw hugetlb "$parent/cgroup.controllers" 2>/dev/null || continue
        if [ -e "$parent/cgroup.subtree_control" ] &&
            ! grep -qw hugetlb "$parent/cgroup.subtree_control"; then
            echo "$parent/cgroup.subtree_control -hugetlb" >>"$saved_file"
            echo +hugetlb 2>/dev/null >"$parent/cgroup.subtree_control" || continue
        fi
        mkdir -p "$parent/huma-live.$$" 2>/dev/null || continue
        pool_group_dir=$parent/huma-live.$$
        for pool_max in "$pool_group_dir"/hugetlb.2MB.{max,limit_in_bytes}; do
            [ ! -e "$pool_max" ] || return 0
        done
    done
    return 1
}

# enter_group: this shell moves into the groups.
enter_group() {
    local dir
    for dir in $group_dir $pool_group_dir; do echo "$BASHPID" >"$dir/cgroup.procs" || return; done
}

# in_group CMD ARG...: run a shell function or command inside the groups.
in_group() { (enter_group && "$@"); }

# The kernel lets go of a group only some time after its last process has gone.
remove_group() {
    local dir try
    for dir in $group_dir $pool_group_dir; do
        for try in 1 2 3 4 5 6 7 8 9 10; do
            [ -d "$dir" ] && ! rmdir "$dir" 2>/dev/null || break
            sleep "0.$try"
        done
        [ ! -d "$dir" ] || echo "WARNING: cannot remove $dir"
    done
    group_dir=
    pool_group_dir=
}
