"""Raw and ping sockets: the same program on the machine's loopback and on a virtual host, and what each saw.

Addresses of 127/8 that nobody else has keep what other processes do out. What a kernel chooses (identifications, the
checksums that cover them) is left out of the comparison.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lunar.network import Network

PROGRAMS: dict[str, Callable[[list[Any]], None]] = {}
PING_PROGRAMS: dict[str, Callable[[list[Any]], None]] = {}

ICMP, PROTOCOL, OTHER_PROTOCOL = socket.IPPROTO_ICMP, 200, 201
NOBODY = "10.255.254.253"
SOL_RAW, ICMP_FILTER = 255, 1


def own(role: int) -> str:
    """An address of 127/8 that is this process's: others may run the same test at the same time."""
    return f"127.{role}.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"


HERE, THERE, ELSEWHERE = own(71), own(72), own(73)


def program(function: Callable[[list[Any]], None]) -> Callable[[list[Any]], None]:
    PROGRAMS[function.__name__] = function
    return function


def ping_program(function: Callable[[list[Any]], None]) -> Callable[[list[Any]], None]:
    PING_PROGRAMS[function.__name__] = function
    return function


def attempt(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except OSError as failed:
        return errno.errorcode[failed.errno or 0]


def raw(protocol: int, address: str | None = HERE) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
    sock.settimeout(5)
    if address is not None:
        sock.bind((address, 0))
    return sock


def not_blocking(sock: socket.socket) -> socket.socket:
    sock.setblocking(False)
    return sock


def nothing(sock: socket.socket) -> Any:
    """What a read says that must not wait. It is the last one of its socket."""
    return attempt(not_blocking(sock).recv, 100)


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo(identifier: int, sequence: int, data: bytes = b"abcdefgh", kind: int = 8) -> bytes:
    bare = struct.pack("!BBHHH", kind, 0, 0, identifier, sequence) + data
    return struct.pack("!BBHHH", kind, 0, checksum(bare), identifier, sequence) + data


def header(src: str, dst: str, data: bytes, **fields: int) -> bytes:
    return struct.pack(
        "!BBHHHBBH4s4s", fields.get("version", 0x45), 7, fields.get("length", 0), fields.get("ident", 0), 0, 9,
        PROTOCOL, fields.get("check", 0), socket.inet_aton(src), socket.inet_aton(dst),
    ) + data  # fmt: skip


def seen(got: tuple[bytes, Any]) -> Any:
    """A packet without what a kernel chooses; its header checksum must be right."""
    packet, sender = got
    assert checksum(packet[:20]) == 0
    return packet[:4] + packet[6:10], packet[12:], sender


@program
def what_a_new_socket_is(log: list[Any]) -> None:
    sock = raw(ICMP, None)
    log.append([sock.getsockname(), attempt(sock.getpeername), sock.proto, int(sock.type)])
    for level, name in [
        (0, socket.IP_TTL), (0, socket.IP_TOS), (0, socket.IP_HDRINCL), (SOL_RAW, ICMP_FILTER), (1, socket.SO_TYPE),
        (1, socket.SO_PROTOCOL), (1, socket.SO_REUSEADDR), (1, socket.SO_ERROR), (1, socket.SO_BROADCAST), (6, 1),
        (SOL_RAW, 2),
    ]:  # fmt: skip
        log.append((level, name, attempt(sock.getsockopt, level, name)))
    log.append([attempt(sock.listen), attempt(not_blocking(sock).accept), attempt(sock.shutdown, 2)])
    sock.close()
    log.append(attempt(sock.send, b"x"))
    sender = raw(socket.IPPROTO_RAW, None)
    log.append([sender.getsockname(), sender.getsockopt(0, socket.IP_HDRINCL)])
    other = raw(PROTOCOL, None)
    log.append(attempt(other.getsockopt, SOL_RAW, ICMP_FILTER))
    log.append(attempt(other.setsockopt, SOL_RAW, ICMP_FILTER, 1))


@program
def which_sockets_there_are(log: list[Any]) -> None:
    kinds = [
        (2, 3, 0), (2, 3, 263), (2, 3, 300), (2, 1, 1), (2, 1, 300), (2, 2, 300), (2, 4, 0), (2, 2, 6), (999, 1, 0),
        (10, 2, 1), (2, 11, 0),
    ]  # fmt: skip
    for kind in kinds:
        made = attempt(socket.socket, *kind)
        log.append((kind, made if isinstance(made, str) else "made"))


@program
def an_echo_and_its_reply(log: list[Any]) -> None:
    sock = raw(ICMP)
    log.append([attempt(sock.sendto, b"", (HERE, 0)), attempt(sock.send, b"x")])
    log.append(sock.sendto(echo(7, 1), (HERE, 99)))
    log.append([seen(sock.recvfrom(100)), seen(sock.recvfrom(100))])  # the request is for this host, too
    log.append(sock.sendto(b"\x08 short", (HERE, 0)))  # no header: for nobody
    log.append(sock.sendto(b"\x08 a wrong checksum", (HERE, 0)))  # copied to whoever is raw, answered by nobody
    log.append(seen(sock.recvfrom(100)))
    log.append(nothing(sock))
    sock.close()


@program
def filters_keep_types_out(log: list[Any]) -> None:
    sock = raw(ICMP)
    sock.setsockopt(SOL_RAW, ICMP_FILTER, 1 << 8)
    log.append([sock.getsockopt(SOL_RAW, ICMP_FILTER), sock.getsockopt(SOL_RAW, ICMP_FILTER, 8)])
    sock.sendto(echo(7, 1), (HERE, 0))
    log.append(seen(sock.recvfrom(100)))
    log.append(nothing(sock))
    sock.close()


@program
def bound_and_connected(log: list[Any]) -> None:
    near, far = raw(PROTOCOL), raw(PROTOCOL, THERE)
    log.append([near.getsockname(), attempt(near.bind, (NOBODY, 0)), attempt(near.bind, (HERE, 5)), near.getsockname()])
    log.append([attempt(near.send, b"x"), near.sendto(b"one", (THERE, 0)), seen(far.recvfrom(100))])
    near.connect((THERE, 9))
    log.append([near.getsockname(), near.getpeername(), attempt(near.bind, (HERE, 0))])
    log.append([near.send(b"two"), seen(far.recvfrom(100))])
    stranger = raw(PROTOCOL, ELSEWHERE)
    stranger.sendto(b"not from the peer", (HERE, 0))
    far.sendto(b"from the peer", (HERE, 0))
    log.append([seen(near.recvfrom(100)), nothing(near)])
    near.connect((THERE, 0))
    log.append(attempt(near.getpeername))
    for sock in (near, far, stranger):
        sock.close()


@program
def two_sockets_each_get_a_copy(log: list[Any]) -> None:
    first, second, other = raw(PROTOCOL), raw(PROTOCOL), raw(OTHER_PROTOCOL)
    first.sendto(b"for both", (HERE, 0))
    log.append([seen(first.recvfrom(100)), seen(second.recvfrom(100))])
    log.append(nothing(other))
    for sock in (first, second, other):
        sock.close()


@program
def reading_a_part(log: list[Any]) -> None:
    sock = raw(PROTOCOL)
    for _ in range(4):
        sock.sendto(b"0123456789", (HERE, 0))
    log.append(sock.recv(1))
    got = sock.recvmsg(21)
    log.append([got[0][20:], got[1], got[2] == socket.MSG_TRUNC, got[3]])
    log.append(len(sock.recv(100, socket.MSG_PEEK)))
    buffer = bytearray(5)
    log.append(sock.recv_into(buffer, 5, socket.MSG_TRUNC))
    log.append(len(sock.recv(100)))
    log.append(attempt(not_blocking(sock).recv, 1, socket.MSG_OOB))
    log.append(attempt(sock.sendto, b"x", socket.MSG_OOB, (HERE, 0)))
    sock.close()


@program
def sizes_and_options_of_the_header(log: list[Any]) -> None:
    sock = raw(PROTOCOL)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 3)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x10)
    log.append([sock.sendto(b"", (HERE, 0)), seen(sock.recvfrom(100))])
    log.append([attempt(sock.sendto, bytes(size), (HERE, 0)) for size in (65515, 65516, 70000)])
    log.append(len(sock.recv(70000)))
    log.append(attempt(sock.sendto, b"x", ("127.255.255.255", 0)))
    sock.close()


