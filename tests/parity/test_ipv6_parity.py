"""AF_INET6 sockets: the same calls on the machine's loopback and on a virtual host, by ::1 and by mapped addresses."""

from __future__ import annotations

import errno
import itertools
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lunar.network import Network

STREAM, DGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
LEVEL = socket.IPPROTO_IPV6
# linux/in6.h; CPython's socket has not all of them.
ADDRFORM, FLOWINFO, UNICAST_HOPS, MTU_DISCOVER, MTU, RECVERR, V6ONLY = 1, 11, 16, 23, 24, 25, 26
RECVPKTINFO, PKTINFO, RECVHOPLIMIT, HOPLIMIT, PATHMTU, DONTFRAG = 49, 50, 51, 52, 61, 62
RECVTCLASS, TCLASS, AUTOFLOWLABEL, UNICAST_IF, FREEBIND = 66, 67, 70, 76, 78
OPTIONS = (
    ADDRFORM, FLOWINFO, UNICAST_HOPS, MTU_DISCOVER, MTU, RECVERR, V6ONLY, RECVPKTINFO, PKTINFO, RECVHOPLIMIT, HOPLIMIT,
    DONTFRAG, RECVTCLASS, TCLASS, AUTOFLOWLABEL, UNICAST_IF, FREEBIND,
)  # fmt: skip
TOLD = (RECVPKTINFO, RECVHOPLIMIT, RECVTCLASS, FLOWINFO)
VALUES = (-2, -1, 0, 1, 2, 3, 5, 6, 255, 256, 1279, 1280, 65535, 65536)
MSG_ERRQUEUE = 0x2000


