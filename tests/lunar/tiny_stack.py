"""A second stack, as small as one can be: IPv4 without options or fragments, echo, and UDP. All of it is bytes.

It shows that lunar/stack.py is enough to serve a host, and is what docs/stacks.md speaks of. It sends at most one
datagram a millisecond, by its timer.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections import deque

from lunar.net.sock import POLLIN, POLLOUT
from lunar.stack import Boundary, ForeignSock, Stack

ICMP, UDP = 1, 17
GAP_NS = 1_000_000


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class TinyStack(Stack):
    """The stack of one host with one device."""

    def __init__(self, boundary: Boundary) -> None:
        super().__init__(boundary)
        self.ports: dict[int, TinyUdp] = {}
        self.waiting: deque[tuple[int, int, bytes]] = deque()
        self.next_at_ns = 0
        self.bad = 0
        self.changes = 0

    def address(self) -> int:
        return next((own.address for own in self.boundary.devices[0].addresses if own.family == socket.AF_INET), 0)

    def configured(self) -> None:
        self.changes += 1

    def socket(self, family: int, type: int, protocol: int) -> ForeignSock:
        if family != socket.AF_INET:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        if type != socket.SOCK_DGRAM or protocol not in (0, UDP):
            raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")
        return TinyUdp(self)

    # Down

    def send(self, dst: int, protocol: int, body: bytes) -> int:
        mac = self.boundary.hardware_address(0, dst)
        if mac is None:
            return -errno.EHOSTUNREACH
        head = struct.pack(">BBHHHBBHII", 0x45, 0, 20 + len(body), 0, 0x4000, 32, protocol, 0, self.address(), dst)
        head = head[:10] + checksum(head).to_bytes(2, "big") + head[12:]
        self.waiting.append((mac, dst, head + body))
        if len(self.waiting) == 1:
            self.boundary.set_timer(self.next_at_ns)
        return 0

    def timer(self) -> None:
        mac, _dst, packet = self.waiting.popleft()
        self.boundary.write_msg(0, mac.to_bytes(6, "big") + bytes(6) + b"\x08\x00" + packet)
        self.next_at_ns = self.boundary.now_ns + GAP_NS
        if self.waiting:
            self.boundary.set_timer(self.next_at_ns)

    # Up

    def read_msg(self, id: int, data: bytes) -> None:
        packet = data[14:]
        if data[12:14] != b"\x08\x00" or len(packet) < 20 or packet[0] != 0x45 or checksum(packet[:20]):
            self.bad += 1
            return
        size, protocol, src, dst = (*struct.unpack(">2xH5xB2x", packet[:12]), *struct.unpack(">II", packet[12:20]))
        body = packet[20:size]
        if dst != self.address():
            self.bad += 1
        elif protocol == ICMP and body[:1] == b"\x08" and not checksum(body):
            answer = b"\0\0\0\0" + body[4:]
            self.send(src, ICMP, answer[:2] + checksum(answer).to_bytes(2, "big") + answer[4:])
        elif protocol == UDP and len(body) >= 8:
            sport, dport, length = struct.unpack(">HHH", body[:6])
            found = self.ports.get(dport)
            if found is not None:
                found.got.append((body[8:length], src, sport))
                found.wake(POLLIN)


class TinyUdp(ForeignSock):
    """A UDP socket without checksums (RFC 768 allows none)."""

    def __init__(self, stack: TinyStack) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM, UDP)
        self.stack = stack
        self.got: deque[tuple[bytes, int, int]] = deque()

    def bind(self, addr: int, port: int) -> int:
        if addr not in (0, self.stack.address()):
            return -errno.EADDRNOTAVAIL
        port = port or next(free for free in range(49152, 65536) if free not in self.stack.ports)
        if port in self.stack.ports:
            return -errno.EADDRINUSE
        self.local_addr, self.local_port = addr, port
        self.stack.ports[port] = self
        return 0

    def connect(self, addr: int, port: int) -> int:
        self.remote_addr, self.remote_port = addr, port
        return 0 if self.local_port else self.bind(0, 0)

    def send(self, data: bytes, more: bool) -> int:
        if not self.remote_port:
            return -errno.EDESTADDRREQ
        return self.send_message(data, self.remote_addr, int(self.remote_port))

    def send_message(self, data: bytes, addr: int, port: int) -> int:
        if not self.local_port:
            self.bind(0, 0)
        sent = self.stack.send(addr, UDP, struct.pack(">HHHH", self.local_port, port, 8 + len(data), 0) + data)
        return len(data) if sent == 0 else sent

    def recv_message(self, peek: bool) -> tuple[bytes, int, int] | None:
        if not self.got:
            self.recv_errno = errno.EAGAIN
            return None
        return self.got[0] if peek else self.got.popleft()

    def has_input(self) -> bool:
        return bool(self.got)

    def poll(self) -> int:
        return POLLOUT | (POLLIN if self.got else 0)

    def close(self) -> None:
        self.stack.ports.pop(int(self.local_port), None)
