#!/bin/bash
# SPDX-License-Identifier: MIT
# fuzz.sh - `make fuzz`: libFuzzer on each target, with clang. Not part of make check.
#
#   FUZZ_SECONDS    for all targets together (60)
#   FUZZ_TARGETS    some of: calls heap conf shared
#   FUZZ_RENEW=1    afterwards make the corpus in tests/fuzz/corpus anew: the fewest inputs of those
#                   found that reach the same branches; long-*, which are random, stay
#
# calls has our malloc linked in instead of libc's, which no other sanitizer than UBSan goes with;
# the others run under ASan as well. What was found grows in BUILD/fuzz/TARGET; an input that
# fails is kept there, and the target by itself repeats it: BUILD/fuzz/fuzz_TARGET FILE.
set -eu
: "${srcdir:?set by make fuzz}" "${builddir:?set by make fuzz}"
clang=${FUZZ_CC:-clang}
targets=(${FUZZ_TARGETS:-calls heap conf shared})
seconds=$((${FUZZ_SECONDS:-60} / ${#targets[@]}))
max_bytes=2048
command -v "$clang" >/dev/null || { echo "$clang is not installed; set FUZZ_CC"; exit 77; }
mkdir -p "$builddir/fuzz"
cd "$builddir/fuzz"
shopt -s nullglob

build() { # TARGET
    local flags=(-g -O1 -std=gnu11 -pthread -D_GNU_SOURCE -DHM_DEBUG=1 -DHM_SANITIZE -fno-builtin -fno-omit-frame-pointer
        "-I$srcdir/src" "-I$srcdir/tests" -fno-sanitize-recover=all)
    local tests=$srcdir/tests core=("$srcdir"/src/{base,os,conf,backing,heap,span,cache,stats}/*.c)
    # Those of libhuma_preload.la, and of libhuma.la, without libnuma.
    local preload=("$srcdir"/src/api/{chunk,compat,cxx,foreign,fork,info,malloc,mallopt,process,purger,sized}.c)
    local api=("$srcdir"/src/api/{arenas,huma,inspect,options,prefault,said,scope,share}*.c
        "$srcdir"/src/api/{fork,nodes_none}.c)
    case $1 in
    calls)
        "$clang" "${flags[@]}" -ftls-model=initial-exec -fsanitize=fuzzer,undefined "${core[@]}" \
            "${preload[@]}" "$tests"/support/oracle.c "$tests"/fuzz/fuzz_calls.c -o fuzz_calls
        ;;
    heap)
        "$clang" "${flags[@]}" -fsanitize=fuzzer,address,undefined "${core[@]}" \
            "$tests"/support/{fake_*,rig}.c "$tests"/model/heap.c \
            "$tests"/fuzz/fuzz_heap.c -o fuzz_heap
        ;;
    conf)
        "$clang" "${flags[@]}" -fsanitize=fuzzer,address,undefined "${core[@]}" \
            "$tests"/fuzz/fuzz_conf.c -o fuzz_conf
        ;;
    shared)
        "$clang" "${flags[@]}" "-I$srcdir/include" -fsanitize=fuzzer,address,undefined "${core[@]}" \
            "$srcdir"/src/{arena,shared}/*.c "${api[@]}" "$tests"/fuzz/{visitor,fuzz_shared}.c \
            -o fuzz_shared
        ;;
    esac
}

for target in "${targets[@]}"; do
    corpus=$srcdir/tests/fuzz/corpus/$target
    build "$target"
    mkdir -p "$target" "$target-failed"
    cp -n "$corpus"/* "$target" && rm -f "$target"/long-*
    echo "== $target: $seconds s"
    # shellcheck disable=SC2086 # arguments of libFuzzer, many or none
    ./fuzz_$target -max_total_time="$seconds" -max_len=$max_bytes -timeout=20 -rss_limit_mb=4096 \
        -len_control=20 -artifact_prefix="$target-failed/" -print_final_stats=1 -verbosity=0 \
        ${FUZZ_ARGS:-} "$target" || {
        echo "FAILED: see above, and $PWD/$target-failed"
        exit 1
    }
    [ "${FUZZ_RENEW:-0}" = 1 ] || continue
    rm -rf new && mkdir new
    ./fuzz_$target -set_cover_merge=1 -use_counters=0 -max_len=$max_bytes -verbosity=0 new "$target"
    find "$corpus" -type f ! -name 'long-*' -delete
    for file in new/*; do
        mv "$file" "$corpus/$(basename "$file" | cut -c 1-12).bin"
    done
    du -sb "$corpus"
done
