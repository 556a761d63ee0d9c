# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # huma_root is set by who sources this
# setup.sh - what quickstart, run-tests and .ci/run share: packages, build, results of tests.
#
# Problem   A newcomer has a bare machine and a fresh clone, and wants to type one command.
# Idea      Look what is missing, install only that, build only what is stale. Source this file,
#           with huma_root set to the root of the source, then call the functions.

huma_say()
{
    printf '==> %s\n' "$*"
}

huma_stop() # STATUS TEXT
{
    printf '%s: %s\n' "${0##*/}" "$2" >&2
    exit "$1"
}

# The family of distributions this machine belongs to, by its name for packages.
huma_family()
{
    local id='' id_like='' word
    if [ -r /etc/os-release ]; then
        id=$(sed -n 's/^ID=//p' /etc/os-release | tr -d '"')
        id_like=$(sed -n 's/^ID_LIKE=//p' /etc/os-release | tr -d '"')
    fi
    for word in $id $id_like; do
        case $word in
        debian | ubuntu) echo debian && return ;;
        fedora | rhel) echo fedora && return ;;
        *suse*) echo suse && return ;;
        arch) echo arch && return ;;
        alpine) echo alpine && return ;;
        esac
    done
    echo unknown
}

# Names of packages: Debian, Fedora, openSUSE, Arch, Alpine. "-": part of another one, or not to
# be had; what is not in the table has the same name everywhere.
huma_package_names()
{
    cat <<'TABLE'
g++ gcc-c++ gcc-c++ gcc g++
libc6-dev glibc-devel glibc-devel glibc musl-dev
libc6-dbg - - - -
linux-libc-dev kernel-headers linux-glibc-devel linux-api-headers linux-headers
pkg-config pkgconf-pkg-config pkgconf-pkg-config pkgconf pkgconf
libcriterion-dev - criterion-devel criterion -
libnuma-dev numactl-devel libnuma-devel numactl numactl-dev
xz-utils xz xz xz xz
perl perl-interpreter perl perl perl
perl-base perl-interpreter perl-base perl perl
sqlite3 sqlite sqlite3 sqlite sqlite
redis-server redis redis redis redis
redis-tools redis redis redis redis
python3 python3 python3 python python3
python3-numpy python3-numpy python3-numpy python-numpy py3-numpy
clang clang clang clang clang
clang-format clang-tools-extra clang-tools clang clang-extra-tools
clang-tidy clang-tools-extra clang-tools clang clang-extra-tools
qemu-system-x86 qemu-system-x86-core qemu-x86 qemu-system-x86 qemu-system-x86_64
busybox-static busybox busybox-static busybox busybox-static
liblua5.4-dev lua-devel lua54-devel lua lua5.4-dev
libsqlite3-dev sqlite-devel sqlite3-devel sqlite sqlite-dev
TABLE
}

huma_package_name() # FAMILY DEBIAN-NAME
{
    local column
    case $1 in
    fedora) column=2 ;;
    suse) column=3 ;;
    arch) column=4 ;;
    alpine) column=5 ;;
    *) column=1 ;;
    esac
    huma_package_names | awk -v want="$2" -v column="$column" '
        $1 == want { name = $column }
        END { print name == "" ? want : name }'
}

huma_has_package() # FAMILY NAME
{
    case $1 in
    debian) [ "$(dpkg-query -W -f '${db:Status-Status}' "$2" 2>/dev/null)" = installed ] ;;
    fedora | suse) rpm -q --whatprovides "$2" >/dev/null 2>&1 ;;
    arch) pacman -Q "$2" >/dev/null 2>&1 ;;
    alpine) apk info -e "$2" >/dev/null 2>&1 ;;
    *) return 1 ;;
    esac
}

