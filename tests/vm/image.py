# SPDX-License-Identifier: BSD-3-Clause
"""Packs initramfs files: our programs, the distribution's, their libraries, kernel modules, scripts.

An image is a cpio archive in the "newc" form, uncompressed (an emulated processor unpacks slowly).  The kernel takes
several behind one another, so what never changes is packed once, and what a test adds is put behind it.
"""
import glob
import hashlib
import lzma
import os
import re
import stat
import subprocess
import time

import cache

FORMAT = 1  # of packed images
KEEP_DAYS = 14
HERE = os.path.dirname(os.path.abspath(__file__))
OURS = "/hv/bin"
HOST_LOADER = "/lib64/ld-linux-x86-64.so.2"
# Every guest has these: a place for results outside of it, and what mounts it.
MODULES = ("9pnet_virtio", "9p")


def _libraries(command):
    """Absolute paths of the shared libraries that a program loads; none for a static one."""
    run = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    missing = re.findall(r"^\s*(\S+) => not found", run.stdout, re.M)
    if missing:
        raise FileNotFoundError(f"{command[-1]} needs {', '.join(missing)}")
    return re.findall(r"(?:=> |^\s*)(/\S+) \(0x", run.stdout, re.M)


class Image:
    """Paths of a guest and what they hold."""

    def __init__(self, base):
        self.base = base
        self.entries = {}  # path in the guest -> (mode, file on this machine or bytes)

    def folder(self, path):
        path = path.rstrip("/")
        if path and path not in self.entries:
            self.folder(os.path.dirname(path))
            self.entries[path] = (stat.S_IFDIR | 0o755, b"")

    def text(self, path, text, mode=0o644):
        self.folder(os.path.dirname(path))
        self.entries[path] = (stat.S_IFREG | mode, text.encode() if isinstance(text, str) else text)

    def link(self, path, target):
        self.folder(os.path.dirname(path))
        self.entries[path] = (stat.S_IFLNK | 0o777, target.encode())

    def file(self, path, source):
        """A file of this machine; symbolic links are followed."""
        self.folder(os.path.dirname(path))
        mode = 0o755 if os.access(source, os.X_OK) else 0o644
        self.entries[path] = (stat.S_IFREG | mode, os.path.realpath(source))

    def _closure(self, found, root):
        for library in found:
            inside = library.removeprefix(root) if root else library
            self.file(_merged(inside), library)

    def program(self, source, path=None):
        """A program of this machine with its libraries, by default in the guest's /hv/bin."""
        self.file(path or f"{OURS}/{os.path.basename(source)}", source)
        self._closure(_libraries([HOST_LOADER, "--list", source]), "")

    def tool(self, name):
        """A program, plugin or file of the packages, where Debian has it."""
        path = self.base.find(name)
        source = self.base.path + path
        if os.path.isdir(source):
            for inside in sorted(os.listdir(source)):
                self.tool(os.path.join(path, inside))
            return
        real = os.path.realpath(source)
        self.file(path, real)
        with open(real, "rb") as file:
            is_elf = file.read(4) == b"\x7fELF"
        if is_elf:
            list_it = [self.base.loader, "--library-path", self.base.libraries, "--list", real]
            self._closure(_libraries(list_it), self.base.path)

    def modules(self, names):
        """Kernel modules and those that they need, for modprobe."""
        below = os.path.join(self.base.path, "usr/lib/modules", self.base.release)
        here = {_module_name(f): f for f in glob.glob(below + "/kernel/**/*.ko*", recursive=True)}
        with open(os.path.join(below, "modules.builtin"), encoding="utf-8") as file:
            builtin = {_module_name(line.strip()) for line in file}
        todo, needs = list(names), {}
        while todo:
            name = todo.pop().replace("-", "_")
            if name in needs or name in builtin:
                continue
            if name not in here:
                raise FileNotFoundError(f"kernel {self.base.release} has no module {name}")
            data = _module_data(here[name])
            needs[name] = _module_needs(data)
            self.text(f"/usr/lib/modules/{self.base.release}/{name}.ko", data)
            todo += needs[name]
        lines = [f"{name}.ko: {' '.join(f'{n}.ko' for n in _closed(name, needs))}" for name in sorted(needs)]
        self.text(f"/usr/lib/modules/{self.base.release}/modules.dep", "\n".join(lines) + "\n")

    def write(self, path):
        """Pack; the archive is there whole or not at all."""
        part = f"{path}.part-{os.getpid()}"
        with open(part, "wb") as out:
            for number, name in enumerate(sorted(self.entries), 1):
                mode, content = self.entries[name]
                _entry(out, number, name.lstrip("/"), mode, content)
            _entry(out, 0, "TRAILER!!!", 0, b"")
            out.write(bytes(-out.tell() % 512))
        os.replace(part, path)

    def key(self):
        """Of the content, where a file of the packages is known by its path: they never change."""
        parts = [str(FORMAT), self.base.key]
        for name in sorted(self.entries):
            mode, content = self.entries[name]
            if not isinstance(content, bytes):
                content = content.encode() if content.startswith(self.base.path) else _read(content)
            parts.append(f"{name} {mode} {hashlib.sha256(content).hexdigest()}")
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _read(path):
    with open(path, "rb") as file:
        return file.read()


