#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The NBD server word by word: handshake, replies of each form, and clients that break the protocol."""
import socket
import struct

import harness
import rawnbd
from rawnbd import Client

SIZE = 8 * harness.MIB


def name_data(name):
    return struct.pack(">I", len(name)) + name


class Protocol(harness.Case):
    def setUp(self):
        super().setUp()
        self.server = self.daemon(emulate="disk=mem:8M,luns=2")
        self.addCleanup(self.server_goes_on)

    def server_goes_on(self):
        """Whatever a client did: the next one is served, and the daemon ends well."""
        client = self.connect().ready()
        self.assertEqual(client.do(rawnbd.READ, 0, 512), 0)
        client.close()
        self.assertEqual(self.server.stop(), 0, self.server.output())

    def connect(self):
        client = Client(self.server.socket)
        self.addCleanup(client.close)
        return client

    # ---- handshake

    def test_list(self):
        client = self.connect()
        client.hello()
        replies = client.ask(rawnbd.OPT_LIST)
        names = [data[4:4 + struct.unpack(">I", data[:4])[0]] for kind, data in replies if kind == rawnbd.REP_SERVER]
        self.assertIn(b"lun0", names)
        self.assertIn(b"lun1", names)

    def test_info_then_go(self):
        client = self.connect()
        client.hello()
        self.assertEqual(client.go(option=rawnbd.OPT_INFO), rawnbd.REP_ACK)
        self.assertEqual(client.size, SIZE)
        self.assertEqual(client.go(b"lun1"), rawnbd.REP_ACK)
        self.assertEqual(client.do(rawnbd.READ, SIZE - 512, 512), 0)

    def test_export_name(self):
        client = self.connect()
        client.hello(flags=1)
        client.option(rawnbd.OPT_EXPORT_NAME, b"lun0")
        size, flags, zeroes = struct.unpack(">QH124s", client.receive(134))
        self.assertEqual(size, SIZE)
        self.assertTrue(flags & 1)
        self.assertEqual(zeroes, bytes(124))
        self.assertEqual(client.do(rawnbd.READ, 0, 512), 0)

    def test_export_name_unknown(self):
        client = self.connect()
        client.hello()
        client.option(rawnbd.OPT_EXPORT_NAME, b"nothing")
        self.assertTrue(client.closed())

    def test_bad_options(self):
        meta = name_data(b"") + struct.pack(">I", 1) + name_data(b"base:allocation")
        rows = [
            ("unknown option", 77, b"data", rawnbd.ERR_UNSUP),
            ("no TLS", rawnbd.OPT_STARTTLS, b"", rawnbd.ERR_UNSUP),
            ("LIST with data", rawnbd.OPT_LIST, b"x", rawnbd.ERR_INVALID),
            ("STRUCTURED_REPLY with data", rawnbd.OPT_STRUCTURED, b"x", rawnbd.ERR_INVALID),
            ("GO without data", rawnbd.OPT_GO, b"", rawnbd.ERR_INVALID),
            ("GO, name longer than the data", rawnbd.OPT_GO, struct.pack(">IH", 100, 0), rawnbd.ERR_INVALID),
            ("GO, name of 4 GiB", rawnbd.OPT_GO, struct.pack(">IH", 0xFFFFFFFF, 0), rawnbd.ERR_INVALID),
            ("GO, infos missing", rawnbd.OPT_GO, name_data(b"") + struct.pack(">H", 9), rawnbd.ERR_INVALID),
            ("GO, bytes too many", rawnbd.OPT_GO, name_data(b"") + struct.pack(">HHH", 1, 0, 0), rawnbd.ERR_INVALID),
            ("GO, unknown export", rawnbd.OPT_GO, name_data(b"lun9") + b"\0\0", rawnbd.ERR_UNKNOWN),
            ("SET_META_CONTEXT before structured replies", rawnbd.OPT_SET_META, meta, rawnbd.ERR_INVALID),
        ]
        client = self.connect()
        client.hello()
        for what, option, data, want in rows:
            with self.subTest(what):
                self.assertEqual(client.ask(option, data)[-1][0], want)
        self.assertEqual(client.go(), rawnbd.REP_ACK)  # none of it hurt

    def test_oversized_option(self):
        """Either skipped with an error or the end of this connection; never memory for all of it."""
        client = self.connect()
        client.hello()
        client.option(rawnbd.OPT_GO, length=0xFFFFFFF0)
        client.socket.shutdown(socket.SHUT_WR)
        self.assertTrue(client.closed())

    def test_bad_hello(self):
        for what, data in (("unknown client flags", struct.pack(">I", 0x80000003)),
                           ("bad option magic", struct.pack(">IQII", 3, 1, 1, 0)),
                           ("noise", bytes(range(256)))):
            with self.subTest(what):
                client = self.connect()
                client.receive(18)
                client.send(data)
                self.assertTrue(client.closed())

    def test_abort(self):
        client = self.connect()
        client.hello()
        self.assertEqual(client.ask(rawnbd.OPT_ABORT)[-1][0], rawnbd.REP_ACK)
        self.assertTrue(client.closed())

    def test_cut_anywhere(self):
        """A client that vanishes after any number of bytes of a good conversation."""
        whole = struct.pack(">I", 3) + struct.pack(">QII", rawnbd.OPTION_MAGIC, rawnbd.OPT_GO, 6) + bytes(6) + \
            struct.pack(">IHHQQI", rawnbd.REQUEST_MAGIC, 0, rawnbd.WRITE, 1, 0, 512) + bytes(512)
        for count in [*range(0, 60), len(whole) - 1, len(whole)]:
            client = Client(self.server.socket)
            client.receive(18)
            client.send(whole[:count])
            client.close()

    # ---- transmission

    def test_request_errors(self):
        client = self.connect().ready()
        rows = [
            ("read past the end", rawnbd.READ, SIZE, 512, b"", 0, rawnbd.EINVAL),
            ("read across the end", rawnbd.READ, SIZE - 512, 1024, b"", 0, rawnbd.EINVAL),
            ("read at 2^64 - 512", rawnbd.READ, 2**64 - 512, 1024, b"", 0, rawnbd.EINVAL),
            ("write past the end", rawnbd.WRITE, SIZE, 512, bytes(512), 0, rawnbd.ENOSPC),
            ("write across the end", rawnbd.WRITE, SIZE - 512, 1024, bytes(1024), 0, rawnbd.ENOSPC),
            ("zeroes past the end", rawnbd.WRITE_ZEROES, SIZE, 512, b"", 0, rawnbd.ENOSPC),
            ("trim past the end", rawnbd.TRIM, SIZE, 512, b"", 0, rawnbd.EINVAL),
            ("cache past the end", rawnbd.CACHE, SIZE, 512, b"", 0, rawnbd.EINVAL),
            ("unknown command", 99, 0, 0, b"", 0, rawnbd.EINVAL),
            ("unknown flag", rawnbd.READ, 0, 512, b"", 0x8000, rawnbd.EINVAL),
            ("block status not agreed upon", rawnbd.BLOCK_STATUS, 0, 512, b"", 0, rawnbd.EINVAL),
        ]
        for what, command, offset, length, data, flags, want in rows:
            with self.subTest(what):
                self.assertEqual(client.do(command, offset, length, data, flags), want)
        self.assertEqual(client.do(rawnbd.READ, SIZE - 512, 512), 0)

    def test_bad_request_magic(self):
        client, other = self.connect().ready(), self.connect().ready()
        client.request(rawnbd.READ, 0, 512, magic=0x12345678)
        self.assertTrue(client.closed())
        self.assertEqual(other.do(rawnbd.READ, 0, 512), 0)

    def test_oversized_write(self):
        """Longer than the server takes: refused or disconnected, the others go on."""
        client, other = self.connect().ready(), self.connect().ready()
        client.request(rawnbd.WRITE, 0, 0xFFFFFE00)
        client.socket.shutdown(socket.SHUT_WR)
        self.assertTrue(client.closed())
        self.assertEqual(other.do(rawnbd.READ, 0, 512), 0)

    def test_zero_length(self):
        client = self.connect().ready()
        for command in (rawnbd.READ, rawnbd.WRITE, rawnbd.TRIM, rawnbd.WRITE_ZEROES):
            client.do(command, 0, 0)  # the answer is not defined, the connection stays
        self.assertEqual(client.do(rawnbd.READ, 0, 512), 0)

    def test_data_survives_between_connections(self):
        data = harness.pattern(65536)
        client = self.connect().ready()
        self.assertEqual(client.do(rawnbd.WRITE, 4096, len(data), data, rawnbd.FUA), 0)
        other = self.connect().ready()
        other.request(rawnbd.READ, 4096, len(data), cookie=42)
        self.assertEqual(other.simple_reply(len(data)), (0, 42, data))

    def test_many_at_once(self):
        """512 requests on the way, answers in any order, each to its cookie."""
        client = self.connect().ready()
        for n in range(512):
            client.request(rawnbd.WRITE, n * 4096, 4096, bytes([n % 251]) * 4096, cookie=n)
        self.assertEqual(sorted(client.simple_reply()[:2] for _ in range(512)), [(0, n) for n in range(512)])
        for n in range(512):
            client.request(rawnbd.READ, n * 4096, 4096, cookie=n)
        for _ in range(512):
            error, cookie, data = client.simple_reply(4096)
            self.assertEqual((error, data), (0, bytes([cookie % 251]) * 4096))

    def test_structured(self):
        client = self.connect().ready(structured=True)
        client.request(rawnbd.READ, 0, 4096, cookie=7)
        got = bytearray(b"\xff" * 4096)
        done = False
        while not done:
            flags, kind, cookie, data = client.chunk()
            self.assertEqual(cookie, 7)
            if kind == 1:
                offset, = struct.unpack(">Q", data[:8])
                got[offset:offset + len(data) - 8] = data[8:]
            elif kind == 2:
                offset, length = struct.unpack(">QI", data)
                got[offset:offset + length] = bytes(length)
            done = flags & 1
        self.assertEqual(got, bytes(4096))
        client.request(rawnbd.READ, SIZE, 512, cookie=8)
        flags, kind, cookie, data = client.chunk()
        self.assertEqual((flags & 1, cookie), (1, 8))
        self.assertTrue(kind & 0x8000)
        self.assertEqual(struct.unpack(">I", data[:4])[0], rawnbd.EINVAL)

    def test_extended_headers(self):
        client = self.connect()
        client.hello()
        self.assertEqual(client.ask(rawnbd.OPT_EXTENDED)[-1][0], rawnbd.REP_ACK)
        meta = name_data(b"") + struct.pack(">I", 1) + name_data(b"base:allocation")
        replies = client.ask(rawnbd.OPT_SET_META, meta)
        self.assertEqual([kind for kind, _ in replies], [rawnbd.REP_META, rawnbd.REP_ACK])
        context, = struct.unpack(">I", replies[0][1][:4])
        self.assertEqual(client.go(), rawnbd.REP_ACK)
        data = harness.pattern(8192)
        client.extended_request(rawnbd.WRITE, 4096, len(data), data, rawnbd.PAYLOAD_LEN, cookie=3)
        flags, kind, cookie, offset, rest = client.extended_chunk()
        self.assertEqual((flags & 1, kind, cookie, offset, rest), (1, 0, 3, 4096, b""))
        client.extended_request(rawnbd.READ, 4096, len(data), cookie=4)
        flags, kind, cookie, offset, rest = client.extended_chunk()
        self.assertEqual((flags & 1, kind, cookie, offset), (1, 1, 4, 4096))
        self.assertEqual(rest[8:], data)
        client.extended_request(rawnbd.BLOCK_STATUS, 0, SIZE, cookie=5)
        flags, kind, cookie, offset, rest = client.extended_chunk()
        self.assertEqual((flags & 1, kind, cookie, offset), (1, 6, 5, 0))
        got, count = struct.unpack(">II", rest[:8])
        self.assertEqual(got, context)
        extents = [struct.unpack(">QQ", rest[8 + 16 * n:24 + 16 * n]) for n in range(count)]
        self.assertEqual(len(rest), 8 + 16 * count)
        self.assertGreater(sum(length for length, _ in extents), 0)

    def test_meta_contexts(self):
        client = self.connect()
        client.hello()
        client.ask(rawnbd.OPT_STRUCTURED)
        for what, query, found in (("by name", b"base:allocation", 1), ("all of base", b"base:", 1),
                                   ("unknown namespace", b"qemu:dirty-bitmap:b", 0), ("unknown leaf", b"base:x", 0)):
            with self.subTest(what):
                data = name_data(b"") + struct.pack(">I", 1) + name_data(query)
                replies = client.ask(rawnbd.OPT_LIST_META, data)
                self.assertEqual(replies[-1][0], rawnbd.REP_ACK)
                self.assertEqual(sum(kind == rawnbd.REP_META for kind, _ in replies), found)

    def test_disconnect_finishes_what_was_asked(self):
        client = self.connect().ready()
        for n in range(64):
            client.request(rawnbd.WRITE, n * 65536, 65536, b"\xa5" * 65536, cookie=n)
        client.request(rawnbd.DISC, 0, 0)
        self.assertEqual(sorted(client.simple_reply()[:2] for _ in range(64)), [(0, n) for n in range(64)])
        self.assertTrue(client.closed())
        other = self.connect().ready()
        other.request(rawnbd.READ, 63 * 65536, 65536)
        self.assertEqual(other.simple_reply(65536)[2], b"\xa5" * 65536)


if __name__ == "__main__":
    harness.main()
