#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Other people's NBD clients: libnbd (nbdinfo, nbdcopy, Python), QEMU (qemu-img, qemu-io)."""
import os
import unittest

import harness
from harness import KIB, MIB

try:
    import nbd
except ImportError:
    nbd = None


class Tools(harness.Case):
    def test_nbdinfo(self):
        self.tool("nbdinfo")
        server = self.daemon(emulate=f"disk={self.image(size=48 * MIB)},serial=ABC123")
        info = harness.load_json(self.run_tool("nbdinfo", "--json", "--no-content", server.uri).stdout)["exports"][0]
        self.assertEqual(info["export-size"], 48 * MIB)
        for can in ("can_flush", "can_fua", "can_trim", "can_zero", "can_cache", "can_df", "can_multi_conn"):
            self.assertTrue(info[can], can)
        self.assertFalse(info["is_read_only"])
        self.assertFalse(info["is_rotational"])
        self.assertIn("base:allocation", info["contexts"])
        self.assertEqual(info["block_size_minimum"], 512)
        self.assertGreaterEqual(info["block_size_maximum"], MIB)

    def test_nbdinfo_lists_luns(self):
        self.tool("nbdinfo")
        server = self.daemon(emulate="disk=mem:8M,luns=3")
        exports = harness.load_json(self.run_tool("nbdinfo", "--list", "--json", "--no-content", server.uri).stdout)["exports"]
        self.assertLessEqual({"lun0", "lun1", "lun2"}, {e["export-name"] for e in exports})

    def test_nbdinfo_map(self):
        """Written blocks are data, the rest of a thin disk holes."""
        self.tool("nbdinfo")
        server = self.daemon(emulate=f"disk={self.image(size=16 * MIB)}")
        self.run_tool("qemu-io", "-f", "raw", "-c", "write -P 7 4M 1M", server.uri)
        extents = harness.load_json(self.run_tool("nbdinfo", "--map", "--json", server.uri).stdout)
        self.assertEqual(sum(e["length"] for e in extents), 16 * MIB)
        data = [(e["offset"], e["length"]) for e in extents if e["type"] == 0]
        self.assertTrue(any(o <= 4 * MIB and o + n >= 5 * MIB for o, n in data), extents)

    def test_round_trip(self):
        """The whole image in by nbdcopy, out by both clients, equal in all four places."""
        self.tool("nbdcopy")
        size = 96 * MIB
        source = self.image("source", data=os.urandom(size // 2) + bytes(size // 4) + os.urandom(size // 4))
        image = self.image("disk.img", size=size)
        server = self.daemon(emulate=f"disk={image},channels=2")
        self.run_tool("nbdcopy", "--flush", source, server.uri)
        self.run_tool("nbdcopy", server.uri, self.path("back1"))
        self.run_tool("qemu-img", "convert", "-f", "raw", "-O", "raw", server.uri, self.path("back2"))
        self.run_tool("qemu-img", "compare", "-f", "raw", "-F", "raw", source, server.uri)
        want = harness.sha256(source)
        for name in ("back1", "back2"):
            self.assertEqual(harness.sha256(self.path(name)), want, name)
        self.assertEqual(server.stop(), 0, server.output())
        self.assertEqual(harness.sha256(image), want)

    def test_qemu_img_convert_into(self):
        source = self.image("source", data=harness.pattern(4 * MIB), size=32 * MIB)
        image = self.image(size=32 * MIB)
        server = self.daemon(emulate=f"disk={image}")
        self.run_tool("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", source, server.uri)
        self.assertEqual(server.stop(), 0)
        self.assertEqual(harness.sha256(image), harness.sha256(source))

    def test_qemu_io(self):
        server = self.daemon(emulate="disk=mem:64M")
        out = self.run_tool("qemu-io", "-f", "raw", "-c", "write -P 0x11 0 1M", "-c", "write -f -P 0x22 512 512",
                            "-c", "write -z 64k 64k", "-c", "discard 512k 64k", "-c", "flush",
                            "-c", "read -P 0x11 0 512", "-c", "read -P 0x22 512 512", "-c", "read -P 0 64k 64k",
                            "-c", "read -P 0x11 128k 128k", "-c", "aio_write -P 0x33 2M 2M", "-c", "aio_flush",
                            "-c", "read -P 0x33 2M 2M", server.uri)
        self.assertNotRegex(out.stdout, "verification failed|error|failed")

    def test_tcp(self):
        program = self.start("hvblk-daemon", "--emulate", "disk=mem:16M", "--export", "nbd:tcp:127.0.0.1:0")
        uri = program.wait_for(r"^ready (nbd://\S+)").group(1)
        self.assertEqual(self.run_tool("nbdinfo", "--size", uri).stdout.strip(), str(16 * MIB))
        self.run_tool("qemu-io", "-f", "raw", "-c", "write -P 9 0 4M", "-c", "read -P 9 0 4M", uri)
        self.assertEqual(program.stop(), 0)

    def test_two_exports(self):
        """One disk on two sockets: what one client flushed the other reads."""
        program = self.start("hvblk-daemon", "--emulate", "disk=mem:16M", "--export", f"nbd:unix:{self.path('a')}",
                             "--export", f"nbd:unix:{self.path('b')}")
        program.wait_for(r"^ready ")
        self.run_tool("qemu-io", "-f", "raw", "-c", "write -P 5 1M 1M", f"nbd+unix:///?socket={self.path('a')}")
        self.run_tool("qemu-io", "-f", "raw", "-c", "read -P 5 1M 1M", f"nbd+unix:///?socket={self.path('b')}")


@unittest.skipIf(nbd is None, "python3-libnbd is not installed (scripts/setup check)")
class Library(harness.Case):
    def client(self, server, export=None):
        handle = nbd.NBD()
        handle.add_meta_context("base:allocation")
        if export is not None:
            handle.set_export_name(export)
        handle.connect_unix(server.socket)
        return handle

    def test_negotiated(self):
        server = self.daemon(emulate="disk=mem:64M")
        h = self.client(server)
        self.assertEqual(h.get_size(), 64 * MIB)
        self.assertEqual(h.get_protocol(), "newstyle-fixed")
        self.assertTrue(h.get_structured_replies_negotiated())
        self.assertTrue(h.can_meta_context("base:allocation"))
        for can in (h.can_flush, h.can_fua, h.can_trim, h.can_zero, h.can_fast_zero, h.can_cache, h.can_df,
                    h.can_multi_conn):
            self.assertTrue(can(), can.__name__)

    def test_zero_trim_status(self):
        """Written, zeroed and trimmed blocks read as they must, and block status tells which are which."""
        server = self.daemon(emulate="disk=mem:64M")
        h = self.client(server)
        h.pwrite(b"\x5a" * (8 * MIB), 0)
        h.zero(1 * MIB, 1 * MIB)
        h.zero(1 * MIB, 3 * MIB, nbd.CMD_FLAG_NO_HOLE)
        h.trim(1 * MIB, 5 * MIB)
        h.flush()
        self.assertEqual(h.pread(1 * MIB, 0), b"\x5a" * MIB)
        self.assertEqual(h.pread(1 * MIB, 1 * MIB), bytes(MIB))
        self.assertEqual(h.pread(1 * MIB, 3 * MIB), bytes(MIB))
        self.assertEqual(h.pread(1 * MIB, 4 * MIB), b"\x5a" * MIB)
        extents = []

        def extent(context, offset, entries, error):
            self.assertEqual((context, error.value), ("base:allocation", 0))
            position = offset
            for n in range(0, len(entries), 2):
                extents.append((position, entries[n], entries[n + 1]))
                position += entries[n]
            return 0

        at = 0
        while at < 8 * MIB:
            h.block_status(8 * MIB - at, at, extent)
            at = extents[-1][0] + extents[-1][1]
        for offset, length, flags in extents:
            if flags & nbd.STATE_ZERO:
                end = min(offset + length, 8 * MIB)
                self.assertEqual(h.pread(end - offset, offset), bytes(end - offset), (offset, length))

    def test_every_size(self):
        """One block, odd numbers of blocks, pages and not, up to the largest request; at odd offsets."""
        server = self.daemon(emulate="disk=mem:96M")
        h = self.client(server)
        for size in (512, 1024, 1536, 4096, 4608, 65536, 66048, MIB, MIB + 512, 4 * MIB, 32 * MIB):
            for offset in (0, 512, 3584, 4096):
                with self.subTest(size=size, offset=offset):
                    data = os.urandom(min(size, 65536)) * (size // min(size, 65536) + 1)
                    h.pwrite(data[:size], offset)
                    self.assertEqual(h.pread(size, offset), data[:size])

    def test_fast_zero(self):
        """Either done, or refused without having written anything."""
        server = self.daemon(emulate="disk=mem:16M")
        h = self.client(server)
        h.pwrite(b"x" * MIB, 0)
        try:
            h.zero(MIB, 0, nbd.CMD_FLAG_FAST_ZERO)
            self.assertEqual(h.pread(MIB, 0), bytes(MIB))
        except nbd.Error as error:
            self.assertEqual(error.errnum, 95)
            self.assertEqual(h.pread(MIB, 0), b"x" * MIB)

    def test_luns_are_apart(self):
        server = self.daemon(emulate="disk=mem:8M,luns=3")
        handles = [self.client(server, f"lun{n}") for n in range(3)]
        for n, h in enumerate(handles):
            h.pwrite(bytes([n + 1]) * 65536, 0)
        for n, h in enumerate(handles):
            self.assertEqual(h.pread(65536, 0), bytes([n + 1]) * 65536)
        self.assertEqual(self.client(server, "").pread(65536, 0), b"\x01" * 65536)

    def test_read_only(self):
        image = self.image(data=harness.pattern(MIB), size=8 * MIB)
        server = self.daemon(emulate=f"disk={image},ro")
        h = self.client(server)
        self.assertTrue(h.is_read_only())
        self.assertEqual(h.pread(MIB, 0), harness.pattern(MIB))
        h.set_strict_mode(0)
        for change in (lambda: h.pwrite(bytes(512), 0), lambda: h.trim(512, 0), lambda: h.zero(512, 0)):
            with self.assertRaises(nbd.Error) as caught:
                change()
            self.assertEqual(caught.exception.errnum, 1)
        self.assertEqual(server.stop(), 0)
        self.assertEqual(harness.sha256(image), harness.sha256(self.image("same", data=harness.pattern(MIB),
                                                                          size=8 * MIB)))

    def test_block_4096(self):
        server = self.daemon(emulate="disk=mem:16M,block=4096")
        h = self.client(server)
        self.assertEqual(h.get_block_size(nbd.SIZE_MINIMUM), 4096)
        h.pwrite(b"a" * 4096, 4096)
        self.assertEqual(h.pread(8192, 0), bytes(4096) + b"a" * 4096)
        h.set_strict_mode(0)
        with self.assertRaises(nbd.Error) as caught:
            h.pread(512, 512)
        self.assertEqual(caught.exception.errnum, 22)

    def test_connections(self):
        """16 clients at once; what one has flushed all others read."""
        server = self.daemon(emulate="disk=mem:64M,channels=2")
        handles = [self.client(server) for _ in range(16)]
        for n, h in enumerate(handles):
            h.pwrite(bytes([n + 1]) * (64 * KIB), n * 64 * KIB)
        handles[3].flush()
        for h in handles:
            got = h.pread(16 * 64 * KIB, 0)
            self.assertEqual(got, b"".join(bytes([n + 1]) * (64 * KIB) for n in range(16)))


if __name__ == "__main__":
    harness.main()