@program
def headers_of_the_program_s_own(log: list[Any]) -> None:
    taker, sock = raw(PROTOCOL), raw(socket.IPPROTO_RAW, None)
    log.append([sock.sendto(header("0.0.0.0", HERE, b"hello"), (HERE, 0)), seen(taker.recvfrom(100))[1:]])
    packet = header("1.2.3.4", HERE, b"hello", ident=77, length=9, check=5)
    log.append([sock.sendto(packet, (HERE, 0)), taker.recvfrom(100)])
    for wrong in (b"", b"short", header(HERE, HERE, b"", version=0x46)):
        log.append(attempt(sock.sendto, wrong, (HERE, 0)))
    log.append(attempt(sock.sendto, header(HERE, HERE, b"abc", version=0x44), (HERE, 0)))
    log.append(attempt(sock.sendto, header(HERE, HERE, b"abc", version=0x65), (HERE, 0)))
    log.append(attempt(sock.sendto, header(HERE, HERE, bytes(65516)), (HERE, 0)))
    log.append([attempt(sock.send, bytes(30)), nothing(taker)])
    taker.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
    log.append([taker.getsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL), attempt(taker.sendto, b"x", (HERE, 0))])
    taker.close()
    sock.close()


@program
def a_copy_of_each_datagram(log: list[Any]) -> None:
    watcher = raw(socket.IPPROTO_UDP)
    with socket.socket(type=socket.SOCK_DGRAM) as near, socket.socket(type=socket.SOCK_DGRAM) as far:
        near.bind((HERE, 4000))
        far.bind((HERE, 4001))
        near.sendto(b"hello", (HERE, 4001))
        log.append(far.recvfrom(100))
        packet = watcher.recv(100)
        log.append([packet[9], packet[12:26], packet[28:]])
    watcher.close()


