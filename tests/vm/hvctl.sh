# SPDX-License-Identifier: BSD-3-Clause
# The operator's way with QEMU's balloon: look, bind, use, watch, give back.

device=/sys/bus/vmbus/devices/$BALLOON
address=uio:$BALLOON

driver() {
    [ -e "$device/driver" ] && basename "$(readlink "$device/driver")" || echo none
}

bound_to() {
    [ "$(driver)" = "$1" ]
}

test_no_bus() {
    refuse 1 why hvctl list
    said why 'modprobe hv_vmbus' || fail "it does not say what to do: $(cat why)"
}

# The kernel's driver is not there yet: the device stays without driver, and that is said.
test_without_kernel_driver() {
    modprobe -a hv_vmbus uio uio_hv_generic
    within 10 [ -e "$device" ] || fail "no balloon offered"
    hvctl bind "$BALLOON"
    expect uio_hv_generic "$(driver)" "driver"
    hvctl unbind "$BALLOON" >said_it
    cat said_it
    said said_it 'modprobe hv_balloon' || fail "it does not say what to do"
    expect none "$(driver)" "driver"
    rmmod uio_hv_generic
}

test_info() {
    modprobe hv_balloon
    within 15 bound_to hv_balloon || fail "hv_balloon does not bind"
    hvctl info >info
    keep info # the console is slow here
    said info '^Hyper-V: build 10\.0\.14393' || fail "another build than the kernel saw: $(dmesg | grep 'Host Build')"
    said info '^  SynIC: messages and events$' || fail "no SynIC, yet VMBus works"
    said info '^  virtual processor index$' || fail "hv-vpindex is not seen"
    said info '^VMBus: version 4\.0, 1 devices, 0 of them' || fail "another version than in the kernel's log"
    said info '^monitor page: 0 of 128 bits' || fail "QEMU has no monitored channels"
    grep -qxF "kernel: $(uname -r)" info || fail "another kernel"
    said info '^  \[--\] the driver uio_hv_generic$' || fail "it is not loaded, and that is not said"
    said info '^  \[--\] free hugepages' || fail "there are no hugepages, and that is not said"
    said info '^  \[ok\] CAP_SYS_ADMIN' || fail "we are root"
    hvctl info --json >info.json
    said info.json '"vmbus_version":"4.0"' || fail "JSON lacks the version: $(cat info.json)"
    # what the kernel read at boot: "Hyper-V: privilege flags low 0x.., high 0x.., (ext 0x..,) hints 0x.., misc 0x.."
    dmesg | sed -n 's/.*privilege flags low \(0x[0-9a-f]*\), high \(0x[0-9a-f]*\),.* hints \(0x[0-9a-f]*\), misc \(0x[0-9a-f]*\).*/\1 \2 \3 \4/p' |
        head -n 1 >flags
    read -r low high hints misc <flags || fail "the kernel logged no flags"
    tr -d ' \n' <info.json >flat
    said flat "\"0x40000003\":\[$((low)),$((high)),[0-9]+,$((misc))\]" || fail "features are not the kernel's: $(cat flags flat)"
    said flat "\"0x40000004\":\[$((hints))," || fail "recommendations are not the kernel's: $(cat flags flat)"
}

test_list() {
    hvctl list >list
    cat list
    said list "^balloon $BALLOON: driver hv_balloon, open$" || fail "not what sysfs says"
    relid=$(cat "$device/id")
    cpu=$(cat "$device/channels/$relid/cpu")
    used=$(cat "$device/out_read_bytes_avail")
    size=$((used + $(cat "$device/out_write_bytes_avail")))
    said list "channel $relid: primary, CPU $cpu, no monitor, to host [0-9]+/$size, from host" ||
        fail "channel $relid, CPU $cpu, ring of $size bytes are not in it"
    hvctl list --json "$BALLOON" >list.json
    said list.json "\"relid\":$relid,?$" || fail "JSON lacks relid $relid: $(cat list.json)"
    said list.json '"class":"balloon"' || fail "JSON lacks the class"
}

test_bind_needs_the_module() {
    refuse 1 why hvctl bind "$BALLOON"
    said why 'modprobe uio_hv_generic' || fail "it does not say what to do: $(cat why)"
    expect hv_balloon "$(driver)" "driver after a refusal"
}

test_unbind_of_the_kernels() {
    modprobe -a uio uio_hv_generic
    refuse 1 why hvctl unbind "$BALLOON"
    said why 'hv_balloon' || fail "it does not say who has it: $(cat why)"
    expect hv_balloon "$(driver)" "driver after a refusal"
}

