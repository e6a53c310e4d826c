"""The neighbour table's states and times, of both families: when a neighbour is asked, how often, and what waits."""

from __future__ import annotations

import errno

import pytest

import lunar
from lunar.net import arp, ip_output, neighbor
from lunar.net.device import Device
from lunar.net.neighbor import (
    DELAY,
    FAILED,
    INCOMPLETE,
    NO_ADDRESS,
    PERMANENT,
    PROBE,
    REACHABLE,
    STALE,
    Neighbor,
    Neighbors,
)
from lunar.packet import AF_INET, AF_INET6, ArpMessage, Frame, IcmpMessage, UdpDatagram
from lunar.wire.address import parse_address

MS = 1_000_000
S = 1_000_000_000
FAMILIES = pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])


class Pair:
    """Hosts a and b, 1 ms apart, which ask for each other; what a sends, in words, with its times. b does not ask by
    itself whether what it has learned of a still holds, unless it is `curious`.
    """

    def __init__(self, six: bool, curious: bool = False, **parameters: int) -> None:
        self.six = six
        self.net = lunar.Network(seed=1, arp=True)
        ends = ("2001:db8::1", "2001:db8::2", "2001:db8::9") if six else ("10.0.0.1", "10.0.0.2", "10.0.0.9")
        prefix = 64 if six else 24
        self.own, self.peer, self.nobody = (parse_address(end)[1] for end in ends)
        self.a = self.net.host("a", f"{ends[0]}/{prefix}")
        self.b = self.net.host("b", f"{ends[1]}/{prefix}")
        self.link = self.net.link(self.a, self.b, delay="1ms")
        self.eth0 = self.a.devices["eth0"]
        self.tree = f"net.ipv{6 if six else 4}.neigh.eth0"
        for name, value in parameters.items():
            self.a.sh(f"sysctl -q {self.tree}.{name}={value}")
        if not curious:
            self.b.sh(f"sysctl -q {self.tree}.delay_first_probe_time=1000000")
        self.sent: list[tuple[int, str]] = []
        self.eth0.tap = self._seen

    def _seen(self, device: Device, frame: Frame) -> None:
        if frame.eth_src != device.mac:
            return
        what = ""
        if isinstance(frame, ArpMessage) and frame.operation == 1:
            what = "asks all" if frame.eth_dst == 0xFFFF_FFFF_FFFF else "asks it"
        elif isinstance(frame, IcmpMessage) and frame.type == 135:
            what = "asks all" if frame.eth_dst >> 32 == 0x3333 else "asks it"
        elif isinstance(frame, UdpDatagram):
            what = f"sends {frame.payload.decode()}"
        if what:
            self.sent.append((self.net.scheduler.now_ns // MS, what))

    @property
    def table(self) -> Neighbors:
        found = self.a.ip.family(AF_INET6 if self.six else AF_INET).neighbors
        assert isinstance(found, Neighbors)
        return found

    def entry(self, address: int | None = None) -> Neighbor:
        found = self.table.find(self.eth0, self.peer if address is None else address)
        assert found is not None
        return found

    def sends(self, text: str = "x", dst: int | None = None) -> int:
        family = AF_INET6 if self.six else AF_INET
        made = UdpDatagram(family, 0, self.peer if dst is None else dst, 5000, 9, text.encode())
        made.size_bytes = (48 if self.six else 28) + len(text)
        return int(ip_output.send(self.a.ip, made, None))

    def runs(self, until: str) -> list[tuple[int, str]]:
        """What a has sent since, with the times in milliseconds."""
        self.net.run(until=until)
        sent, self.sent = self.sent, []
        return sent


@FAMILIES
def test_what_is_for_an_unknown_neighbour_waits_for_its_answer(six: bool) -> None:
    p = Pair(six)
    assert [p.sends(text) for text in "abc"] == [0, 0, 0]
    assert p.entry().state == INCOMPLETE
    assert p.runs("1s") == [(0, "asks all"), (2, "sends a"), (2, "sends b"), (2, "sends c")]
    assert (p.entry().state, p.entry().mac) == (REACHABLE, p.b.devices["eth0"].mac)


@FAMILIES
def test_nobody_is_asked_three_times_and_then_failed(six: bool) -> None:
    p = Pair(six)
    p.sends(dst=p.nobody)
    assert p.runs("10s") == [(0, "asks all"), (1000, "asks all"), (2000, "asks all")]
    assert (p.entry(p.nobody).state, p.entry(p.nobody).mac) == (FAILED, NO_ADDRESS)
    assert p.entry(p.nobody).updated_ns == 3 * S
    # The next packet begins anew.
    p.sends(dst=p.nobody)
    assert p.runs("10500ms") == [(10_000, "asks all")]


@FAMILIES
def test_how_often_and_how_fast_is_asked_can_be_set(six: bool) -> None:
    p = Pair(six, mcast_solicit=5, retrans_time_ms=200)
    p.sends(dst=p.nobody)
    assert p.runs("10s") == [(at, "asks all") for at in (0, 200, 400, 600, 800)]
    assert p.entry(p.nobody).updated_ns == S


@FAMILIES
def test_a_confirmation_grows_old_and_the_neighbour_is_asked_itself_when_it_is_used_again(six: bool) -> None:
    p = Pair(six, base_reachable_time_ms=10_000)
    p.sends("a")
    p.runs("4s")
    held = p.table.reachable_ns(p.eth0)
    assert 5 * S <= held < 15 * S
    # Nobody uses it when its time is over: then it is stale, and nothing is asked.
    assert p.runs("60s") == []
    assert p.entry().state == STALE
    assert p.entry().updated_ns == 2 * MS + held
    # Used again: the packet goes at once, and in 5 s nobody has confirmed.
    p.sends("b")
    assert p.entry().state == DELAY
    assert p.runs("64999ms") == [(60_000, "sends b")]
    assert p.runs("65s") == [(65_000, "asks it")]
    assert p.entry().state == PROBE
    assert p.runs("66s") == []
    assert p.entry().state == REACHABLE


@FAMILIES
def test_a_neighbour_that_is_gone_is_asked_itself_three_times_and_then_all_are(six: bool) -> None:
    p = Pair(six)
    p.sends("a")
    p.runs("100s")
    p.b.set_up(p.b.devices["eth0"], False)
    p.sends("b")
    assert p.runs("110s") == [(100_000, "sends b"), *((at, "asks it") for at in (105_000, 106_000, 107_000))]
    assert (p.entry().state, p.entry().updated_ns) == (FAILED, 108 * S)
    p.sends("c")
    assert p.runs("120s") == [(at, "asks all") for at in (110_000, 111_000, 112_000)]


@FAMILIES
def test_who_is_confirmed_by_the_layers_above_is_not_asked(six: bool) -> None:
    p = Pair(six)
    p.sends("a")
    p.runs("100s")
    p.sends("b")
    p.runs("102s")
    route = ip_output.route_for(p.a.ip, AF_INET6 if six else AF_INET, p.peer)
    assert route is not None
    neighbor.confirm(route, p.peer)
    assert p.runs("106s") == []
    assert (p.entry().state, p.entry().confirmed_ns) == (REACHABLE, 102 * S)
    assert p.runs("200s") == []
    assert p.entry().state == STALE


@FAMILIES
def test_what_waits_is_bounded_and_the_oldest_go(six: bool) -> None:
    size = 48 if six else 28
    p = Pair(six, unres_qlen_bytes=2 * (size + 1 + 14 + 512))
    for text in "abcd":
        p.sends(text)
    assert p.table.unres_discards == 2
    assert p.runs("1s") == [(0, "asks all"), (2, "sends c"), (2, "sends d")]


@FAMILIES
def test_what_the_administrator_has_put_there_is_never_asked_for(six: bool) -> None:
    p = Pair(six)
    text = "2001:db8::2" if six else "10.0.0.2"
    p.a.sh(f"ip neigh add {text} lladdr 02:00:00:00:00:77 dev eth0")
    p.sends("a")
    assert p.runs("100s") == [(0, "sends a")]
    entry = p.entry()
    assert (entry.state, entry.mac, entry.timer) == (PERMANENT, 0x0200_0000_0077, None)
    # Nor believes the host another that says that it is there.
    if six:
        p.b.autoconf.ndisc.tell(p.b.devices["eth0"], p.own, p.peer, 0x6000_0000, True)
    else:
        arp.of(p.b.ip).announce(p.b.devices["eth0"], p.peer)
    p.net.run(until="101s")
    assert p.entry().mac == 0x0200_0000_0077


@FAMILIES
def test_a_full_table_refuses_and_old_entries_make_room(six: bool) -> None:
    p = Pair(six)
    p.table.gc_thresh1, p.table.gc_thresh2, p.table.gc_thresh3 = 2, 3, 4
    base = p.nobody
    results = [p.sends(dst=base + number) for number in range(6)]
    assert results == [0, 0, 0, 0, errno.ENOBUFS, errno.ENOBUFS]
    assert (p.table.count, p.table.table_fulls) == (4, 2)
    p.runs("10s")  # all have failed: they may go
    assert p.sends(dst=base + 5) == 0
    assert p.table.count == 4
    assert p.table.find(p.eth0, base) is None


@FAMILIES
def test_a_flood_of_askers_leaves_the_table_bounded(six: bool) -> None:
    p = Pair(six)
    for number in range(3000):
        p.table.learn(p.eth0, p.own + 100 + number, 0x0200_0001_0000 + number)
    assert p.table.count <= p.table.gc_thresh3
    assert len(p.table.all()) == p.table.count


@FAMILIES
def test_an_idle_host_has_no_timer(six: bool) -> None:
    p = Pair(six, curious=True)
    p.sends("a")
    p.net.run(until="1000s")
    assert p.net.scheduler.pending() == 0


@FAMILIES
def test_a_device_that_goes_down_forgets_its_neighbours(six: bool) -> None:
    p = Pair(six)
    p.sends(dst=p.nobody)
    p.net.run(until="100ms")
    p.a.set_up(p.eth0, False)
    assert p.table.all() == []
    assert p.runs("10s") == [(0, "asks all")]


@FAMILIES
def test_without_arp_a_device_asks_nobody_and_answers_nobody(six: bool) -> None:
    p = Pair(six)
    p.b.sh("ifconfig eth0 -arp")
    p.sends()
    assert p.runs("10s") == [(0, "asks all"), (1000, "asks all"), (2000, "asks all")]
    p.a.sh("ip link set eth0 arp off")
    p.sends("a")  # the medium knows
    assert p.runs("20s") == [(10_000, "sends a")]


@FAMILIES
def test_a_host_that_boots_again_knows_nobody(six: bool) -> None:
    p = Pair(six)
    p.sends("a")
    p.runs("1s")
    p.a.crash()
    p.a.boot()
    p.eth0.tap = p._seen
    p.sends("b")
    assert p.runs("2s") == [(1000, "asks all"), (1002, "sends b")]
