# SPDX-License-Identifier: BSD-3-Clause
"""Ports for dpdk-testpmd, each pair of them one process a core: ours, DPDK's own netvsc PMD on the same host, and peers.

A `Pair` is a list of processes in their order of start; the rate is read from one of them.  Everything runs in shared
memory and on Unix sockets, or on a veth pair and a tap in a network namespace made for the purpose.
"""
import os
import re
import signal
import subprocess
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LAUNCH = os.path.join(HERE, "..", "..", "tests", "interop", "launch")
NAMESPACE = "hv-bench-net"
INSTANCE = "f8615163-0000-4000-8000-000000000001"


def testpmd(cpu, tag, mode, frame, ports, eal=(), app=(), queues=1):
    command = ["dpdk-testpmd", "--lcores", f"0@{cpu},1@{cpu}", "--no-pci", "--file-prefix", f"hvbench{tag}",
               "-m", "256", *eal]
    for port in ports:
        command += ["--vdev", port]
    command += ["--", f"--forward-mode={mode}", "--nb-cores=1", "--stats-period=1", "--total-num-mbufs=16384",
                "--no-lsc-interrupt", f"--rxq={queues}", f"--txq={queues}"]
    if mode == "txonly" or "--tx-first" in app:
        command.append(f"--txpkts={frame}")
    return command + list(app)


LOOP = ["--port-topology=loop", "--no-flush-rx"]


class Plan:
    """What to start, and whose rate counts."""

    def __init__(self, processes, reader, column, namespace=False, host=None):
        self.processes, self.reader, self.column = processes, reader, column
        self.namespace, self.host = namespace, host


def vmbus(args, work, stock, direction, frame, queues, options):
    """hv-host on CPU 1, a guest on CPU 0: ours as a vdev, or the stock driver through the preload library."""
    sock = os.path.join(work, "host.sock")
    link = {"tx": "sink", "rx": f"source:{frame}", "io": "loop"}[direction]
    host = [os.path.join(args.build, "bin", "hv-host"), "--listen", sock, "--control", os.path.join(work, "host.ctl"),
            "--nic", f"{link},queues={queues},monitor,packets-per-message=32", "--poll", "--cpus", "1", "--workers", "1"]
    mode = {"tx": "txonly", "rx": "rxonly", "io": "io"}[direction]
    app = ["--tx-first"] + LOOP if direction == "io" else []
    if stock:
        guest = [LAUNCH, sock, os.path.join(args.build, "tests", "libhv_uio_preload.so")]
        guest += testpmd(0, "g", mode, frame, [], ["--iova-mode=pa", "--single-file-segments"], app, queues)
    else:
        plugin = os.path.join(args.build, "lib", "librte_net_hvnet.so")
        guest = testpmd(0, "g", mode, frame, [f"net_hvnet0,addr=unix:{sock}{options}"],
                        ["-d", plugin, "--single-file-segments"], app, queues)
    return Plan([host, guest], 1, "Tx-pps" if direction == "tx" else "Rx-pps", host=os.path.join(work, "host.ctl"))


def memif(work, direction, frame):
    base = f"id=0,socket-abstract=no,socket={work}/memif.sock,bsize=2048,rsize=11"
    server, client = f"net_memif0,role=server,{base}", f"net_memif0,role=client,{base}"
    eal = ["--single-file-segments"]
    if direction == "io":
        return Plan([testpmd(1, "a", "io", frame, [server], eal, LOOP),
                     testpmd(0, "b", "io", frame, [client], eal, ["--tx-first"] + LOOP)], 1, "Rx-pps")
    if direction == "tx":
        return Plan([testpmd(1, "a", "rxonly", frame, [server], eal),
                     testpmd(0, "b", "txonly", frame, [client], eal)], 0, "Rx-pps")
    return Plan([testpmd(1, "a", "txonly", frame, [server], eal),
                 testpmd(0, "b", "rxonly", frame, [client], eal)], 1, "Rx-pps")


def virtio(work, direction, frame):
    vhost = f"net_vhost0,iface={work}/vhost.sock,queues=1"
    user = (f"net_virtio_user0,path={work}/vhost.sock,queues=1,queue_size=1024,packed_vq=1,"
            "mrg_rxbuf=0,in_order=1")
    eal, app = ["--single-file-segments"], ["--txd=1024", "--rxd=1024"]
    if direction == "tx":
        return Plan([testpmd(1, "a", "rxonly", frame, [vhost], eal, app),
                     testpmd(0, "b", "txonly", frame, [user], eal, app)], 0, "Rx-pps")
    return Plan([testpmd(1, "a", "txonly", frame, [vhost], eal, app),
                 testpmd(0, "b", "rxonly", frame, [user], eal, app)], 1, "Rx-pps")


AF = "framecnt=4096,blocksz=65536,framesz=2048,qpairs=1"


def af_packet(frame):
    return Plan([testpmd(1, "a", "rxonly", frame, [f"net_af_packet0,iface=hvbench1,{AF}"]),
                 testpmd(0, "b", "txonly", frame, [f"net_af_packet0,iface=hvbench0,{AF}"])], 0, "Rx-pps", True)


