# SPDX-License-Identifier: BSD-3-Clause
# The kernel's own NBD client on our server: /dev/nbd0, over two connections.
nbd-client -d /dev/nbd0 >/dev/null 2>&1 || true # of a test that failed
. /hv/blocks

modprobe -a crc32c_generic ext4 xfs
modprobe nbd nbds_max=2

sys() {
    cat "/sys/block/nbd0/$1"
}

has_size() {
    [ "$(sys size)" = "$1" ]
}

has_connections() {
    ask nbd.ctl stats >told && said told "\"connections\":$1[,}]"
}

# attach CONNECTIONS ARGUMENT...: the daemon with these arguments, and /dev/nbd0 on it
attach() {
    local connections=$1
    shift
    rm -f nbd.sock
    serve nbd "$@" --export nbd:unix:nbd.sock
    nbd-client -unix "$PWD/nbd.sock" /dev/nbd0 -connections "$connections"
}

detach() {
    nbd-client -d /dev/nbd0
    within 10 has_size 0 || fail "the device is still connected"
    within 10 has_connections 0 || fail "connections are left: $(cat told)"
    leave nbd
}

test_attributes() {
    attach 2 --emulate disk=mem:64M,channels=2 --reactors 2
    within 10 has_size 131072 || fail "size: $(sys size) sectors"
    within 10 has_connections 2 || fail "not two connections: $(cat told)"
    expect "write back" "$(sys queue/write_cache)" "cache"
    expect 1 "$(sys queue/fua)" "FUA"
    expect 0 "$(sys ro)" "read-only"
    [ "$(sys queue/discard_max_bytes)" -gt 0 ] || fail "no discard"
    expect 2 "$(ls /sys/block/nbd0/mq | wc -l)" "queues"
    detach
    attach 1 --emulate disk=mem:64M,ro
    within 10 has_size 131072 || fail "size: $(sys size) sectors"
    expect 1 "$(sys ro)" "read-only"
    refuse 1 ro.out dd if=/dev/zero of=/dev/nbd0 bs=4k count=1 oflag=direct
    detach
}

test_load() {
    attach 2 --emulate disk=load.img,size=256M,channels=2 --reactors 2
    load /dev/nbd0 --rw=randwrite --bsrange=512-128k --size=24M --numjobs=2 --offset_increment=64M --iodepth=32
    load /dev/nbd0 --rw=randtrimwrite --bs=4k --size=8M --offset=128M --iodepth=32
    ask nbd.ctl stats >told
    said told '"trim":[1-9]' || fail "no trim arrived: $(cat told)"
    detach
    rm load.img
}

# What was written is on the image: another daemon, other connections, the same sum.
test_ext4() {
    attach 2 --emulate disk=fs.img,size=512M,channels=2 --reactors 2
    file_system /dev/nbd0 fs.img mkfs.ext4 -q
    e2fsck -fn /dev/nbd0
    detach
    attach 2 --emulate disk=fs.img,channels=2 --reactors 2
    mount /dev/nbd0 mnt
    md5sum -c sum
    umount mnt
    detach
    rm fs.img
}

test_xfs() {
    attach 2 --emulate disk=fs.img,size=512M,channels=2 --reactors 2
    file_system /dev/nbd0 fs.img mkfs.xfs -q -f
    xfs_repair -n /dev/nbd0
    detach
    rm fs.img
}

# A daemon that dies costs its clients an error, not a hang.
test_daemon_dies() {
    attach 2 --emulate disk=mem:64M,channels=2 --reactors 2
    dd if=/dev/nbd0 of=/dev/null bs=64k count=16 iflag=direct
    finish nbd KILL 10
    refuse 1 error timeout 60 dd if=/dev/nbd0 of=/dev/null bs=4k count=1 skip=4096 iflag=direct
    cat error
    nbd-client -d /dev/nbd0 || true
    within 10 has_size 0 || fail "the device is still connected"
    attach 2 --emulate disk=mem:64M,channels=2 --reactors 2
    dd if=/dev/nbd0 of=/dev/null bs=64k count=16 iflag=direct
    detach
}
