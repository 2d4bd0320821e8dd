# SPDX-License-Identifier: BSD-3-Clause
# Block devices of hvblk-daemon.  Sourced by the guest's init; see guest/functions.

modprobe -a crc32c_generic ublk_drv ext4 xfs

# serve NAME ARGUMENT...: a daemon that is ready
serve() {
    local name=$1
    shift
    start "$name" hvblk-daemon --control "$name.ctl" --log-level debug "$@"
    within 20 ready "$name" || {
        cat "$name.err"
        fail "$name did not become ready"
    }
}

ready() {
    said "$1.out" '^ready' || dead "$(cat "$1.pid")"
    said "$1.out" '^ready'
}

# leave NAME: ends a daemon; its device must be gone
leave() {
    finish "$1" TERM 30
    expect 0 "$finish_code" "$1 ended with"
}

test_simple() {
    serve simple --emulate disk=mem:64M,block=4096 --export ublk:3
    cat simple.out simple.err
    [ -b /dev/ublkb3 ] || fail "no /dev/ublkb3"
    blockdev --report /dev/ublkb3
    head -c 1M /dev/urandom >data
    dd if=data of=/dev/ublkb3 bs=64k oflag=direct
    dd if=/dev/ublkb3 of=back bs=64k count=16 iflag=direct
    cmp data back
    leave simple
    cat simple.err
    [ ! -e /dev/ublkb3 ] || fail "/dev/ublkb3 is still there"
}
