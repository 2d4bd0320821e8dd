# SPDX-License-Identifier: BSD-3-Clause
# Block devices of hvblk-daemon.  Sourced by the guest's init; see guest/functions and guest/blocks.
. /hv/blocks

modprobe -a crc32c_generic ublk_drv ext4 xfs
[ -e data ] || head -c 4194304 /dev/urandom >data

# Signal 9: nothing of it is told to the daemon.
murder() {
    kill -9 "$(cat "$1.pid")"
    wait "$(cat "$1.pid")" || true
}

sys() {
    cat "/sys/block/$1"
}

test_attributes() {
    serve many --emulate disk=mem:64M,block=4096 --emulate disk=mem:32M,cache=off,rotational=on \
        --emulate disk=mem:16M,ro --emulate disk=mem:16M,thin=off --export ublk:3,depth=16
    expect 4 "$(grep -c '^ready ublk:/dev/ublkb[3456]$' many.out)" "devices"
    expect 131072 "$(sys ublkb3/size)" "size"
    expect 4096 "$(sys ublkb3/queue/logical_block_size)" "logical block"
    expect "write back" "$(sys ublkb3/queue/write_cache)" "cache"
    expect 1 "$(sys ublkb3/queue/fua)" "FUA"
    expect 0 "$(sys ublkb3/queue/rotational)" "rotational"
    expect 256 "$(sys ublkb3/queue/max_hw_sectors_kb)" "largest request"
    expect 16 "$(sys ublkb3/mq/0/nr_tags)" "depth"
    [ "$(sys ublkb3/queue/discard_max_bytes)" -gt 0 ] || fail "no discard"
    [ "$(sys ublkb3/queue/write_zeroes_max_bytes)" -gt 0 ] || fail "no write zeroes"
    expect 512 "$(sys ublkb4/queue/logical_block_size)" "logical block of the second"
    expect "write through" "$(sys ublkb4/queue/write_cache)" "cache off"
    expect 1 "$(sys ublkb4/queue/rotational)" "rotational"
    expect 1 "$(sys ublkb5/ro)" "read-only"
    refuse 1 ro.out dd if=/dev/zero of=/dev/ublkb5 bs=4k count=1 oflag=direct
    expect 0 "$(sys ublkb6/queue/discard_max_bytes)" "discard of a thick disk"
    # Other requests of ours, other devices of others: each as the daemon tells them.
    ask many.ctl status stats >told
    said told '"device":"[^"]*ublkb3".*"state":"live"' || fail "status: $(cat told)"
    leave many
    [ ! -e /dev/ublkb3 ] && [ ! -e /dev/ublkc6 ] || fail "a device is left"
    # A disk with a name gets its own options and no second device.
    serve named --emulate disk=mem:16M,luns=3 --export ublk:3 --export ublk:9,lun=lun1,max-io=64K
    expect "ublkb3 ublkb5 ublkb9" "$(ls /sys/block | grep ublk | tr '\n' ' ' | sed 's/ $//')" "devices"
    expect 64 "$(sys ublkb9/queue/max_hw_sectors_kb)" "largest request"
    leave named
}

test_data() {
    truncate -s 4M zeroes
    for copy in kernel user; do
        serve data --emulate disk=mem:64M --export "ublk:0,copy=$copy,max-io=512K"
        dd if=data of=/dev/ublkb0 bs=1M oflag=direct conv=fsync
        dd if=/dev/ublkb0 of=back bs=1M count=4 iflag=direct
        cmp data back
        dd if=data of=/dev/ublkb0 bs=512 count=3 seek=9000 oflag=direct
        dd if=/dev/ublkb0 of=back bs=512 count=3 skip=9000 iflag=direct
        cmp -n 1536 data back
        blkdiscard -z /dev/ublkb0 -o 1M -l 1M
        blkdiscard /dev/ublkb0 -o 2M -l 1M
        dd if=/dev/ublkb0 of=back bs=1M count=4 iflag=direct
        cmp -n 1048576 data back
        cmp -n 2097152 zeroes back 0 1048576
        cmp -n 1048576 data back 3145728 3145728
        leave data
        grep -q 'ublkb0 is removed' data.err || fail "not removed: $(cat data.err)"
    done
}

