#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Who may include whom (docs/design.md "Layers"), against every #include of lib, host, apps and examples.

layers.py               check the tree
layers.py --self-test   plant one violation of each kind in a scratch tree; each must be found
"""
import os
import re
import sys
import tempfile

import tree

# part folder -> parts whose headers it may include besides its own
MAY = {
    "lib/wire": (),
    "lib/base": ("lib/wire",),
    "lib/ring": ("lib/wire", "lib/base"),
    "lib/vmbus": ("lib/wire", "lib/base", "lib/ring"),
    "lib/storvsc": ("lib/wire", "lib/base", "lib/vmbus"),
    "lib/netvsc": ("lib/wire", "lib/base", "lib/vmbus"),
    "host/vmbus": ("lib/wire", "lib/base", "lib/ring"),
    "host/storvsp": ("lib/wire", "lib/base", "lib/ring", "host/vmbus"),
    "host/netvsp": ("lib/wire", "lib/base", "lib/ring", "host/vmbus"),
    "apps/common": ("host/vmbus", "host/storvsp", "host/netvsp"),
    "apps/hv-host": ("host/vmbus", "host/storvsp", "host/netvsp"),
    "apps/hvnet-pmd": ("lib/vmbus", "lib/netvsc", "host/vmbus", "host/netvsp"),
    "apps/hvctl": ("lib/vmbus", "lib/wire"),  # layouts, to say what is in a ring; not lib/ring, which would change it
    "apps/hvblk-daemon": ("lib/vmbus", "lib/storvsc", "host/vmbus", "host/storvsp"),
    "examples/balloon": ("lib/vmbus", "lib/wire"),  # installed headers, as outside of this tree
}
# Types of the public interface of libvmbus and libhvhost that live further down; installed, free for all above.
PUBLIC = ("hv/log_hook.h", "hv/packet.h")
# lib/base takes one header of lib/wire: the log hook; no layouts.
ONLY = {"lib/base": {"lib/wire": ("hv/log_hook.h",)}}
# Libraries that a part may use besides the C library and the kernel's headers.
FOREIGN = {
    "host/storvsp": ("libaio.h",),
    "host/netvsp": ("pcap/",),
    "apps/hv-host": ("json-c/", "systemd/"),
    "apps/hvctl": ("json-c/",),
    "apps/hvnet-pmd": ("rte_", "ethdev_driver.h", "bus_vdev_driver.h", "bus_vmbus_driver.h", "json-c/"),
    "apps/hvblk-daemon": ("json-c/", "liburing.h", "systemd/"),
}
LIBC = set("""aio.h alloca.h assert.h byteswap.h ctype.h dirent.h endian.h err.h errno.h fcntl.h float.h getopt.h grp.h
inttypes.h iso646.h libgen.h limits.h locale.h math.h netdb.h poll.h pthread.h pwd.h sched.h semaphore.h setjmp.h
signal.h stdalign.h stdarg.h stdatomic.h stdbool.h stddef.h stdint.h stdio.h stdlib.h stdnoreturn.h string.h strings.h
syslog.h termios.h threads.h time.h uchar.h unistd.h wchar.h immintrin.h x86intrin.h cpuid.h
arpa/inet.h netinet/in.h netinet/tcp.h net/if.h""".split())
LIBC_FOLDERS = ("sys/", "linux/", "asm/", "bits/")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)


def part_of(path):
    return next((part for part in MAY if path.startswith(part + "/")), None)


def owners(paths):
    """Header name as written in #include <...> -> part that owns it."""
    found = {}
    for path in paths:
        part = part_of(path)
        if part and path.startswith(part + "/include/"):
            found[path[len(part) + len("/include/"):]] = part
    return found


def verdict(path, part, kind, name, owner_of, exists):
    """What is wrong with one #include, or None."""
    if name.endswith(".c"):
        return "a source is included"
    if kind == '"':
        if ".." in name.split("/"):
            return "leaves its folder"
        if name.startswith("common/") and part.startswith("apps/"):  # what the programs share
            return None if exists(os.path.join("apps", name)) else "no such file in apps/common"
        return None if exists(os.path.join(os.path.dirname(path), name)) else "no such file beside it"
    owner = owner_of.get(name)
    if owner is None and name.startswith("hv/"):
        return "no part has this header"
    if owner is None:
        if name in LIBC or name.startswith(LIBC_FOLDERS) or name.startswith(FOREIGN.get(part, ())):
            return None
        return f"{part} may use no such library"
    if owner == part:
        return None
    only = ONLY.get(part, {}).get(owner)
    if owner in MAY[part] and (only is None or name in only):
        return None
    if name in PUBLIC and part not in ("lib/wire", "lib/base"):
        return None
    return f"{part} may not include {owner}"


