#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# run.sh - bench/run at a tiny size: every workload runs under glibc and huma, the files it writes
# can be read, what fails is recorded and does not stop the rest, and wrong arguments are refused.
. "$(dirname "$0")/../programs/lib.sh"
need python3
run="$srcdir/bench/run"
cd "$tmp"

# measure STATUS OUT ARG...: the harness on this build.
measure() {
    local expected=$1 out=$2 rc=0
    shift 2
    "$run" --build "$builddir" --rounds 1 --scale 0.001 --out "$out" "$@" >said 2>&1 || rc=$?
    [ $rc = "$expected" ] || { cat said; fail "bench/run $*: status $rc, expected $expected"; }
}

# refused TEXT ARG...: status 2, and one line that has TEXT; with search_path, programs are from there.
refused() {
    local text=$1 rc=0
    shift
    env PATH="${search_path:-$PATH}" "$run" --build "$builddir" "$@" >said 2>&1 || rc=$?
    [ $rc = 2 ] && [ "$(wc -l <said)" = 1 ] && grep -qF -- "$text" said ||
        { cat said; fail "bench/run $*: status $rc, expected 2 and one line with '$text'"; }
}

own=churn-small,churn-mixed,server,queue,batch,large,realloc,index,threads,fork,startup
measure 0 all --workloads $own glibc huma
python3 - all $own <<'PYTHON'
import csv, json, sys
folder, names = sys.argv[1], sys.argv[2].split(",")
result = json.load(open(folder + "/result.json"))
assert result["workloads"] == names and result["scale"] == 0.001
def rows(name):
    return list(csv.DictReader(open("%s/%s.tsv" % (folder, name)), delimiter="\t"))
runs = rows("runs")
for name in names:
    for allocator in ("glibc", "huma"):
        for kind in ("timed", "sampled"):
            row, = [r for r in runs if (r["workload"], r["allocator"], r["kind"]) == (name, allocator, kind)]
            assert row["status"] == "ok", row
            assert float(row["wall_s"]) > 0 and int(row["peak_rss_kib"]) > 1000, row
            assert int(row["final_rss_kib"]) > 500 and int(row["minor_faults"]) > 50, row
summary = rows("summary")
for name in names:
    cell, = [r for r in summary if (r["workload"], r["allocator"], r["metric"]) == (name, "huma", "wall_s")]
    assert float(cell["min"]) <= float(cell["median"]) <= float(cell["max"])
    assert float(cell["to_glibc"]) > 0 and cell["best_peer"] == "glibc", cell
# 16 live blocks of 1 to 64 MiB lie on huge pages under huma, if this machine gives them at all.
large = {r["allocator"]: float(r["coverage"] or 0) for r in runs if r["workload"] == "large" and r["kind"] == "sampled"}
assert "THP never" in result["machine"] or "THP absent" in result["machine"] or large["huma"] > 0.5, large
phases = {r["phase"] for r in rows("phases") if r["workload"] == "index"}
assert phases == {"build", "look-up-full", "free-75", "look-up-sparse", "refill", "look-up-refilled", "free-all"}
PYTHON
echo "every workload of its own runs, and the files can be read"

compile -shared -fPIC -o broken.so "$srcdir/tests/bench/broken.c"
# recorded OUT: what is there as "workload allocator round status" is what stdin says.
recorded() {
    cat >expected
    awk -F '\t' 'NR > 1 { print $1, $2, $3, $5 }' "$1/runs.tsv" | diff - expected ||
        fail "what went wrong is not what was recorded"
}
measure 1 aborts --no-samples --workloads large,queue "broken=$tmp/broken.so" huma
recorded aborts <<END
large broken 1 signal 6
large huma 1 ok
queue broken 1 ok
queue huma 1 ok
END
grep -q 'large. under broken: signal 6' aborts/tables.md || fail "the tables do not tell of it"
measure 1 hangs --no-samples --rounds 2 --timeout 1 --workloads large \
    "broken=$tmp/broken.so;BROKEN_HANGS=1"
recorded hangs <<END
large broken 1 timeout
large broken 2 not run again after a timeout
END
echo "a crash and a timeout are recorded, the rest goes on"

# Interrupted, it writes what there is and leaves no process behind.
children() { cat "/proc/$1/task/$1/children" 2>/dev/null || :; }
"$run" --build "$builddir" --rounds 1 --scale 0.001 --no-samples --out stopped \
    --workloads queue,large "broken=$tmp/broken.so;BROKEN_HANGS=1" >said 2>&1 &
harness=$! program=
until [ -n "$program" ]; do
    sleep 0.1
    launcher=$(children $harness)
    [ -z "$launcher" ] || for child in $(children "${launcher%% *}"); do
        grep -qz '^large' "/proc/$child/cmdline" 2>/dev/null && program=$child
    done
    kill -0 $harness 2>/dev/null || { cat said; fail "it ended before it was interrupted"; }
done
kill -TERM $harness
rc=0
wait $harness || rc=$?
[ $rc = 1 ] && grep -q '^- interrupted' stopped/tables.md && grep -q '^queue' stopped/runs.tsv ||
    { cat said; fail "interrupted, it ended with $rc"; }
for ((i = 0; i < 100; i++)); do
    grep -qz '^large' "/proc/$program/cmdline" 2>/dev/null || break
    sleep 0.1
done
[ $i -lt 100 ] || fail "a workload lives on after the harness was interrupted"
echo "interrupted, it writes what there is"

printf '%s\n' before '<!-- figures: begin -->' old '<!-- figures: end -->' after >page.md
measure 0 all --from all/result.json --markdown page.md
[ "$(sed -n '1p;$p' page.md)" = $'before\nafter' ] && ! grep -qx old page.md &&
    grep -q 'index' page.md || { cat page.md; fail "--markdown does not replace what is between the marks"; }
measure 2 all --from all/result.json --markdown said
echo "the tables come into a page"

refused "'nothing' is no allocator; accepted: NAME=PATH" nothing
refused 'there is no file' x=/does/not/exist.so
refused 'is it a malloc library?' "x=$(ldconfig -p 2>/dev/null | awk '$1 == "libm.so.6" { print $NF; exit }')"
refused "'x=;y': 'y' is no ENV=VALUE; accepted" 'x=;y'
refused 'two allocators are called glibc' glibc glibc
refused "'churn' is no workload; accepted: churn-small" --workloads churn
refused "'0': expected a number from 1" --rounds 0
refused "'much': expected a number" --scale much
refused 'run make bench there' --build "$tmp" glibc
refused 'there is no program /does/not/exist' --redis /does/not/exist glibc
refused "there is no program $tmp" --redis "$tmp" glibc
refused "'hum' is not measured; accepted: glibc" --subject hum glibc
refused '--out: /dev/null/work: Not a directory' --out /dev/null glibc
refused 'page.md: No such file or directory' --markdown missing/page.md glibc
refused "broken.c: the lines '<!-- figures: begin -->'" --markdown "$srcdir/tests/bench/broken.c" glibc
refused 'expected a result.json' --from "$tmp/page.md"
echo '{}' >empty.json
refused 'expected a result.json' --from empty.json
refused 'missing.json: No such file or directory' --from missing.json
mkdir none
ln -s "$(python3 -c 'import sys; print(sys.executable)')" none/python3
search_path=$tmp/none refused 'perl left out: perl is not installed' --workloads perl --out none glibc
search_path=$tmp/none refused 'valgrind is not installed' --callgrind glibc
refused 'unrecognized arguments: --fast' --fast
echo "wrong arguments are refused in a line"
