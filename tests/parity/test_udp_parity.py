"""UDP and multicast: the same program in a namespace of the machine's kernel and on a virtual host, and what each saw.

What a kernel chooses by chance (ports, which of several sockets) is left out of the comparison.
"""

from __future__ import annotations

import select
import socket
import struct
from typing import Any

import pytest
from in_namespace import Program, attempt, check_the_same

PROGRAMS: dict[str, Program] = {}

IP, IPV6, UDP, SOL = socket.IPPROTO_IP, 41, socket.IPPROTO_UDP, socket.SOL_SOCKET
IF, TTL, LOOP, ADD, DROP, UNBLOCK, BLOCK, ADD_SOURCE, DROP_SOURCE, MSFILTER = range(32, 42)
MCAST_JOIN, MCAST_BLOCK, MCAST_UNBLOCK, MCAST_LEAVE = range(42, 46)
MCAST_JOIN_SOURCE, MCAST_LEAVE_SOURCE, MCAST_MSFILTER = range(46, 49)
ALL = 49
SEGMENT, GRO = 103, 104
OWN, GROUP, OTHER_GROUP = "10.0.0.1", "239.1.2.3", "239.1.2.4"


def program(function: Program) -> Program:
    PROGRAMS[function.__name__] = function
    return function


def datagram(address: str | None = None, port: int = 4001, *, family: int = socket.AF_INET) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(5)
    if address is not None:
        sock.bind((address, port))
    return sock


def aton(*addresses: str) -> bytes:
    return b"".join(map(socket.inet_aton, addresses))


def index(name: str = "eth0") -> int:
    return socket.if_nametoindex(name)


def nothing(sock: socket.socket) -> Any:
    """What a read says that must not wait."""
    sock.setblocking(False)
    got = attempt(sock.recv, 100)
    sock.settimeout(5)
    return got


def closing(*socks: socket.socket) -> None:
    for sock in socks:
        sock.close()


# Options


@program
def integers(log: list[Any]) -> None:
    for level, name, values in [
        (UDP, SEGMENT, (-1, 0, 1, 1000, 65535, 65536)), (UDP, GRO, (-1, 0, 5)), (UDP, 101, (1, 0)), (UDP, 102, (1, 0)),
        (IP, TTL, (-2, -1, 0, 1, 255, 256)), (IP, LOOP, (-2, 0, 1, 2, 256)), (IP, ALL, (-2, 0, 1, 2)),
        (IP, 6, (1, 0, 7)), (IP, 20, (1, 0, 7)), (IP, 24, (1, 0)), (IP, 10, (-1, 0, 5, 6)), (SOL, 11, (1, 0)),
        (SOL, 40, (1, 0)), (SOL, 42, (5, -7, 0, -1)), (SOL, 62, (1, 2, -1, 0)), (IP, 52, (1,)),
        (IP, 50, (0, 0x0200_0000, 0x6300_0000, 0)),
    ]:  # fmt: skip
        sock = datagram()
        log.append((level, name, attempt(sock.getsockopt, level, name)))
        for value in values:
            set_so = attempt(sock.setsockopt, level, name, value)
            log.append((level, name, value, set_so, attempt(sock.getsockopt, level, name)))
        sock.close()
    sock = datagram()
    for level, name in [(UDP, SEGMENT), (IP, TTL), (IP, LOOP), (IP, ADD), (IP, IF), (IP, MSFILTER)]:
        for value in (b"", b"\7", b"\7\0\0"):
            log.append((level, name, value, attempt(sock.setsockopt, level, name, value)))
    for name in (14, 35, 42, 100):
        log.append((name, attempt(sock.getsockopt, IP, name)))
    sock.close()
    with socket.socket() as stream:
        for level, name in [(UDP, SEGMENT), (IP, ADD), (SOL, 42), (IP, LOOP)]:
            log.append(("of a stream", level, name, attempt(stream.setsockopt, level, name, 1)))


