#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# manual.sh - the pages of the arena API say what include/huma.h and include/huma_shared.h say, and
# their programs run.
#
#   Each function of the headers is in the SYNOPSIS of one page, declared as there; each page names
#   all members and constants of what it is about; each page has a program in EXAMPLES, and each
#   program compiles without a warning, runs, and exits with 0.
set -eu
export LC_ALL=C
: "${srcdir:=.}" "${builddir:=build}"
header=$srcdir/include/huma.h
map=$srcdir/src/huma.map
lib=$(cd "$builddir" && pwd)/.libs
[ -e "$lib/libhuma.so" ] || { echo "no libhuma.so in $lib; run make"; exit 99; }
tmp=$(mktemp -d "$builddir/huma-manual.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
: >"$tmp/bad"
bad() { echo "$*" >>"$tmp/bad"; }

pages=$(grep -l '^\.In huma\.h' "$srcdir"/man/*.3)
[ -n "$pages" ] || { echo "no page has <huma.h> in it"; exit 1; }

# --- declarations: "TYPE NAME(PARAMETERS)", one a line, without spaces that say nothing -----------

squeeze() { tr -s '[:space:]' ' ' | sed 's/ *\([(),;*]\) */\1/g; s/ *;/;/g; s/^ //; s/ $//'; }

# What the headers declare to a compiler that knows no attributes; bodies are left out. The first
# includes the second.
${CC:-cc} -E -P -U__GNUC__ -U__OPTIMIZE__ -I"$srcdir/include" "$header" |
    sed 's/\b_Bool\b/bool/g' >"$tmp/plain.h"
"${AWK:-awk}" '/^\{/ { print ";"; inside = 1 }
    !inside { print }
    /^\}/ { inside = 0 }' "$tmp/plain.h" | tr '\n' ' ' | tr ';' '\n' |
    while read -r line; do
        printf '%s\n' "$line" | squeeze
        echo
    done | sed -n 's/^static inline //; /^[a-z].*huma_[a-z_]*(/p' | sort -u >"$tmp/header"

# What the pages declare.
for page in $pages; do
    sed -n '/^\.Sh SYNOPSIS/,/^\.Sh DESC/p' "$page" | "${AWK:-awk}" '
        function quoted(text, from,   list, sep, n, part, i) {
            n = split(text, part, "\"")
            if (n == 1) return "(" substr(text, from) ")"
            for (i = 2; i <= n; i += 2) { list = list sep part[i]; sep = "," }
            return "(" list ")"
        }
        /^\.Ft / { type = substr($0, 5) }
        /^\.Fn / { print type " " $2 quoted($0, length($2) + 6) }
        /^\.Fo / { name = $2; list = ""; sep = "" }
        /^\.Fa / { split($0, part, "\""); list = list sep part[2]; sep = "," }
        /^\.Fc/ { print type " " name "(" list ")" }' | while read -r line; do
        printf '%s\n' "$line" | squeeze
        echo
    done >"$tmp/$(basename "$page").told"
done
sort "$tmp"/*.told >"$tmp/told"

# What is exported, and the function that is inline only.
{
    echo huma_scope_alloc
    sed -n '/global:/,/local:/{s/;/\n/g;p}' "$map" | grep -o 'huma_[a-z0-9_]*' |
        grep -vxE 'huma_arena_alloc_units|huma_scope_alloc_slow'
} | sort -u >"$tmp/names"
[ "$(wc -l <"$tmp/names")" -ge 30 ] || bad "$map: hardly any name was found"
while read -r name; do
    in_header=$(grep -E "[ *]$name\(" "$tmp/header" || true)
    in_pages=$(grep -E "[ *]$name\(" "$tmp/told" || true)
    [ -n "$in_header" ] || bad "include: no declaration of $name was found"
    [ "$in_header" = "$in_pages" ] ||
        bad "$name: the header has '$in_header', the pages have '${in_pages:-nothing}'"
done <"$tmp/names"
sed 's/(.*//; s/.*[ *]//' "$tmp/told" | sort | comm -23 - "$tmp/names" | while read -r name; do
    bad "$name: declared by a page, but not exported"
done

# --- members and constants ------------------------------------------------------------------------

# told PAGE MACRO NAME: the page has an entry for it.
told() {
    grep -qE "^\.It $2 $3\$" "$srcdir/man/$1.3" || bad "man/$1.3: no entry '.It $2 $3'"
}
for struct in huma_arena_options:arena_create huma_info:arena_info \
    huma_shared_options:shared_create huma_shared_state:shared; do
    members=$(tr '\n' ' ' <"$tmp/plain.h" | grep -o "struct ${struct%:*} {[^}]*}" |
        grep -o '[a-z_]*;' | tr -d ';')
    [ -n "$members" ] || bad "include: no member of ${struct%:*} was found"
    for member in $members; do
        told "huma_${struct#*:}" Va "$member"
    done
done
for name in $(sed -nE 's/^#define (HUMA_(ARENA|CUTOFF|DUMP)_[A-Z_]+) .*/\1/p' "$header"); do
    case $name in
    HUMA_ARENA_*_INIT | HUMA_DUMP_*)
        grep -qE "^\.Dv $name( |\$)" "$srcdir"/man/huma_*.3 || bad "no page names $name" ;;
    *) told huma_arena_create Dv "$name" ;;
    esac