test_load() {
    serve load --emulate disk=load.img,size=256M,channels=2 --reactors 2 --export ublk:0
    expect 2 "$(ls /sys/block/ublkb0/mq | wc -l)" "queues"
    load /dev/ublkb0 --rw=randwrite --bsrange=512-128k --size=24M --numjobs=2 --offset_increment=64M --iodepth=32
    # Each block is trimmed, then written, at the same time as others are.
    load /dev/ublkb0 --rw=randtrimwrite --bs=4k --size=8M --offset=128M --iodepth=32
    ask load.ctl stats >told
    said told '"trim":[1-9]' || fail "no trim arrived: $(cat told)"
    leave load
    # Two disks of one controller, two devices, at once: what one is told must not reach the other.
    serve two --emulate disk=load.img --emulate disk=mem:32M --export ublk:0
    start other fio --name=other --filename=/dev/ublkb1 --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 \
        --verify_state_save=0 --rw=randwrite --bs=8k --size=16M --iodepth=16 --output=other.fio
    load /dev/ublkb0 --rw=randwrite --bs=8k --size=16M --iodepth=16
    within 30 dead "$other_pid" || fail "fio on the second hangs"
    wait "$other_pid" || fail "fio on the second: $(cat other.fio)"
    leave two
    rm load.img
}

new_image() {
    serve fs --emulate disk=fs.img,size=512M,channels=2 --reactors 2 --export ublk:0
}

# Sockets and queues share the reactors, asleep as well: what one writes the other reads.
test_beside_nbd() {
    modprobe nbd
    serve both --emulate disk=both.img,size=128M,channels=2 --reactors 2 --export ublk:0 --export nbd:unix:nbd.sock
    nbd-client -unix "$PWD/nbd.sock" /dev/nbd0 -connections 2
    start fio fio --name=nbd --filename=/dev/nbd0 --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 \
        --verify_state_save=0 --rw=randwrite --bs=8k --offset=64M --size=8M --iodepth=8 --output=fio.out
    load /dev/ublkb0 --rw=randwrite --bs=8k --size=8M --iodepth=8
    within 30 dead "$fio_pid" || fail "fio on NBD hangs"
    wait "$fio_pid" || fail "fio on NBD: $(cat fio.out)"
    dd if=data of=/dev/ublkb0 bs=64k count=16 seek=1024 oflag=direct
    dd if=/dev/nbd0 of=back bs=64k count=16 skip=1024 iflag=direct
    cmp -n 1048576 data back
    # One request at a time, with pauses: each wakes a reactor that sleeps in the other way.
    for i in 1 2 3 4 5; do
        dd if=/dev/ublkb0 of=/dev/null bs=4k count=1 iflag=direct
        usleep 50000
        dd if=/dev/nbd0 of=/dev/null bs=4k count=1 iflag=direct
        usleep 50000
    done
    nbd-client -d /dev/nbd0
    leave both
    rm both.img
}

test_ext4() {
    new_image
    file_system /dev/ublkb0 fs.img mkfs.ext4 -q
    e2fsck -fn /dev/ublkb0
    leave fs
    serve fs --emulate disk=fs.img --export ublk:0
    mount /dev/ublkb0 mnt
    md5sum -c sum
    umount mnt
    leave fs
    rm fs.img
}

test_xfs() {
    new_image
    file_system /dev/ublkb0 fs.img mkfs.xfs -q -f
    xfs_repair -n /dev/ublkb0
    leave fs
    rm fs.img
}