@program
def which_device(log: list[Any]) -> None:
    sock = datagram()
    log.append([attempt(sock.setsockopt, SOL, 25, name) for name in (b"nope", b"eth0", b"eth0\0", b"lo\0junk")])
    log.append([sock.getsockopt(SOL, 25, 20), sock.getsockopt(SOL, 62)])
    log.append([attempt(sock.setsockopt, SOL, 25, b""), sock.getsockopt(SOL, 25, 20), sock.getsockopt(SOL, 62)])
    log.append([attempt(sock.sendto, b"x", (to, 9)) for to in ("8.8.8.8", "239.1.1.1", "10.0.0.2")])
    sock.setsockopt(SOL, 25, b"eth0")
    log.append([attempt(sock.sendto, b"x", (to, 9)) for to in ("8.8.8.8", "239.1.1.1", "10.0.0.2", OWN)])
    for name in (b"lo", b"eth0", b""):
        far, near = datagram("", 4001), datagram()
        far.setsockopt(SOL, 25, name)
        near.sendto(b"hello", (OWN, 4001))  # which comes by lo
        log.append((name, nothing(far) if name == b"lo" else far.recv(100)))
        closing(far, near)
    first, second = datagram(), datagram()
    first.setsockopt(SOL, 25, b"eth0")
    first.bind(("", 4002))
    log.append(attempt(second.bind, ("", 4002)))
    second.setsockopt(SOL, 25, b"lo")
    log.append(attempt(second.bind, ("", 4002)))
    closing(sock, first, second)


@program
def a_port_that_comes_later(log: list[Any]) -> None:
    sock, far = datagram(), datagram(OWN)
    sock.setsockopt(IP, 24, 1)
    sock.bind((OWN, 0))
    log.append(sock.getsockname())
    sock.sendto(b"x", (OWN, 4001))
    _, (address, port) = far.recvfrom(10)
    log.append([address, port > 0, sock.getsockname() == (address, port)])
    log.append(attempt(sock.bind, (OWN, 0)))
    closing(sock, far)


# What is told of a datagram


@program
def what_the_header_said(log: list[Any]) -> None:
    far, near = datagram(OWN), datagram(OWN, 4000)
    for name in (20, 6, 8, 12, 13):
        far.setsockopt(IP, name, 1)
    near.sendto(b"hello", (OWN, 4001))
    log.append(far.recvmsg(100, 200))
    near.setsockopt(IP, 4, b"\x01\x01\x01")
    log.append([near.getsockopt(IP, 4, 40), near.sendto(b"hello", (OWN, 4001)), far.recvmsg(100, 200)])
    for value in (bytes(41), b"\x07\x01", b"\x99", b"\x99\x09", b""):
        log.append((value, attempt(near.setsockopt, IP, 4, value)))
    near.sendto(b"hello", (OWN, 4001))
    log.append([near.getsockopt(IP, 4, 40), far.recvmsg(100, 200)])
    closing(far, near)


@program
def routes_are_recorded(log: list[Any]) -> None:
    far, near = datagram(OWN), datagram(OWN, 4000)
    far.setsockopt(IP, 6, 1)
    stamps = b"\x44\x0c\x05\x03" + aton("9.9.9.9") + bytes(4)
    for options in (b"\x07\x0b\x04" + bytes(9), b"\x01\x07\x07\x04" + bytes(4), stamps):
        log.append([attempt(near.setsockopt, IP, 4, options), near.getsockopt(IP, 4, 40)])
        near.sendto(b"hello", (OWN, 4001))
        log.append(far.recvmsg(100, 100))
    for wrong in (b"\x07\x0b\x03" + bytes(9), b"\x07\x0b\x05" + bytes(9), b"\x44\x03\x05\x00", b"\x94\x03\0\0"):
        log.append(attempt(near.setsockopt, IP, 4, wrong))
    closing(far, near)


@program
def peeking_goes_on(log: list[Any]) -> None:
    far, near = datagram(OWN), datagram()
    far.setsockopt(SOL, 42, 2)
    for data in (b"hello", b"", b"0123456789"):
        near.sendto(data, (OWN, 4001))
    for size in (2, 10, 4, 10):
        log.append([attempt(far.recv, size, socket.MSG_PEEK), far.getsockopt(SOL, 42)])
    far.setblocking(False)
    log.append(attempt(far.recv, 10, socket.MSG_PEEK))
    for _ in range(3):
        log.append([attempt(far.recv, 10), far.getsockopt(SOL, 42)])
    closing(far, near)


