"""What ICMP errors mean to sockets: forged ones of all types and codes, on the machine's loopback and a virtual host's.

A raw socket sends what a router would have sent, with the quotation of a packet that the socket in question might have
sent, or has sent. Addresses of 127/8 that nobody else has keep the machine's other sockets and routes out of it.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest
from side_by_side import Settle, on_a_host, on_the_machine

UNREACHABLE, SOURCE_QUENCH, TIME_EXCEEDED, PARAMETER_PROBLEM = 3, 4, 11, 12
ERRORS = [
    *((UNREACHABLE, code) for code in range(18)), (TIME_EXCEEDED, 0), (TIME_EXCEEDED, 1), (PARAMETER_PROBLEM, 0),
    (SOURCE_QUENCH, 0),
]  # fmt: skip


def own(role: int) -> str:
    """An address of 127/8 that is this process's: others may run the same test at the same time."""
    return f"127.{role}.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"


HERE, THERE, ROUTER, ELSEWHERE = own(76), own(77), own(78), own(79)


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def tell(kind: int, code: int, protocol: int, head: bytes, src: str = HERE, dst: str = THERE) -> None:
    """Send to HERE the error about a packet whose transport header begins with `head`, of eight bytes."""
    quoted = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(head), 1, 0, 64, protocol, 0, socket.inet_aton(src), socket.inet_aton(dst)
    )
    body = struct.pack("!HH", 0, 1400) + quoted + head
    message = struct.pack("!BBH", kind, code, checksum(struct.pack("!BBH", kind, code, 0) + body)) + body
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as router:
        router.bind((ROUTER, 0))
        router.sendto(message, (HERE, 0))


def name_of(number: int) -> str:
    return errno.errorcode.get(number, str(number))


def pending(sock: socket.socket) -> str:
    return name_of(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


def datagrams(settle: Settle) -> list[Any]:
    """Of connected and unconnected datagram sockets, and of one with another peer."""
    log: list[Any] = []
    for kind, code in ERRORS:
        socks = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(3)]
        for sock, peer in zip(socks, (THERE, None, ELSEWHERE), strict=True):
            sock.bind((HERE, 0))
            if peer:
                sock.connect((peer, 7))
            tell(kind, code, socket.IPPROTO_UDP, struct.pack("!HHHH", sock.getsockname()[1], 7, 8, 0))
        settle()
        log.append((kind, code, [pending(sock) for sock in socks]))
        for sock in socks:
            sock.close()
    return log


def raw_sockets(settle: Settle) -> list[Any]:
    log: list[Any] = []
    for kind, code in ERRORS:
        socks = [socket.socket(socket.AF_INET, socket.SOCK_RAW, 200) for _ in range(2)]
        for sock in socks:
            sock.bind((HERE, 0))
        socks[0].connect((THERE, 0))
        tell(kind, code, 200, bytes(8))
        settle()
        log.append((kind, code, [pending(sock) for sock in socks]))
        for sock in socks:
            sock.close()
    return log


def segments(sniffer: socket.socket, port: int) -> bytes:
    """The first eight bytes of the TCP header that was sent to `port` last."""
    found = b""
    sniffer.setblocking(False)
    while True:
        try:
            packet = sniffer.recv(200)
        except BlockingIOError:
            return found
        if packet[22:24] == struct.pack("!H", port):
            found = packet[20:28]


def streams(settle: Settle) -> list[Any]:
    """Of a stream that is connecting and of one that is connected; what connect(2) says, and what a later one does."""
    log: list[Any] = []
    for kind, code in ERRORS:
        with (
            socket.socket() as listener,
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as sniffer,
            socket.socket() as connected,
            socket.socket() as connecting,
        ):
            listener.bind((THERE, 0))
            sniffer.bind((THERE, 0))
            listener.listen(0)
            name = listener.getsockname()
            heads = []
            for sock in (connected, connecting):  # the second finds the queue full
                sock.bind((HERE, 0))
                sock.setblocking(False)
                assert sock.connect_ex(name) == errno.EINPROGRESS
                settle()
                heads.append(segments(sniffer, name[1]))
            connected.send(b"x")
            settle()
            heads[0] = segments(sniffer, name[1])
            for head in heads:
                tell(kind, code, socket.IPPROTO_TCP, head)
            settle()
            log.append((kind, code, pending(connected), name_of(connecting.connect_ex(name))))
            tell(UNREACHABLE, 1, socket.IPPROTO_TCP, heads[1][:4] + b"\0\0\0\0")  # quotes what was never sent
            settle()
            log.append(pending(connecting))
    return log


@pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets of the machine are root's")
@pytest.mark.parametrize("program", [datagrams, raw_sockets, streams])
def test_an_error_means_what_it_means_on_the_machine(program: Callable[[Settle], list[Any]]) -> None:
    for host, machine in zip(on_a_host(program), on_the_machine(program), strict=True):
        assert host == machine
