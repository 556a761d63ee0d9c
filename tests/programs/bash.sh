#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# bash.sh - bash: arrays, maps, functions, here-documents, subshells, pipes, process substitution,
# background jobs.
. "$(dirname "$0")/lib.sh"

cat >"$tmp/work.sh" <<'SHELL'
set -eu
declare -a squares=()
declare -A seen=()
for ((i = 0; i < 30000; i++)); do
    squares[i]=$((i * i))
    seen[k$((i % 7919))]+="$i "
done
echo "${#squares[@]} ${squares[29999]} ${#seen[@]} ${seen[k17]}"
printf '%s\n' "${!seen[@]}" | sort | head -n 2000 | tail -n 5

fib() { if (($1 < 2)); then echo "$1"; else echo $(($(fib $(($1 - 1))) + $(fib $(($1 - 2))))); fi; }
fib 9

text=$(for i in {1..4000}; do echo "line $i ${squares[i]}"; done)
while read -r word number rest; do
    [[ $rest =~ ^(.*)00$ ]] && echo "$word $number ${BASH_REMATCH[1]}"
done <<END | sort -k2n
$text
END
long=$(printf 'x%.0s' {1..20000})
for ((i = 0; i < 6; i++)); do long=$long$long; done
echo "${#long}" "${#text}" "${text//line /}" | cksum
diff <(seq 1 3000) <(seq 2 3001) || true
for i in 1 2 3 4; do (sleep "0.$i"; echo "job $i") & done
wait
( cd / && pwd; (exit 3) || echo "status $?" )
trap 'echo bye' EXIT
cat <<END
$(seq 1 500 | tr '\n' ' ')
END
SHELL
both bash bash "$tmp/work.sh"