@program
def how_many_were_dropped(log: list[Any]) -> None:
    far, near = datagram(OWN), datagram()
    far.setsockopt(SOL, socket.SO_RCVBUF, 1)
    log.append(struct.unpack("9I", far.getsockopt(SOL, 55, 36))[1:4])
    for _ in range(10):
        near.sendto(bytes(2000), (OWN, 4001))
    select.select([far], [], [])  # what was sent over lo has arrived
    words = struct.unpack("9I", far.getsockopt(SOL, 55, 36))
    log.append([words[0] > 0, words[8] > 0])
    log.append(len(far.recv(3000)))
    closing(far, near)


# Segments


@program
def one_send_is_many_datagrams(log: list[Any]) -> None:
    far, near = datagram(OWN), datagram()
    far.setsockopt(SOL, socket.SO_RCVBUF, 10_000_000)
    near.setsockopt(UDP, SEGMENT, 1000)
    for size in (0, 999, 1000, 1001, 5500, 64_000, 65_507, 65_508):
        sent = attempt(near.sendto, bytes(size), (OWN, 4001))
        got = []
        while not isinstance(sent, str):
            got.append(len(far.recv(70_000)))
            if sum(got) >= size:
                break
        log.append((size, sent, got))
    near.setsockopt(UDP, SEGMENT, 1)
    log.append([(size, attempt(near.sendto, bytes(size), (OWN, 4001))) for size in (64, 128, 129)])
    for segment in (1472, 1473):
        near.setsockopt(UDP, SEGMENT, segment)
        log.append([attempt(near.sendto, bytes(size), ("10.0.0.2", 9)) for size in (segment, segment + 1, 2 * segment)])
    closing(far, near)


@program
def segments_stay_together(log: list[Any]) -> None:
    far, near = datagram(OWN), datagram(OWN, 4000)
    far.setsockopt(UDP, GRO, 1)
    near.setsockopt(UDP, SEGMENT, 1000)
    for size in (5500, 500, 1000, 2000):
        near.sendto(bytes(size), (OWN, 4001))
        got = far.recvmsg(70_000, 200)
        log.append((size, len(got[0]), got[1:]))
    for control in (struct.pack("H", 500), struct.pack("i", 500), struct.pack("H", 0), b""):
        log.append(attempt(near.sendmsg, [bytes(3000)], [(UDP, SEGMENT, control)], 0, (OWN, 4001)))
    for _ in range(2):
        got = far.recvmsg(70_000, 200)
        log.append((len(got[0]), got[1:]))
    log.append([near.sendto(bytes(500), socket.MSG_MORE, (OWN, 4001)), near.sendto(bytes(2500), (OWN, 4001))])
    got = far.recvmsg(70_000, 200)
    log.append((len(got[0]), got[1:]))
    closing(far, near)


# Sizes


@program
def what_must_not_be_cut(log: list[Any]) -> None:
    sock = datagram()
    log.append(attempt(sock.getsockopt, IP, 14))
    sock.connect(("10.0.0.2", 9))
    log.append(sock.getsockopt(IP, 14))
    sock.close()
    for discover in range(6):
        sock = datagram()
        sock.setsockopt(IP, 10, discover)
        log.append([(size, attempt(sock.sendto, bytes(size), ("10.0.0.2", 9))) for size in (1472, 1473, 3000)])
        sock.setsockopt(IP, 11, 1)
        log.append(attempt(sock.sendto, bytes(1473), ("10.0.0.2", 9)))
        if discover in (2, 3, 4):
            sock.setblocking(False)
            log.append(attempt(sock.recvmsg, 10, 200, socket.MSG_ERRQUEUE))
        sock.close()


@program
def a_checksum_of_zero(log: list[Any]) -> None:
    far, near = datagram(OWN), datagram()
    near.setsockopt(SOL, 11, 1)
    near.sendto(b"unchecked", (OWN, 4001))
    log.append(far.recv(100))
    closing(far, near)


