#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# signals.sh - signal handlers in the middle of malloc: _exit, exec, _Fork, or just many of them.
. "$(dirname "$0")/../programs/lib.sh"
passes huma signals "$helpers/signals"
huma_was_used signals