@program
def waiting_and_ending(log: list[Any]) -> None:
    sock = raw(PROTOCOL)
    sock.connect((HERE, 0))
    log.append(sock.send(b"x"))
    sock.recv(100)
    log.append([attempt(sock.shutdown, 1), attempt(sock.send, b"x")])
    sock.recv(100)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
    log.append(attempt(sock.send, header(HERE, HERE, b"abc")))
    sock.close()


@ping_program
def echo_and_nothing_else(log: list[Any]) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, ICMP)
    sock.settimeout(5)
    log.append([sock.getsockname(), attempt(sock.getpeername), sock.proto, int(sock.type)])
    log.append([attempt(sock.sendto, bytes(7), (HERE, 0)), sock.getsockname()[1] > 0])
    log.append([attempt(sock.sendto, echo(1, 1, kind=kind), (HERE, 0)) for kind in (0, 13)])
    log.append(attempt(sock.send, echo(1, 1)))
    log.append(sock.sendto(echo(1, 5), (HERE, 0)))
    data, sender = sock.recvfrom(100)
    identifier, sequence = struct.unpack("!HH", data[4:8])
    log.append([data[:2], data[8:], sender, identifier == sock.getsockname()[1], sequence, checksum(data)])
    log.append([attempt(sock.listen), attempt(not_blocking(sock).accept)])
    log.append([attempt(sock.send, echo(1, 1), socket.MSG_OOB), attempt(sock.setsockopt, 0, socket.IP_HDRINCL, 1)])
    log.append(attempt(sock.sendto, echo(1, 1), ("127.255.255.255", 0)))
    log.append([attempt(sock.sendto, echo(0, 0, bytes(size)), (HERE, 0)) for size in (65500, 65530)])
    sock.close()


