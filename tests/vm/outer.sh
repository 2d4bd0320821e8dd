# SPDX-License-Identifier: BSD-3-Clause
# The guest in the middle: Linux with KVM on an emulated processor, whose QEMU is the VMBus host of the inner guest.

test_inner() {
    modprobe kvm-amd
    [ -c /dev/kvm ] || fail "no /dev/kvm"
    mkdir -p /out/inner/out
    eval "$INNER"
}
