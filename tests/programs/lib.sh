# SPDX-License-Identifier: MIT
# lib.sh - run a program under glibc's malloc and under huma, and compare.
# Sourced by the tests in tests/programs and tests/preload.
#
# Problem  A replacement malloc is right when nobody notices it.
# Idea     both() runs the same command twice, each time in a fresh folder of the same name, and
#          compares all that it left: stdout, stderr, exit status, files. What differs from run to
#          run anyway (times, pids) the command must keep to itself. That huma was really in use is
#          read off its statistics, one JSON file for each process.
# Input    HM_PRELOAD or HUMA_PRELOAD_LIB: the library, an absolute path. Without it, the one in
#          the build tree.
# Knobs    HM_STANDIN=1: the library is another allocator, which writes no statistics; tries the
#          tests themselves. HM_KEEP=1: keep the temporary folder. HM_LIMIT_S: time limit of one
#          command, in seconds.
# shellcheck shell=bash

set -eu
export LC_ALL=C TZ=UTC PERL_HASH_SEED=0 PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1

here=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
limit_s=${HM_LIMIT_S:-120}
standin=${HM_STANDIN:-0}

skip() { echo "$*"; exit 77; }
fail() { echo "FAILED: $*"; exit 1; }
broken() { echo "broken set-up: $*"; exit 99; }

# need PROGRAM...: skip unless all of them are installed.
need() {
    local program
    for program; do
        command -v "$program" >/dev/null || skip "$program is not installed"
    done
}

# The folder that holds .libs and tests/: told by make, else the current one or build/.
find_build() {
    local dir
    for dir in "${builddir:-$PWD}" "$PWD" "$here/../../build"; do
        if [ -e "$dir/.libs/libhuma_preload.so" ]; then
            (cd "$dir" && pwd)
            return
        fi
    done
    echo "${builddir:-$PWD}"
}

huma_build=$(find_build)
helpers=$huma_build/tests/preload
huma_lib=${HM_PRELOAD:-${HUMA_PRELOAD_LIB:-$huma_build/.libs/libhuma_preload.so}}
unset HUMA_PRELOAD_LIB HUMA_STATS LD_PRELOAD
case $huma_lib in
    /*) ;;
    *) broken "the library is given as '$huma_lib'; give an absolute path" ;;
esac
[ -r "$huma_lib" ] || broken "no library at $huma_lib; run make, or set HUMA_PRELOAD_LIB"

tmp=$(mktemp -d "${builddir:-${TMPDIR:-/tmp}}/huma-test.XXXXXX")
if [ "${HM_KEEP:-0}" = 1 ]; then
    echo "kept: $tmp"
else
    trap 'rm -rf "$tmp"' EXIT
    trap 'exit 1' HUP INT TERM
fi
mkdir "$tmp/stats"

# What the reference run preloads: nothing, unless the program brings an allocator of its own.
reference_preload=

# under glibc|huma NAME CMD ARG...
# Run CMD in an empty folder; leaves $tmp/NAME.WHICH/{out,err,status,files}.
under() {
    local which=$1 name=$2 rc=0
    shift 2
    local keep=$tmp/$name.$which settings=("LD_PRELOAD=$reference_preload")
    if [ "$which" = huma ]; then
        settings=("LD_PRELOAD=$huma_lib" "HUMA_STATS=$tmp/stats/$name.%p.json")
    fi
    rm -rf "$tmp/run" "$keep"
    mkdir "$tmp/run" "$keep"
    (cd "$tmp/run" && exec timeout -k 5 "$limit_s" env "${settings[@]}" "$@") \
        </dev/null >"$keep/out" 2>"$keep/err" || rc=$?
    echo "$rc" >"$keep/status"
    mv "$tmp/run" "$keep/files"
}

# status NAME WHICH, show NAME WHICH: a run's exit status and last words.
status() { cat "$tmp/$1.$2/status"; }
show() {
    echo "-- $1 under $2: exit status $(status "$1" "$2")"
    tail -n 20 "$tmp/$1.$2/out" "$tmp/$1.$2/err"
}

# passes glibc|huma NAME CMD ARG...: run it, expect status 0, show what it said.
passes() {
    under "$@"
    [ "$(status "$2" "$1")" = 0 ] || { show "$2" "$1"; fail "$2"; }
    cat "$tmp/$2.$1/out"
}

# huma_was_used NAME
# There is a statistics file, and each is JSON. Sets used, the number of processes that wrote one.
used=0
huma_was_used() {
    local files=("$tmp/stats/$1".*.json)
    [ "$standin" != 1 ] || return 0
    [ -s "${files[0]}" ] || fail "$1: huma wrote no statistics; was it in use?"
    used=${#files[@]}
    if command -v python3 >/dev/null; then
        python3 -c 'import json, sys
for name in sys.argv[1:]: json.load(open(name))' "${files[@]}" || fail "$1: statistics are not JSON"
    fi
}

# both NAME CMD ARG...: run CMD under glibc and under huma; everything must be the same.
both() {
    local name=$1
    shift
    under glibc "$name" "$@"
    [ "$(status "$name" glibc)" = 0 ] || { show "$name" glibc; broken "$name fails under glibc"; }
    under huma "$name" "$@"
    if ! diff -r "$tmp/$name.glibc" "$tmp/$name.huma" >"$tmp/$name.diff" 2>&1; then
        head -n 20 "$tmp/$name.diff"
        show "$name" huma
        fail "$name: not the same under huma as under glibc"
    fi
    huma_was_used "$name"
    echo "$name: same output ($(wc -c <"$tmp/$name.huma/out") bytes) and files" \
        "($(find "$tmp/$name.huma/files" -type f | wc -l)); $used processes wrote statistics"
}

# compile ARG...: a C program or library, by the compiler and flags of the build.
compile() {
    # shellcheck disable=SC2086 # both may hold several words
    ${CC:-cc} ${HM_CFLAGS:--O2 -D_GNU_SOURCE -pthread} -fno-builtin -I"$here" "$@" ||
        broken "cannot compile $*"
}
