# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# lib.sh - run python/huma.py with the library as it was built. Sourced by the tests in tests/python.
#
#   here    the folder of the tests
#   python  an interpreter, 3.9 or later
#   tmp     a folder of the test's own
set -eu
: "${srcdir:=.}" "${builddir:=build}"
srcdir=$(cd "$srcdir" && pwd)
builddir=$(cd "$builddir" && pwd)
# shellcheck disable=SC2034 # for who sources this
here=$srcdir/tests/python
limit_s=${HM_LIMIT_S:-120}

skip() { echo "$*"; exit 77; }

export HUMA_LIBRARY=$builddir/.libs/libhuma.so.0 PYTHONPATH=$srcdir/python PYTHONDONTWRITEBYTECODE=1
[ -e "$HUMA_LIBRARY" ] || { echo "no $HUMA_LIBRARY; run make"; exit 99; }
tmp=$(mktemp -d "$builddir/huma-python.XXXXXX")
trap 'rm -rf "$tmp"' EXIT

# The first that runs this code. In PATH there may be one that lacks what the system's has.
find_python() # CODE
{
    for python in python3 /usr/bin/python3; do
        ! "$python" -c "import sys; assert sys.version_info >= (3, 9); $1" 2>/dev/null || return 0
    done
    return 1
}
find_python "pass" || skip "python3, 3.9 or later, is not installed"

# Programs that a test leaves behind when it fails end with it.
run() { timeout -k 5 "$limit_s" "$@"; }
