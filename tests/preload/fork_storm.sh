#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# fork_storm.sh - 300 forks while eight threads are inside malloc and free, under a watchdog.
. "$(dirname "$0")/../programs/lib.sh"
passes glibc reference "$helpers/fork_storm" 20
passes huma fork-storm "$helpers/fork_storm" 300
passes huma fork-storm-huge env HUMA_HUGE_START=0 "$helpers/fork_storm" 40
huma_was_used fork-storm
