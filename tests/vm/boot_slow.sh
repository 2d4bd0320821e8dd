# SPDX-License-Identifier: BSD-3-Clause

test_for_ever() {
    note "waiting for ever"
    sleep 100000
}