@program
def several_sockets_share_a_port(log: list[Any]) -> None:
    socks = []
    for _ in range(4):
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.setsockopt(SOL, socket.SO_REUSEPORT, 1)
        sock.bind((OWN, 4001))
        socks.append(sock)
    near = datagram(OWN, 4000)
    for _ in range(5):
        near.sendto(b"x", (OWN, 4001))
    near.close()
    select.select(socks, [], [])
    counts = []
    for sock in socks:
        sock.setblocking(False)
        count = 0
        while attempt(sock.recv, 10) == b"x":
            count += 1
        counts.append(count)
    log.append(sorted(counts))  # all of one sender's go to one of them
    closing(*socks)


# Groups


@program
def joining_and_leaving(log: list[Any]) -> None:
    sock = datagram()
    log.append([attempt(sock.setsockopt, IP, ADD, bytes(size)) for size in (0, 4, 7)])
    for option, value in [
        (ADD, aton(OWN, OWN)), (ADD, aton(GROUP, "10.9.0.1")), (ADD, aton(GROUP, "0.0.0.0")),
        (ADD, aton(GROUP, "0.0.0.0") + struct.pack("i", 99)), (ADD, aton(GROUP, OWN)), (ADD, aton(GROUP, OWN)),
        (ADD, aton(OTHER_GROUP, "0.0.0.0") + struct.pack("i", index())), (DROP, aton("239.9.9.9", OWN)),
        (DROP, aton("239.9.9.9", "0.0.0.0")), (DROP, aton("239.9.9.9", "10.8.8.8")), (DROP, aton(GROUP, "0.0.0.0")),
        (UNBLOCK, aton(OTHER_GROUP, OWN, "1.2.3.4")), (BLOCK, aton(OTHER_GROUP, OWN, "1.2.3.4")),
        (BLOCK, aton(OTHER_GROUP, OWN, "1.2.3.4")), (BLOCK, aton("239.9.9.9", OWN, "1.2.3.4")),
        (UNBLOCK, aton(OTHER_GROUP, OWN, "1.2.3.4")), (ADD_SOURCE, aton(OTHER_GROUP, OWN, "1.2.3.4")),
        (ADD_SOURCE, aton("239.1.2.5", OWN, "1.2.3.4")), (ADD_SOURCE, aton("239.1.2.5", OWN, "1.2.3.4")),
        (BLOCK, aton("239.1.2.5", OWN, "1.2.3.5")), (ADD, aton("239.1.2.5", OWN)),
        (DROP_SOURCE, aton("239.1.2.5", OWN, "1.2.3.9")), (DROP_SOURCE, aton("239.1.2.5", OWN, "1.2.3.4")),
        (DROP_SOURCE, aton("239.1.2.5", OWN, "1.2.3.4")), (DROP, aton(OTHER_GROUP, OWN)), (DROP, aton(GROUP, OWN)),
        (DROP, aton(GROUP, OWN)), (ADD, aton("224.0.0.1", OWN)), (DROP, aton("224.0.0.1", OWN)),
    ]:  # fmt: skip
        log.append((option, value, attempt(sock.setsockopt, IP, option, value)))
    sock.close()


@program
def as_many_as_there_may_be(log: list[Any]) -> None:
    sock = datagram()
    log.append([attempt(sock.setsockopt, IP, ADD, aton(f"239.1.3.{at}", OWN)) for at in range(22)])
    sock.close()
    sock = datagram()
    log.append([attempt(sock.setsockopt, IP, ADD_SOURCE, aton(GROUP, OWN, f"1.2.3.{at}")) for at in range(12)])
    sock.close()


