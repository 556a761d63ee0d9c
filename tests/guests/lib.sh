# SPDX-License-Identifier: MIT
# lib.sh - boot another machine in QEMU and run the smoke program in it.
#
# Problem  What depends on the kernel, on several memory nodes, or on settings that nobody wants to
#          change on a real machine must be seen there.
# Idea     A guest is a kernel out of a distribution's package, never installed, and an initramfs
#          with busybox, libc, the library, the smoke program and init.sh. It boots in a few
#          seconds, prints one line HUMA-RC=STATUS NAME for each check, and powers off.
#          Guests of another architecture than x86-64 source cross.sh, which sources this.
# QEMU     Always TCG. KVM is not tried even where /dev/kvm exists: inside a virtual machine it is
#          often there and does not work.
# Kernels  Come by apt from Debian's archive, with package lists of our own, so that the machine's
#          apt is left alone; kept in ${XDG_CACHE_HOME:-~/.cache}/huma/guests until you delete them.
# Needs    HUMA_PRELOAD_LIB or HM_PRELOAD, the library; else the one in the build folder, which is
#          $builddir or build/ of this source tree. The smoke program comes from there, too.
# shellcheck shell=bash

set -eu
unset LD_PRELOAD HUMA_STATS
export LC_ALL=C

guests_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build_dir=${builddir:-$guests_dir/../../build}
huma_lib=${HUMA_PRELOAD_LIB:-${HM_PRELOAD:-$build_dir/.libs/libhuma_preload.so}}
smoke=$build_dir/tests/support/smoke
numa=$build_dir/tests/preload/numa
pool=$build_dir/tests/live/pool
pool_fork=$build_dir/tests/live/pool_fork
arena_nodes=$build_dir/tests/guests/arena_nodes
cache_dir=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/huma/guests
boot_limit_s=${BOOT_LIMIT_S:-240}
guest_arch=${guest_arch:-amd64} # by Debian's name

skip() { echo "SKIP: $*"; exit 77; }
fail() { echo "FAIL: $*"; exit 1; }
broken() { echo "ERROR: $*"; exit 99; }

need() { command -v "$1" >/dev/null || skip "$1 is not installed (package $2)"; }

for file in "$huma_lib" "$smoke" "$numa" "$pool" "$pool_fork" "$arena_nodes"; do
    [ -r "$file" ] || broken "$file is missing; build it: make check-guests in the build folder"
done
! grep -qE '__(asan|tsan|msan)_init' "$huma_lib" ||
    skip "a sanitizer's malloc cannot be replaced: $huma_lib is built with one"
need busybox busybox-static
busybox=$(command -v busybox)
if [ "$guest_arch" = amd64 ]; then
    [ "$(uname -m)" = x86_64 ] || skip "the guest is an x86-64 machine, this one is $(uname -m)"
    need qemu-system-x86_64 qemu-system-x86
    ! ldd "$busybox" >/dev/null 2>&1 || skip "$busybox is not static (package busybox-static)"
fi

work_dir=$(mktemp -d "${TMPDIR:-/tmp}/huma-guest.XXXXXX")
trap 'rm -rf "$work_dir"' EXIT
trap 'exit 1' HUP INT TERM

# private_apt SUITE TOOL ARG...: apt with lists and cache below the work folder.
private_apt() {
    local suite=$1 tool=$2 dir=$work_dir/apt
    shift 2
    mkdir -p "$dir/lists/partial" "$dir/archives/partial" "$dir/empty"
    : >"$dir/status"
    echo "deb [arch=$guest_arch signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
        "http://deb.debian.org/debian $suite main" >"$dir/sources.list"
    "$tool" -q -o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts="$dir/empty" \
        -o Dir::State::Lists="$dir/lists" -o Dir::State::status="$dir/status" -o Dir::Cache="$dir" \
        -o APT::Architecture="$guest_arch" -o APT::Architectures="$guest_arch" \
        -o APT::Sandbox::User="$(id -un)" \
        -o Acquire::Languages=none -o Acquire::http::Timeout=20 -o Acquire::Retries=1 "$@"
}

update_lists() {
    need apt-get apt
    [ -r /usr/share/keyrings/debian-archive-keyring.gpg ] ||
        skip "no key to check Debian's packages with (package debian-archive-keyring)"
    private_apt "$1" apt-get update >"$work_dir/apt.log" 2>&1 ||
        { tail -3 "$work_dir/apt.log"; skip "cannot download package lists of Debian $1"; }
}

