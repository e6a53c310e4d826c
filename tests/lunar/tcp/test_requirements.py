"""What RFC 9293 and RFC 1122 require and no other file shows: addresses, the IP header, ICMP, the start of numbers."""

from __future__ import annotations

import errno

from tcp_scenario import (
    ACK,
    LOCAL,
    OWN,
    OWN_PORT,
    PEER,
    PEER_PORT,
    PSH,
    REMOTE,
    RST,
    SYN,
    Host,
    Scenario,
    established,
    ms,
    s,
    server,
)

from lunar.net.address import Address
from lunar.packet import AF_INET, URG, IcmpMessage, TcpSegment
from lunar.sockets import options
from lunar.tcp.tables import Tables
from lunar.wire import ipv4

MULTICAST = 0xE000_0001
BROADCAST = OWN | 0xFF


def syn(src: int, dst: int) -> TcpSegment:
    segment = TcpSegment(AF_INET, src, dst, PEER_PORT, OWN_PORT, REMOTE, 0, SYN, 65535, b"")
    segment.size_bytes = 40
    return segment


# Addresses.


def test_no_connection_to_many() -> None:
    for addr in (MULTICAST, BROADCAST, 0xFFFF_FFFF):
        assert Scenario().tcp.create(AF_INET).connect(addr, 80) == -errno.ENETUNREACH


def test_a_syn_to_many_is_dropped_in_silence() -> None:
    t = server()
    t.tcp.receive(syn(PEER, BROADCAST), t.host.device)
    t.sends_nothing(until=s(1))
    assert t.sock.listener is not None and not t.sock.listener.requests


def test_a_syn_from_many_is_dropped_before_it_is_anybodys() -> None:
    t = server()
    for source in (MULTICAST, 0xFFFF_FFFF, OWN):
        segment = syn(source, OWN)
        segment.eth_dst = t.host.device.mac
        t.host.device.arrive(segment)
    t.sends_nothing(until=s(1))
    assert t.sock.listener is not None and not t.sock.listener.requests


def test_the_source_is_that_of_the_route_unless_the_program_has_said() -> None:
    t = Scenario()
    sock = t.tcp.create(AF_INET)
    sock.connect(PEER, 80)
    assert t.sends(at=0, flags=SYN).src == OWN and sock.local_addr == OWN
    other = 0x0A00_0063
    t.host.device.addresses.append(Address(AF_INET, other, 24))
    t.host.ip.local[other] = t.host.device
    bound = t.tcp.create(AF_INET)
    assert bound.bind(other, 0) == 0
    bound.connect(PEER, 80)
    assert t.sends(at=0, flags=SYN).src == other


def test_two_listen_at_one_port_of_two_addresses() -> None:
    t = server()
    other = 0x0A00_0063
    t.host.ip.local[other] = t.host.device
    t.sock.disconnect()
    socks = [t.tcp.create(AF_INET) for _ in range(2)]
    for sock, addr in zip(socks, (OWN, other), strict=True):
        assert sock.bind(addr, 9000) == 0 and sock.listen(1) == 0


def test_a_listener_does_not_disturb_connections_of_its_port() -> None:
    t = established()
    listening = t.tcp.create(AF_INET)
    t.sock.reuse_addr = listening.reuse_addr = True
    if t.sock.bound is not None:
        t.sock.bound.reuse_addr = True
    assert listening.bind(0, OWN_PORT) == 0 and listening.listen(1) == 0
    t.gets(at=0, data=b"still mine")
    assert t.read() == b"still mine"


# The IP header.


def test_the_program_sets_ttl_and_type_of_service_at_any_time() -> None:
    t = established()
    t.sock.nodelay = True
    assert options.setsockopt(t.sock, 0, options.IP_TTL, 7) == 0
    assert options.setsockopt(t.sock, 0, options.IP_TOS, 0xB8) == 0
    t.write(b"a")
    first = t.sends(at=0)
    assert (first.ttl, first.tos) == (7, 0xB8)
    assert options.setsockopt(t.sock, 0, options.IP_TOS, 0x20) == 0
    t.write(b"b")
    assert t.sends(at=0).tos == 0x20