def tap(frame):
    return Plan([testpmd(0, "b", "txonly", frame, ["net_tap0,iface=hvbenchtap"]),
                 testpmd(1, "a", "rxonly", frame, [f"net_af_packet0,iface=hvbenchtap,{AF}"])], 1, "Rx-pps", True)


def plan(args, work, name):
    """`name`: kind/direction/frame[/queues], e.g. hvnet/tx/64/1, hvnet-single/tx/64, memif/io/64."""
    kind, direction, frame, *rest = name.split("/")
    frame, queues = int(frame), int(rest[0]) if rest else 1
    if kind == "netvsc" or kind.startswith("hvnet"):
        options = (",aggregate=1" if kind.endswith("-single") else "") + (",tx_copybreak=64" if "-page" in kind else "")
        return vmbus(args, work, kind == "netvsc", direction, frame, queues, options)
    if kind == "memif":
        return memif(work, direction, frame)
    if kind == "virtio":
        return virtio(work, direction, frame)
    return tap(frame) if kind == "tap" else af_packet(frame)


# ---- Running ----


class Failed(RuntimeError):
    pass


def _wait_for(condition, seconds, what, processes):
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        for process in processes:
            if process.poll() is not None:
                raise Failed(f"{what}: a process ended with status {process.returncode}")
        if time.monotonic() > deadline:
            raise Failed(f"{what}: nothing within {seconds} s")
        pause.wait(0.02)


def _read(path):
    with open(path, errors="replace") as handle:
        return handle.read()


def _ready(command, log, work):
    """The next process needs this one's socket or interface."""
    def done():
        text = _read(log)
        return ("ready unix:" in text or "Configuring Port" in text or "Port 0:" in text or
                any(os.path.exists(os.path.join(work, name)) for name in ("memif.sock", "vhost.sock")))
    return done


def rates(text, column):
    """Of each second; the first one is a start."""
    return [int(value) for value in re.findall(rf"{column}:\s+(\d+)", text)][1:]


def run(the_plan, work, seconds, on_running=None):
    """Returns the rates of the reader's seconds."""
    processes, logs = [], []
    for name in ("memif.sock", "vhost.sock"):
        if os.path.exists(os.path.join(work, name)):
            os.unlink(os.path.join(work, name))
    try:
        for index, command in enumerate(the_plan.processes):
            if the_plan.namespace:
                command = ["ip", "netns", "exec", NAMESPACE] + command
            log = os.path.join(work, f"p{index}.log")
            logs.append(log)
            with open(log, "w") as handle:
                processes.append(subprocess.Popen(["stdbuf", "-oL"] + command, stdin=subprocess.DEVNULL,
                                                  stdout=handle, stderr=handle))
            _wait_for(_ready(command, log, work), 20, " ".join(command[:3]), processes)
        reader = logs[the_plan.reader]
        _wait_for(lambda: any(rates(_read(reader), the_plan.column)), 30, "no packets", processes)
        start = len(rates(_read(reader), the_plan.column))
        extra = on_running() if on_running else None
        _wait_for(lambda: len(rates(_read(reader), the_plan.column)) >= start + seconds, 30 + 3 * seconds,
                  "the statistics stopped", processes)
        result = rates(_read(reader), the_plan.column)[start:]
        return result, (extra, on_running() if on_running else None)
    except Failed as error:
        tails = "\n".join(f"--- {log}\n{_read(log)[-1500:]}" for log in logs)
        raise Failed(f"{error}\n{tails}") from None
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGINT)
        for process in processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


# ---- What the machine lends ----

POOL = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"


class Machine:
    """Huge pages, a place to mount them, a namespace; all put back."""

    def __init__(self, pages, namespace):
        self.pages, self.namespace = pages, namespace
        self.before, self.mounted = None, False

    def __enter__(self):
        with open(POOL) as handle:
            self.before = int(handle.read())
        self._pool(max(self.before, self.pages))
        if not any(" hugetlbfs " in line for line in open("/proc/mounts")):
            os.makedirs("/dev/hugepages", exist_ok=True)
            subprocess.run(["mount", "-t", "hugetlbfs", "nodev", "/dev/hugepages"], check=True)
            self.mounted = True
        if self.namespace:
            self._namespace()
        return self

    def _pool(self, pages):
        with open(POOL, "w") as handle:
            handle.write(str(pages))

    def _namespace(self):
        def ip(*words, check=True):
            subprocess.run(["ip", *words], check=check, capture_output=True)
        ip("netns", "del", NAMESPACE, check=False)
        ip("netns", "add", NAMESPACE)
        for name in ("all", "default"):
            subprocess.run(["ip", "netns", "exec", NAMESPACE, "sysctl", "-q", "-w",
                            f"net.ipv6.conf.{name}.disable_ipv6=1"], check=False, capture_output=True)
        ip("-n", NAMESPACE, "link", "add", "hvbench0", "type", "veth", "peer", "name", "hvbench1")
        for device in ("lo", "hvbench0", "hvbench1"):
            ip("-n", NAMESPACE, "link", "set", device, "up")

    def __exit__(self, *_):
        if self.namespace:
            subprocess.run(["ip", "netns", "del", NAMESPACE], check=False, capture_output=True)
        if self.mounted:
            subprocess.run(["umount", "/dev/hugepages"], check=False)
        self._pool(self.before)
