#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# run.sh - each example is built as its first lines say, runs, and prints what it should.
set -eu
root=$(cd "$srcdir" && pwd)
build=$(cd "$builddir" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
read -ra cc <<<"$CC"
read -ra cxx <<<"$CXX"

# example NAME PATTERN LIBRARY...: of the pkg-config names of its library the first that there is;
# none: it needs only huma.
example() {
    local name=$1 pattern=$2 library='' flags=() tried
    shift 2
    for tried in "$@"; do
        [ -z "$library" ] && pkg-config --exists "$tried" && library=$tried
    done
    if [ $# != 0 ] && [ -z "$library" ]; then
        echo "$name: left out, pkg-config finds none of: $*"
        return
    fi
    [ -z "$library" ] || read -ra flags < <(pkg-config --cflags --libs "$library")
    build_and_run "$name" "$pattern" "${cc[@]}" -std=c11 "$root/examples/$name.c" "${flags[@]}"
}

# build_and_run NAME PATTERN COMPILER...
build_and_run() {
    local name=$1 pattern=$2
    shift 2
    "$@" -O2 -Wall -Wextra -Werror "-I$root/include" -o "$tmp/$name" -L"$build/.libs" -lhuma \
        "-Wl,-rpath,$build/.libs"
    timeout -k 5 60 "$tmp/$name" >"$tmp/out" 2>&1 ||
        { echo "$name: exit status $?"; cat "$tmp/out"; exit 1; }
    sed "s/^/$name: /" "$tmp/out"
    tr '\n' '|' <"$tmp/out" | grep -qE "$pattern" || { echo "$name: expected $pattern"; exit 1; }
}

example lua_arena 'line 1 line 2 line 3.*not enough memory.*limit of 16777216.*and goes on' \
    lua5.4 lua-5.4 lua54 lua
example sqlite_arena 'words=20000 longest=10.*SQLite has [1-9][0-9]* KiB in blocks' sqlite3
example hash_table '100000 of 100000 keys found.*latest fallback: '
example realtime_pool 'all messages had memory'
if echo 'int main() { return __cplusplus < 201703L; }' | "${cxx[@]}" -std=c++17 -x c++ -fsyntax-only - 2>/dev/null; then
    build_and_run pmr 'bird: 1.*the: 3.*all in one arena' "${cxx[@]}" -std=c++17 "$root/examples/pmr.cpp"
else
    echo 'pmr: left out, there is no compiler for C++17'
fi
