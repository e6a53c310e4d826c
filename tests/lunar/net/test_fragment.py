"""Cutting and putting together: any order, any overlap, limits of number and time. RFC 791, RFC 815, RFC 8200."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lunar
from lunar.net import fragment, fragmenter
from lunar.net.fragment import Reassembly
from lunar.net.ip import Ip
from lunar.packet import AF_INET, AF_INET6, IcmpMessage, Packet, UdpDatagram
from lunar.wire import inet, transport
from lunar.wire.address import parse_ipv4, parse_ipv6

S = 1_000_000_000
FAMILIES = pytest.mark.parametrize("family", [AF_INET, AF_INET6])


def ip_of(*addresses: str) -> tuple[lunar.Network, Ip]:
    net = lunar.Network(seed=1)
    host = net.host("host", *(addresses or ("10.0.0.1/24", "2001:db8::1/64")))
    return net, host.ip


def datagram(family: int = AF_INET, size: int = 3000, **fields: Any) -> UdpDatagram:
    a, b = ("10.0.0.2", "10.0.0.1") if family == AF_INET else ("2001:db8::2", "2001:db8::1")
    parse = parse_ipv4 if family == AF_INET else parse_ipv6
    made = UdpDatagram(family, parse(a), parse(b), 1000, 2000, random.Random(1).randbytes(size))
    made.size_bytes = (28 if family == AF_INET else 48) + size
    made.ident = 7
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def table(ip: Ip) -> Reassembly:
    found = ip.reassembly
    assert isinstance(found, Reassembly)
    return found


def put_together(ip: Ip, pieces: list[Packet]) -> Packet | None:
    device = ip.devices[0]
    whole = None
    for piece in pieces:
        whole = fragment.reassemble(ip, piece, device) or whole
    return whole


# Cutting


@FAMILIES
def test_pieces_fit_and_are_multiples_of_eight(family: int) -> None:
    _net, ip = ip_of()
    pieces = fragmenter.split(ip, datagram(family), 1400)
    assert pieces is not None and len(pieces) == 3
    assert [len(piece.payload) % 8 for piece in pieces[:-1]] == [0, 0]
    assert [piece.fragment_offset for piece in pieces] == [0, len(pieces[0].payload), 2 * len(pieces[0].payload)]
    assert [piece.more_fragments for piece in pieces] == [True, True, False]
    assert all(piece.size_bytes == len(inet.encode(piece)) <= 1400 for piece in pieces)


def test_a_piece_may_be_cut_again() -> None:
    _net, ip = ip_of()
    packet = datagram(options=bytes([0x94, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0]), size_bytes=3040)
    pieces = fragmenter.split(ip, packet, 1400)
    assert pieces is not None
    smaller = [part for piece in pieces for part in fragmenter.split(ip, piece, 300) or []]
    assert smaller[0].options == packet.options
    assert smaller[1].options == bytes([0x94, 4, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0])  # RFC 791: only copied ones
    random.Random(2).shuffle(smaller)
    whole = put_together(ip, smaller)
    assert isinstance(whole, UdpDatagram) and whole.payload == packet.payload


def test_an_mtu_without_room_for_any_data() -> None:
    _net, ip = ip_of()
    assert fragmenter.split(ip, datagram(), 27) is None


def test_ipv6_keeps_what_every_hop_reads_in_each_piece() -> None:
    _net, ip = ip_of()
    hops, destination = bytes([0, 0, 1, 4, 0, 0, 0, 0]), bytes([60, 0, 1, 4, 0, 0, 0, 0])
    packet = datagram(AF_INET6, options=hops + destination)
    packet.size_bytes += 16
    pieces = fragmenter.split(ip, packet, 1280)
    assert pieces is not None
    assert {piece.options for piece in pieces} == {hops}
    assert {int(piece.protocol) for piece in pieces} == {60}
    whole = put_together(ip, pieces)
    assert isinstance(whole, UdpDatagram)
    assert (whole.options, whole.payload) == (packet.options, packet.payload)


# Putting together


@given(seed=st.integers(0, 2**32), family=st.sampled_from([AF_INET, AF_INET6]), mtu=st.integers(100, 1500))
def test_any_order_with_duplicates_gives_the_packet(seed: int, family: int, mtu: int) -> None:
    _net, ip = ip_of()
    rng = random.Random(seed)
    packet = datagram(family, rng.randrange(1501, 5000))
    pieces = fragmenter.split(ip, packet, mtu)
    assert pieces is not None
    last = pieces.pop(rng.randrange(len(pieces)))
    doubled = pieces + rng.choices(pieces, k=3)
    rng.shuffle(doubled)
    assert put_together(ip, doubled) is None
    whole = put_together(ip, [last])
    assert isinstance(whole, UdpDatagram)
    assert transport.encode(whole) == transport.encode(packet)
    assert table(ip).packets == {} and table(ip).sources == {}
    assert (table(ip).charged, table(ip).charged6) == (0, 0)


@given(seed=st.integers(0, 2**32))
def test_whatever_comes_nothing_is_lost_of_the_count(seed: int) -> None:
    net, ip = ip_of()
    rng = random.Random(seed)
    for _ in range(60):
        family = rng.choice([AF_INET, AF_INET6])
        base = datagram(family, 100)
        piece = Packet(family, base.src, base.dst, 200, bytes(rng.randrange(0, 40)))
        piece.fragment_offset = 8 * rng.randrange(6)
        piece.more_fragments = rng.random() < 0.7
        piece.ident = rng.randrange(3)
        piece.tos = rng.randrange(4)
        piece.size_bytes = 20 + len(piece.payload)
        fragment.reassemble(ip, piece, ip.devices[0])
    held = table(ip)
    assert sum(int(one.charged) for one in held.packets.values()) == held.charged + held.charged6
    assert sum(int(one.packets) for one in held.sources.values()) == len(held.packets)
    for one in held.packets.values():
        edges = [(int(piece.start), int(piece.end)) for piece in one.pieces]
        assert edges == sorted(edges) and all(a[1] <= b[0] for a, b in itertools.pairwise(edges))
    net.run(until=61)
    assert held.packets == {} and held.sources == {} and held.charged == held.charged6 == 0


@FAMILIES
def test_what_stays_incomplete_is_given_up(family: int) -> None:
    net, ip = ip_of()
    pieces = fragmenter.split(ip, datagram(family), 1400)
    assert pieces is not None
    put_together(ip, pieces[:2])
    seconds = 30 if family == AF_INET else 60
    net.run(until=seconds - 0.001)
    assert len(table(ip).packets) == 1
    net.run(until=seconds)
    counters = ip.family(family).counters
    assert (counters.ip_reasm_timeout, counters.ip_reasm_fails, counters.icmp_out_msgs) == (1, 1, 1)
    assert table(ip).packets == {}


def test_memory_is_bounded() -> None:
    _net, ip = ip_of()
    ip.inet.frag_high_thresh = 100_000
    for number in range(1000):
        piece = Packet(AF_INET, 1 + number, 2, 200, bytes(1000))
        piece.more_fragments, piece.size_bytes, piece.ident = True, 1020, number
        fragment.reassemble(ip, piece, ip.devices[0])
    held = table(ip)
    assert 100_000 < held.charged < 102_000
    assert len(held.packets) == ip.counters.ip_reasm_reqds - ip.counters.ip_reasm_fails < 60


def test_what_netfilter_gathers_is_apart_from_the_hosts_own() -> None:
    _net, ip = ip_of()
    pieces = fragmenter.split(ip, datagram(), 1400)
    assert pieces is not None
    assert fragment.gather(ip, pieces[0]) is None
    assert put_together(ip, pieces[1:]) is None
    assert fragment.gather(ip, pieces[1]) is None
    whole = fragment.gather(ip, pieces[2])
    assert isinstance(whole, UdpDatagram)
    assert whole.gathered == pieces[0].size_bytes == 1396
    assert fragment.gather(ip, whole) is whole


def test_a_host_without_fragments_has_no_table() -> None:
    net = lunar.Network(seed=1)
    a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
    net.link(a, b)
    net.run(until=1)
    assert a.ip.reassembly is None and b.ip.reassembly is None


def test_a_crash_forgets_what_was_incomplete() -> None:
    net = lunar.Network(seed=1)
    host = net.host("host", "10.0.0.1/24")
    pieces = fragmenter.split(host.ip, datagram(), 1400)
    assert pieces is not None
    put_together(host.ip, pieces[:1])
    host.crash()
    host.boot()
    net.run(until=40)
    assert host.ip.counters.ip_reasm_timeout == 0 == host.past_counters.ip_reasm_timeout
    assert host.past_counters.ip_reasm_reqds == 1


def test_the_error_quotes_the_first_fragment() -> None:
    net = lunar.Network(seed=1)
    a, b = net.host("a", "10.0.0.2/24"), net.host("b", "10.0.0.1/24")
    net.link(a, b)
    heard: list[IcmpMessage] = []
    a.devices["eth0"].tap = lambda _device, frame: heard.append(frame)
    pieces = fragmenter.split(b.ip, datagram(), 1400)
    assert pieces is not None
    put_together(b.ip, pieces[:1])
    net.run(until=31)
    ((kind, code, quote),) = [(one.type, one.code, one.payload) for one in heard]
    assert (kind, code, quote) == (11, 1, inet.encode(pieces[0])[:548])
