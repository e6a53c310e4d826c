"""Raw and ping sockets of IPv6: the same program in a namespace of the machine's kernel and on a virtual host."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest
from in_namespace import Program, attempt, check_the_same

PROGRAMS: dict[str, Program] = {}

SIX, IPV6, ICMPV6, RAW, DGRAM = socket.AF_INET6, 41, 58, socket.SOCK_RAW, socket.SOCK_DGRAM
OWN, PROTOCOL, CHECKSUM, FILTER = "2001:db8::1", 200, 7, 1
HOPS, PKTINFO, HOPLIMIT, TCLASS = 16, 49, 51, 66


def program(function: Program) -> Program:
    PROGRAMS[function.__name__] = function
    return function


def raw(protocol: int, address: str | None = OWN) -> socket.socket:
    sock = socket.socket(SIX, RAW, protocol)
    sock.settimeout(5)
    if address is not None:
        sock.bind((address, 0))
    return sock


def nothing(sock: socket.socket) -> Any:
    sock.setblocking(False)
    got = attempt(sock.recv, 100)
    sock.settimeout(5)
    return got


def echo(identifier: int, sequence: int, kind: int = 128, data: bytes = b"abcdefgh") -> bytes:
    return struct.pack("!BBHHH", kind, 0, 0, identifier, sequence) + data


@program
def what_a_new_socket_is(log: list[Any]) -> None:
    for protocol in (ICMPV6, PROTOCOL, 255):
        sock = raw(protocol, None)
        log.append([sock.getsockname(), attempt(sock.getpeername), sock.proto, int(sock.type)])
        for level, name in [(IPV6, CHECKSUM), (255, CHECKSUM), (IPV6, HOPS), (1, 3), (1, 38), (1, 2)]:
            log.append((level, name, attempt(sock.getsockopt, level, name)))
        log.append(attempt(sock.getsockopt, ICMPV6, FILTER, 32))
        log.append([attempt(sock.listen), attempt(sock.send, b"x")])
        sock.close()
    for kind in [(SIX, RAW, 0), (SIX, RAW, 300)]:
        log.append(attempt(socket.socket, *kind))


@program
def addresses(log: list[Any]) -> None:
    sock, witness = raw(PROTOCOL, None), raw(PROTOCOL)
    for address in ["2001:db8::99", "::ffff:10.0.0.1", OWN, "::1", "::", "ff15::1"]:
        log.append((address, attempt(sock.bind, (address, 0)), sock.getsockname()))
    log.append([attempt(sock.sendto, b"abc", (OWN, port)) for port in (0, PROTOCOL, 7, 300)])
    log.append([attempt(sock.sendto, b"abc", ("::ffff:10.0.0.1", 0)), attempt(sock.sendto, b"abc", ("2002::1", 0))])
    log.append([witness.recv(10), witness.recv(10), nothing(witness)])
    sock.close()
    witness.close()
    sock = raw(PROTOCOL, None)
    log.append([attempt(sock.connect, (OWN, 0)), sock.getsockname()[0], attempt(sock.bind, (OWN, 0)), sock.send(b"x")])
    log.append(sock.recv(10))
    sock.close()


@program
def packets_without_their_headers(log: list[Any]) -> None:
    near, far = raw(PROTOCOL), raw(PROTOCOL, "::1")
    log.append([near.sendto(b"hello", (OWN, 0)), near.recvfrom(100)])
    for name in (PKTINFO, HOPLIMIT, TCLASS):
        near.setsockopt(IPV6, name, 1)
    near.setsockopt(IPV6, HOPS, 9)
    near.setsockopt(IPV6, 67, 0x20)
    near.sendto(b"hello", (OWN, 0))
    log.append(near.recvmsg(100, 200))
    log.append([near.sendto(b"", (OWN, 0)), near.recv(100)])
    log.append([far.sendto(b"x", ("::1", 0)), far.recvfrom(10), nothing(near)])
    near.close()
    far.close()


@program
def checksums(log: list[Any]) -> None:
    near = raw(PROTOCOL)
    log.append([attempt(near.setsockopt, IPV6, CHECKSUM, value) for value in (3, -5, 2)])
    log.append(near.getsockopt(IPV6, CHECKSUM))
    log.append([attempt(near.sendto, data, (OWN, 0)) for data in (b"abc", b"abcd", b"abcdefg")])
    log.append([near.recv(100), near.recv(100), nothing(near)])
    other = raw(PROTOCOL)
    other.sendto(b"abcdefg", (OWN, 0))  # whose checksum is wrong
    log.append([other.recv(100), nothing(near)])
    near.setsockopt(IPV6, CHECKSUM, -1)
    other.sendto(b"abcdefg", (OWN, 0))
    log.append([near.recv(100), other.recv(100)])
    ping = raw(ICMPV6)
    log.append([attempt(ping.setsockopt, IPV6, CHECKSUM, value) for value in (2, 4, -1)])
    for sock in (near, other, ping):
        sock.close()


@program
def an_echo_and_its_reply(log: list[Any]) -> None:
    sock = raw(ICMPV6)
    log.append([attempt(sock.sendto, data, (OWN, 0)) for data in (b"", b"a", b"ab", b"abc")])
    log.append(sock.sendto(echo(7, 1), (OWN, 0)))
    log.append([sock.recvfrom(100), sock.recvfrom(100)])
    sock.setsockopt(ICMPV6, FILTER, (1 << 128).to_bytes(32, "little"))
    log.append(sock.getsockopt(ICMPV6, FILTER, 32))
    sock.sendto(echo(7, 2), (OWN, 0))
    log.append([sock.recv(100), nothing(sock)])
    sock.setsockopt(ICMPV6, FILTER, b"\xff" * 32)
    sock.sendto(echo(7, 3), (OWN, 0))
    log.append(nothing(sock))
    log.append(attempt(sock.setsockopt, ICMPV6, FILTER, b"\0\0\0\0"))
    log.append(sock.getsockopt(ICMPV6, FILTER, 32))
    other = raw(PROTOCOL)
    log.append([attempt(other.setsockopt, ICMPV6, FILTER, bytes(32)), attempt(other.getsockopt, ICMPV6, FILTER, 32)])
    sock.close()
    other.close()


@program
def sizes(log: list[Any]) -> None:
    sock = raw(PROTOCOL)
    for discover in range(6):
        sock.setsockopt(IPV6, 23, discover)
        for size in (1460, 1461, 3000, 65536):
            log.append((size, attempt(sock.sendto, bytes(size), ("2001:db8::2", 0))))
    sock.close()


@program
def headers_of_the_program_s_own(log: list[Any]) -> None:
    taker, sock = raw(PROTOCOL), raw(255, None)
    own = socket.inet_pton(SIX, OWN)
    for version in (0x60, 0x40):
        packet = struct.pack("!B3sHBB", version, bytes(3), 5, PROTOCOL, 9) + own + own + b"hello"
        log.append(attempt(sock.sendto, packet, (OWN, 0)))
    log.append([taker.recvfrom(100), nothing(taker)])
    log.append([attempt(sock.sendto, data, (OWN, 0)) for data in (b"", b"short")])
    taker.close()
    sock.close()


@program
def groups(log: list[Any]) -> None:
    near, far = raw(PROTOCOL), raw(PROTOCOL, None)
    request = socket.inet_pton(SIX, "ff15::7") + struct.pack("i", socket.if_nametoindex("eth0"))
    far.setsockopt(IPV6, 20, request)
    far.setsockopt(IPV6, HOPLIMIT, 1)
    near.setsockopt(IPV6, 17, socket.if_nametoindex("eth0"))
    log.append([near.sendto(b"hello", ("ff15::7", 0)), far.recvmsg(100, 100), nothing(near)])
    near.setsockopt(IPV6, 19, 0)
    near.sendto(b"for the others", ("ff15::7", 0))
    log.append(nothing(far))
    near.close()
    far.close()


@pytest.mark.parametrize("name", PROGRAMS)
def test_raw_sockets_of_ipv6_are_the_machines(name: str) -> None:
    check_the_same(PROGRAMS[name], f"{OWN}/64")
