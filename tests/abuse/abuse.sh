#!/bin/bash
# SPDX-License-Identifier: MIT
# abuse.sh - every misuse ends the program: SIGABRT, and one line on stderr that says what was wrong.
set -eu

# program                 what the line must say
cases='
double_free_small         free\(\): double free of 0x[0-9a-f]+: this block of size class 112 is free already.*
double_free_full          free\(\): double free of 0x[0-9a-f]+: this block of size class 112 is free already.*
double_free_threads       free\(\): double free of 0x[0-9a-f]+: this block of size class 112 is free already.*
double_free_orphan        free\(\): double free of 0x[0-9a-f]+: this block of size class 112 is free already.*
double_free_medium        free\(\): (invalid pointer|double free of) 0x[0-9a-f]+: .*
double_free_again         free\(\): (invalid pointer|double free of) 0x[0-9a-f]+: .*
double_free_large         free\(\): (invalid pointer|double free of) 0x[0-9a-f]+: .*
free_inside_small         free\(\): invalid pointer 0x[0-9a-f]+: it points 0x10 bytes into a block of size 112; .*
free_inside_medium        free\(\): invalid pointer 0x[0-9a-f]+: it points 0x40 bytes into a block of size [0-9]+; .*
free_inside_large         free\(\): invalid pointer 0x[0-9a-f]+: no live block starts there; .*
free_odd                  free\(\): invalid pointer 0x[0-9a-f]+: it points 0x1 bytes into a block of size 112; .*
free_stack                free\(\): invalid pointer 0x[0-9a-f]+: no live block starts there; .*
free_static               free\(\): invalid pointer 0x[0-9a-f]+: no live block starts there; .*
free_wild                 free\(\): invalid pointer 0x1234567890abcdef: no live block starts there; .*
realloc_freed_small       realloc\(\): freed block 0x[0-9a-f]+: this block of size class 112 is free already.*
realloc_freed_medium      realloc\(\): invalid pointer 0x[0-9a-f]+: no live block starts there; .*
realloc_freed_large       realloc\(\): invalid pointer 0x[0-9a-f]+: no live block starts there; .*
realloc_inside            realloc\(\): invalid pointer 0x[0-9a-f]+: it points 0x10 bytes into a block of size 112; .*
usable_size_freed         malloc_usable_size\(\): .* 0x[0-9a-f]+: this block of size class 112 is free already.*
'

work=$(mktemp -d "$builddir/abuse.XXXXXX")
trap 'rm -rf "$work"' EXIT
ulimit -c 0
failed=0

# Run one program under the library; its exit status.
run() {
    local status=0
    (LD_PRELOAD=$HM_PRELOAD exec "$builddir/tests/abuse/$1" >"$work/out" 2>"$work/err") || status=$?
    echo $status
}

status=$(run none)
if [ "$status" != 0 ] || [ -s "$work/err" ]; then
    echo "FAILED: none: a right program ends with status $status and says: $(cat "$work/err")"
    failed=1
fi

while read -r program pattern; do
    [ -n "$program" ] || continue
    status=$(run "$program")
    lines=$(wc -l <"$work/err")
    if [ "$status" != 134 ]; then
        echo "FAILED: $program: exit status $status, expected 134 (SIGABRT); stderr: $(cat "$work/err")"
    elif [ "$lines" != 1 ] || ! grep -qxE "huma: $pattern" "$work/err"; then
        echo "FAILED: $program: expected one line 'huma: $pattern'; stderr: $(cat "$work/err")"
    else
        echo "ok: $program: $(cat "$work/err")"
        continue
    fi
    failed=1
done <<<"$cases"
exit $failed
