# SPDX-License-Identifier: BSD-3-Clause

test_offer() {
    modprobe hv_vmbus
    within 10 [ -e "/sys/bus/vmbus/devices/$BALLOON" ] || fail "no balloon offered"
    expect "{$BALLOON_CLASS}" "$(cat "/sys/bus/vmbus/devices/$BALLOON/class_id")" "class"
}
