# SPDX-License-Identifier: BSD-3-Clause

test_offer() {
    modprobe hv_vmbus
    within 10 [ -e "/sys/bus/vmbus/devices/$BALLOON" ] || fail "no balloon offered"
    expect "{$BALLOON_CLASS}" "$(cat "/sys/bus/vmbus/devices/$BALLOON/class_id")" "class"
}

test_monitor() {
    echo '{"execute":"qom-list-types","arguments":{"implements":"vmbus-dev"}}' >>/out/monitor
    within 10 said /out/monitor.said '"hv-balloon"' || fail "QEMU says nothing"
}
