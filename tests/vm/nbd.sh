# SPDX-License-Identifier: BSD-3-Clause
# /dev/nbd0 with two connections to hvblk-daemon.  Sourced by the guest's init; see guest/functions and guest/blocks.
nbd-client -d /dev/nbd0 >/dev/null 2>&1 || true
. /hv/blocks

modprobe -a crc32c_generic nbd ext4 xfs

# connect IMAGE: a disk of two channels, one connection for each
connect() {
    serve server --emulate "disk=$1,size=512M,channels=2" --reactors 2 --export nbd:unix:nbd.sock
    nbd-client -unix nbd.sock /dev/nbd0 -connections 2
    within 10 [ "$(blockdev --getsize64 /dev/nbd0)" = 536870912 ]
}

disconnect() {
    nbd-client -d /dev/nbd0
    within 10 idle || fail "connections are left: $(ask server.ctl stats)"
    leave server
}

idle() {
    ask server.ctl stats >told
    said told '"connections":0'
}

test_attributes() {
    connect disk.img
    ask server.ctl stats >told
    said told '"connections":2' || fail "not two connections: $(cat told)"
    expect 2 "$(ls /sys/block/nbd0/mq | wc -l)" "queues"
    expect "write back" "$(cat /sys/block/nbd0/queue/write_cache)" "cache"
    expect 1 "$(cat /sys/block/nbd0/queue/fua)" "FUA"
    [ "$(cat /sys/block/nbd0/queue/discard_max_bytes)" -gt 0 ] || fail "no discard"
    disconnect
}

test_load() {
    connect disk.img
    load /dev/nbd0 --rw=randwrite --bsrange=512-128k --size=24M --numjobs=2 --offset_increment=64M --iodepth=32
    load /dev/nbd0 --rw=randtrimwrite --bs=4k --size=8M --offset=128M --iodepth=32
    ask server.ctl stats >told
    said told '"trim":[1-9]' || fail "no trim arrived: $(cat told)"
    disconnect
    rm disk.img
}

test_ext4() {
    connect fs.img
    file_system /dev/nbd0 fs.img mkfs.ext4 -q
    e2fsck -fn /dev/nbd0
    disconnect
    connect fs.img
    mount /dev/nbd0 mnt
    md5sum -c sum
    umount mnt
    disconnect
    rm fs.img
}

test_xfs() {
    connect fs.img
    file_system /dev/nbd0 fs.img mkfs.xfs -q -f
    xfs_repair -n /dev/nbd0
    disconnect
    rm fs.img
}
