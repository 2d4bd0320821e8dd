# SPDX-License-Identifier: BSD-3-Clause
"""An NBD client that says exactly what it is told, right or wrong; numbers from the NBD project's doc/proto.md."""
import socket
import struct

HELLO = b"NBDMAGICIHAVEOPT"
OPTION_MAGIC, OPTION_REPLY_MAGIC = 0x49484156454F5054, 0x0003E889045565A9
REQUEST_MAGIC, SIMPLE_MAGIC, STRUCTURED_MAGIC = 0x25609513, 0x67446698, 0x668E33EF
EXTENDED_REQUEST_MAGIC, EXTENDED_MAGIC = 0x21E41C71, 0x6E8A278C
OPT_EXPORT_NAME, OPT_ABORT, OPT_LIST, OPT_STARTTLS, OPT_INFO, OPT_GO = 1, 2, 3, 5, 6, 7
OPT_STRUCTURED, OPT_LIST_META, OPT_SET_META, OPT_EXTENDED = 8, 9, 10, 11
REP_ACK, REP_SERVER, REP_INFO, REP_META = 1, 2, 3, 4
ERR_UNSUP, ERR_INVALID, ERR_UNKNOWN, ERR_TOO_BIG = (0x80000000 + n for n in (1, 3, 6, 9))
READ, WRITE, DISC, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO, PAYLOAD_LEN = (1 << n for n in range(6))
EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN = 1, 5, 12, 22, 28, 75, 95, 108


class Closed(Exception):
    """The server closed the connection."""


class Client:
    def __init__(self, path, timeout=30):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.size = self.flags = None

    def close(self):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            raise Closed from None

    def receive(self, count):
        data = b""
        while len(data) < count:
            try:
                piece = self.socket.recv(count - len(data))
            except ConnectionResetError:
                raise Closed from None
            if not piece:
                raise Closed
            data += piece
        return data

    def closed(self):
        """True once the server has closed; what it still sent is thrown away."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        return True

    # ---- handshake

    def hello(self, flags=3):
        got = self.receive(18)
        assert got[:16] == HELLO, got
        self.server_flags = struct.unpack(">H", got[16:])[0]
        self.send(struct.pack(">I", flags))

    def option(self, option, data=b"", length=None):
        self.send(struct.pack(">QII", OPTION_MAGIC, option, len(data) if length is None else length) + data)

    def option_reply(self):
        magic, option, kind, length = struct.unpack(">QIII", self.receive(20))
        assert magic == OPTION_REPLY_MAGIC, hex(magic)
        return option, kind, self.receive(length)

    def ask(self, option, data=b""):
        """All replies to an option: [(type, data)], the last one is ACK or an error."""
        self.option(option, data)
        replies = []
        while True:
            answered, kind, data = self.option_reply()
            assert answered == option
            replies.append((kind, data))
            if kind == REP_ACK or kind & 0x80000000:
                return replies

    def go(self, name=b"", option=OPT_GO):
        replies = self.ask(option, struct.pack(">I", len(name)) + name + struct.pack(">H", 0))
        for kind, data in replies:
            if kind == REP_INFO and data[:2] == b"\0\0":
                self.size, self.flags = struct.unpack(">QH", data[2:12])
        return replies[-1][0]

    def ready(self, name=b"", structured=False, extended=False):
        self.hello()
        if extended:
            assert self.ask(OPT_EXTENDED)[-1][0] == REP_ACK
        elif structured:
            assert self.ask(OPT_STRUCTURED)[-1][0] == REP_ACK
        assert self.go(name) == REP_ACK
        return self

    # ---- transmission

    def request(self, command, offset, length, data=b"", flags=0, cookie=1, magic=REQUEST_MAGIC):
        self.send(struct.pack(">IHHQQI", magic, flags, command, cookie, offset, length) + data)

    def extended_request(self, command, offset, length, data=b"", flags=0, cookie=1):
        self.send(struct.pack(">IHHQQQ", EXTENDED_REQUEST_MAGIC, flags, command, cookie, offset, length) + data)

    def simple_reply(self, read_bytes=0):
        magic, error, cookie = struct.unpack(">IIQ", self.receive(16))
        assert magic == SIMPLE_MAGIC, hex(magic)
        return error, cookie, self.receive(read_bytes) if not error else b""

    def chunk(self):
        """One structured chunk: flags, type, cookie, data."""
        magic, flags, kind, cookie, length = struct.unpack(">IHHQI", self.receive(20))
        assert magic == STRUCTURED_MAGIC, hex(magic)
        return flags, kind, cookie, self.receive(length)

    def extended_chunk(self):
        """One extended chunk: flags, type, cookie, offset, data."""
        magic, flags, kind, cookie, offset, length = struct.unpack(">IHHQQQ", self.receive(32))
        assert magic == EXTENDED_MAGIC, hex(magic)
        return flags, kind, cookie, offset, self.receive(length)

    def do(self, command, offset, length, data=b"", flags=0):
        """A request with a simple reply; its error."""
        self.request(command, offset, length, data, flags)
        return self.simple_reply(length if command == READ else 0)[0]
