# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# memory.sh PID - tell what a process holds at its end; what is huge only where time does not count.
set -eu
files=/proc/$1/status
[ -z "${HUMA_BENCH_SAMPLED:-}" ] || files="$files /proc/$1/smaps_rollup"
# shellcheck disable=SC2086 # two files
awk '/^VmRSS:/ { rss = $2 }
    /^AnonHugePages:/ { huge = "\thuge_kib=" $2 }
    END { print "final\trss_kib=" rss huge }' $files
