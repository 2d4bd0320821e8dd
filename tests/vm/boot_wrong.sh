# SPDX-License-Identifier: BSD-3-Clause
# Every way in which a guest can fail.  None of it may go unseen.

test_passes() {
    true
}

test_command_fails() {
    note "before the command"
    false
    note "after it"
}

test_expectation() {
    expect 1 2 "the number"
}

test_unset_variable() {
    echo "$NOBODY_SET_THIS"
}

test_skips() {
    skip "for a reason"
}

test_dumps_core() {
    sh -c 'kill -SEGV $$' || true
}

test_kernel_complains() {
    echo "BUG: not a real one" >/dev/kmsg
}

test_kernel_dies() {
    echo 1 >/proc/sys/kernel/sysrq
    echo c >/proc/sysrq-trigger
}

test_never_comes() {
    true
}
