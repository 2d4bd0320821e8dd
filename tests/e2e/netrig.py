# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of the network driver share: Debian's testpmd with our plug-in, hugepages, captures, the host's counts."""
import collections
import os
import re
import shutil
import socket
import stat
import struct
import subprocess
import tempfile

import harness
from hosts import Control

HUGE = "/sys/kernel/mm/hugepages/hugepages-2048kB/"
CPUS = ",".join(map(str, sorted(os.sched_getaffinity(0))))
HUGE_PAGES = 160  # for one testpmd


def read_number(path):
    with open(path, encoding="ascii") as file:
        return int(file.read())


def reserve_huge(case, pages):
    """Have so many pages free until the test ends; False when this machine does not let us."""
    try:
        total, free = read_number(HUGE + "nr_hugepages"), read_number(HUGE + "free_hugepages")
        if free < pages:
            with open(HUGE + "nr_hugepages", "w", encoding="ascii") as file:
                file.write(str(total + pages - free))
            case.addCleanup(give_back, total)
        return read_number(HUGE + "free_hugepages") >= pages
    except OSError:
        return False


def give_back(total):
    with open(HUGE + "nr_hugepages", "w", encoding="ascii") as file:
        file.write(str(total))


def loadable(case):
    """The plug-in in a folder that EAL accepts: none of those above it is writable for everybody."""
    plugin = os.path.join(harness.BUILD, "lib", "librte_net_hvnet.so")
    if not os.path.exists(plugin):
        case.skipTest("librte_net_hvnet.so was not built (scripts/setup dpdk; not with sanitizers)")
    folder = os.path.dirname(os.path.realpath(plugin))
    while folder != "/":
        if os.stat(folder).st_mode & stat.S_IWOTH:
            home = tempfile.mkdtemp(prefix="hv-plugin-", dir=os.path.expanduser("~"))
            case.addCleanup(shutil.rmtree, home, ignore_errors=True)
            return shutil.copy(plugin, home)
        folder = os.path.dirname(folder)
    return plugin


class Testpmd(harness.Program):
    """dpdk-testpmd at its prompt; command() returns what it answered."""

    def __init__(self, tool, plugin, vdevs, app, huge):
        memory = ["--in-memory"] if huge else ["--no-huge", "--no-shconf"]
        words = ["stdbuf", "-oL", tool, "--lcores", f"0@({CPUS}),1@({CPUS})", "--no-pci", *memory,
                 "-m", "256", "--no-telemetry", "-d", plugin]
        for vdev in vdevs:
            words += ["--vdev", vdev]
        super().__init__(*words, "--", "-i", "--total-num-mbufs=16384", *app, stdin=subprocess.PIPE)

    def command(self, line):
        # What is no command is answered by a line: then all of the answer before it has come.
        start = self.mark()
        self.process.stdin.write(line + "\nendofanswer\n")
        self.process.stdin.flush()
        self.wait_for(r"Command not found|Bad arguments: endof", after=start)
        with self.changed:
            return "\n".join(text for _, text in self.lines[start:])

    def stats(self, port=0):
        text = self.command(f"show port stats {port}")
        return collections.Counter({key.lower().replace("-", "_"): int(value)
                                    for key, value in re.findall(r"([RT]X-\w+):\s+(\d+)", text)})

    def xstats(self, port=0):
        return {key: int(value) for key, value in
                re.findall(r"^(\w+): (\d+)$", self.command(f"show port xstats {port}"), re.M)}

    def forward(self, mode, start="start"):
        self.command(f"set fwd {mode}")
        return self.command(start)

    def quit(self):
        if self.process.poll() is None:
            self.process.stdin.write("stop\nquit\n")
            self.process.stdin.close()
        return self.wait()