# What is in the caches of the kernel when the daemon is asked to end is written first.
test_end_while_mounted() {
    serve busy --emulate disk=busy.img,size=64M --export ublk:0
    mkfs.ext4 -q /dev/ublkb0
    mount /dev/ublkb0 mnt
    head -c 2097152 /dev/urandom >mnt/data
    md5sum <mnt/data >sum
    leave busy
    said busy.err 'is held by a mount' || fail "$(cat busy.err)"
    umount mnt
    within 10 gone_device ublkb0 || fail "the device is still there"
    serve busy --emulate disk=busy.img --export ublk:0
    e2fsck -p /dev/ublkb0 || [ $? = 1 ] || fail "e2fsck"
    mount /dev/ublkb0 mnt
    md5sum -c sum <mnt/data
    umount mnt
    leave busy
    rm busy.img
}

test_recovery() {
    serve first --emulate disk=mend.img,size=128M,channels=2 --reactors 2 --export ublk:7
    mkfs.ext4 -q /dev/ublkb7
    mount /dev/ublkb7 mnt
    start fio fio --name=load --filename=mnt/file --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 \
        --verify_state_save=0 --rw=randrw --bs=4k --size=8M --iodepth=16 --time_based --runtime=14 --output=fio.out
    usleep 3000000
    murder first
    usleep 500000
    serve second --emulate disk=mend.img,channels=2 --reactors 2 --export ublk:7 --recover
    grep -q 'taken over' second.err || fail "not taken over: $(cat second.err)"
    usleep 3000000
    murder second
    # No number is needed: the kernel keeps whose disk it is.  One reactor serves both queues.
    serve third --emulate disk=mend.img --export ublk --recover
    expect "ready ublk:/dev/ublkb7" "$(cat third.out)" "the device"
    within 40 dead "$fio_pid" || fail "fio hangs"
    wait "$fio_pid" || {
        cat fio.out fio.err
        fail "fio saw an error"
    }
    umount mnt
    e2fsck -fn /dev/ublkb7
    leave third
    [ ! -e /dev/ublkb7 ] || fail "the device is still there"
    expect 0 "$(dmesg | grep -c 'I/O error.*ublkb7')" "I/O errors"
    rm mend.img
}

test_recovery_refused() {
    serve one --emulate disk=one.img,size=32M --export ublk:4
    # Alive: neither a second daemon nor a recovery gets it.
    refuse 1 two.out hvblk-daemon --emulate disk=two.img,size=32M --export ublk:4
    said two.out 'File exists' || fail "$(cat two.out)"
    murder one
    # Another disk: its data must not go there.
    refuse 1 two.out hvblk-daemon --emulate disk=two.img --export ublk:4 --recover
    said two.out 'File exists' || fail "$(cat two.out)"
    # Smaller than before.
    truncate -s 16M one.img
    refuse 1 two.out hvblk-daemon --emulate disk=one.img --export ublk:4 --recover
    said two.out 'is larger than the disk now' || fail "$(cat two.out)"
    truncate -s 32M one.img
    serve one --emulate disk=one.img --export ublk:4 --recover
    leave one
    rm one.img two.img
}

test_recovery_modes() {
    # none: the device goes with the daemon, and --recover makes a new one.
    serve none --emulate disk=mem:32M,serial=A --export ublk:2,recovery=none
    murder none
    within 10 gone_device ublkb2 || fail "ublkb2 outlives its daemon"
    serve none --emulate disk=mem:32M,serial=A --export ublk:2,recovery=none --recover
    leave none
    # wait: what was on its way fails, what comes waits.
    serve wait --emulate disk=mem:32M,serial=A --export ublk:2,recovery=wait
    murder wait
    start late dd if=/dev/ublkb2 of=/dev/null bs=4k count=1 iflag=direct
    usleep 1000000
    ! dead "$late_pid" || fail "a request did not wait: $(cat late.err)"
    serve wait --emulate disk=mem:32M,serial=A --export ublk:2,recovery=wait --recover
    within 10 dead "$late_pid" || fail "a request waits for ever"
    wait "$late_pid" || fail "a request that waited failed: $(cat late.err)"
    leave wait
    # fail: 6.12 does not know it, and that is said.
    refuse 1 refused hvblk-daemon --emulate disk=mem:32M --export ublk:2,recovery=fail
    said refused 'kernel cannot do what its options ask for' || fail "$(cat refused)"
}

