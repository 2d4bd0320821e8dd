# SPDX-License-Identifier: BSD-3-Clause
"""Boots guests for tests and reports what the script in them found.

    class Ublk(guest.Case):
        def test_ublk(self):
            self.boot("ublk.sh", programs=["hvblk-daemon"], tools=["fio", "mkfs.ext4"], modules=["ublk_drv", "ext4"])

The script's functions test_NAME become the results of the test (tests/vm/guest/functions says what they can use).  The
test fails with any of them, with one that gave no result, with a core dump, and with a complaint of the kernel.  What
the script keeps is in the folder that boot() returns; that folder stays until the next run: build/vm/FILE.TEST/.

nested() boots the script one level deeper: in a guest of QEMU's own VMBus host, which runs in a Linux with KVM, which
runs on an emulated processor.
"""
import atexit
import fcntl
import glob
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "e2e")]
import cache  # noqa: E402
import harness  # noqa: E402
import image  # noqa: E402

LIMIT = float(os.environ.get("HV_VM_LIMIT", "300"))  # seconds for one guest
ONLY = os.environ.get("HV_VM_ONLY", "")  # of the test_NAME in the script, those that match this expression
MIB = 1 << 20
SPARE_MIB = 256  # what QEMU itself takes
KVM_CREATE_VM = 0xAE01
COMPLAINT = re.compile(r"\b(BUG|Oops|Call Trace|WARNING: CPU|Kernel panic|soft lockup|hung_task|blocked for more than|"
                       r"general protection fault|refcount_t|Out of memory)\b")
# QEMU's balloon and VMBus: what Linux must see to take it for Hyper-V (kvm=off hides KVM's own signature).
BALLOON_CLASS = "525074dc-8985-46e2-8057-a307dc18a502"
BALLOON = "1eccfd72-4b41-45ef-b73a-4a6e44c12924"
HYPERV_CPU = "EPYC,kvm=off,hv-relaxed,hv-vapic,hv-time,hv-vpindex,hv-runtime,hv-synic,hv-stimer"
FIRMWARE = ("/usr/share/seabios/bios-256k.bin", "/usr/share/qemu/kvmvapic.bin", "/usr/share/qemu/linuxboot_dma.bin")
QUIET = ["-nodefaults", "-no-user-config", "-display", "none", "-nic", "none", "-no-reboot", "-machine", "q35"]


def kvm_usable():
    """Whether this machine's processor runs guests itself.  HV_VM_ACCEL=tcg or kvm overrules."""
    if os.environ.get("HV_VM_ACCEL"):
        return os.environ["HV_VM_ACCEL"] == "kvm"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        if not re.search(r"^flags.*\b(vmx|svm)\b", file.read(), re.M):
            return False
    try:
        device = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.close(fcntl.ioctl(device, KVM_CREATE_VM, 0))
        return True
    except OSError:
        return False
    finally:
        os.close(device)


def free_mib():
    with open("/proc/meminfo", encoding="utf-8") as file:
        return int(re.search(r"MemAvailable:\s+(\d+)", file.read())[1]) >> 10


def wish(script):
    """The names of the tests in a script, in their order."""
    names = re.findall(r"^(test_\w+)\(\)", script, re.M)
    return [name for name in names if re.search(ONLY, name)]


