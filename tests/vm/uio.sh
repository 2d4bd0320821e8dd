# SPDX-License-Identifier: BSD-3-Clause
# libvmbus on the kernel's own hv_vmbus and uio_hv_generic, against QEMU's balloon: a host that is not ours.

device=/sys/bus/vmbus/devices/$BALLOON
uio=/sys/bus/vmbus/drivers/uio_hv_generic
kernel_driver=/sys/bus/vmbus/drivers/hv_balloon
address=uio:$BALLOON

driver() {
    [ -e "$device/driver" ] && basename "$(readlink "$device/driver")" || echo none
}

bound_to() {
    [ "$(driver)" = "$1" ]
}

unbound() {
    echo "$BALLOON" >"$uio/unbind"
    expect none "$(driver)" "driver after unbind"
}

# What a host must have said: both halves of the handshake.
exchange() {
    balloon "$address" "$@" >talk 2>&1 || {
        keep talk
        tail -n 20 talk
        fail "balloon $* failed"
    }
    tail -n 5 talk # the console of a nested guest takes five lines a second
    said talk '^version 2\.0$' || fail "no version 2.0"
    said talk '^capabilities accepted' || fail "capabilities not accepted"
    said talk '^reported [1-9][0-9]* pages available, [1-9]' || fail "nothing reported"
}

test_offer() {
    modprobe hv_vmbus
    within 10 [ -e "$device" ] || fail "no balloon offered"
    modprobe -a uio uio_hv_generic
    expect none "$(driver)" "driver before anything is bound"
}

test_unbound_is_refused() {
    refuse 1 said_it balloon "$address"
    said said_it "$BALLOON" || fail "the message does not name the device"
}

test_bind_new_id() {
    echo "$BALLOON_CLASS" >"$uio/new_id"
    expect uio_hv_generic "$(driver)" "driver"
    exchange
    unbound
    echo "$BALLOON_CLASS" >"$uio/remove_id"
}

test_bind_driver_override() {
    echo uio_hv_generic >"$device/driver_override"
    echo "$BALLOON" >"$uio/bind"
    expect uio_hv_generic "$(driver)" "driver"
    exchange
    unbound
    echo >"$device/driver_override"
}

# The kernel's own driver has the device, gives it up, and gets it back.
test_bind_from_kernel_driver() {
    modprobe hv_balloon
    within 15 bound_to hv_balloon || fail "hv_balloon does not bind"
    echo "$BALLOON_CLASS" >"$uio/new_id"
    expect hv_balloon "$(driver)" "driver after new_id alone"
    echo "$BALLOON" >"$kernel_driver/unbind"
    echo "$BALLOON" >"$uio/bind"
    expect uio_hv_generic "$(driver)" "driver"
    exchange
    unbound
    echo "$BALLOON" >"$kernel_driver/bind"
    expect hv_balloon "$(driver)" "driver after the way back"
    echo "$BALLOON" >"$kernel_driver/unbind"
    echo "$BALLOON" >"$uio/bind"
    expect uio_hv_generic "$(driver)" "driver"
}

# What we reported is what QEMU says that it was told.
test_report_arrives() {
    exchange --reports 3 --serve 1000
    pages=$(sed -n 's/^reported [0-9]* pages available, \([0-9]*\) committed$/\1/p' talk)
    within 10 said /out/monitor.said "HV_BALLOON_STATUS_REPORT.*\"committed\": $((pages * 4096))[,}]" ||
        fail "QEMU was told of no $((pages * 4096)) bytes"
}

# Request, sleep, interrupt, answer: a lost wake-up would end it.
test_rounds() {
    exchange --rounds "$ROUNDS"
    said talk "^$ROUNDS rounds, [1-9]" || fail "not all rounds"
    sleeps=$(sed -n 's/^.* rounds, \([0-9]*\) sleeps.*$/\1/p' talk)
    [ "$sleeps" -ge $((ROUNDS / 2)) ] || fail "it slept only $sleeps times"
}

# In one process, which may have few descriptors and little address space: what stays behind each time is missed.
test_open_close() {
    (
        ulimit -n 40
        ulimit -v 262144
        exchange --cycles "$CYCLES"
    )
    expect "$CYCLES" "$(grep -c '^version 2\.0$' talk)" "conversations"
    said talk "^$CYCLES cycles$" || fail "not all cycles"
}

# Two owners would destroy each other's ring.
test_second_process_is_refused() {
    start first balloon "$address" --reports 1000 --interval 100
    within 20 said first.out '^reported' || fail "the first did not start: $(cat first.err)"
    refuse 1 second balloon "$address"
    cat second
    said second 'busy|in use|another' || fail "it does not say why"
    kill -0 "$first_pid" || fail "the first one suffered: $(cat first.err)"
    finish first KILL 10
    expect 137 "$finish_code" "exit code"
}

# A killed owner leaves nothing behind.
test_after_a_kill() {
    exchange
}

test_without_permission() {
    refuse 1 said_it setpriv --reuid 65534 --regid 65534 --clear-groups balloon "$address"
    cat said_it
    said said_it '[Pp]ermission denied|Operation not permitted' || fail "it does not say why"
}

test_dma_without_hugepages() {
    refuse 1 said_it balloon "$address" --dma 4096
    cat said_it
    said said_it 'hugepages' || fail "it does not say what is missing"
}

# Bit 17 of a page's flags: part of a hugepage of the pool, which nobody moves.
page_is_huge() {
    flags=$(dd if=/proc/kpageflags bs=8 skip="$1" count=1 2>/dev/null | od -An -tu8)
    [ $(((flags >> 17) & 1)) = 1 ]
}

test_dma() {
    echo 4 >/proc/sys/vm/nr_hugepages
    start owner balloon "$address" --dma 4096 --serve 60000
    within 20 said owner.out '^dma' || fail "no memory: $(cat owner.err)"
    cat owner.out
    said owner.out '^dma 1024 pages in [12] pieces, first frame [1-9]' || fail "not what was asked for"
    frame=$(sed -n 's/^dma.*first frame \([0-9]*\)$/\1/p' owner.out)
    expect 0 $((frame % 512)) "first frame within its hugepage"
    page_is_huge "$frame" || fail "frame $frame is no hugepage"
    finish owner KILL 10
    expect 4 "$(awk '/HugePages_Free/ { print $2 }' /proc/meminfo)" "free hugepages after a kill"
}

# Root in name only, as in a container: page numbers are hidden, and nothing may be given to the host.
test_without_sys_admin() {
    refuse 1 said_it setpriv --bounding-set -sys_admin balloon "$address" --dma 4096
    cat said_it
    said said_it 'CAP_SYS_ADMIN' || fail "it does not say what is missing"
    expect 4 "$(awk '/HugePages_Free/ { print $2 }' /proc/meminfo)" "free hugepages"
    echo 0 >/proc/sys/vm/nr_hugepages
}

test_unbind_while_open() {
    start owner balloon "$address" --reports 1000000 --interval 50
    within 20 said owner.out '^reported' || fail "the client did not start: $(cat owner.err)"
    echo "$BALLOON" >"$uio/unbind"
    within 20 dead "$owner_pid" || fail "it goes on without its device"
    code=0
    wait "$owner_pid" || code=$?
    cat owner.err
    expect 1 "$code" "exit code"
    said owner.err '[Nn]o such device|taken away|gone' || fail "it does not say why"
}
