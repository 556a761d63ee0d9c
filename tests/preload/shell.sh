#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# shell.sh - shells in shells inherit the library: each level finds it in its own map.
. "$(dirname "$0")/../programs/lib.sh"

# nest.sh LIBRARY SHELL...: look, then go on in the next shell.
cat >"$tmp/nest.sh" <<'SHELL'
grep -c "r-xp.*/$1\$" /proc/$$/maps
library=$1
shift
[ $# = 0 ] || { shell=$1; shift; "$shell" "$0" "$library" "$@"; }
SHELL
mapped=$(basename "$(readlink -f "$huma_lib")")
passes huma shell sh -c 'sh "$0" "$1" sh bash sh' "$tmp/nest.sh" "$mapped"
[ "$(tr -d '\n' <"$tmp/shell.huma/out")" = 1111 ] || fail "not mapped at each of four levels"
huma_was_used shell
