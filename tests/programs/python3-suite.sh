#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# python3-suite.sh - some of CPython's own tests: what passes under glibc must pass under huma. With
# PYTHONMALLOC=malloc, so that every object comes from malloc. Tests that fail under glibc, too, do
# not count; those that failed only under huma get a second try, alone, since some depend on time.
. "$(dirname "$0")/lib.sh"
need python3
modules=(test_json test_re test_dict test_list test_bytes test_array test_gc test_thread test_threading
    test_fork1 test_zlib test_ctypes test_sqlite3)
# The whole of test_subprocess takes minutes of sleeping.
subprocess=(test_subprocess -m 'test_call*' -m 'test_check*' -m 'test_communicate*' -m 'test_fork*'
    -m 'test_preexec*' -m 'test_pass_fds*' -m 'test_vfork*')

# In PATH it may be a script that starts the real one; not every package of it has the tests.
python=
for name in python3 /usr/bin/python3; do
    real=$("$name" -c 'import sys; print(sys.executable)' 2>/dev/null) || continue
    if "$real" -c 'import test.libregrtest, test.test_json' 2>/dev/null; then
        python=$real
        break
    fi
done
[ -n "$python" ] || skip "python3 has no tests of its own (Debian: package libpython3.N-testsuite)"
modules_here=()
for module in "${modules[@]}"; do
    if "$python" -c "import importlib.util as u, sys; sys.exit(not u.find_spec('test.$module'))"; then
        modules_here+=("$module")
    fi
done

# passed NAME WHICH: one line for each test that passed, sorted.
passed() {
    cat "$tmp/$1.$2/out" "$tmp/$1.$2/err" |
        sed -nE 's/^(test[A-Za-z0-9_]* \([A-Za-z0-9_.]+\)) .*\.\.\. ok$/\1/p;
            s/^(test[A-Za-z0-9_]* \([A-Za-z0-9_.]+\)) \.\.\. ok$/\1/p' | sort -u
}

# Tests tell by a line "name (class) ... ok", the name alone if a text about them comes in between.
run_suite() { # NAME ARG...
    local name=$1 which
    shift
    limit_s=170
    # Side by side, since they sleep much; the reference in a folder of its own.
    mkdir -p "$tmp/reference"
    (tmp=$tmp/reference && under glibc "$name" env PYTHONMALLOC=malloc "$python" -m test -v "$@") &
    under huma "$name" env PYTHONMALLOC=malloc "$python" -m test -v "$@"
    wait $!
    mv "$tmp/reference/$name.glibc" "$tmp"
    for which in glibc huma; do
        passed "$name" "$which" >"$tmp/$name.$which.passed"
    done
    comm -23 "$tmp/$name.glibc.passed" "$tmp/$name.huma.passed" >"$tmp/$name.lost"
    while read -r test class; do
        class=${class#(} class=${class%)}
        module=${class#test.} module=${module%%.*}
        echo "once more: $test of $class"
        under huma again env PYTHONMALLOC=malloc "$python" -m test -v "$module" -m "$test"
        [ "$(status again huma)" = 0 ] || { show again huma; fail "$test of $class passes under glibc only"; }
    done <"$tmp/$name.lost"
    echo "$name: $(wc -l <"$tmp/$name.glibc.passed") tests pass under glibc," \
        "$(wc -l <"$tmp/$name.huma.passed") under huma"
    [ "$(wc -l <"$tmp/$name.glibc.passed")" -ge "$least" ] || broken "hardly a test was run"
    huma_was_used "$name"
}
least=1000 run_suite modules "${modules_here[@]}"
least=30 run_suite subprocess "${subprocess[@]}"