# A dead device that somebody holds cannot be deleted: that is said, and nobody waits for it.
test_recovery_held() {
    serve held --emulate disk=mem:32M,serial=A --export ublk:2,recovery=none
    sleep 600 </dev/ublkb2 &
    echo $! >holder.pid
    murder held
    within 10 gone_device ublkb2 || fail "ublkb2 outlives its daemon"
    refuse 1 said_it timeout -s KILL 30 hvblk-daemon --emulate disk=mem:32M,serial=A --export ublk:2 --recover
    said said_it 'ublk device 2 .*is held' || fail "$(cat said_it)"
    kill "$(cat holder.pid)"
    wait "$(cat holder.pid)" || true
    serve held --emulate disk=mem:32M,serial=A --export ublk:2 --recover
    expect "ready ublk:/dev/ublkb2" "$(cat held.out)" "the device"
    leave held
}

gone_device() {
    [ ! -e "/dev/$1" ]
}

test_handover() {
    serve old --emulate disk=hand.img,size=64M --export ublk:1
    mkfs.ext4 -q /dev/ublkb1
    mount /dev/ublkb1 mnt
    head -c 1048576 /dev/urandom >mnt/data
    md5sum mnt/data >sum
    expect '{"ok":true}' "$(ask old.ctl handover)" "answer"
    within 20 dead "$old_pid" || fail "the old daemon does not end"
    wait "$old_pid" || fail "the old daemon failed: $(cat old.err)"
    [ -b /dev/ublkb1 ] || fail "the device went with it"
    serve new --emulate disk=hand.img --export ublk:1 --recover
    echo 3 >/proc/sys/vm/drop_caches
    md5sum -c sum
    umount mnt
    e2fsck -fn /dev/ublkb1
    leave new
    rm hand.img
}

test_cycles() {
    local i=0
    serve host --emulate disk=mem:16M --export ublk:9 # one beside it all the time
    while [ $i -lt "$CYCLES" ]; do
        rm -f cycle.out
        start cycle hvblk-daemon --emulate disk=mem:16M --export ublk:0,depth=8 --log-level warning
        within 20 ready cycle || fail "cycle $i: $(cat cycle.err)"
        finish cycle TERM 20
        expect 0 "$finish_code" "cycle $i"
        [ ! -s cycle.err ] || fail "cycle $i: $(cat cycle.err)"
        [ ! -e /dev/ublkb0 ] || fail "cycle $i: the device is still there"
        i=$((i + 1))
    done
    leave host
}

# The controller dies under load and comes back: the block device waits, and nobody sees an error.
test_device_lost() {
    truncate -s 64M lost.img
    start host hv-host --listen host.sock --disk lost.img
    within 10 test -S host.sock
    serve lost --device unix:host.sock --export ublk:0
    start fio fio --name=load --filename=/dev/ublkb0 --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 \
        --verify_state_save=0 --rw=randrw --bs=4k --size=8M --iodepth=16 --time_based --runtime=8 --output=fio.out
    usleep 2000000
    murder host
    usleep 1000000
    ! dead "$fio_pid" || fail "fio did not wait: $(cat fio.out fio.err)"
    rm -f host.sock
    start host hv-host --listen host.sock --disk lost.img
    within 30 dead "$fio_pid" || fail "fio hangs"
    wait "$fio_pid" || {
        cat fio.out fio.err lost.err
        fail "fio saw an error"
    }
    said lost.err 'the device is back' || fail "$(cat lost.err)"
    leave lost
    # Too long: then it fails, what the controller had as well; and a later return is a return.
    serve lost --device unix:host.sock --export ublk:0 --reconnect 1
    start fio fio --name=load --filename=/dev/ublkb0 --ioengine=libaio --direct=1 --rw=randwrite --bs=16k --size=8M \
        --iodepth=32 --time_based --runtime=60 --output=fio.out
    usleep 2000000
    murder host
    within 20 dead "$fio_pid" || fail "fio hangs"
    ! wait "$fio_pid" || fail "fio saw no error"
    refuse 1 error dd if=/dev/ublkb0 of=/dev/null bs=4k count=1 iflag=direct
    said error 'Input/output error' || fail "$(cat error)"
    rm -f host.sock
    start host hv-host --listen host.sock --disk lost.img
    within 20 dd if=/dev/ublkb0 of=/dev/null bs=4k count=1 iflag=direct || fail "it does not come back"
    load /dev/ublkb0 --rw=randwrite --bs=16k --size=4M --iodepth=64
    leave lost
    finish host TERM 10
}

