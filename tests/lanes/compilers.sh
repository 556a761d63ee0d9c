#!/bin/bash
# SPDX-License-Identifier: MIT
# compilers.sh - shared arenas as other compilers and levels of optimisation make them.
#
# Problem  What a killed process leaves depends on the order in which its stores were compiled, and
#          on what was kept in registers: one compiler's code says little about another's.
# Idea     The files of shared arenas, and the tests that kill at every instruction, stop at every
#          instruction and kill at random, compiled once more for each; the rest is this build's.
#          A line for each in compilers.tsv.
set -eu
. "$srcdir/tests/lanes/lib.sh"

folder=$builddir/lanes/compilers
mkdir -p "$folder"
cd "$folder"
sources=("$srcdir"/src/shared/*.c "$srcdir"/src/api/share*.c "$srcdir"/src/os/os_shared*.c)
libraries=("$builddir/.libs/libhumaapi.a" "$builddir/.libs/libhumacore.a")
read -ra flags <<<"$HM_CFLAGS"
read -ra libs <<<"$(sed -n 's/^NUMA_LIBS = //p' "$builddir/Makefile")"
for file in "${libraries[@]}"; do
    [ -r "$file" ] || lane_stop 99 "$file is missing; build it: make"
done
! grep -q '__asan_init' "${libraries[1]}" || lane_stop 77 "the build has a sanitizer"

# What a program is made of, as its Makemodule.am has it.
sources_of() # PROGRAM
{
    sed -e ':join' -e '/\\$/N; s/\\\n//; t join' "$srcdir/tests/shared/Makemodule.am" |
        sed -n "s/^tests_shared_$1_SOURCES = //p"
}

# Compile and link everything in a folder of its own.
build() # COMPILER LEVEL
{
    local cell=$1$2 program file job tests own
    mapfile -t tests < <(for program in images apart storm; do sources_of $program; done |
        tr -s ' \t' '\n' | sort -u | sed "s|^|$srcdir/|")
    rm -rf "$cell" && mkdir -p "$cell/tests"
    (cd "$cell" && exec "$1" "${flags[@]}" "$2" -c "${sources[@]}") &
    job=$!
    (cd "$cell/tests" && "$1" "${flags[@]}" "$2" -c "${tests[@]}") && wait $job ||
        lane_stop 1 "$1 $2 does not compile"
    for program in images apart storm; do
        own=()
        for file in $(sources_of $program); do own+=("$cell/tests/$(basename "$file" .c).o"); done
        [ ${#own[@]} != 0 ] || lane_stop 99 "tests/shared/Makemodule.am has no sources of $program"
        "$1" -pthread -o "$cell/$program" "${own[@]}" "$cell"/*.o "${libraries[@]}" "${libs[@]}" ||
            lane_stop 1 "$1 $2 does not link"
    done
}

# What must not be there is not 0 in the line that the program ends with.
run() # CELL
{
    "$1/images" 2 >"$1/images.out" && "$1/apart" >"$1/apart.out" && "$1/storm" 2 >"$1/storm.out" && return
    tail -n 5 "$1"/*.out
    lane_stop 1 "$1: see above"
}

# The n-th number of the line of an output that begins with a word.
number() # FILE WORD N
{
    sed -n "s/^$2[^0-9]*//p" "$1" | tr -cs '0-9\n' ' ' | cut -d' ' -f"$3"
}

table=$folder/compilers.tsv
printf 'compiler\tlevel\tinstructions\timages\trecovery images\tbad\tstops\tbad\tkills\tbad\n' | tee "$table"
for compiler in gcc clang; do
    command -v $compiler >/dev/null || { echo "$compiler is not installed: left out"; continue; }
    for level in -O0 -O1 -O2 -O3; do
        build $compiler $level
        cell=$compiler$level
        run $cell
        bad=$(($(number $cell/images.out story: 3) + $(number $cell/images.out story: 4)
            + $(number $cell/images.out recoverers: 3) + $(number $cell/images.out recoverers: 4)))
        printf '%s\t' $compiler $level "$(number $cell/images.out story: 1)" \
            "$(number $cell/images.out story: 2)" "$(number $cell/images.out recoverers: 2)" $bad \
            "$(tail -n 1 $cell/apart.out | cut -d' ' -f1)" "$(tail -n 1 $cell/apart.out | cut -d' ' -f3)" \
            "$(number $cell/storm.out storm: 1)" "$(number $cell/storm.out storm: 4)" | tee -a "$table"
        echo | tee -a "$table"
    done
done
[ "$(wc -l <"$table")" -gt 1 ] || lane_stop 77 "neither gcc nor clang is installed"
