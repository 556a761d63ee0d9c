#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# textutils.sh - a pipeline of text tools on a million lines: sort with two threads and 200 MB,
# join, uniq, awk, sed, grep, find.
. "$(dirname "$0")/lib.sh"
need awk sort join find

both textutils bash -eu -o pipefail -c '
    seq 1 1000000 | awk "{ print (\$1 * 7919) % 1000003, \$1, \$1 % 97 }" >a
    sort -S 200M --parallel=2 a >by-key
    sort -S 10M --parallel=2 -T . -k3n -k2nr a | cksum
    seq 5 5 1000000 | sort >b
    join by-key b | uniq -c -f 2 | cksum
    sed -E "s/([0-9]+) ([0-9]+)/\2 \1/; /9\$/d" a | grep -E "^[0-9]*(12|34)+ " | cksum
    awk "{ n[\$3]++; k = \$1 % 50000; s[k] = s[k] \$2 }
        END { for (k in n) print k, n[k]; for (k in s) t += length(s[k]); print t }" a | sort
    find /usr/include /usr/share/doc -printf "%p %s\n" | sort -u -S 50M | cksum
    rm a b'