done

names=$(sed -nE 's/^#define (HUMA_SHARED_[A-Z_]+) .*/\1/p' "$srcdir/include/huma_shared.h")
[ -n "$names" ] || bad "include/huma_shared.h: no constant was found"
for name in $names; do
    case $name in
    HUMA_SHARED_MAY_*) told huma_shared Dv "$name" ;;
    *_INIT | HUMA_SHARED_MEMFD | HUMA_SHARED_FILE | HUMA_SHARED_MEMORY)
        grep -qE "^\.Dv $name( |\$)" "$srcdir"/man/huma_shared*.3 || bad "no page names $name" ;;
    *) told huma_shared_create Dv "$name" ;;
    esac
done

# --- programs -------------------------------------------------------------------------------------

# Each literal display with a main, without roff's escapes, is a file NAME.N.c; so is README's.
program_count=0
for page in $pages "$srcdir/README.md"; do
    name=$(basename "$page")
    "${AWK:-awk}" -v base="$tmp/$name" '
        /^\.Bd -literal/ || /^```c$/ { text = ""; inside = 1; next }
        (/^\.Ed/ || /^```$/) && inside {
            if (text ~ /\nmain\(/) printf "%s", text >(base "." ++count ".c")
            inside = 0
        }
        inside { gsub(/\\e/, "\\"); gsub(/\\-/, "-"); gsub(/\\&/, ""); text = text $0 "\n" }
        ' "$page"
    [ -e "$tmp/$name.1.c" ] || bad "$name: no program in it"
    for source in "$tmp/$name".*.c; do
        [ -e "$source" ] || continue
        what="program $(basename "$source" .c)"
        # shellcheck disable=SC2086
        if ! ${CC:-cc} -Wall -Wextra -Werror -std=c11 -O2 -I"$srcdir/include" "$source" \
            -o "$tmp/program" -L"$lib" -lhuma -Wl,-rpath,"$lib" >"$tmp/out" 2>&1; then
            bad "$what does not compile: $(cat "$tmp/out")"
            continue
        fi
        status=0
        printf 'two\none\n' | timeout 60 "$tmp/program" >"$tmp/out" 2>&1 || status=$?
        [ "$status" = 0 ] || bad "$what: exit status $status: $(cat "$tmp/out")"
        program_count=$((program_count + 1))
    done
done

cat "$tmp/bad"
[ ! -s "$tmp/bad" ] || exit 1
echo "$(wc -l <"$tmp/names") functions, $program_count programs"