class NetCase(harness.Case):
    """Tests with an hv-host that has NICs."""

    def nic_host(self, *nics, args=()):
        host = self.host("--control", self.path("control"), *args, *[w for n in nics for w in ("--nic", n)])
        host.control = Control(self.path("control"))
        self.addCleanup(host.control.close)
        return host

    def counts(self, host, nic=0):
        return next(n for n in host.control("nic-stats")["nics"] if n["nic"] == nic)

    def instances(self, host):
        return [n["instance"] for n in host.control("nic-list")["nics"]]

    def pmd(self, host, *devargs, app=(), ports=None, huge=None):
        """A testpmd with one port for each NIC of the host, or those in `ports`."""
        tool = self.tool("dpdk-testpmd")
        plugin = loadable(self)
        if huge is None:
            huge = reserve_huge(self, HUGE_PAGES)
        names = ports or self.instances(host)
        vdevs = [",".join((f"net_hvnet{i}", f"addr={host.address},{name}", *devargs)) for i, name in enumerate(names)]
        program = Testpmd(tool, plugin, vdevs, app, huge)
        self.programs.append(program)
        program.wait_for(r"preferred mempool ops selected")
        return program

    def settle(self, look, what):
        """Until two looks in a row are alike: nothing moves any more.  The last one."""
        seen = []

        def still():
            seen.append(look())
            return len(seen) > 2 and seen[-1] == seen[-2] == seen[-3]

        harness.until(still, what)
        return seen[-1]


# ---- Captures ----

def write_pcap(path, frames):
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHIIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
        for i, frame in enumerate(frames):
            file.write(struct.pack("<IIII", i, 0, len(frame), len(frame)) + frame)
    return path


def read_pcap(path):
    with open(path, "rb") as file:
        data = file.read()
    magic = struct.unpack_from("<I", data)[0]
    assert magic in (0xa1b2c3d4, 0xa1b23c4d), f"{magic:x} is no pcap"
    at, frames = 24, []
    while at + 16 <= len(data):
        stored = struct.unpack_from("<I", data, at + 8)[0]
        frames.append(data[at + 16:at + 16 + stored])
        at += 16 + stored
    return frames


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def udp4(size, flow=0, to=b"\x02\x00\x00\x00\x00\x01", sender=b"\x02\x00\x00\x00\x00\x02", vlan=None, bad_sum=False):
    """An Ethernet frame of `size` bytes with IPv4 and UDP, sums right unless asked otherwise."""
    tag = b"" if vlan is None else struct.pack(">HH", 0x8100, vlan)
    length = size - 14 - len(tag)
    payload = bytes((flow + i) & 0xff for i in range(length - 28))
    source, dest = socket.inet_aton(f"198.18.{flow >> 8 & 0xff}.{flow & 0xff}"), socket.inet_aton("198.19.0.1")
    ports = struct.pack(">HHH", 1024 + flow, 9, length - 20)
    total = checksum(source + dest + struct.pack(">HH", 17, length - 20) + ports + b"\0\0" + payload) or 0xffff
    udp = ports + struct.pack(">H", total ^ (0x5555 if bad_sum else 0)) + payload
    ip = struct.pack(">BBHHHBBH", 0x45, 0, length, 0, 0, 64, 17, 0) + source + dest
    ip = ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:]
    return to + sender + tag + b"\x08\x00" + ip + udp


def pseudo4(ip, length):
    return ip[12:20] + struct.pack(">HH", ip[9], length)


def tcp4(payload, sequence=1000, to=b"\x02\x00\x00\x00\x00\x01", sender=b"\x02\x00\x00\x00\x00\x02"):
    """An Ethernet frame with IPv4 and TCP, sums right."""
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 40 + len(payload), 0, 0, 64, 6, 0) + bytes((198, 18, 0, 1, 198, 19, 0, 1))
    ip = ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:]
    tcp = struct.pack(">HHIIBBHHH", 1024, 9, sequence, 0, 0x50, 0x18, 1000, 0, 0)
    total = checksum(pseudo4(ip, len(tcp) + len(payload)) + tcp + payload)
    return to + sender + b"\x08\x00" + ip + tcp[:16] + struct.pack(">H", total) + tcp[18:] + payload


def split_tcp4(frame):
    """Sequence number and payload of a frame of tcp4(); its sums must be right."""
    ip = frame[14:34]
    segment = frame[34:14 + int.from_bytes(ip[2:4], "big")]
    assert checksum(ip) == 0, "sum of the IP header"
    assert checksum(pseudo4(ip, len(segment)) + segment) == 0, "sum of the segment"
    return int.from_bytes(segment[4:8], "big"), segment[20:]