# Numbers.


def test_initial_numbers_have_a_clock_of_64_ns_and_an_offset_that_depends_on_the_ends() -> None:
    t = Scenario()
    tables: Tables = t.tcp.tables
    first = tables.initial_sequence(OWN, 1, PEER, 80)
    t.run(ms(1))
    assert (tables.initial_sequence(OWN, 1, PEER, 80) - first) & 0xFFFF_FFFF == 1_000_000 >> 6
    numbers = {int(tables.initial_sequence(OWN, port, PEER, 80)) for port in range(100)}
    assert len(numbers) == 100
    # Another host's secret is another.
    other = Host(t.scheduler, 3, OWN).tcp.tables
    assert other.initial_sequence(OWN, 1, PEER, 80) != tables.initial_sequence(OWN, 1, PEER, 80)


# Options.


def test_only_syns_tell_the_mss() -> None:
    t = established()
    t.write(b"x" * 100)
    assert t.sends(at=0).mss == -1
    t.gets(at=ms(1), ack=LOCAL + 101, data=b"abc", flags=ACK | PSH, mss=100)  # one that comes so is ignored
    t.write(b"y" * 1000)
    t.forget()
    assert t.sock.info().snd_mss == 1460


# Windows and resets.


def full_receiver() -> Scenario:
    """Nobody has read for long, and the last window that we offered was full when it came."""
    t = established()
    t.sock.rcv_wnd = 0
    t.sock.rcvbuf = 1
    t.sock.rcvbuf_locked = True
    return t


def test_a_reset_is_taken_with_a_closed_window() -> None:
    t = full_receiver()
    t.gets(at=t.now, seq=int(t.sock.rcv_nxt), flags=RST)
    assert t.sock.state == 7 and t.sock.error == errno.ECONNRESET


def test_an_urgent_pointer_and_an_ack_are_taken_with_a_closed_window() -> None:
    t = full_receiver()
    t.write(b"abc")
    t.forget()
    t.gets(at=t.now, seq=int(t.sock.rcv_nxt), ack=LOCAL + 4, flags=ACK | URG, urgent=10)
    assert t.sock.urgent_state != 0
    assert t.sock.info().unacked == 0


def test_a_reset_may_carry_data() -> None:
    t = established()
    t.gets(at=0, flags=RST, data=b"because")
    assert t.sock.error == errno.ECONNRESET


# ICMP, RFC 1122 section 4.2.3.9.


def icmp(t: Scenario, type: int, code: int) -> None:
    """An error about the first segment of data arrives."""
    segment = TcpSegment(AF_INET, OWN, PEER, OWN_PORT, PEER_PORT, (t.iss + 1) & 0xFFFF_FFFF, 0, ACK, 0, b"x")
    segment.size_bytes = 41
    message = IcmpMessage(AF_INET, PEER, OWN, type, code, 0, ipv4.encode(segment))
    handler = t.host.ip.handlers.get(1)
    if handler is None:
        from lunar.net.icmp import Icmp

        handler = Icmp(t.host.ip)
        t.host.ip.handlers[1] = handler
    handler.receive(message, t.host.device)


def test_source_quench_is_discarded() -> None:
    t = established()
    t.write(b"x")
    t.forget()
    icmp(t, 4, 0)
    assert (t.sock.state, t.sock.soft_error, t.sock.cwnd) == (1, 0, 10)


def test_soft_errors_do_not_end_a_connection_and_are_told_when_it_dies() -> None:
    for type, code, number in (
        (3, 0, errno.ENETUNREACH), (3, 1, errno.EHOSTUNREACH), (3, 5, errno.EOPNOTSUPP), (11, 0, errno.EHOSTUNREACH),
        (12, 0, errno.EPROTO),
    ):  # fmt: skip
        t = established()
        t.write(b"x")
        t.forget()
        icmp(t, type, code)
        assert t.sock.state == 1
        t.run(s(2000))
        assert t.sock.take_error() == number
