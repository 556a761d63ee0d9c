#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# early.sh - malloc is called before the library's constructor has run.
. "$(dirname "$0")/../programs/lib.sh"

compile -shared -fPIC "$here/early_lib.c" -o "$tmp/libearly.so"
compile "$here/early.c" -o "$tmp/early" -L"$tmp" -learly -Wl,-rpath,"$tmp"
both early "$tmp/early"