@ping_program
def identifiers(log: list[Any]) -> None:
    first = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, ICMP)
    second = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, ICMP)
    log.append([attempt(first.bind, (NOBODY, 3)), attempt(first.bind, (HERE, 1234)), first.getsockname()])
    log.append([attempt(first.bind, (HERE, 1235)), attempt(second.bind, (HERE, 1234))])  # SO_REUSEADDR is on
    log.append(attempt(second.shutdown, 0))
    second.close()
    first.settimeout(5)
    first.connect((THERE, 9))
    log.append([first.getsockname(), first.getpeername(), first.send(echo(1, 1))])
    log.append(first.recv(100)[4:6])
    log.append([attempt(first.shutdown, 1), attempt(first.send, echo(0, 0))])
    third = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, ICMP)
    third.connect((THERE, 0))
    log.append([third.getsockname()[1] > 0, attempt(third.getpeername)])
    for sock in (first, third):
        sock.close()


def on_a_host(function: Callable[[list[Any]], None], *commands: str) -> list[Any]:
    network = Network(seed=1)
    host = network.host("host", "10.0.0.1/24")
    for command in commands:
        host.sh(command)
    log: list[Any] = []
    network.start(host, lambda: function(log))
    network.run()
    return log


@pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets of the machine are root's")
@pytest.mark.parametrize("name", PROGRAMS)
def test_raw_sockets_are_the_machines(name: str) -> None:
    machine: list[Any] = []
    PROGRAMS[name](machine)
    assert on_a_host(PROGRAMS[name]) == machine


def ping_groups() -> tuple[int, int]:
    first, last = Path("/proc/sys/net/ipv4/ping_group_range").read_text().split()
    return int(first), int(last)


@pytest.mark.skipif(not ping_groups()[0] <= os.getegid() <= ping_groups()[1], reason="net.ipv4.ping_group_range")
@pytest.mark.parametrize("name", PING_PROGRAMS)
def test_ping_sockets_are_the_machines(name: str) -> None:
    machine: list[Any] = []
    PING_PROGRAMS[name](machine)
    assert on_a_host(PING_PROGRAMS[name], 'sysctl -w net.ipv4.ping_group_range="0 2147483647"') == machine


@pytest.mark.parametrize("name", PING_PROGRAMS)
def test_ping_programs_run_on_a_host(name: str) -> None:
    # Where the machine refuses ping sockets they are compared nowhere; on a host they run all the same.
    assert on_a_host(PING_PROGRAMS[name], 'sysctl -w net.ipv4.ping_group_range="0 2147483647"')


def test_ping_sockets_are_refused_at_first() -> None:
    log: list[Any] = []
    network = Network(seed=1)
    host = network.host("host", "10.0.0.1/24")
    network.start(host, lambda: log.append(attempt(socket.socket, socket.AF_INET, socket.SOCK_DGRAM, ICMP)))
    network.run()
    assert log == ["EACCES"]


def test_what_poll_says_of_a_raw_socket() -> None:
    log: list[Any] = []

    def look() -> None:
        sock: Any = raw(PROTOCOL)
        log.append(sock.sock.poll())
        sock.sendto(b"x", (HERE, 0))
        sock.recv(100, socket.MSG_PEEK)
        log.append(sock.sock.poll())

    network = Network(seed=1)
    network.start(network.host("host", "10.0.0.1/24"), look)
    network.run()
    assert log == [select.POLLOUT, select.POLLIN | select.POLLOUT]
