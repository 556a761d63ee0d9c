# SPDX-License-Identifier: MIT
# shellcheck shell=dash
# checks.sh - what the first process of every guest begins with. Sourced in the guest.
#
# Prints   "HUMA-RC=STATUS NAME" for each check, "HUMA-DONE COUNT" at the end.

/bin/busybox --install -s /bin
export PATH=/bin:/huma
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t cgroup2 cgroup /sys/fs/cgroup

# Before 6.6 smaps leaves out the huge pages that NUMA balancing is looking at.
[ ! -e /proc/sys/kernel/numa_balancing ] || echo 0 >/proc/sys/kernel/numa_balancing

thp=/sys/kernel/mm/transparent_hugepage/enabled
lib=/huma/libhuma_preload.so
count=0

# check NAME COMMAND...: its output is shown only if it fails.
check() {
    name=$1
    shift
    "$@" >/tmp/out 2>&1
    rc=$?
    [ $rc = 0 ] || sed 's/^/    /' /tmp/out
    echo "HUMA-RC=$rc $name"
    [ ! -s /tmp/values ] || echo "guest:     $(tr '\n' ' ' </tmp/values)"
    : >/tmp/values
    count=$((count + 1))
}

# huma ARG...: the smoke program under the library.
huma() { LD_PRELOAD=$lib smoke "$@"; }

value_of() { awk -v key="$1" '$1 == key { print $2; exit }' /tmp/values; }

# expect KEY OP NUMBER COMMAND...: the figure that COMMAND prints for KEY.
expect() {
    key=$1 op=$2 limit=$3
    shift 3
    "$@" >/tmp/values || return 1
    value=$(value_of "$key")
    echo "$key is $value, expected -$op $limit"
    test "$value" "-$op" "$limit"
}

introduce() {
    smoke where >/tmp/values
    echo "guest: $(value_of kernel), $(value_of nodes) nodes, THP $(value_of thp) at boot"
}

finish() {
    echo "guest: up for $(cut -d' ' -f1 /proc/uptime) s"
    echo "HUMA-DONE $count"
    poweroff -f
}
