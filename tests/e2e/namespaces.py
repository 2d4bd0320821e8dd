# SPDX-License-Identifier: BSD-3-Clause
"""Network namespaces that a test makes itself: nameless, held by a process each, gone with it whatever happens."""
import ctypes
import os
import subprocess

import harness

CLONE_NEWNET = 0x40000000


def leave():
    """Move this process, and all that it starts, into a network namespace of its own.  None, or why that cannot be."""
    if os.geteuid():
        return "network namespaces need root"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "there is no /dev/net/tun here"
    if harness.LIBC.unshare(CLONE_NEWNET):
        return f"no network namespace: {os.strerror(ctypes.get_errno())}"
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    return None


class Namespace:
    """With interfaces that are moved in; commands run in it."""

    def __init__(self, case):
        self.case = case
        # "cat" waits for its input to end: it ends with the test, and the namespace with it.
        self.holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, preexec_fn=harness.die_with_parent)
        case.addCleanup(self.end)
        self.holder.stdout.readline()
        self.words = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net"]
        # The kernel would otherwise speak by itself on every interface.
        for name in ("ipv6/conf/default/accept_dad", "ipv6/conf/default/router_solicitations", "ipv4/icmp_echo_ignore_broadcasts"):
            self.run("sh", "-c", f"echo 0 >/proc/sys/net/{name}")
        self.run("ip", "link", "set", "lo", "up")

    def end(self):
        self.holder.stdin.close()
        self.holder.wait(harness.TIMEOUT)
        self.holder.stdout.close()

    def run(self, *args, check=True):
        return self.case.run_tool(*self.words, *args, check=check)

    def start(self, *args):
        program = harness.Program(*self.words, *args)
        self.case.programs.append(program)
        return program

    def take(self, name, *addresses, mtu=None):
        """Move an interface of ours in and give it addresses."""
        self.case.run_tool("ip", "link", "set", name, "netns", str(self.holder.pid))
        if mtu:
            self.run("ip", "link", "set", name, "mtu", mtu)
        for address in addresses:
            self.run("ip", "address", "add", address, "dev", name)
        self.run("ip", "link", "set", name, "up")

    def offloads(self, name, on):
        """Checksums and segmentation of TCP on this interface: left to the other end, or done by this kernel."""
        word = "on" if on else "off"
        self.run("ethtool", "-K", name, "tx", word, "tso", word, "gso", word, "gro", word)
