#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What guests are made of: a kernel 6.12, QEMU 10 and programs of the distribution, unpacked into a cache folder.

Nothing is installed.  apt finds, downloads and verifies the packages, with the sources that the machine has (and the
backports beside them), into folders of its own; dpkg-deb unpacks them.

    cache.py           fetch what is missing; print the folder (exit code 77: not possible, and why)
    cache.py --forget  remove the cache

HV_VM_CACHE says where it is; default ${XDG_CACHE_HOME:-~/.cache}/libvmbus/vm.
"""
import contextlib
import fcntl
import glob
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time

FORMAT = 2  # of the cache; another number starts afresh
SKIPPED = 77
KEEP_DAYS = 7  # then newer versions are looked up; without a network the old ones still serve
NEED_BYTES = 2 << 30
FAILED_SECONDS = 1800  # so long nobody but this program itself tries again: a network may take minutes to be missing
KERNEL = re.compile(r"linux-image-6\.12\.[0-9.]+(\+[a-z0-9.]+)?-amd64$")
QEMU_MIN = (8, 2)  # the first with hv-balloon
# With all that they depend on.  A test that needs another program adds its package here.
PACKAGES = """qemu-system-x86 seabios busybox-static dash e2fsprogs xfsprogs util-linux fdisk fio nbd-client nbdkit libnbd-bin
kmod procps""".split()
USELESS = ("doc", "man", "locale", "info", "perl", "lintian")  # below /usr/share
# From the backports also where the release has an older one.
PINNED = "src:qemu src:seabios"


class Unavailable(Exception):
    """Guests cannot be made on this machine; the text says why."""


def folder():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.abspath(os.environ.get("HV_VM_CACHE") or os.path.join(base, "libvmbus", "vm"))


def codename():
    with open("/etc/os-release", encoding="utf-8") as file:
        fields = dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
    name = fields.get("VERSION_CODENAME", "").strip('"')
    if fields.get("ID", "").strip('"') != "debian" or not name:
        raise Unavailable("guests are made of Debian packages, and this is no Debian")
    return name


def _suites(wanted, release):
    """Those of a source that are the release or its updates; with its backports where the release itself is."""
    kept = [s for s in wanted if re.fullmatch(re.escape(release) + r"(-updates|-security|-backports|/updates)?", s)]
    if release in kept and f"{release}-backports" not in kept:
        kept.append(f"{release}-backports")
    return kept


def _one_line(text, release):
    """Sources of the one-line form, rewritten."""
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+([^#]+)", line)
        if match and "main" in match[4].split():
            for suite in _suites([match[3]], release):
                yield f"deb {match[1] or ''}{match[2]} {suite} main"


def _stanzas(text, release):
    """Sources of the deb822 form, rewritten; fields that we do not know (Signed-By, also with a key in it) stay."""
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", plain):
        fields = {name.lower(): value.strip() for name, value in
                  re.findall(r"^([A-Za-z-]+):(.*(?:\n[ \t].*)*)", stanza, re.M)}
        suites = _suites(fields.get("suites", "").split(), release)
        if "deb" not in fields.get("types", "").split() or not suites or fields.get("enabled", "yes").lower() == "no":
            continue
        if "main" in fields.get("components", "").split():
            fields.update(types="deb", suites=" ".join(suites), components="main")
            yield "\n".join(f"{name}: {value}" for name, value in fields.items()) + "\n"


def sources(etc, release):
    """(lines, stanzas): the machine's apt sources for its release, with the backports."""
    lines, stanzas = [], []
    for path in [os.path.join(etc, "sources.list"), *sorted(glob.glob(os.path.join(etc, "sources.list.d", "*")))]:
        if not os.path.isfile(path) or not path.endswith((".list", ".sources")):
            continue
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        if path.endswith(".list"):
            lines += _one_line(text, release)
        else:
            stanzas += _stanzas(text, release)
    if not lines and not stanzas:
        raise Unavailable(f"no apt source of {release} with component main in {etc}")
    return lines, stanzas


