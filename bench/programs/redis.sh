# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# redis.sh CLIENT SOCKET COMMANDS MEMORY - beside a redis-server, whose process is BENCH_PID: sends the
# commands, empties it, tells what it still holds, ends it.
set -eu
client=$1 socket=$2 commands=$3 memory=$4
tries=0
until [ "$("$client" -s "$socket" ping 2>/dev/null)" = PONG ]; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || { echo "redis-server does not answer" >&2; exit 1; }
    sleep 0.05
done
"$client" -s "$socket" --pipe <"$commands" | tail -n 1
"$client" -s "$socket" flushall sync >/dev/null
HUMA_BENCH_SAMPLED=1 sh "$memory" "$BENCH_PID"
"$client" -s "$socket" shutdown nosave || :
