# SPDX-License-Identifier: BSD-3-Clause
# The guest in the middle: Linux with KVM on an emulated processor, whose QEMU is the VMBus host of the inner guest.
#
# What the inner guest appends to its /out/monitor are commands for that QEMU (QMP, a line each); what QEMU says, events
# too, is in its /out/monitor.said.

pass_on() {
    local passed=0 lines
    while :; do
        lines=$(wc -l <"$1")
        if [ "$lines" -gt "$passed" ]; then
            sed -n "$((passed + 1)),${lines}p" "$1"
            passed=$lines
        fi
        usleep 200000
    done
}

test_inner() {
    modprobe kvm-amd
    [ -c /dev/kvm ] || fail "no /dev/kvm"
    mkfifo /run/monitor.in /run/monitor.out
    exec 3<>/run/monitor.in
    echo '{"execute":"qmp_capabilities"}' >&3
    : >/out/inner/out/monitor
    cat /run/monitor.out >/out/inner/out/monitor.said &
    pass_on /out/inner/out/monitor >&3 &
    eval "$INNER"
}