# Install packages on Debian. No service is started: policy-rc.d says no for as long as it lasts.
huma_apt_install() # PACKAGE...
{
    local as_root=() policy=/usr/sbin/policy-rc.d log status=0
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || huma_stop 2 "please run as root: apt-get install $*"
        as_root=(sudo)
    fi
    as_root+=(env DEBIAN_FRONTEND=noninteractive)
    log=$(mktemp)
    if [ -e $policy ]; then
        policy=
    else
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null
        "${as_root[@]}" chmod +x $policy
    fi
    { "${as_root[@]}" apt-get -q update &&
        "${as_root[@]}" apt-get -q -y --no-install-recommends install "$@"; } >"$log" 2>&1 || status=$?
    [ -z "$policy" ] || "${as_root[@]}" rm -f $policy
    if [ $status != 0 ]; then
        tail -n 20 "$log" >&2
        huma_stop 2 "could not install: $* (log: $log)"
    fi
    rm -f "$log"
}

# Make sure that these packages, named as on Debian, are there. Installs what is missing on
# Debian and Ubuntu; elsewhere prints the command that does, and ends with status 2.
huma_setup_packages() # DEBIAN-NAME...
{
    local family package name command missing=()
    family=$(huma_family)
    if [ "$family" = unknown ]; then
        huma_say "packages: unknown distribution, hoping that these are there: $*"
        return
    fi
    for package; do
        name=$(huma_package_name "$family" "$package")
        case " - ${missing[*]} " in
        *" $name "*) ;;
        *) huma_has_package "$family" "$name" || missing+=("$name") ;;
        esac
    done
    if [ ${#missing[@]} = 0 ]; then
        huma_say "packages: all $# are installed"
        return
    fi
    case $family in
    debian)
        huma_say "packages: installing ${missing[*]}"
        huma_apt_install "${missing[@]}"
        return
        ;;
    fedora) command="dnf install" ;;
    suse) command="zypper install" ;;
    arch) command="pacman -S --needed" ;;
    alpine) command="apk add" ;;
    esac
    [ "$(id -u)" = 0 ] || command="sudo $command"
    huma_stop 2 "please run this first, then again what you ran: $command ${missing[*]}"
}

# Run a command with its output in a log; on failure show the end of it.
huma_logged() # LOG COMMAND...
{
    local log=$1 status=0
    shift
    "$@" >"$log" 2>&1 </dev/null || status=$?
    [ $status = 0 ] || { echo "failed: $* (log: $log)" && tail -n 30 "$log" | sed 's/^/    | /'; } >&2
    return $status
}

# Bring a build folder up to date: bootstrap, configure, make, each only when its inputs changed.
huma_build() # FOLDER [CONFIGURE-ARGUMENT...]
{
    local build=$1 what='' newer key
    shift
    mkdir -p "$build"
    cd "$huma_root" || return
    newer=$(find configure.ac bootstrap m4/huma_*.m4 Makefile.am ./*/Makemodule.am ./*/*/Makemodule.am \
        -newer configure 2>/dev/null) || true
    if [ ! -x configure ] || [ ! -e Makefile.in ] || [ -n "$newer" ]; then
        what='bootstrap, '
        huma_logged "$build/bootstrap.log" ./bootstrap || return
        touch configure
    fi
    # Criterion may have been installed since: quickstart builds without it, run-tests with it.
    key="$* criterion $(pkg-config --modversion criterion 2>/dev/null || echo none)"
    if [ -n "$what" ] || [ ! -e "$build/Makefile" ] || [ "$key" != "$(cat "$build/.configured" 2>/dev/null)" ]; then
        what="${what}configure, "
        rm -f "$build/.configured"
        (cd "$build" && huma_logged configure.log "$huma_root/configure" "$@") || return
        printf '%s\n' "$key" >"$build/.configured"
    fi
    huma_say "build: ${what}make in ${build#"$huma_root"/}"
    huma_make "$build" all
}

huma_make() # FOLDER TARGET
{
    huma_logged "$1/make-$2.log" make -C "$1" -j "$(nproc)" "$2"
}

# The results of a log as "PASSED FAILED SKIPPED": its last total line if it ends with one, else the
# sum of Automake's summaries.
huma_count() # LOG
{
    awk '
        /^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ { total = $1 " " $3 " " $5 }
        /^# (PASS|XFAIL): / { passed += $3 }
        /^# (FAIL|XPASS|ERROR): / { failed += $3 }
        /^# SKIP: / { skipped += $3 }
        END { print total != "" ? total : passed + 0 " " failed + 0 " " skipped + 0 }' "$1"
}
