#!/bin/bash
# SPDX-License-Identifier: MIT
# valgrind.sh - model, faults and units under memcheck. Criterion starts a process for each test, so these
# are traced, and what memcheck found is read from their logs. That costs a second per test: left out are
# units of a few lines, the fake kernel itself, and test_os_*, which ask the real one.
set -eu
. "$srcdir/tests/lanes/lib.sh"

command -v valgrind >/dev/null || lane_stop 77 "valgrind is not installed"
mkdir -p "$builddir/lanes/valgrind"
cd "$builddir/lanes/valgrind"
rm -f ./*.log ./*.out
plain=(valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite)

# Run one Criterion program; fails if it fails, or if memcheck found something in any of its processes.
traced() # PROGRAM
{
    local name status=0
    name=$(basename "$1")
    valgrind --trace-children=yes --error-exitcode=9 --log-file="$name.%p.log" "$1" -j1 \
        >"$name.out" 2>&1 || status=$?
    if grep -lE 'ERROR SUMMARY: [1-9]' "$name".*.log >"$name.found"; then
        head -n 3 "$name.found" | xargs head -n 40
        grep -hE 'ERROR SUMMARY: [1-9]' "$name".*.log | head -n 1
        status=1
    elif [ $status != 0 ]; then
        grep '^not ok' "$name.out" || tail -n 20 "$name.out"
    fi
    [ $status != 0 ] || echo "ok: $name"
    return $status
}
export -f traced

lane_seed 0 seeded seeded.c
lane_must_pass "${plain[@]}" ./seeded
lane_seed 5 seeded seeded.c
lane_must_find 'depends on uninitialised value' "${plain[@]}" ./seeded
lane_seed 3 seeded seeded.c
lane_must_find 'definitely lost' "${plain[@]}" ./seeded
lane_must_pass "${plain[@]}" "$builddir/tests/fault/fault" 0
lane_must_pass "${plain[@]}" "$builddir/tests/model/model" 1 0

units=()
for unit in "$builddir"/tests/unit/test_*; do
    case $unit in
    *.* | */test_os_* | */test_fake_os) ;;
    # They ask the real kernel, too.
    */test_huma_ahead | */test_huma_edges | */test_huma_fork | */test_huma_inspect | */test_huma_pages) ;;
    */test_huma_kinds | */test_huma_place | */test_huma_rings | */test_huma_shared | */test_scope) ;;
    */test_check | */test_class | */test_conf | */test_fmt | */test_geometry) ;;
    */test_list | */test_pick) ;;
    */test_remote_orders) ;; # switches stacks behind memcheck's back
    *) units+=("$unit") ;;
    esac
done
if [ ${#units[@]} = 0 ]; then
    echo "ok: no units, since they were built without Criterion"
    exit 0
fi
lane_seed 0 seeded seeded_test.c -lcriterion
lane_must_pass traced ./seeded
lane_seed 5 seeded seeded_test.c -lcriterion
lane_must_find 'ERROR SUMMARY: [1-9]' traced ./seeded
printf '%s\n' "${units[@]}" | xargs -P2 -I{} bash -c 'traced {}' \
    || lane_stop 1 "memcheck found something, or a test failed: see above"
