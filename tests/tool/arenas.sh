#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# arenas.sh - huma arenas lists, verifies and removes, and removes nothing that somebody has.
set -eu
export LC_ALL=C
: "${builddir:=build}"
huma=$builddir/huma
name=tool-test.$$
tmp=$(mktemp -d "$builddir/huma-tool.XXXXXX")
pids=()
end() {
    for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
    rm -rf "$tmp" "/dev/shm/huma.$name" "/dev/shm/huma.$name.pipe" "/dev/shm/huma.$name.text"
}
trap end EXIT
fail() {
    echo "arenas.sh: $*"
    cat "$tmp/out" 2>/dev/null || true
    exit 1
}

# hold [PATH]: a process that has an arena; its id is in $holder.
hold() {
    mkfifo "$tmp/ready"
    "$builddir/tests/tool/holder" "$@" >"$tmp/ready" &
    holder=$!
    pids+=("$holder")
    read -r _ <"$tmp/ready" || { rm "$tmp/ready"; return 1; }
    rm "$tmp/ready"
}
# run STATUS ARGUMENT...: huma's output is in $tmp/out.
run() {
    local expected=$1 status=0
    shift
    timeout 60 "$huma" "$@" >"$tmp/out" 2>&1 </dev/null || status=$?
    [ "$status" = "$expected" ] || fail "huma $*: status $status, not $expected"
}
told() { grep -qE "$1" "$tmp/out" || fail "huma does not say: $1"; }
silent() { ! grep -qE "$1" "$tmp/out" || fail "huma says: $1"; }

run 0 --version
told '^huma [0-9]+\.[0-9]+\.[0-9]+$'
run 0 --help
told 'arenas'
run 0 arenas --help
run 64
told '^huma: no command'
run 64 arenes
told '^huma: unknown command "arenes"'
run 64 arenas list --al
run 64 arenas verify
run 64 arenas rm

# Things that bear such a name and are none do no harm.
mkfifo "/dev/shm/huma.$name.pipe"
echo text >"/dev/shm/huma.$name.text"
hold "$name" || fail "no arena could be made in /dev/shm"
named=$holder
hold
memfd=$holder
run 0 arenas --all
told "^${name:0:16} +named .* 64 MiB +4\.8 MiB .* 1 +0$"
told "^  /dev/shm/huma\.$name  pids $named$"
told "^tool-test +memfd .* 1 +0$"
told "^  /proc/$memfd/fd/[0-9]+  pids $memfd$"
silent "$name\.pipe"
told "^  /dev/shm/huma\.$name\.text  it is shorter than any arena$"
[ "$(grep -v '^  ' "$tmp/out" | awk '{ if (length > most) most = length } END { print most }')" -le 80 ] || fail "lines are too long"
run 0 arenas verify "$name" "/dev/shm/huma.$name"
told "^$name: sound$"
run 1 arenas rm "$name"
told "a process has the arena"
told "^huma: processes $named have it$"
run 0 arenas rm --help
if [ -e /dev/full ] && "$huma" arenas >/dev/full 2>/dev/null; then fail "what cannot be written is no fault"; fi
run 0 arenas reap
silent "$name"
[ -e "/dev/shm/huma.$name" ] || fail "reap has removed what somebody has"

kill -9 "$named"
wait "$named" 2>/dev/null || true
run 0 arenas
told "^${name:0:16} +named .* 0 +1$"
run 0 arenas reap --dry-run
told "^would remove /dev/shm/huma\.$name: .*, 1 dead$"
[ -e "/dev/shm/huma.$name" ] || fail "a dry run has removed something"

# Damaged, it is told, whatever is in it; one that is no arena is told as well.
cp --sparse=always "/dev/shm/huma.$name" "$tmp/copy"
run 0 arenas verify "$tmp/copy"
printf '\377\377\377\377\377\377\377\377' | dd of="$tmp/copy" bs=1 seek=$((4096 + 65 * 128 + 64 * 64 + 32 * 4)) \
    conv=notrunc status=none
run 1 arenas verify "$tmp/copy"
silent ': sound$'
truncate -s 100000 "$tmp/copy"
run 1 arenas verify "$tmp/copy"
told 'cut short$'
run 1 arenas verify "/dev/shm/huma.$name.text" "/dev/shm/huma.$name.pipe" "$name.none"
run 66 arenas verify "$name.none"
told "^huma: $name\.none: there is none"
run 1 arenas rm "/dev/shm/huma.$name.text"
[ -e "/dev/shm/huma.$name.text" ] || fail "rm has removed what is no arena"

run 0 arenas rm "$name"
told "^$name: removed$"
[ ! -e "/dev/shm/huma.$name" ] || fail "rm has removed nothing"
run 66 arenas rm "$name"
hold "$name" || fail "no arena could be made again"
kill -9 "$holder"
wait "$holder" 2>/dev/null || true
run 0 arenas reap
told "^removed /dev/shm/huma\.$name: "
[ ! -e "/dev/shm/huma.$name" ] || fail "reap has removed nothing"