@program
def all_sources_at_once(log: list[Any]) -> None:
    sock = datagram()
    sock.setsockopt(IP, ADD_SOURCE, aton(GROUP, OWN, "1.2.3.4"))
    for group, mode, sources, left_out in [
        (GROUP, 1, ["1.1.1.1", "2.2.2.2"], 0), ("239.9.9.9", 1, [], 0), (GROUP, 1, ["1.1.1.1", "2.2.2.2"], 8),
        (GROUP, 0, ["0.0.0.0"] * 11, 0), (GROUP, 2, [], 0), (GROUP, 0, ["1.1.1.1"], 0), (GROUP, 1, [], 0),
        (GROUP, 1, [], 0),
    ]:  # fmt: skip
        value = aton(group, OWN) + struct.pack("II", mode, len(sources)) + aton(*sources)
        log.append(attempt(sock.setsockopt, IP, MSFILTER, value[: len(value) - left_out]))
    sock.close()


def storage(address: str) -> bytes:
    return struct.pack("=H2x", socket.AF_INET) + aton(address) + bytes(120)


@program
def devices_by_their_number(log: list[Any]) -> None:
    sock = datagram()
    request = struct.pack("=I4x", index()) + storage(GROUP)
    for option, value in [
        (MCAST_JOIN, request), (MCAST_JOIN, request), (MCAST_BLOCK, request + storage("1.1.1.1")),
        (MCAST_BLOCK, request + storage("1.1.1.1")), (MCAST_UNBLOCK, request + storage("1.1.1.1")),
        (MCAST_LEAVE, request), (MCAST_LEAVE, request), (MCAST_JOIN_SOURCE, request + storage("1.1.1.1")),
        (MCAST_LEAVE_SOURCE, request + storage("1.1.1.1")), (MCAST_JOIN, request[:8]),
        (MCAST_JOIN, struct.pack("=I4x", 99) + storage(GROUP)),
        (MCAST_JOIN, struct.pack("=I4x", index()) + storage(OWN)),
        (MCAST_JOIN_SOURCE, request), (MCAST_JOIN, request),
        (MCAST_MSFILTER, request + struct.pack("II", 0, 1) + storage("9.9.9.9")),
        (MCAST_MSFILTER, request + struct.pack("II", 0, 2) + storage("9.9.9.9")),
    ]:  # fmt: skip
        log.append((option, attempt(sock.setsockopt, IP, option, value)))
    sock.close()


@program
def by_which_device_groups_are_reached(log: list[Any]) -> None:
    sock = datagram()
    for value in (
        aton(OWN), aton("10.0.0.9"), aton(GROUP, OWN), bytes(8) + struct.pack("i", 1), bytes(8) + struct.pack("i", 77),
        bytes(4), b"xy", bytes(8) + struct.pack("i", index()), bytes(4) + aton(OWN) + struct.pack("i", index()),
    ):  # fmt: skip
        log.append([value, attempt(sock.setsockopt, IP, IF, value), sock.getsockopt(IP, IF, 64)])
    sock.close()
    sock = datagram()
    log.append([attempt(sock.sendto, b"x", (GROUP, 9)), attempt(sock.connect, (GROUP, 9))])
    sock.setsockopt(IP, IF, aton(OWN))
    log.append([attempt(sock.sendto, b"x", (GROUP, 9)), sock.getsockname()[0], attempt(sock.connect, (GROUP, 9))])
    log.append([sock.getsockname()[0], sock.getpeername()])
    sock.close()
    sock = datagram(OWN, 0)
    log.append([attempt(sock.sendto, b"x", (GROUP, 9)), attempt(sock.connect, (GROUP, 9))])
    sock.close()
    sock = datagram(GROUP, 4003)
    log.append([sock.getsockname(), attempt(sock.sendto, b"x", ("10.0.0.2", 9))])
    log.append(attempt(sock.connect, ("10.0.0.2", 9)))
    log.append(sock.getsockname())
    sock.close()


