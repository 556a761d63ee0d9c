#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# languages.sh - programs in each standard of C from C99 and of C++ from C++11 compile against the
# headers without a warning, and run with libhuma.so and with libhuma.a.
set -eu
root=$(cd "$srcdir" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
read -ra numa < <(sed -n 's/^NUMA_LIBS = //p' "$builddir/Makefile")
warnings=(-Wall -Wextra -Wconversion -Wshadow -pedantic -Werror)
count=0

# run COMPILER... STANDARD SOURCE: both ways of linking.
run() {
    local source=${*: -1} standard=${*: -2:1} compiler=("${@:1:$#-2}")
    if ! echo 'int x;' | "${compiler[@]}" "-std=$standard" -x "${language:?}" -fsyntax-only - \
        2>"$tmp/err"; then
        echo "left out, the compiler does not know it: $standard"
        return
    fi
    "${compiler[@]}" "-std=$standard" -O2 "${warnings[@]}" "-I$root/include" -c \
        "$root/tests/api/$source" -o "$tmp/use.o"
    "${compiler[@]}" "$tmp/use.o" -o "$tmp/shared" -L"$builddir/.libs" -lhuma \
        "-Wl,-rpath,$builddir/.libs" -pthread
    "${compiler[@]}" "$tmp/use.o" -o "$tmp/static" "$builddir/libhuma.a" -pthread "${numa[@]}"
    "$tmp/shared" && "$tmp/static"
    count=$((count + 2))
}

builddir=$(cd "$builddir" && pwd)
read -ra cc <<<"$CC"
read -ra cxx <<<"$CXX"
language=c
for standard in c99 c11 gnu17; do
    run "${cc[@]}" $standard use.c
done
language=c++
for standard in c++11 c++14 c++17 c++20; do
    run "${cxx[@]}" $standard use.cpp
done
echo "$count programs ran"
[ $count -ge 12 ]
