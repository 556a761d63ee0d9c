#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# cxx.sh - operator new and delete, with each C++ compiler and runtime that is installed: in all
# forms, without memory, replaced by the program, and in a plug-in of a C program.
. "$(dirname "$0")/../programs/lib.sh"

# build SOURCE CXX FLAG...: leaves the program's name in $program; false if that cannot be.
build() {
    local source=$1 cxx=$2
    shift 2
    program=$tmp/program
    # shellcheck disable=SC2086 # CXX may have flags
    $cxx -std=c++17 -O1 -fsized-deallocation -pthread "$@" "$here/$source" -o "$program" \
        2>"$tmp/compiler"
}

must_build() { build "$@" || broken "$2 cannot compile $1: $(cat "$tmp/compiler")"; }

# programs LABEL REPLACES CXX FLAG...: all programs; REPLACES are the variants of cxx_replaced.cc.
programs() {
    local label=${1//\//_} replaces=$2 source replace
    shift 2
    for source in cxx.cc cxx_exhaust.cc; do
        must_build "$source" "$@"
        both "$source, $label" "$program"
    done
    for replace in $replaces; do
        must_build cxx_replaced.cc "$@" "-DREPLACE=$replace"
        both "cxx_replaced.cc $replace, $label" "$program"
    done
    must_build cxx_plugin.cc "$@" -shared -fPIC
    both "cxx_plugin.cc, $label" "$tmp/host" "$program"
}

# variant LABEL CXX FLAG...: the same, if the flags work here.
variant() {
    if build cxx_plugin.cc "${@:2}" -shared -fPIC; then
        programs "$1" 1 "${@:2}"
    else
        echo "$1: left out, $(head -n 1 "$tmp/compiler")"
    fi
}

compile "$here/cxx_host.c" -o "$tmp/host" -ldl
found=" "
for cxx in "${CXX:-}" g++ clang++; do
    command -v "${cxx%% *}" >/dev/null || continue
    case $found in *" $cxx "*) continue ;; esac
    found="$found$cxx "
    programs "$cxx" "1 2 3 4 5" "$cxx"
    variant "$cxx with a static runtime" "$cxx" -static-libstdc++ -static-libgcc
    case $cxx in
    *clang*) variant "$cxx with libc++" "$cxx" -stdlib=libc++ ;;
    esac
done
[ "$found" != " " ] || skip "neither g++ nor clang++ is installed"
