#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# memcg.sh - under a memory limit a heap in dense use lives as it does under glibc.
#
# Problem  Huge pages round up. With little room left that gets a program killed which would have
#          lived on base pages; so would memory that was freed but not really given back.
# Idea     Fill most of the limit, free it, fill it again with another size of block, and so on: the
#          kernel kills whoever keeps too much. glibc goes first and shows that the limit is fair.
. "$(dirname "$0")/lib.sh"
need_built "$smoke"
own_machine
limit_mib=128
make_group $((limit_mib << 20))

# churn MIB MODE: under the limit, with THP in this mode.
churn() {
    local mib=$1 mode=$2 rc=0 what="$1 of $limit_mib MiB, THP $2"
    set_machine "$thp_enabled" "$mode"
    in_group under glibc "$smoke" churn "$mib" >"$work_dir/glibc" 2>&1 || rc=$?
    [ "$rc" = 0 ] || { echo "$what: too much for glibc, too (exit status $rc)"; return 0; }
    in_group under "$huma_lib" "$smoke" churn "$mib" >"$work_dir/huma" 2>&1 || rc=$?
    [ "$rc" = 0 ] || { cat "$work_dir/huma"; fail "$what: exit status $rc; glibc lives"; }
    echo "$what: lives, $(value_of coverage_pct "$work_dir/huma") % on huge pages"
    passed=$((${passed:-0} + 1))
}
churn 64 madvise
churn 104 madvise
churn 104 always
[ "${passed:-0}" -gt 0 ] || skip "glibc itself does not live under a limit of $limit_mib MiB here"
