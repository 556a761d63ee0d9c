#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# contract.sh - malloc's contract holds; first under glibc, which shows that the test asks for no
# more than glibc keeps.
. "$(dirname "$0")/../programs/lib.sh"
both contract "$helpers/contract"
