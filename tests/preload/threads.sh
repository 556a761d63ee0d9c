#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# threads.sh - threads that come and go, blocks freed by others.
. "$(dirname "$0")/../programs/lib.sh"
both threads "$helpers/threads"