@program
def a_member_hears_itself(log: list[Any]) -> None:
    near = datagram(OWN, 4000)
    near.setsockopt(IP, IF, aton(OWN))
    far, bound, others = datagram("", 4001), datagram(GROUP, 4002), datagram("", 4003)
    for sock in (far, bound):
        sock.setsockopt(IP, ADD, aton(GROUP, OWN))
        sock.setsockopt(IP, 8, 1)
        sock.setsockopt(IP, 12, 1)
    near.setsockopt(IP, TTL, 7)
    for port in (4001, 4002, 4003):
        log.append(near.sendto(b"hello", (GROUP, port)))
    log.append([far.recvmsg(100, 100), bound.recvmsg(100, 100), others.recv(100)])
    others.setsockopt(IP, ALL, 0)
    near.sendto(b"not a member", (GROUP, 4003))
    log.append(nothing(others))
    near.setsockopt(IP, LOOP, 0)
    near.sendto(b"for the others", (GROUP, 4001))
    log.append(nothing(far))
    near.setsockopt(IP, LOOP, 1)
    near.setsockopt(IP, TTL, 0)
    near.sendto(b"here", (GROUP, 4002))
    log.append(bound.recvmsg(100, 100)[1])
    bound.setsockopt(IP, BLOCK, aton(GROUP, OWN, OWN))
    near.sendto(b"blocked", (GROUP, 4002))
    log.append(nothing(bound))
    closing(near, far, bound, others)


@program
def a_broadcast_comes_back_too(log: list[Any]) -> None:
    near, far = datagram("", 4000), datagram("", 4001)
    far.setsockopt(IP, 8, 1)
    log.append(attempt(near.sendto, b"x", ("10.0.0.255", 4001)))
    near.setsockopt(SOL, socket.SO_BROADCAST, 1)
    log.append([near.sendto(b"x", ("10.0.0.255", 4001)), far.recvmsg(100, 100)])
    closing(near, far)


SIX = "2001:db8::1"
ALL6, JOIN6, LEAVE6 = 29, 20, 21
GROUP6 = "ff15::1234"


def six(address: str, device: int) -> bytes:
    return socket.inet_pton(socket.AF_INET6, address) + struct.pack("i", device)


def groups_of_ipv6(log: list[Any]) -> None:
    sock = datagram(family=socket.AF_INET6)
    for option, values in [
        (17, (0, 1, 2, 99)), (18, (-2, -1, 0, 255, 256)), (19, (-1, 0, 1, 2)), (ALL6, (-1, 0, 1, 2)),
    ]:  # fmt: skip
        log.append((option, attempt(sock.getsockopt, IPV6, option)))
        for value in values:
            log.append([option, value, attempt(sock.setsockopt, IPV6, option, value), sock.getsockopt(IPV6, option)])
    for option, value in [
        (JOIN6, six(SIX, index())), (JOIN6, six(GROUP6, 99)), (JOIN6, six(GROUP6, index())), (JOIN6, b"short"),
        (JOIN6, six(GROUP6, index())), (LEAVE6, six("ff15::9", index())), (LEAVE6, six(GROUP6, index())),
        (LEAVE6, six(GROUP6, index())), (JOIN6, six("ff02::1", index())),
    ]:  # fmt: skip
        log.append((option, attempt(sock.setsockopt, IPV6, option, value)))
    sock.close()
    near = datagram(SIX, 4000, family=socket.AF_INET6)
    near.setsockopt(IPV6, 17, index())
    far = datagram("::", 4001, family=socket.AF_INET6)
    far.setsockopt(IPV6, JOIN6, six(GROUP6, index()))
    for option in (49, 51):
        far.setsockopt(IPV6, option, 1)
    near.setsockopt(IPV6, 18, 7)
    log.append([near.sendto(b"hello", (GROUP6, 4001)), far.recvmsg(100, 200)])
    near.setsockopt(IPV6, 19, 0)
    near.sendto(b"for the others", (GROUP6, 4001))
    log.append(nothing(far))
    near.setsockopt(IPV6, 19, 1)
    near.setsockopt(UDP, 101, 1)
    near.sendto(b"unchecked", (GROUP6, 4001))
    log.append(nothing(far))
    far.setsockopt(UDP, 102, 1)
    near.sendto(b"unchecked", (GROUP6, 4001))
    log.append(far.recv(100))
    closing(near, far)


@pytest.mark.parametrize("name", PROGRAMS)
def test_datagrams_are_the_machines(name: str) -> None:
    check_the_same(PROGRAMS[name])


def test_groups_of_ipv6_are_the_machines() -> None:
    check_the_same(groups_of_ipv6, f"{SIX}/64")