class Apt:
    """apt with every file of its own below one folder: the machine's lists and packages are not touched.

    It inherits the lock: a run that is killed leaves it held until its apt has ended, too.
    """

    def __init__(self, home, lock):
        self.home = home
        self.lock = lock
        for name in ("parts", "lists/partial", "cache/archives/partial", "empty"):
            os.makedirs(os.path.join(home, name), exist_ok=True)
        lines, stanzas = sources("/etc/apt", codename())
        self._write("sources.list", "\n".join(lines) + "\n")
        self._write("parts/guests.sources", "\n".join(stanzas))
        self._write("status", "")  # nothing is installed: so dependencies are complete
        self._write("preferences", f"Package: {PINNED}\nPin: release n=*-backports\nPin-Priority: 990\n")
        options = {
            "Dir::Etc::SourceList": "sources.list", "Dir::Etc::SourceParts": "parts", "Dir::State::Lists": "lists",
            "Dir::Cache": "cache", "Dir::State::status": "status", "Dir::State::extended_states": "extended",
            "Dir::Etc::Preferences": "preferences", "Dir::Etc::PreferencesParts": "empty", "Dir::Log": "empty",
        }
        self.options = [f"-o{key}={os.path.join(home, value)}" for key, value in options.items()]
        self.options += ["-oAPT::Install-Recommends=0", "-oAPT::Sandbox::User=", "-oDebug::NoLocking=1", "-qq",
                         "-oAcquire::Retries=2", "-oAcquire::http::Timeout=30", "-oAcquire::https::Timeout=30",
                         "-oAcquire::Languages=none"]

    def _write(self, name, text):
        with open(os.path.join(self.home, name), "w", encoding="utf-8") as file:
            file.write(text)

    def run(self, tool, *words, cwd=None):
        run = subprocess.run([tool, *self.options, *words], capture_output=True, text=True, check=False, cwd=cwd or self.home,
                             stdin=subprocess.DEVNULL, pass_fds=[self.lock],
                             env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"})
        if run.returncode:
            what = next(word for word in words if not word.startswith("-"))
            said = re.findall(r"^E: .*", run.stderr, re.M) or run.stderr.splitlines() or ["no reason given"]
            raise Unavailable(f"{tool} {what} failed: {said[0].strip()}")
        return run.stdout

    def newest_kernel(self):
        names = [n for n in self.run("apt-cache", "pkgnames", "linux-image-6.12").split() if KERNEL.match(n)]
        if not names:
            raise Unavailable("the apt sources have no kernel 6.12")
        return max(names, key=lambda name: [int(n) for n in re.findall(r"\d+", name.removesuffix("-amd64"))])

    def check_qemu(self):
        shown = self.run("apt-cache", "policy", "qemu-system-x86")
        version = re.search(r"Candidate: (?:\d+:)?(\d+)\.(\d+)", shown)
        if not version or (int(version[1]), int(version[2])) < QEMU_MIN:
            raise Unavailable("the apt sources have no QEMU 8.2 or newer; are the backports reachable?")

    def files(self, *words):
        """[(file name, size)] of what apt would download if it had nothing yet."""
        nothing = f"-oDir::Cache::archives={os.path.join(self.home, 'empty')}"
        listed = self.run("apt-get", nothing, "--print-uris", "-y", *words)
        return re.findall(r"^'[^']*' (\S+) (\d+)", listed, re.M)


class Base:
    """The unpacked packages: one merged tree as on an installed system."""

    def __init__(self, path, key):
        self.path, self.key = path, key
        kernels = glob.glob(os.path.join(path, "boot", "vmlinuz-*"))
        self.kernel = kernels[0]
        self.release = os.path.basename(self.kernel).removeprefix("vmlinuz-")
        self.libraries = ":".join(os.path.join(path, below) for below in ("usr/lib/x86_64-linux-gnu", "usr/lib"))
        self.loader = os.path.join(path, "usr/lib64/ld-linux-x86-64.so.2")

    def find(self, name):
        """Path below the tree of a program, or of a file named by its absolute path in the guest."""
        places = [name.lstrip("/")] if "/" in name else [f"usr/{d}/{name}" for d in ("sbin", "bin")]
        for place in places:
            if os.path.lexists(os.path.join(self.path, place)):
                return "/" + place
        raise FileNotFoundError(f"no {name} in the packages; PACKAGES of tests/vm/cache.py says which there are")

    def command(self, name):
        """Words that run a program of the tree on this machine, with its own C library."""
        return [self.loader, "--library-path", self.libraries, self.path + self.find(name)]


def _unpack(archives, target):
    for name in ("bin", "sbin", "lib", "lib64"):  # as on every installed Debian
        os.makedirs(os.path.join(target, "usr", name))
        os.symlink(f"usr/{name}", os.path.join(target, name))
    debs = sorted(glob.glob(os.path.join(archives, "*.deb")))
    for number, deb in enumerate(debs, 1):
        say(f"unpacking {number} of {len(debs)}", again=number < len(debs))
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as content:
            subprocess.run(["tar", "-x", "--keep-directory-symlink", "--no-same-owner", "-C", target,
                            *(f"--exclude=./usr/share/{useless}" for useless in USELESS)], stdin=content.stdout, check=True)
        if content.returncode:
            raise Unavailable(f"{os.path.basename(deb)} cannot be unpacked")


def say(text, again=False):
    """Progress; on a terminal the next one overwrites this."""
    if sys.stderr.isatty():
        print(f"\rguests: {text}\033[K", end="" if again else "\n", file=sys.stderr, flush=True)
    elif not again:
        print(f"guests: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _locked(path, how):
    with open(path, "a", encoding="utf-8") as file:
        fcntl.flock(file, how)
        yield file


def _fetch(home, lock):
    """Look up, download, unpack; the name of the tree.  Under the lock."""
    if shutil.disk_usage(home).free < NEED_BYTES:
        raise Unavailable(f"{home} has less than {NEED_BYTES >> 30} GiB free")
    apt = Apt(os.path.join(home, "apt"), lock)
    say("looking up the newest kernel 6.12 and QEMU")
    apt.run("apt-get", "-oAPT::Update::Error-Mode=any", "update")
    apt.check_qemu()
    kernel = apt.newest_kernel()
    install = ("install", "--download-only", *PACKAGES)
    files = apt.files(*install) + apt.files("download", kernel)
    key = hashlib.sha256(f"{FORMAT} {sorted(files)}".encode()).hexdigest()[:16]
    target = os.path.join(home, f"base-{key}")
    if os.path.isdir(target):
        return f"base-{key}"
    say(f"downloading {sum(int(size) for _, size in files) >> 20} MiB in {len(files)} packages, {kernel}")
    archives = os.path.join(apt.home, "cache/archives")
    apt.run("apt-get", "-y", *install)
    part = os.path.join(home, f"part-{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    try:
        # "download" puts it into the current folder, under its final name while it is incomplete: so not in archives.
        apt.run("apt-get", "download", kernel, cwd=_fresh(apt.home, "kernel"))
        for name in os.listdir(os.path.join(apt.home, "kernel")):
            os.replace(os.path.join(apt.home, "kernel", name), os.path.join(archives, name))
        _unpack(archives, part)
        os.rename(part, target)
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"{error.cmd[0]} failed: {str(error.stderr or '').strip()[-300:]}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(archives, ignore_errors=True)  # half a gigabyte less; the tree is what counts
    return f"base-{key}"


def _fresh(parent, name):
    path = os.path.join(parent, name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path


def _current(home):
    try:
        with open(os.path.join(home, "current.json"), encoding="utf-8") as file:
            current = json.load(file)
    except (OSError, ValueError):
        return None
    wanted = [FORMAT, PACKAGES, KERNEL.pattern]
    return current if current.get("wanted") == wanted and os.path.isdir(os.path.join(home, current["base"])) else None


def _remember(home, base):
    path = os.path.join(home, "current.json")
    with open(path + ".part", "w", encoding="utf-8") as file:
        json.dump({"base": base, "wanted": [FORMAT, PACKAGES, KERNEL.pattern], "looked": time.time()}, file)
    os.replace(path + ".part", path)


def _recent_failure(home):
    """Why the last attempt failed, if that was a moment ago."""
    path = os.path.join(home, "failed")
    try:
        if time.time() - os.stat(path).st_mtime < FAILED_SECONDS:
            with open(path, encoding="utf-8") as file:
                return file.read()
    except FileNotFoundError:
        pass
    return None


def _try(home, lock):
    """_fetch(), where a failure is remembered."""
    path = os.path.join(home, "failed")
    try:
        name = _fetch(home, lock)
    except Unavailable as error:
        with open(path, "w", encoding="utf-8") as file:
            file.write(str(error))
        raise
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    _remember(home, name)
    return name


def _sweep(home, keep):
    """Remove trees of the past that nobody uses, and what an interrupted run left."""
    for path in glob.glob(os.path.join(home, "part-*")):
        shutil.rmtree(path, ignore_errors=True)  # we have the lock: its maker is gone
    for path in glob.glob(os.path.join(home, "base-*")):
        if not os.path.isdir(path) or os.path.basename(path) == keep:
            continue
        with contextlib.suppress(BlockingIOError), _locked(path + ".lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(path, ignore_errors=True)
            os.unlink(path + ".lock")


_uses = []  # keeps the tree while this process runs


def base(insist=False):
    """The Base to make guests of, fetched first where missing.  Unavailable says why there is none.

    insist: also when the last attempt failed a moment ago.
    """
    if platform.machine() != "x86_64":
        raise Unavailable("guests are x86-64, and this machine is not")
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if not shutil.which(tool):
            raise Unavailable(f"no {tool}: guests are made of Debian packages")
    home = folder()
    try:
        os.makedirs(home, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"cannot make {home}: {error.strerror}") from error
    with _locked(os.path.join(home, "lock"), fcntl.LOCK_EX) as lock:
        current = _current(home)
        name = current and current["base"]
        if not current or time.time() - current["looked"] > KEEP_DAYS * 86400:
            try:
                if not insist and (reason := _recent_failure(home)):
                    raise Unavailable(reason)
                name = _try(home, lock.fileno())
            except Unavailable as error:
                if not current:
                    raise
                say(f"keeping what is there: {error}")
        _sweep(home, name)
        use = open(os.path.join(home, name + ".lock"), "a", encoding="utf-8")  # pylint: disable=consider-using-with
        fcntl.flock(use, fcntl.LOCK_SH)
        _uses.append(use)
    return Base(os.path.join(home, name), name)


def main():
    if sys.argv[1:] == ["--forget"]:
        shutil.rmtree(folder(), ignore_errors=True)
        return
    start = time.monotonic()
    try:
        found = base(insist=True)
    except Unavailable as error:
        print(f"skipped: {error}")
        sys.exit(SKIPPED)
    print(f"{found.path}: kernel {found.release}, ready after {time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    main()