# fetch_file SUITE PACKAGE PATTERN FILE: the file of PACKAGE whose name matches.
fetch_file() {
    local suite=$1 package=$2 pattern=$3 file=$4
    (cd "$work_dir" && private_apt "$suite" apt-get download "$package" >>apt.log 2>&1) ||
        { tail -3 "$work_dir/apt.log"; skip "cannot download $package"; }
    mkdir -p "$cache_dir"
    dpkg-deb --fsys-tarfile "$work_dir/$package"_*.deb |
        tar -xO --wildcards "$pattern" >"$work_dir/fetched"
    [ -s "$work_dir/fetched" ] || skip "$package has no $pattern"
    mv "$work_dir/fetched" "$file"
}

# fetch_kernel SUITE METAPACKAGE FILE: that of the package that METAPACKAGE depends on.
fetch_kernel() {
    local suite=$1 meta=$2 file=$3 package binary
    update_lists "$suite"
    package=$(private_apt "$suite" apt-cache depends "$meta" |
        awk '/Depends: linux-image/ { print $2; exit }')
    [ -n "$package" ] || skip "Debian $suite has no $meta"
    # Since 7.2 the kernel itself is in a package of its own.
    binary=$(private_apt "$suite" apt-cache depends "$package" |
        awk '/Depends: linux-binary/ { print $2; exit }')
    fetch_file "$suite" "${binary:-$package}" '*/vmlinu[xz]*' "$file"
}

# guest_kernel SUITE METAPACKAGE: sets kernel to the file, from the cache if it is there.
guest_kernel() {
    kernel=$cache_dir/vmlinuz-$1-$2
    [ -s "$kernel" ] || fetch_kernel "$1" "$2" "$kernel"
}

# What a dynamic program or library needs, with the names under which it looks for them.
libraries_of() {
    ldd "$@" |
        awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// && $2 ~ /^\(/ { print $1 }' | sort -u
}

make_initrd() {
    local root=$work_dir/root file
    mkdir -p "$root"/{bin,proc,sys,dev,tmp,huma}
    cp "$busybox" "$root/bin/busybox"
    cp -L "$huma_lib" "$root/huma/libhuma_preload.so"
    cp "$smoke" "$root/huma/smoke"
    cp "$numa" "$pool" "$pool_fork" "$arena_nodes" "$root/huma"
    cp "$guests_dir"/{checks,nodes,pool}.sh "$root/huma"
    cp "$guests_dir/init.sh" "$root/init"
    chmod +x "$root/init"
    while read -r file; do
        mkdir -p "$root${file%/*}"
        cp -L "$file" "$root$file"
    done < <(libraries_of "$smoke" "$huma_lib" "$arena_nodes")
    (cd "$root" && find . | "$busybox" cpio -o -H newc 2>/dev/null | gzip -1) >"$work_dir/initrd.gz"
}

# boot NODES NODE_MIB ARG...: run the machine; ARGs NAME=VALUE become environment of init.sh. The
# nodes stand in a row; with has_bare_node the last has no memory.
boot() {
    local nodes=$1 node_mib=$2 with_memory node other memory options=() distances=()
    shift 2
    with_memory=$((nodes - ${has_bare_node:-0}))
    for ((node = 0; node < nodes; node++)); do
        memory=
        if ((node < with_memory)); then
            options+=(-object "memory-backend-ram,id=m$node,size=${node_mib}M")
            memory=,memdev=m$node
        fi
        options+=(-numa "node,nodeid=$node,cpus=$node$memory")
        for ((other = 0; other < node; other++)); do
            distances+=(-numa "dist,src=$other,dst=$node,val=$((10 + 10 * (node - other)))")
        done
    done
    ((with_memory == nodes)) || set -- "$@" bare_node=$((nodes - 1)) near_node=$((nodes - 2))
    timeout -k 5 "$boot_limit_s" qemu-system-x86_64 -nodefaults -no-user-config -display none \
        -no-reboot -M q35 -accel tcg -cpu max \
        -smp "$nodes" -m $((with_memory * node_mib))M "${options[@]}" "${distances[@]}" \
        -kernel "$kernel" -initrd "$work_dir/initrd.gz" -serial stdio \
        -append "console=ttyS0 panic=-1 quiet want_nodes=$nodes $*" </dev/null 2>&1 |
        tr -d '\r' >"$work_dir/log" || true
}

# run_guest NODES NODE_MIB ARG...: boot and judge what the guest says.
run_guest() {
    local start_s=$SECONDS passed failed
    make_initrd
    boot "$@"
    passed=$(grep -c '^HUMA-RC=0 ' "$work_dir/log") || true
    failed=$(grep -c '^HUMA-RC=[^0]' "$work_dir/log") || true
    tail -n 100 "$work_dir/log"
    grep -q "^HUMA-DONE $((passed + failed))\$" "$work_dir/log" ||
        fail "the guest did not reach its end within $boot_limit_s s (BOOT_LIMIT_S sets the limit)"
    [ "$failed" = 0 ] || fail "$failed checks failed in the guest"
    echo "$passed checks passed in $((SECONDS - start_s)) s"
}