def _merged(path):
    """/lib and the like are links into /usr."""
    return re.sub(r"^/(lib|lib64|bin|sbin)/", r"/usr/\1/", path)


def _module_name(path):
    return os.path.basename(path).split(".ko")[0].replace("-", "_")


def _module_data(path):
    data = _read(path)
    return lzma.decompress(data) if path.endswith(".xz") else data


def _module_needs(data):
    found = re.search(rb"\0depends=([^\0]*)\0", data)
    return [n.replace("-", "_") for n in (found[1].decode() if found else "").split(",") if n]


def _closed(name, needs):
    """What must be loaded before, nearest first, as modules.dep has it."""
    order = []
    todo = list(needs.get(name, ()))
    while todo:
        one = todo.pop(0)
        if one in needs:  # else it is part of the kernel
            if one in order:
                order.remove(one)
            order.append(one)
            todo += needs[one]
    return order


def _entry(out, number, name, mode, content):
    size = len(content) if isinstance(content, bytes) else os.path.getsize(content)
    fields = (number, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name.encode()) + 1, 0)
    out.write(b"070701" + "".join(f"{f:08x}" for f in fields).encode() + name.encode() + b"\0")
    out.write(bytes(-out.tell() % 4))
    if isinstance(content, bytes):
        out.write(content)
    else:
        with open(content, "rb") as file:
            while block := file.read(1 << 20):
                out.write(block)
    out.write(bytes(-out.tell() % 4))


def common(base):
    """What every guest has: busybox, an init, the functions for scripts, the modules for results."""
    image = Image(base)
    for name in ("proc", "sys", "dev", "tmp", "run", "out", "hv/bin", "mnt", "var", "usr/bin", "usr/sbin", "usr/lib",
                 "usr/lib64"):
        image.folder("/" + name)
    for name in ("bin", "sbin", "lib", "lib64"):
        image.link("/" + name, f"usr/{name}")
    busybox = base.path + base.find("busybox")
    image.file("/usr/bin/busybox", busybox)
    for applet in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        image.link(f"/hv/busybox/{applet}", "/usr/bin/busybox")
    image.tool("dash")  # busybox's own shell would take its applets before real programs
    image.link("/usr/bin/sh", "dash")
    image.text("/etc/passwd", "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    image.text("/etc/group", "root:x:0:\nnogroup:x:65534:\n")
    image.link("/etc/mtab", "/proc/self/mounts")
    for name in ("init", "functions"):
        with open(os.path.join(HERE, "guest", name), encoding="utf-8") as file:
            image.text("/init" if name == "init" else f"/hv/{name}", file.read(), 0o755)
    return image


def packed(base, tools, modules):
    """Path of the archive with what does not change from run to run; packed once and kept in the cache."""
    image = common(base)
    for tool in tools:
        image.tool(tool)
    image.modules([*MODULES, *modules])
    images = os.path.join(cache.folder(), "images")
    os.makedirs(images, exist_ok=True)
    path = os.path.join(images, f"{image.key()}.cpio")
    if not os.path.exists(path):
        image.write(path)
    os.utime(path)
    for old in glob.glob(images + "/*"):
        try:
            if time.time() - os.stat(old).st_mtime > KEEP_DAYS * 86400:
                os.unlink(old)
        except FileNotFoundError:
            pass  # another run swept it
    return path


def join(path, *parts):
    """One file of several archives."""
    with open(path, "wb") as out:
        for part in parts:
            with open(part, "rb") as file:
                while block := file.read(1 << 24):
                    out.write(block)
    return path
