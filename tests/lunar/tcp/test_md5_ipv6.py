"""TCP_MD5SIG over IPv6 (RFC 2385): the pseudo-header is RFC 8200's, and keys are for addresses of both families."""

from __future__ import annotations

import hashlib
import socket
import struct

import lunar
from lunar.net.device import Device
from lunar.packet import AF_INET6, Frame, TcpSegment
from lunar.tcp.opening.md5 import Md5Key
from lunar.wire import tcp
from lunar.wire.address import parse_ipv4, parse_ipv6

TCP_MD5SIG = 14
A, B = "2001:db8::1", "2001:db8::2"


def key_for(address: str, key: bytes) -> bytes:
    """A `struct tcp_md5sig` (linux/tcp.h)."""
    name = struct.pack("=HHI", AF_INET6, 0, 0) + socket.inet_pton(socket.AF_INET6, address)
    return name.ljust(128, b"\0") + struct.pack("=BBHI", 0, 0, len(key), 0) + key.ljust(80, b"\0")


def signature(segment: TcpSegment, key: bytes) -> bytes:
    """RFC 2385 section 2.0, from the bytes on the wire."""
    data = tcp.encode(segment)
    header = data[:16] + b"\0\0" + data[18:20]
    payload = data[(data[12] >> 4) * 4 :]
    pseudo = segment.src.to_bytes(16, "big") + segment.dst.to_bytes(16, "big") + struct.pack(">II", len(data), 6)
    return hashlib.md5(pseudo + header + payload + key, usedforsecurity=False).digest()


def test_a_connection_is_signed_both_ways() -> None:
    seen: list[tuple[bytes | None, bytes]] = []

    def see(_device: Device, frame: Frame) -> None:
        if isinstance(frame, TcpSegment):
            seen.append((frame.md5, signature(frame, b"secret")))

    def serve() -> bytes:
        with socket.create_server(("::", 179), family=socket.AF_INET6) as server:
            server.setsockopt(socket.IPPROTO_TCP, TCP_MD5SIG, key_for(A, b"secret"))
            connection, _peer = server.accept()
            with connection:
                return connection.recv(10)

    def main() -> None:
        with socket.socket(socket.AF_INET6) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, TCP_MD5SIG, key_for(B, b"secret"))
            sock.connect((B, 179))
            sock.sendall(b"hello")

    with lunar.Network(seed=1) as net:
        a, b = net.host("a", f"{A}/64"), net.host("b", f"{B}/64")
        net.link(a, b, delay="1ms")
        a.devices["eth0"].tap = see
        serving = net.start(b, serve)
        net.run(main, on=a)
        net.run(until="1s")
    assert serving.result == b"hello"
    assert len(seen) > 5
    assert all(told == right for told, right in seen)


def test_a_key_is_for_a_network_of_its_own_family() -> None:
    six = Md5Key(parse_ipv6("2001:db8::"), 32, b"k")
    assert six.is_for(parse_ipv6("2001:db8:9::1"))
    assert not six.is_for(parse_ipv6("2001:db9::1"))
    assert not six.is_for(parse_ipv4("10.0.0.1"))
    four = Md5Key(parse_ipv4("10.0.0.0"), 8, b"k")
    assert four.is_for(parse_ipv4("10.9.9.9"))
    assert not four.is_for(parse_ipv6("2001:db8::1"))
    assert Md5Key(1, 128, b"k").is_for(1)
