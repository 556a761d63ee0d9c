# SPDX-License-Identifier: MIT
# cross.sh ARCH - guests of another architecture, by Debian's name: arm64 or ppc64el.
#
# Problem  Page sizes of 16 and 64 KiB, and another instruction set, are on other machines only.
# Idea     Configure and build with a cross compiler below the build folder, and boot a kernel of
#          that architecture with busybox of it, the cross compiler's libc, the library, all unit
#          tests, and init-cross.sh. The unit tests are linked with tests/support/standin in place
#          of Criterion.
# shellcheck shell=bash

guest_arch=$1
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# Single steps take a millisecond each.
boot_limit_s=${BOOT_LIMIT_S:-900}

case $guest_arch in
arm64) triplet=aarch64-linux-gnu qemu=qemu-system-aarch64 qemu_package=qemu-system-arm ;;
ppc64el) triplet=powerpc64le-linux-gnu qemu=qemu-system-ppc64 qemu_package=qemu-system-ppc ;;
*) broken "no guests of $guest_arch" ;;
esac
need "$qemu" "$qemu_package"
need "$triplet-gcc" "gcc-$triplet"
[ -r "/usr/$triplet/include/stdlib.h" ] || skip "no libc for $guest_arch (libc6-dev-$guest_arch-cross)"
cross_dir=$build_dir/cross-$guest_arch
source_dir=$(cd "$guests_dir/../.." && pwd)

# What the caller's build has in its environment is of this machine.
cross_build() {
    mkdir -p "$cross_dir"
    cd "$cross_dir"
    unset CC CXX NM OBJDUMP READELF AWK MAKEFLAGS MFLAGS
    [ -e Makefile ] || "$source_dir/configure" --host="$triplet" --enable-werror \
        --with-criterion=yes --with-numa=no CFLAGS='-O2 -g0' CRITERION_LIBS=-lc \
        CRITERION_CFLAGS="-I$source_dir/tests/support/standin"
    make -j"$(nproc)" check-cross
}

# Sets busybox to a file of the guest's architecture.
cross_busybox() {
    busybox=$cache_dir/busybox-$guest_arch
    [ ! -s "$busybox" ] || return 0
    update_lists trixie
    fetch_file trixie busybox-static '*/bin/busybox' "$busybox"
}

make_initrd() {
    local root=$work_dir/root host_busybox=$busybox file loader
    (cross_build) >"$work_dir/build.log" 2>&1 ||
        { tail -20 "$work_dir/build.log"; fail "cannot build for $guest_arch"; }
    cross_busybox
    mkdir -p "$root"/{bin,proc,sys,dev,tmp,lib,huma/unit}
    cp "$busybox" "$root/bin/busybox"
    cp "$guests_dir/checks.sh" "$cross_dir/.libs/libhuma_preload.so" "$root/huma"
    for file in support/smoke live/pool live/pool_fork shared/images shared/apart shared/storm \
        shared/forks fuzz/hostile; do
        cp "$cross_dir/tests/$file" "$root/huma"
    done
    find "$cross_dir/tests/unit" -type f -name 'test_*' ! -name '*.*' -exec cp {} "$root/huma/unit" \;
    cp "$guests_dir/init-cross.sh" "$root/init"
    chmod +x "$root/init" "$root/bin/busybox"
    loader=$("$triplet-readelf" -l "$root/huma/smoke" |
        sed -n 's/.*program interpreter: \(.*\)]/\1/p')
    mkdir -p "$root${loader%/*}"
    cp "/usr/$triplet/lib/${loader##*/}" "$root$loader"
    cp "/usr/$triplet/lib/libc.so.6" "$root/lib"
    (cd "$root" && find . | "$host_busybox" cpio -o -H newc 2>/dev/null | gzip -1) >"$work_dir/initrd.gz"
}

# boot NODES NODE_MIB ARG...: as in lib.sh.
boot() {
    local nodes=$1 node_mib=$2 console options=()
    shift 2
    case $guest_arch in
    arm64) console=ttyAMA0 options=(-M virt,gic-version=3 -cpu max,pauth-impdef=on) ;;
    ppc64el)
        console=hvc0
        options=(-cpu power9
            -M pseries,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off)
        ;;
    esac
    timeout -k 5 "$boot_limit_s" "$qemu" -nodefaults -no-user-config -display none -no-reboot \
        -accel tcg,thread=multi "${options[@]}" -smp 2 -m $((nodes * node_mib))M \
        -kernel "$kernel" -initrd "$work_dir/initrd.gz" -serial stdio \
        -append "console=$console panic=-1 quiet want_nodes=$nodes $*" </dev/null 2>&1 |
        tr -d '\r' >"$work_dir/log" || true
}
