#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# setuid.sh - a program that runs with more rights than its caller takes no orders from the caller's
# environment.
#
# The loader drops LD_PRELOAD by a path for such a program, so the library is linked in. The program
# is set-user-ID to another plain user and started by nobody, in a folder where both may write.
# HUMA_STATS must leave no file and wrong options no message; the same program without the bit shows
# that both would be seen.
. "$(dirname "$0")/../programs/lib.sh"
[ "$(id -u)" = 0 ] || skip "needs root to make a set-user-ID program"
[ "$standin" != 1 ] || skip "a stand-in has no HUMA_STATS"
need setpriv

other_id=1
nobody_id=65534
open=$(mktemp -d /tmp/huma-setuid.XXXXXX) # the build folder may be closed to nobody
trap 'rm -rf "$tmp" "$open"' EXIT
chmod 755 "$open"
mkdir -m 1777 "$open/stats"
cp "$huma_lib" "$open/libhuma_preload.so"
compile "$here/secure.c" -o "$open/plain" -Wl,--no-as-needed -L"$open" -lhuma_preload \
    -Wl,-rpath,"$open"
cp "$open/plain" "$open/secure"
chmod 755 "$open/libhuma_preload.so" "$open/plain"
chown "$other_id" "$open/secure"
chmod 4755 "$open/secure"

as_nobody() {
    setpriv --reuid="$nobody_id" --regid="$nobody_id" --clear-groups \
        env HUMA_STATS="$open/stats/$1.%p" HUMA_BACKING=nonsense "$open/$1" \
        >"$tmp/$1.out" 2>"$tmp/$1.err"
}
files_of() { find "$open/stats" -name "$1.*" | wc -l; }

as_nobody plain || broken "the plain program fails: $(cat "$tmp/plain.err")"
[ "$(files_of plain)" = 1 ] || broken "the plain program wrote no statistics"
[ -s "$tmp/plain.err" ] || broken "the plain program did not complain about HUMA_BACKING=nonsense"
as_nobody secure || fail "the set-user-ID program fails: $(cat "$tmp/secure.err")"
[ "$(cat "$tmp/secure.out")" = secure ] ||
    skip "set-user-ID has no effect in /tmp (nosuid or no_new_privs)"
[ "$(files_of secure)" = 0 ] || fail "a set-user-ID program followed HUMA_STATS and wrote a file"
[ ! -s "$tmp/secure.err" ] ||
    fail "a set-user-ID program read HUMA_BACKING: $(cat "$tmp/secure.err")"
echo "the caller's environment is ignored"
