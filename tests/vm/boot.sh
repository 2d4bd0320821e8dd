# SPDX-License-Identifier: BSD-3-Clause

test_settings_and_files() {
    echo "$GREETING" >greeting
    keep greeting
}

test_kernel() {
    case $(uname -r) in
    6.12.*) ;;
    *) fail "kernel $(uname -r)" ;;
    esac
    expect 2 "$(nproc)" "processors"
}

test_programs_run() {
    setpriv --version
    truncate -s 8M disk
    mkfs.ext4 -q -F disk
}