class Outcome:
    """What a guest left: its console, and a folder with its files."""

    def __init__(self, folder, console, end):
        self.folder, self.console = folder, console
        self.end = end  # how the machine ended, where it did not power off by itself
        self.results = {}  # name -> (verdict, seconds, reason)
        for line in self.read("results").splitlines():
            verdict, name, seconds, reason = (line + " ").split(" ", 3)
            self.results[name] = (verdict, float(seconds), reason.strip())
        self.times = dict(line.split() for line in self.read("times").splitlines())

    def path(self, name):
        return os.path.join(self.folder, name)

    def read(self, name):
        try:
            with open(self.path(name), encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def said(self, name):
        """The part of the console that belongs to one test."""
        match = re.search(rf"^== {name}$(.*?)^== ", self.console + "\n== end\n", re.M | re.S)
        return match[1].strip() if match else ""


class Case(unittest.TestCase):
    """A test with guests."""

    maxDiff = None

    def setUp(self):
        try:
            self.base = cache.base()
        except cache.Unavailable as error:
            self.skipTest(str(error))
        self.name = f"{os.path.splitext(os.path.basename(sys.argv[0]))[0]}.{self._testMethodName.removeprefix('test_')}"
        self.folder = os.path.join(harness.BUILD, "vm", self.name)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        self.work = os.path.join(self.folder, "work")  # images: large, and of no use afterwards
        os.mkdir(self.work)
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)

    # -- what tests call

    def boot(self, script, programs=(), tools=(), modules=(), files=None, settings=None, memory=512, cpus=1,
             cpu=None, allow=None, limit=LIMIT):
        """Boot a guest, run tests/vm/SCRIPT in it, report its tests; the Outcome.

        programs  ours, of build/bin or build/tests, or by absolute path
        tools     the distribution's (cache.PACKAGES), by name or by absolute path; a folder is taken whole
        modules   kernel modules to have for modprobe, with those that they need; the script loads them
        files     {path in the guest: path on this machine}
        settings  {name: value}: shell variables of the script
        memory    MiB; the files of the guest live in it, too
        allow     complaints of the kernel with this expression are expected
        limit     seconds until the guest is ended
        """
        text = self._script(script)
        initrd = self._image("guest", text, programs, tools, modules, files, settings)
        outcome = self._run("guest", initrd, memory, cpus, cpu, limit)
        self._report(outcome, text, outcome.console, allow)
        return outcome

    def nested(self, script, programs=(), tools=(), modules=(), files=None, settings=None, memory=512, cpus=1,
               devices=("vmbus-bridge", f"hv-balloon,instanceid={BALLOON}"), allow=None, limit=LIMIT):
        """As boot(), but in a guest of QEMU's VMBus host, which has these devices.  modules: hv_vmbus and so on.

        The script may append QMP commands to /out/monitor; what QEMU says appears in /out/monitor.said.
        """
        text = self._script(script)
        inner = self._image("inner", text, programs, tools, modules, files,
                            {"BALLOON": BALLOON, "BALLOON_CLASS": BALLOON_CLASS, **(settings or {})})
        command = ["qemu-system-x86_64", *QUIET, "-accel", "kvm", "-cpu", HYPERV_CPU, "-smp", cpus, "-m", memory,
                   "-serial", "file:/out/inner/console", "-chardev", "pipe,id=monitor,path=/run/monitor",
                   "-mon", "chardev=monitor,mode=control", "-kernel", "/hv/kernel", "-initrd", "/hv/inner",
                   "-append", "console=ttyS0 panic=-1 quiet", *self._share("/out/inner/out")]
        for device in devices:
            command += ["-device", device]
        outer = self._image("outer", self._script("outer.sh"), (), ("qemu-system-x86_64", *FIRMWARE), ("kvm-amd",),
                            {"/hv/kernel": self.base.kernel, "/hv/inner": inner},
                            {"HV_ONLY": "", "INNER": " ".join(shlex.quote(str(word)) for word in command)})
        both = self._run("outer", outer, memory + 1024, max(cpus, 2), "EPYC,+svm,+npt", limit, kvm=False)
        inner_out = Outcome(both.path("inner/out"), both.read("inner/console"), both.end)
        if not inner_out.console:
            self.fail(f"the inner guest never spoke; the outer one said:\n{self._tail(both.console)}")
        self._report(inner_out, text, inner_out.console + both.console, allow)
        self.assertEqual(both.results.get("test_inner", ("nothing",))[0], "pass", self._tail(both.console))
        return inner_out

    # -- how it is done

    def _script(self, name):
        with open(os.path.join(HERE, name), encoding="utf-8") as file:
            return file.read()

    def _image(self, name, script, programs, tools, modules, files, settings):
        """The initramfs: what the cache has packed, and behind it what belongs to this test."""
        own = image.Image(self.base)
        for program in programs:
            places = [program, *(os.path.join(harness.BUILD, d, program) for d in ("bin", "tests"))]
            found = next((p for p in places if os.path.isabs(p) and os.path.exists(p)), None)
            if not found:
                self.fail(f"{program} is not built")
            own.program(found)
        for path, source in (files or {}).items():
            own.file(path, source)
        own.text("/hv/script", script)
        values = {"HV_ONLY": ONLY, **(settings or {})}
        own.text("/hv/settings", "".join(f"{key}={shlex.quote(str(value))}\n" for key, value in values.items()))
        over = os.path.join(self.work, f"{name}.over")
        own.write(over)
        return image.join(os.path.join(self.work, name), image.packed(self.base, tools, modules), over)

    @staticmethod
    def _share(path):
        return ["-fsdev", f"local,id=out,path={path},security_model=none",
                "-device", "virtio-9p-pci,fsdev=out,mount_tag=out"]

    def _run(self, name, initrd, memory, cpus, cpu, limit, kvm=None):
        if free_mib() < memory + SPARE_MIB:
            self.skipTest(f"a guest of {memory} MiB needs more memory than the {free_mib()} MiB that are free")
        out = os.path.join(self.folder, "out")
        os.makedirs(os.path.join(out, "inner/out"))
        if kvm is None:
            kvm = kvm_usable()
        accel = ["-accel", "kvm", "-cpu", "host"] if kvm else ["-accel", "tcg,thread=multi", "-cpu", cpu or "max"]
        share = self.base.path + "/usr/share"
        start = time.monotonic()
        program = harness.Program(
            *self.base.command("qemu-system-x86_64"), "-L", f"{share}/qemu", "-L", f"{share}/seabios", *QUIET,
            "-monitor", "none", *accel, "-smp", cpus, "-m", memory, "-serial", "stdio", "-kernel", self.base.kernel,
            "-initrd", initrd, "-append", "console=ttyS0 panic=-1 quiet", *self._share(out))
        atexit.register(_end, program)
        try:
            end = f"exit code {code}" if (code := program.wait(limit)) else ""
        except AssertionError:
            end = f"it had to be ended at the limit of {limit:g} s"
        finally:
            _end(program)
            console = program.output().replace("\r", "")
            with open(os.path.join(self.folder, f"{name}.console"), "w", encoding="utf-8") as file:
                file.write(console + "\n")
        outcome = Outcome(out, console, end)
        print(f"{self.name}: {'KVM' if kvm else 'emulated'}, {cpus} processors, user space after "
              f"{outcome.times.get('up', 'never:')} s, result after {time.monotonic() - start:.1f} s {end}", flush=True)
        return outcome

    def _report(self, outcome, script, console, allow):
        """Each test of the script is a test of its own in the report."""
        names = wish(script)
        self.assertTrue(names, "the script has no tests")
        for name in names:
            verdict, seconds, reason = outcome.results.get(name, ("nothing", 0, ""))
            with self.subTest(name.removeprefix("test_")):
                print(f"  {verdict:7} {name.removeprefix('test_')} {seconds} s {reason}", flush=True)
                if verdict == "skip":  # of one part; skipTest() would be taken for the whole
                    print(f"skipped: {name.removeprefix('test_')}: {reason}", flush=True)
                elif verdict == "nothing":
                    self.fail(f"the guest did not come to it; its last words:\n{self._tail(console)}")
                elif verdict != "pass":
                    self.fail(f"in the guest:\n{outcome.said(name)}")
        with self.subTest("end"):
            self.assertFalse(outcome.end, f"{outcome.end}; its last words:\n{self._tail(console)}")
        with self.subTest("kernel"):
            seen = set((outcome.read("dmesg") + "\n" + console).splitlines())
            bad = [line for line in seen if COMPLAINT.search(line) and not (allow and re.search(allow, line))]
            self.assertFalse(bad, f"the kernel complained:\n{outcome.read('dmesg')[-6000:] or self._tail(console)}")
        with self.subTest("core dumps"):
            cores = glob.glob(os.path.join(outcome.folder, "core.*"))
            self.assertFalse(cores, "\n".join(_backtrace(core) for core in cores))

    @staticmethod
    def _tail(console):
        return "\n".join(console.splitlines()[-40:])


def _end(program):
    if program.process.poll() is None:
        program.kill()


def _backtrace(core):
    """Where a program died, when gdb is there."""
    match = re.fullmatch(r"core\.(.+)\.\d+", os.path.basename(core))
    programs = [p for p in glob.glob(os.path.join(harness.BUILD, "*", match[1] + "*"))
                if os.path.isfile(p) and os.access(p, os.X_OK)]
    if not shutil.which("gdb") or not programs:
        return core
    run = subprocess.run(["gdb", "-batch", "-nx", "-ex", "thread apply all bt 12", programs[0], core],
                         capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return f"{core}\n{run.stdout[-4000:]}"


main = harness.main