test_wrong_names() {
    refuse 1 why hvctl bind 00000000-0000-0000-0000-000000000001
    said why 'hvctl list' || fail "it does not say what to do: $(cat why)"
    refuse 2 why hvctl bind balloon
    refuse 2 why hvctl bind
}

test_bind() {
    hvctl bind "$BALLOON" >said_it
    cat said_it
    said said_it "hv_balloon -> uio_hv_generic" || fail "it does not say what it did"
    expect uio_hv_generic "$(driver)" "driver"
    expect uio_hv_generic "$(cat "$device/driver_override")" "driver_override"
    hvctl list >list
    cat list
    said list "^balloon $BALLOON: driver uio_hv_generic \(/dev/uio[0-9]+\), closed$" || fail "not what sysfs says"
    hvctl bind "$BALLOON" >said_it
    said said_it 'already' || fail "a second time is not noticed"
}

test_rings_of_a_closed_channel() {
    refuse 1 why hvctl ring dump "$BALLOON"
    said why 'no program has it open' || fail "it does not say why: $(cat why)"
    expect 2 "$(cat "$device/state")" "state: looking has opened the channel"
}

reports_in_ring() {
    hvctl ring dump "$BALLOON" >dump 2>why && said dump '^-> .* in-band .* 48 bytes$'
}

# A client reports to the host ten times a second; what it sends is in the ring, what the host answered, too.
test_live() {
    start owner balloon "$address" --reports 100000 --interval 100
    within 20 reports_in_ring || fail "the client did not start: $(cat owner.err why)"
    before=$(cat "$device/channels/$(cat "$device/id")/events")
    hvctl watch --interval 0.5 --count 2 --json "$BALLOON" >watch
    cat watch
    expect 2 "$(wc -l <watch)" "reports"
    [ "$(cat "$device/channels/$(cat "$device/id")/events")" -gt "$before" ] || fail "nothing was signalled meanwhile"
    said watch '"events":[1-9]' || fail "no signals were seen"
    hvctl ring dump "$BALLOON" --hex --count 10000 >dump
    keep dump # the console is slow here
    said dump '^to host: [0-9]+ bytes, write [1-9]' || fail "no ring to the host"
    # version request 2.0 is the first thing the client says; type 2 of the host answers it
    said dump '^-> 00000000   in-band id 0x1 .*16 bytes' || fail "the first packet is not the version request"
    said dump '0000: 01 00 10 00 .. .. .. .. 00 00 02 00' || fail "its bytes are no version request"
    said dump '^<- 00000000   in-band' || fail "no answer of the host"
    said dump '0000: 02 00 10 00' || fail "its bytes are no version response"
    hvctl trace "$BALLOON" --count 3 >trace
    cat trace
    expect 3 "$(grep -c '^-> .* in-band .* 48 bytes$' trace)" "status reports"
    refuse 1 why hvctl ring dump "$BALLOON" --channel 1
    refuse 1 why hvctl unbind "$BALLOON"
    said why 'open' || fail "it does not say why: $(cat why)"
    kill -0 "$owner_pid" || fail "looking has hurt the client: $(cat owner.err)"
    start tracer hvctl trace "$BALLOON"
    within 10 said tracer.out '^->' || fail "nothing traced: $(cat tracer.err)"
    finish owner TERM 10
    within 10 dead "$tracer_pid" || fail "trace goes on without the client"
    said tracer.err 'has closed it' || fail "it does not say why it ended: $(cat tracer.err)"
    expect 2 "$(cat "$device/state")" "state: the tracer keeps the channel open"
}

test_unbind() {
    hvctl unbind "$BALLOON" >said_it
    cat said_it
    said said_it 'uio_hv_generic -> hv_balloon' || fail "it does not say what it did"
    expect hv_balloon "$(driver)" "driver"
    expect "(null)" "$(cat "$device/driver_override")" "driver_override"
}

# Rings that vanish under a trace: it ends in words, not by a signal.
test_trace_of_a_device_that_goes() {
    hvctl bind "$BALLOON"
    start owner balloon "$address" --reports 100000 --interval 100
    within 20 reports_in_ring || fail "the client did not start: $(cat owner.err why)"
    start tracer hvctl trace "$BALLOON"
    within 10 said tracer.out '^->' || fail "nothing traced: $(cat tracer.err)"
    echo "$BALLOON" >/sys/bus/vmbus/drivers/uio_hv_generic/unbind
    within 20 dead "$owner_pid" || fail "the client goes on without its device"
    within 10 dead "$tracer_pid" || fail "trace goes on without the device"
    code=0
    wait "$tracer_pid" || code=$?
    cat tracer.err
    expect 1 "$code" "exit code"
    said tracer.err 'taken the rings away|has closed it' || fail "it does not say why it ended"
}