def check(root, paths):
    findings = []
    sources = [p for p in paths if p.endswith((".c", ".h"))]
    owner_of = owners(sources)
    checked = 0
    for path in sources:
        part = part_of(path)
        if part is None:
            if path.startswith(("lib/", "host/", "apps/", "examples/")):
                findings.append(f"{path}: its folder is missing in the table of layers.py")
            elif path.startswith("tests/"):
                findings += [f"{path}: #include \"{name}\": a test includes a source"
                             for _, name in INCLUDE.findall(tree.text(path, root)) if name.endswith(".c")]
            continue
        for kind, name in INCLUDE.findall(tree.text(path, root)):
            checked += 1
            wrong = verdict(path, part, kind, name, owner_of, lambda p: os.path.exists(os.path.join(root, p)))
            if wrong:
                findings.append(f"{path}: #include {name}: {wrong}")
    return findings, checked


PLANTED = [  # path, line, must be found
    ("lib/base/include/hv/base/endian.h", "#include <stdint.h>", False),
    ("lib/base/src/a.c", "#include <hv/ring.h>", True),
    ("lib/base/src/b.c", "#include <hv/wire/guid.h>", True),
    ("lib/base/src/c.c", "#include <hv/log_hook.h>", False),
    ("lib/wire/include/hv/wire/guid.h", "#include <hv/base/endian.h>", True),
    ("lib/wire/include/hv/log_hook.h", "#include <stddef.h>", False),
    ("lib/ring/include/hv/ring.h", "#include <hv/wire/guid.h>", False),
    ("lib/ring/src/a.c", "#include <hv/vmbus.h>", True),
    ("lib/vmbus/include/hv/vmbus.h", "#include <hv/log_hook.h>", False),
    ("lib/vmbus/src/a.c", "#  include <hv/host.h>", True),
    ("lib/vmbus/src/b.c", "#include <liburing.h>", True),
    ("lib/storvsc/src/a.c", "#include <hv/ring.h>", True),
    ("lib/storvsc/src/b.c", "#include <hv/vmbus.h>", False),
    ("host/vmbus/include/hv/host.h", "#include <hv/log_hook.h>", False),
    ("host/vmbus/src/a.c", "#include <hv/vmbus.h>", True),
    ("host/vmbus/src/b.c", '#include "../../../lib/ring/src/x.h"', True),
    ("host/storvsp/src/a.c", "#include <libaio.h>", False),
    ("host/storvsp/src/b.c", "#include <hv/host.h>", False),
    ("apps/hv-host/a.c", "#include <hv/ring.h>", True),
    ("apps/hv-host/b.c", "#include <hv/vmbus.h>", True),
    ("apps/hvctl/a.c", "#include <hv/wire/guid.h>", False),
    ("apps/hvctl/b.c", "#include <hv/ring.h>", True),
    ("apps/hvblk-daemon/a.c", "#include <hv/wire/guid.h>", True),
    ("apps/hvblk-daemon/b.c", "#include <hv/nothing.h>", True),
    ("apps/hvblk-daemon/c.c", '#include "missing.h"', True),
    ("apps/common/size.h", "#include <stdint.h>", False),
    ("apps/hvblk-daemon/e.c", '#include "common/size.h"', False),
    ("apps/hvblk-daemon/f.c", '#include "common/nothing.h"', True),
    ("lib/vmbus/src/c.c", '#include "common/size.h"', True),
    ("apps/hvblk-daemon/d.c", "#include <json-c/json.h>", False),
    ("examples/balloon/a.c", "#include <hv/ring.h>", True),
    ("examples/balloon/b.c", "#include <hv/vmbus.h>", False),
    ("examples/new/a.c", "#include <stdio.h>", True),
    ("lib/newpart/src/a.c", "#include <stdio.h>", True),
    ("tests/unit/a.c", '#include "b.c"', True),
]


def self_test():
    with tempfile.TemporaryDirectory() as root:
        for path, line, _ in PLANTED:
            os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(f"/* a comment */\n{line}\n")
        findings, _ = check(root, [path for path, _, _ in PLANTED])
    wrong = []
    for path, line, expected in PLANTED:
        found = any(f.startswith(path + ":") for f in findings)
        if found != expected:
            wrong.append(f"{path}: {line}: {'not found' if expected else 'wrongly found'}")
    tree.finish(wrong, len(PLANTED), "planted includes")


if __name__ == "__main__":
    if "--self-test" in sys.argv:
        self_test()
    tree.finish(*check(tree.ROOT, tree.files()), "includes")
