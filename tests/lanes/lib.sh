# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# lib.sh - what the lanes share: a build of their own, and bugs on purpose that their tools must find.

lane_stop() # STATUS REASON
{
    echo "$2"
    exit "$1"
}

# Configure and make in a folder of the lane's own below the build folder; leaves its name in $lane.
# What is there from the last time is used again.
lane_build() # NAME SANITIZERS TARGET...
{
    lane=$builddir/lanes/$1
    local sanitizers=$2
    shift 2
    mkdir -p "$lane"
    cd "$lane"
    if [ ! Makefile -nt "$srcdir/configure" ]; then
        "$srcdir/configure" CC="$CC" CXX="$CXX" CFLAGS='-O1 -g' --enable-debug \
            --enable-sanitize="$sanitizers" >configure.out 2>&1 \
            || lane_stop 99 "configure failed, see $lane/configure.out"
    fi
    # The outer make's settings are not for this one.
    env -u MAKEFLAGS -u MFLAGS -u MAKEOVERRIDES make -j2 "$@" >make.out 2>&1 || {
        grep -E '^(# (TOTAL|FAIL|ERROR|XPASS)|FAIL|ERROR|not ok)|error:' make.out || tail -n 30 make.out
        find . -name 'found.*' -exec head -n 20 {} + | head -n 80
        lane_stop 1 "make failed, see $lane/make.out"
    }
}

# Compile seeded.c, or another source, with one of its bugs (0: none).
lane_seed() # BUG PROGRAM SOURCE FLAG...
{
    # shellcheck disable=SC2086
    "$CC" $HM_CFLAGS -O0 -g -DHM_SEEDED_BUG="$1" -o "$2" "$srcdir/tests/lanes/$3" "${@:4}" \
        || lane_stop 99 "$3 does not compile with bug $1"
}

# Run a command that a tool must stop, with a word of its own about it.
lane_must_find() # WORD COMMAND...
{
    local status=0 said
    said=$("${@:2}" 2>&1) || status=$?
    if [ $status = 0 ] || ! grep -q "$1" <<<"$said"; then
        echo "$said" | tail -n 20
        lane_stop 1 "the tool stayed silent: '${*:2}' ended with status $status, expected a failure and '$1'"
    fi
    echo "ok: found on purpose: $1"
}

lane_must_pass() # COMMAND...
{
    local status=0 said
    said=$("$@" 2>&1) || status=$?
    if [ $status != 0 ]; then
        echo "$said" | tail -n 40
        lane_stop 1 "'$*' ended with status $status, expected 0"
    fi
    echo "ok: $*"
}