# A disk is taken away: I/O fails, and the device goes when nobody holds it; another disk gets another device.
test_disk_gone() {
    truncate -s 64M gone.img
    truncate -s 32M other.img
    start host hv-host --listen host.sock --disk gone.img --disk other.img --control host.ctl
    within 10 test -S host.ctl
    serve gone --device unix:host.sock --export ublk:0
    expect 2 "$(grep -c ^ready gone.out)" "devices"
    mkfs.ext4 -q /dev/ublkb0
    mount /dev/ublkb0 mnt
    ask host.ctl '{"command": "detach", "lun": 0}'
    within 10 said gone.err 'fails its I/O' || fail "$(cat gone.err)"
    refuse 1 error dd if=/dev/ublkb0 of=/dev/null bs=4k count=1 iflag=direct
    usleep 1500000
    [ -b /dev/ublkb0 ] || fail "a mounted device was removed"
    dd if=/dev/ublkb1 of=/dev/null bs=4k count=1 iflag=direct
    umount mnt
    within 10 gone_device ublkb0 || fail "an idle device was not removed: $(cat gone.err)"
    # Back: a new device with the number of before.
    ask host.ctl '{"command": "attach", "lun": 0, "disk": "gone.img"}'
    within 10 test -b /dev/ublkb0 || fail "no device for a disk that came back: $(cat gone.err)"
    # Its size: this kernel keeps the old one, and the log says so.
    ask host.ctl '{"command": "resize", "lun": 1, "bytes": "128M"}'
    within 10 resized || fail "$(cat gone.err)"
    leave gone
    [ ! -e /dev/ublkb1 ] || fail "a device is left"
    finish host TERM 10
}

# A disk tells its new size with the answer to a command.
resized() {
    dd if=/dev/ublkb1 of=/dev/null bs=4k count=1 iflag=direct
    said gone.err 'ublkb1 keeps its size of 33554432 bytes, the disk has 134217728 now' ||
        [ "$(sys ublkb1/size)" = 262144 ]
}

test_unprivileged() {
    chmod 666 /dev/ublk-control
    rm -rf user && mkdir user && chown 1000 user
    # udev would give the node to the user who made the device.
    (within 20 test -e /dev/ublkc0 && chown 1000 /dev/ublkc0) &
    start plain setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps=-all hvblk-daemon \
        --emulate disk=mem:32M --export ublk:0
    within 30 ready plain || true
    said plain.out '^ready' || fail "$(cat plain.err)"
    dd if=/dev/ublkb0 of=/dev/null bs=64k count=16 iflag=direct
    leave plain
    [ ! -e /dev/ublkb0 ] || fail "the device is still there"
    chmod 600 /dev/ublk-control
    refuse 1 refused setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps=-all hvblk-daemon \
        --emulate disk=mem:32M --export ublk:0
    said refused 'ublk-control: Permission denied' || fail "$(cat refused)"
}

test_no_driver() {
    rmmod ublk_drv
    refuse 1 refused hvblk-daemon --emulate disk=mem:32M --export ublk
    said refused 'modprobe ublk_drv' || fail "$(cat refused)"
    modprobe ublk_drv
}
