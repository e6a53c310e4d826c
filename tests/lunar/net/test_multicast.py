"""Groups: who hears what, what routers are told of it, and what options say. Hosts are 1 ms from a switch."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import lunar
from lunar.net import igmp
from lunar.net.groups import hardware_address
from lunar.packet import AF_INET, AF_INET6, IGMP, Frame, Packet
from lunar.sockets import options, syscalls
from lunar.udp import UdpSock
from lunar.wire import checksum
from lunar.wire.address import ipv4_text, parse_ipv4

MS = 1_000_000
GROUP = "239.1.2.3"
PORT = 5000
IP = socket.IPPROTO_IP
ADD, DROP, UNBLOCK, BLOCK, ADD_SOURCE, DROP_SOURCE, FILTER = range(35, 42)

networks: list[lunar.Network] = []


@pytest.fixture(autouse=True)
def close_networks() -> Iterator[None]:
    yield
    while networks:
        networks.pop().close()


class Site:
    """Hosts h0 (10.0.0.1), h1 ... on a switch. `said` is what h0 tells of groups: (ms, group it went to, records)."""

    def __init__(self, count: int = 3) -> None:
        self.net = lunar.Network(seed=1)
        networks.append(self.net)
        self.hosts = [self.net.host(f"h{at}", f"10.0.0.{at + 1}/24") for at in range(count)]
        self.net.link(*self.hosts, delay="1ms")
        self.said: list[tuple[float, str, Any]] = []
        self.hosts[0].devices["eth0"].tap = self._note

    def _note(self, device: Any, frame: Frame) -> None:
        if isinstance(frame, Packet) and frame.protocol == IGMP and frame.eth_src == device.mac:
            assert checksum.internet(frame.payload) == 0
            assert (frame.ttl, frame.tos, frame.options) == (1, 0xC0, b"\x94\x04\x00\x00")
            assert frame.eth_dst == hardware_address(frame.dst)
            at_ms = int(self.net.supervisor.scheduler.now_ns) / MS
            self.said.append((at_ms, ipv4_text(frame.dst), records(frame.payload)))

    def runs(self, ms: float) -> None:
        self.net.run(until=self.net.now + ms / 1000)

    def sock(self, at: int = 0, port: int = PORT) -> UdpSock:
        made = self.hosts[at].udp.create(AF_INET)
        made.reuse_addr = True
        assert made.bind(0, port) == 0
        return made

    def asks(self, data: bytes, to: str = "224.0.0.1") -> None:
        """h1 is a router for a moment: an IGMP message arrives at h0."""
        check = checksum.internet(data)
        data = data[:2] + check.to_bytes(2, "big") + data[4:]
        packet = Packet(AF_INET, parse_ipv4("10.0.0.2"), parse_ipv4(to), IGMP, data)
        packet.size_bytes = 20 + len(data)
        packet.ttl = 1
        device = self.hosts[0].devices["eth0"]
        packet.eth_src, packet.eth_dst = 2, hardware_address(packet.dst)
        device.arrive(packet)


def records(payload: bytes) -> Any:
    """(type, group, sources) of each record of a report; (kind, group) of an older message."""
    if payload[0] != igmp.REPORT_V3:
        return payload[0], socket.inet_ntoa(payload[4:8])
    found, at = [], 8
    for _ in range(int.from_bytes(payload[6:8], "big")):
        count = int.from_bytes(payload[at + 2 : at + 4], "big")
        sources = [socket.inet_ntoa(payload[at + 8 + 4 * i : at + 12 + 4 * i]) for i in range(count)]
        found.append((payload[at], socket.inet_ntoa(payload[at + 4 : at + 8]), sources))
        at += 8 + 4 * count
    assert at == len(payload)
    return found


def mreq(*addresses: str) -> bytes:
    return b"".join(map(socket.inet_aton, addresses))


def joins(sock: UdpSock, group: str = GROUP, at: str = "10.0.0.1", option: int = ADD, *sources: str) -> int:
    return options.set_bytes(sock, IP, option, mreq(group, at, *sources))


def sends(sock: UdpSock, data: bytes, group: str = GROUP, at: str = "") -> int:
    if at:
        assert options.set_bytes(sock, IP, socket.IP_MULTICAST_IF, mreq(at)) == 0
    return syscalls.sendto(sock, data, 0, parse_ipv4(group), PORT)


def gets(sock: UdpSock) -> list[bytes]:
    found = []
    while (got := syscalls.recvfrom(sock, 1000, 0)).errno == 0:
        found.append(got.data)
    return found


def test_the_hardware_address_of_a_group() -> None:
    assert hardware_address(parse_ipv4("239.129.2.3")) == 0x0100_5E01_0203  # 23 bits of it
    assert hardware_address(0xFF02 << 112 | 0xFB) == 0x3333_0000_00FB


def test_members_hear_and_others_do_not() -> None:
    s = Site()
    first, second, outsider = s.sock(0), s.sock(1), s.sock(2)
    assert joins(first) == 0 and joins(second, at="10.0.0.2") == 0
    assert sends(outsider, b"hello", at="10.0.0.3") == 5
    s.runs(10)
    assert [gets(first), gets(second), gets(outsider)] == [[b"hello"], [b"hello"], []]
    joins(second, at="10.0.0.2", option=DROP)
    sends(outsider, b"again")
    s.runs(10)
    assert [gets(first), gets(second)] == [[b"again"], []]


def test_a_member_hears_itself_unless_it_does_not_want_to() -> None:
    s = Site()
    member, other = s.sock(0), s.sock(1)
    joins(member)
    joins(other, at="10.0.0.2")
    sends(member, b"one", at="10.0.0.1")
    assert options.setsockopt(member, IP, socket.IP_MULTICAST_LOOP, 0) == 0
    sends(member, b"two")
    s.runs(10)
    assert [gets(member), gets(other)] == [[b"one"], [b"one", b"two"]]


def test_a_group_without_a_route_and_a_device_is_out_of_reach() -> None:
    s = Site()
    sock = s.sock(0)
    assert sends(sock, b"x") == -errno.ENETUNREACH
    s.hosts[0].sh("ip route add 224.0.0.0/4 dev eth0")
    assert sends(sock, b"x") == 1


def test_what_has_no_hop_stays_on_the_host() -> None:
    s = Site()
    member, other = s.sock(0), s.sock(1)
    joins(member)
    joins(other, at="10.0.0.2")
    assert options.setsockopt(member, IP, socket.IP_MULTICAST_TTL, 0) == 0
    sends(member, b"here", at="10.0.0.1")
    s.runs(10)
    assert [gets(member), gets(other)] == [[b"here"], []]


def test_two_sockets_of_a_port_both_hear_and_one_may_not_want_the_others_groups() -> None:
    s = Site()
    first, second, sender = s.sock(0), s.sock(0), s.sock(1)
    joins(first)
    sends(sender, b"one", at="10.0.0.2")
    s.runs(10)
    assert [gets(first), gets(second)] == [[b"one"], [b"one"]]
    assert options.setsockopt(second, IP, 49, 0) == 0  # IP_MULTICAST_ALL
    sends(sender, b"two")
    s.runs(10)
    assert [gets(first), gets(second)] == [[b"two"], []]


def test_sources_are_let_in_or_kept_out() -> None:
    s = Site()
    wants, blocks = s.sock(0), s.sock(0)
    joins(wants, GROUP, "10.0.0.1", ADD_SOURCE, "10.0.0.2")
    options.set_bytes(wants, IP, 49, b"\0\0\0\0")
    joins(blocks)
    options.set_bytes(blocks, IP, BLOCK, mreq(GROUP, "10.0.0.1", "10.0.0.2"))
    sends(s.sock(1), b"from h1", at="10.0.0.2")
    sends(s.sock(2), b"from h2", at="10.0.0.3")
    s.runs(10)
    assert [gets(wants), gets(blocks)] == [[b"from h1"], [b"from h2"]]


def test_nobody_answers_a_group_with_an_error() -> None:
    s = Site(2)
    joins(s.sock(0, PORT + 1))
    sends(s.sock(1), b"x", at="10.0.0.2")
    s.runs(10)
    assert s.hosts[0].ip.counters.icmp_out_msgs == 0


def test_a_socket_that_closes_leaves() -> None:
    s = Site()
    sock = s.sock()
    joins(sock)
    device = s.hosts[0].devices["eth0"]
    assert device.groups == {0x0100_5E01_0203: 1}
    syscalls.close(sock)
    assert (device.groups, device.memberships) == ({}, {})
    s.runs(3000)
    assert s.hosts[0].ip.listeners.all[0].groups == {}  # type: ignore[union-attr]


# What routers are told


def test_a_new_group_is_told_twice() -> None:
    s = Site()
    joins(s.sock())
    s.runs(3000)
    first, second = s.said
    assert first == (8, "224.0.0.22", [(4, GROUP, [])])  # two ticks later; TO_EXCLUDE of nobody
    assert second[1:] == first[1:]
    assert 16 <= second[0] <= 1016  # within the second of igmpv3_unsolicited_report_interval


def test_nobody_is_told_of_all_hosts() -> None:
    s = Site()
    assert joins(s.sock(), "224.0.0.1") == 0
    s.runs(3000)
    assert s.said == []


def test_changes_of_sources_are_told_as_they_are() -> None:
    s = Site()
    sock, other = s.sock(), s.sock()
    steps = [
        (lambda: joins(sock), (4, GROUP, [])),
        (lambda: joins(sock, GROUP, "10.0.0.1", BLOCK, "1.1.1.1"), (6, GROUP, ["1.1.1.1"])),
        (lambda: joins(other, "239.1.2.4", "10.0.0.1", ADD_SOURCE, "1.1.1.1"), (5, "239.1.2.4", ["1.1.1.1"])),
        (lambda: joins(other, "239.1.2.4", "10.0.0.1", ADD_SOURCE, "1.1.1.2"), (5, "239.1.2.4", ["1.1.1.2"])),
        (lambda: joins(sock, option=DROP), (3, GROUP, [])),
        (lambda: joins(other, "239.1.2.4", option=DROP), (6, "239.1.2.4", ["1.1.1.2", "1.1.1.1"])),
    ]  # fmt: skip
    for step, record in steps:
        s.said.clear()
        assert step() == 0
        s.runs(2000)
        assert [said[2] for said in s.said] == [[record], [record]]


def test_a_membership_taken_back_at_once_is_told_as_it_is_then() -> None:
    s = Site()
    sock = s.sock()
    joins(sock)
    joins(sock, option=DROP)
    s.runs(3000)
    assert [said[2] for said in s.said] == [[(3, GROUP, [])]] * 2


def query(group: str = "0.0.0.0", code: int = 10, *sources: str) -> bytes:
    """Of version 3: the answer within `code` tenths of a second."""
    head = bytes((igmp.QUERY, code, 0, 0)) + socket.inet_aton(group)
    return head + bytes((2, 125)) + len(sources).to_bytes(2, "big") + mreq(*sources)


def quiet(s: Site) -> None:
    s.runs(3000)
    s.said.clear()


def test_a_general_query_is_answered_for_all_groups_the_newest_first() -> None:
    s = Site()
    sock = s.sock()
    joins(sock)
    joins(sock, "224.0.0.251")
    quiet(s)
    s.asks(query())
    s.runs(1100)
    assert [said[2] for said in s.said] == [[(2, "224.0.0.251", []), (2, GROUP, [])]]


def test_a_query_for_a_group_is_answered_for_it() -> None:
    s = Site()
    joins(s.sock())
    joins(s.sock(), "239.9.9.9")
    quiet(s)
    s.asks(query(GROUP), GROUP)
    s.asks(query("239.8.8.8"))
    s.runs(1100)
    assert [said[2] for said in s.said] == [[(2, GROUP, [])]]


def test_a_query_for_sources_is_answered_for_those_that_are_heard() -> None:
    s = Site()
    sock = s.sock()
    joins(sock, GROUP, "10.0.0.1", ADD_SOURCE, "1.1.1.2")
    joins(sock, GROUP, "10.0.0.1", ADD_SOURCE, "1.1.1.3")
    quiet(s)
    s.asks(query(GROUP, 10, "1.1.1.1", "1.1.1.2"), GROUP)
    s.asks(query(GROUP, 10, "1.1.1.1"), GROUP)
    s.runs(1100)
    assert [said[2] for said in s.said] == [[(1, GROUP, ["1.1.1.2"])]]


def test_who_hears_all_but_some_answers_with_the_whole_list() -> None:
    s = Site()
    sock = s.sock()
    joins(sock)
    joins(sock, GROUP, "10.0.0.1", BLOCK, "1.1.1.1")
    quiet(s)
    s.asks(query(GROUP, 10, "1.1.1.1"), GROUP)
    s.runs(1100)
    assert s.said == []
    s.asks(query(GROUP, 10, "1.1.1.1", "1.1.1.2"), GROUP)
    s.runs(1100)
    assert [said[2] for said in s.said] == [[(2, GROUP, ["1.1.1.1"])]]


def test_a_router_of_version_2_is_spoken_to_in_version_2() -> None:
    s = Site()
    sock = s.sock()
    joins(sock)
    quiet(s)
    s.asks(bytes((igmp.QUERY, 10, 0, 0, 0, 0, 0, 0)))
    s.runs(1100)
    assert [said[1:] for said in s.said] == [(GROUP, (igmp.REPORT_V2, GROUP))]
    s.said.clear()
    joins(sock, option=DROP)
    assert [said[1:] for said in s.said] == [("224.0.0.2", (igmp.LEAVE, GROUP))]
    s.said.clear()
    s.runs(2 * 125_000 + 10_000)  # RFC 3376 (8.12): robustness times the query interval, and the time for responses
    joins(sock)
    s.runs(100)
    assert s.said[0][2] == [(4, GROUP, [])]


def test_one_report_of_version_2_is_enough() -> None:
    s = Site()
    joins(s.sock())
    quiet(s)
    s.asks(bytes((igmp.QUERY, 100, 0, 0, 0, 0, 0, 0)))
    s.asks(bytes((igmp.REPORT_V2, 0, 0, 0)) + socket.inet_aton(GROUP), GROUP)
    s.runs(11_000)
    assert s.said == []


def test_a_router_of_version_1_is_not_told_who_leaves() -> None:
    s = Site()
    sock = s.sock()
    joins(sock)
    quiet(s)
    s.asks(bytes((igmp.QUERY, 0, 0, 0, 0, 0, 0, 0)))
    s.runs(10_100)
    assert [said[1:] for said in s.said] == [(GROUP, (igmp.REPORT_V1, GROUP))]
    s.said.clear()
    joins(sock, option=DROP)
    s.runs(3000)
    assert s.said == []


def test_a_device_that_comes_up_tells_of_its_groups_anew() -> None:
    s = Site()
    joins(s.sock())
    quiet(s)
    host = s.hosts[0]
    host.set_up(host.devices["eth0"], False)
    s.runs(100)
    host.set_up(host.devices["eth0"], True)
    s.runs(3000)
    assert [said[2] for said in s.said] == [[(4, GROUP, [])]] * 2


@pytest.mark.parametrize(
    "message",
    [
        b"", b"\x11", bytes(7), bytes((0x11, 10, 0, 0)) + bytes(6), query(GROUP)[:11],
        query(GROUP, 10, "1.1.1.1")[:-1], bytes((0x11, 10, 0, 0)) + socket.inet_aton("10.0.0.1"),
        bytes((0x99, 0, 0, 0, 0, 0, 0, 0)),
    ],
)  # fmt: skip
def test_what_is_no_message_is_dropped(message: bytes) -> None:
    s = Site()
    joins(s.sock())
    quiet(s)
    s.asks(message.ljust(4, b"\0")[: max(4, len(message))])
    s.runs(2000)
    assert s.said == []


def test_a_report_that_does_not_fit_a_packet_is_several() -> None:
    s = Site()
    host = s.hosts[0]
    host.ip.igmp_max_memberships = 1000
    sock = s.sock()
    wanted = [f"239.2.{at >> 8}.{at & 255}" for at in range(400)]
    for group in wanted:
        assert joins(sock, group) == 0
    s.runs(10)
    told = [record[1] for said in s.said for record in said[2]]
    assert told == wanted[::-1]
    assert [len(said[2]) for said in s.said] == [183, 183, 34]  # (1500 - 24 - 8) / 8


def test_igmp_is_ipv4s_alone() -> None:
    s = Site(2)
    s.hosts[0].add_address(s.hosts[0].devices["eth0"], 0x2001_0DB8 << 96 | 1, 64)
    packet = Packet(AF_INET6, 0x2001_0DB8 << 96 | 2, 0x2001_0DB8 << 96 | 1, IGMP, bytes(8))
    packet.size_bytes = 48
    packet.eth_dst = s.hosts[0].devices["eth0"].mac
    s.hosts[0].devices["eth0"].arrive(packet)
    assert s.hosts[0].ip.inet6.counters.ip_in_no_protos == 1


# What options say


def test_limits() -> None:
    s = Site()
    sock = s.sock()
    assert [joins(sock, f"239.0.0.{at}") for at in range(20)] == [0] * 20
    assert joins(sock, "239.0.0.20") == -errno.ENOBUFS
    other = s.sock()
    results = [joins(other, GROUP, "10.0.0.1", ADD_SOURCE, f"1.1.1.{at}") for at in range(11)]
    assert results == [0] * 10 + [-errno.ENOBUFS]


def test_a_mistake_is_told_by_its_errno() -> None:
    s = Site()
    sock = s.sock()
    assert joins(sock, "10.0.0.1") == -errno.EINVAL
    assert joins(sock, GROUP, "10.9.9.9") == -errno.ENODEV
    assert joins(sock, GROUP, "0.0.0.0") == -errno.ENODEV  # no route says which
    assert joins(sock, option=DROP) == -errno.EADDRNOTAVAIL
    assert joins(sock) == 0
    assert joins(sock) == -errno.EADDRINUSE
    assert joins(sock, GROUP, "10.0.0.1", BLOCK, "1.1.1.1") == 0
    assert joins(sock, GROUP, "10.0.0.1", ADD_SOURCE, "1.1.1.1") == -errno.EINVAL
    assert joins(sock, GROUP, "10.0.0.1", UNBLOCK, "1.1.1.1") == 0


JOIN = (ADD, "")


@pytest.mark.parametrize(
    ("calls", "answers"),
    [
        ([JOIN, (ADD_SOURCE, "1"), (ADD_SOURCE, "2"), (DROP_SOURCE, "1"), (DROP_SOURCE, "2"), (DROP, "")],
         [0, 0, 0, 0, 0, errno.EADDRNOTAVAIL]),
        ([JOIN, (BLOCK, "1"), (ADD_SOURCE, "2"), (UNBLOCK, "1"), (ADD_SOURCE, "2"), (BLOCK, "3")],
         [0, 0, errno.EINVAL, 0, errno.EINVAL, 0]),
        ([(ADD_SOURCE, "1"), (BLOCK, "3"), (DROP_SOURCE, "1"), (BLOCK, "1")], [0, errno.EINVAL, 0, errno.EINVAL]),
        ([JOIN, (DROP_SOURCE, "1"), (BLOCK, "1")], [0, errno.EADDRNOTAVAIL, 0]),
        ([JOIN, (UNBLOCK, "1"), (ADD_SOURCE, "1"), (BLOCK, "1")], [0, errno.EADDRNOTAVAIL, 0, errno.EINVAL]),
        ([(BLOCK, "1"), (UNBLOCK, "1"), (DROP_SOURCE, "1")], [errno.EINVAL, errno.EINVAL, errno.EINVAL]),
    ],
)  # fmt: skip
def test_the_mode_of_a_membership_changes_as_on_linux(calls: list[tuple[int, str]], answers: list[int]) -> None:
    """What this machine's kernel answers, too (`lo`, where nothing is told of groups)."""

    def program(address: str) -> list[int]:
        got = []
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            for option, source in calls:
                parts = [GROUP, address] + ([f"192.0.2.{source}"] if source else [])
                try:
                    sock.setsockopt(IP, option, b"".join(map(socket.inet_aton, parts)))
                    got.append(0)
                except OSError as error:
                    got.append(error.errno or -1)
        return got

    site = Site()
    assert site.net.run(lambda: program("10.0.0.1"), on=site.hosts[0]) == answers
    assert site.net.run(lambda: program("127.0.0.1"), on=site.hosts[0]) == answers
    assert program("127.0.0.1") == answers
    assert site.hosts[0].devices["eth0"].memberships in (None, {})
