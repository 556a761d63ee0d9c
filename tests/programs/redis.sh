#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# redis.sh - redis-server under redis-benchmark, then with a fixed set of keys: DEBUG DIGEST must be
# the same.
#
# Debian's redis-server is linked with libjemalloc (ldd shows libjemalloc.so.2). That library is
# built without the je_ prefix: the server imports plain malloc, calloc, realloc, free and
# malloc_usable_size, which a preloaded library replaces for the server and for every library in it;
# from libjemalloc itself it takes only mallctl and malloc_stats_print (statistics, purge,
# background threads), which then speak of an idle heap. It hands out no memory by mallocx, so
# blocks never mix. For the same reason the reference run preloads libc.so.6, whose malloc then
# comes before libjemalloc's.
#
# The benchmark's keys are random, so its data are dropped before the fixed keys go in; its times
# are not compared. Snapshots (BGSAVE) fork the server while keys change; DEBUG RELOAD reads the
# whole set back.
. "$(dirname "$0")/lib.sh"
need redis-server redis-cli redis-benchmark awk
reference_preload=libc.so.6

cat >"$tmp/work.sh" <<'SHELL'
set -eu
debug=()
case $(redis-server --version) in *v=[0-6].*) ;; *) debug=(--enable-debug-command yes) ;; esac
redis-server --port 0 --unixsocket sock --save '' --appendonly no --dbfilename dump --logfile log \
    "${debug[@]}" &
server=$!
trap 'kill "$server" 2>/dev/null || :' EXIT
cli() { redis-cli -s sock "$@"; }
for ((i = 0; i < 100; i++)); do
    if [ "$(cli ping 2>/dev/null)" = PONG ]; then break; fi
    sleep 0.1
done

redis-benchmark -s sock -q -c 20 -P 16 -n 100000 -r 100000 -d 100 \
    -t set,get,incr,lpush,rpush,lpop,sadd,hset,spop,zadd,mset >bench 2>&1
redis-benchmark -s sock -q -c 50 -n 20000 -r 1000 -d 20000 --threads 2 -t set,get >>bench 2>&1
grep -c 'requests per second' bench
cli flushall

fixed_keys() {
    awk -v from="$1" -v to="$2" 'BEGIN {
        for (i = from; i < to; i++) {
            printf "SET s:%d %0*d\n", i, i % 300 + 1, i
            printf "HSET h:%d f%d %d g%d %0*d\n", i % 500, i % 211, i, i % 17, i % 90 + 1, i
            printf "RPUSH l:%d %d %0*d\n", i % 300, i, i % 60 + 1, i
            printf "SADD u:%d m%d m%d\n", i % 200, i % 1000, i * 7 % 5000
            printf "ZADD z:%d %d.5 m%d\n", i % 100, i * 31 % 7919, i % 900
            if (i % 3 == 0) printf "DEL s:%d\n", i - 30
            if (i % 7 == 0) printf "APPEND s:%d tail\n", i - 10
            if (i % 11 == 0) printf "LPOP l:%d\n", i % 300
        }
    }'
}
fixed_keys 0 30000 | cli --pipe | tail -n 1
cli bgsave
fixed_keys 30000 60000 | cli --pipe | tail -n 1
for ((i = 0; i < 300; i++)); do
    if cli info persistence | grep -q 'rdb_bgsave_in_progress:0'; then break; fi
    sleep 0.1
done
cli info persistence | grep -a rdb_last_bgsave_status
cli dbsize
cli debug digest
cli debug reload
cli debug digest
cli shutdown nosave || :
wait "$server"
trap - EXIT
rm -f log dump bench sock
SHELL
both redis bash "$tmp/work.sh"
