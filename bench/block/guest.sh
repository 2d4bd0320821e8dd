# SPDX-License-Identifier: BSD-3-Clause
# In a guest: every server in turn, each round; one JSON file of fio for each run goes to the runner outside.
# Settings: ROUNDS, RUN_SECONDS.

ready() {
    said "$1.out" '^ready' || dead "$(cat "$1.pid")"
}

# measure SERVER DEVICE
measure() {
    local load pattern depth
    for load in randread-d32 randread-d1; do
        depth=${load##*-d} pattern=${load%-*}
        fio --name=j --filename="$2" --ioengine=libaio --direct=1 --rw="$pattern" --bs=4k --iodepth="$depth" \
            --size=1G --time_based --runtime="$RUN_SECONDS" --randrepeat=0 --norandommap --output-format=json \
            --output="$1.$load.$round.json" || fail "fio on $1"
        keep "$1.$load.$round.json"
    done
}

with_daemon() {
    rm -f server.out nbd.sock
    start server hvblk-daemon --emulate disk=null:1G --log-level warning --export "$1"
    within 30 ready server
    said server.out '^ready' || fail "$(cat server.err)"
}

# The kernel's client; a server in front of it is one process of two.
with_nbd() {
    nbd-client -unix nbd.sock /dev/nbd0 >/dev/null
    measure "$1" /dev/nbd0
    nbd-client -d /dev/nbd0 >/dev/null
    finish server TERM 20
}

round_of_all() {
    rm -f server.out
    start server ublknull 0
    within 20 ready server
    said server.out '^ready' || fail "$(cat server.err)"
    measure ublk-floor /dev/ublkb0
    finish server TERM 20
    expect 0 "$finish_code" "ublknull"
    with_daemon ublk:0
    measure ublk-hvblk /dev/ublkb0
    finish server TERM 20
    expect 0 "$finish_code" "hvblk-daemon"
    with_daemon nbd:unix:nbd.sock
    with_nbd nbd-hvblk
    rm -f nbd.sock
    start server nbdkit -f -U nbd.sock null 1G
    within 20 test -S nbd.sock || fail "$(cat server.err)"
    with_nbd nbd-nbdkit
}

test_rounds() {
    modprobe ublk_drv
    modprobe nbd
    round=1
    while [ "$round" -le "$ROUNDS" ]; do
        round_of_all
        round=$((round + 1))
    done
}