def has_ipv6() -> bool:
    """Whether the machine's lo has ::1."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return Path("/proc/net/if_inet6").exists()


pytestmark = pytest.mark.skipif(not has_ipv6(), reason="the machine has no IPv6 to compare with")


def told(call: Callable[..., Any], *args: Any) -> Any:
    """What a call returns, or the name of its errno."""
    try:
        return call(*args)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def what_options_take() -> list[Any]:
    log: list[Any] = []
    for kind, option in itertools.product((STREAM, DGRAM), OPTIONS):
        with socket.socket(socket.AF_INET6, kind) as sock:
            log.append((option, told(sock.getsockopt, LEVEL, option), told(sock.getsockopt, LEVEL, PATHMTU, 100)))
            for value in VALUES:
                log.append((value, told(sock.setsockopt, LEVEL, option, value), told(sock.getsockopt, LEVEL, option)))
            for short in (b"", b"\1", b"\1\0\0"):
                log.append((short, told(sock.setsockopt, LEVEL, option, short), told(sock.getsockopt, LEVEL, option)))
            log.append([told(sock.getsockopt, LEVEL, option, size) for size in (1, 4, 100)])
    return log


def what_other_families_say() -> list[Any]:
    with socket.socket(type=DGRAM) as four, socket.socket(socket.AF_INET6, DGRAM) as six:
        log = [(told(four.setsockopt, LEVEL, option, 1), told(four.getsockopt, LEVEL, option)) for option in OPTIONS]
        for option in (socket.IP_TOS, socket.IP_TTL, 8, 11, 12, 13, 15):
            log.append((told(six.setsockopt, 0, option, 1), told(six.getsockopt, 0, option)))
        return log


def pair(there: str) -> tuple[socket.socket, socket.socket]:
    near, far = (socket.socket(socket.AF_INET6, DGRAM) for _ in range(2))
    far.bind(("::", 0))
    near.connect((there, far.getsockname()[1]))
    return near, far


def what_datagrams_tell() -> list[Any]:
    log: list[Any] = []
    for there in ("::1", "::ffff:127.0.0.1"):
        near, far = pair(there)
        near.setsockopt(LEVEL, UNICAST_HOPS, 7)
        near.setsockopt(LEVEL, TCLASS, 0x29)
        near.setsockopt(LEVEL, AUTOFLOWLABEL, 0)
        for count in range(len(TOLD) + 1):
            for chosen in itertools.combinations(TOLD, count):
                for option in TOLD:
                    far.setsockopt(LEVEL, option, option in chosen)
                near.send(b"data")
                log.append(far.recvmsg(100, 200)[:3])
        for room in (0, 15, 16, 20, 35, 36, 39, 40, 55, 60, 200):
            near.send(b"data")
            log.append(far.recvmsg(100, room)[:3])
        near.close()
        far.close()
    return log


def what_messages_ask_for() -> list[Any]:
    log: list[Any] = []
    near, far = pair("::1")
    far.setsockopt(LEVEL, RECVPKTINFO, 1)
    far.setsockopt(LEVEL, RECVHOPLIMIT, 1)
    far.setsockopt(LEVEL, RECVTCLASS, 1)
    one = socket.inet_pton(socket.AF_INET6, "::1")
    lo = socket.if_nametoindex("lo")
    asked: list[tuple[int, bytes]] = [
        *((HOPLIMIT, struct.pack("i", value)) for value in (-2, -1, 0, 9, 255, 256)), (HOPLIMIT, b"\1"),
        *((TCLASS, struct.pack("i", value)) for value in (-2, -1, 0, 9, 255, 256)), (TCLASS, b"\1"),
        *((DONTFRAG, struct.pack("i", value)) for value in (-1, 0, 1, 2)),
        (PKTINFO, one + struct.pack("i", lo)), (PKTINFO, bytes(16) + struct.pack("i", lo)),
        (PKTINFO, one + struct.pack("i", 0)), (PKTINFO, one + struct.pack("i", 4711)), (PKTINFO, one),
        (PKTINFO, socket.inet_pton(socket.AF_INET6, "2001:db8::99") + struct.pack("i", 0)), (99, b"\1\0\0\0"),
    ]  # fmt: skip
    for kind, data in asked:
        sent = told(near.sendmsg, [b"data"], [(LEVEL, kind, data)])
        log.append((kind, data, sent, far.recvmsg(100, 200)[:3] if isinstance(sent, int) else None))
    near.close()
    far.close()
    return log


def where_streams_begin() -> list[Any]:
    log: list[Any] = []
    for bound, named in (("::", "::1"), ("::1", "::1"), ("::", "::ffff:127.0.0.1"), ("::ffff:127.0.0.1", "::")):
        with socket.socket(socket.AF_INET6) as listening, socket.socket(socket.AF_INET6) as sock:
            listening.bind((bound, 0))
            listening.listen()
            port = listening.getsockname()[1]
            log.append((listening.getsockname()[0], told(sock.connect, (named, port))))
            if log[-1][1] is None:
                with listening.accept()[0] as child:
                    ends = (child.getsockname(), child.getpeername(), sock.getsockname(), sock.getpeername())
                    log.append([(end[0], *end[2:]) for end in ends])
                    log.append((child.family.name, told(child.getsockopt, LEVEL, UNICAST_HOPS)))
                    log.append([len(told(sock.getsockopt, LEVEL, PATHMTU, size)) for size in (20, 99)])
                    for whose in (child, sock):
                        log.append(told(whose.setsockopt, LEVEL, ADDRFORM, socket.AF_INET))
                        log.append((len(whose.getsockname()), told(whose.getsockopt, LEVEL, V6ONLY)))
    return log


def what_cannot_be_named() -> list[Any]:
    log: list[Any] = []
    addresses = ("::5", "2001:db8::1", "fe80::1", "ff02::1", "ff0e::1", "::ffff:0.0.0.0", "::ffff:127.0.0.9")
    for kind, address in itertools.product((STREAM, DGRAM), addresses):
        if kind == DGRAM and address.startswith("ff0e"):
            continue  # how the machine's groups are routed depends on its devices
        with socket.socket(socket.AF_INET6, kind) as sock:
            log.append((kind, address, told(sock.bind, (address, 0)), sock.getsockname()[0]))
        with socket.socket(socket.AF_INET6, kind) as sock:
            sock.setsockopt(LEVEL, V6ONLY, 1)
            log.append((told(sock.bind, (address, 0)), sock.getsockname()[0]))
            if address.startswith("::ffff"):
                log.append(told(sock.connect, (address, 9)))
    return log


def what_errors_are_told() -> list[Any]:
    log: list[Any] = []
    for option, there in ((RECVERR, "::1"), (0, "::1"), (RECVERR, "::ffff:127.0.0.1")):
        with socket.socket(socket.AF_INET6, DGRAM) as sock, socket.socket(socket.AF_INET6, DGRAM) as closed:
            closed.bind(("::", 0))
            port = closed.getsockname()[1]
            closed.close()
            if option:
                sock.setsockopt(LEVEL, option, 1)
            sock.connect((there, port))
            sock.send(b"x")
            log.append(told(sock.recv, 10))
            report = told(sock.recvmsg, 10, 200, MSG_ERRQUEUE)
            if isinstance(report, tuple):
                report = (report[0], report[1], report[2], report[3][0], report[3][1] == port, report[3][2:])
            log.append(report)
    return log


def how_large_segments_are_over_lo() -> list[Any]:
    log: list[Any] = []
    for family, here, level, option in (
        (socket.AF_INET, "127.0.0.1", socket.IPPROTO_IP, 14), (socket.AF_INET6, "::1", LEVEL, MTU)
    ):  # fmt: skip
        with socket.socket(family) as listening, socket.socket(family) as sock:
            listening.bind((here, 0))
            listening.listen()
            sock.connect(listening.getsockname()[:2])
            with listening.accept()[0] as child:
                for one in (sock, child):
                    mss = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
                    log.append((mss, one.getsockopt(level, option)))
    return log


PROGRAMS = (
    what_options_take, what_other_families_say, what_datagrams_tell, what_messages_ask_for, where_streams_begin,
    what_cannot_be_named, what_errors_are_told, how_large_segments_are_over_lo,
)  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_a_program_finds_the_same(program: Callable[[], list[Any]]) -> None:
    expected = program()
    assert expected
    with Network(seed=1) as net:
        found = net.run(program, on=net.host("alpha", "10.0.0.1/24"))
    for number, (want, have) in enumerate(zip(expected, found, strict=True)):
        assert have == want, f"entry {number}, after {expected[max(0, number - 3) : number]}"
