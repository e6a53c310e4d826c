"""What a program can ask of a connection and is told of it: RFC 1122 sections 4.2.3.9 and 4.2.4, RFC 9293 section 3.9.

ICMP errors come as the tests' own messages, to a connection that has 1,000 bytes on their way.
"""

from __future__ import annotations

import errno
import socket

import pytest
from tcp_scenario import LOCAL, OWN, OWN_PORT, PEER, PEER_PORT, SYN, Scenario, established, ms, s

from lunar.net.address import Address
from lunar.net.icmp import Icmp
from lunar.packet import AF_INET, IcmpMessage, TcpSegment
from lunar.sockets.options import IPPROTO_IP, SO_ERROR, SOL_SOCKET, getsockopt, setsockopt
from lunar.sockets.report_options import IP_RECVERR
from lunar.tcp.tcb import ESTABLISHED
from lunar.wire import ipv4

SOFT = [(3, 0), (3, 1), (3, 5), (11, 0), (12, 0)]
HARD = [(3, 2), (3, 3)]
SOURCE_QUENCH = 4


def with_data_in_flight() -> Scenario:
    t = established()
    t.host.ip.handlers[1] = Icmp(t.host.ip)
    t.write(b"x" * 1000)
    t.forget()
    return t


def hears(t: Scenario, type: int, code: int, seq: int = LOCAL + 1) -> None:
    """A router complains of the segment that begins at `seq`."""
    offender = TcpSegment(2, OWN, PEER, OWN_PORT, PEER_PORT, (seq - LOCAL + t.iss) & 0xFFFF_FFFF, 0, 0x10, 1000, b"")
    message = IcmpMessage(2, PEER, OWN, type, code, 0, ipv4.encode(offender))
    t.host.ip.handlers[1].receive(message, t.host.device)


def pending(t: Scenario) -> int:
    return int(getsockopt(t.sock, SOL_SOCKET, SO_ERROR))


@pytest.mark.parametrize(("type", "code"), SOFT)
def test_a_soft_error_does_not_end_a_connection_and_can_be_asked_for(type: int, code: int) -> None:
    t = with_data_in_flight()
    hears(t, type, code)
    assert t.sock.state == ESTABLISHED and t.sock.error == 0
    assert pending(t) in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.EPROTO)
    assert pending(t) == 0  # told once
    t.gets(at=ms(10), ack=LOCAL + 1001)
    assert t.write(b"more") == 4


@pytest.mark.parametrize(("type", "code"), [*SOFT, *HARD])
def test_with_ip_recverr_every_error_is_told_at_once(type: int, code: int) -> None:
    t = with_data_in_flight()
    assert setsockopt(t.sock, IPPROTO_IP, IP_RECVERR, 1) == 0
    hears(t, type, code)
    assert t.sock.state == ESTABLISHED and t.sock.error != 0
    assert t.woken  # and whoever waits is told


@pytest.mark.parametrize(("type", "code"), HARD)
def test_a_hard_error_is_only_a_hint_on_a_connection(type: int, code: int) -> None:
    t = with_data_in_flight()
    hears(t, type, code)
    assert t.sock.state == ESTABLISHED and pending(t) in (errno.ENOPROTOOPT, errno.ECONNREFUSED)


def test_an_error_is_for_the_connection_that_it_quotes() -> None:
    t = with_data_in_flight()
    hears(t, 3, 1, seq=LOCAL + 5000)  # never sent
    hears(t, 3, 1, seq=LOCAL - 10)  # acknowledged long ago
    assert pending(t) == 0
    hears(t, 3, 1)
    assert pending(t) == errno.EHOSTUNREACH


def test_source_quench_means_nothing() -> None:
    """RFC 6633 took it out of use."""
    t = with_data_in_flight()
    cwnd = t.sock.cwnd
    hears(t, SOURCE_QUENCH, 0)
    assert (t.sock.cwnd, t.sock.error, pending(t)) == (cwnd, 0, 0)


def test_the_type_of_service_is_the_programs_and_may_change() -> None:
    t = Scenario()
    sock = t.tcp.create(2)
    assert setsockopt(sock, IPPROTO_IP, socket.IP_TOS, 0x10) == 0
    assert sock.bind(OWN, OWN_PORT) == 0
    sock.connect(PEER, PEER_PORT)
    t.watch(sock)
    assert t.sends(at=0, flags=SYN).tos == 0x10
    t = established()
    assert setsockopt(t.sock, IPPROTO_IP, socket.IP_TOS, 0xB8) == 0
    t.write(b"x")
    assert t.sends(at=0, size=1).tos == 0xB8
    setsockopt(t.sock, IPPROTO_IP, socket.IP_TOS, 0)
    t.gets(at=ms(1), ack=LOCAL + 2)
    t.write(b"y")
    assert t.sends(at=ms(1), size=1).tos == 0


def test_the_route_chooses_the_local_address_and_it_stays() -> None:
    t = Scenario()
    sock = t.tcp.create(2)
    sock.connect(PEER, PEER_PORT)
    t.watch(sock)
    assert t.sends(at=0, flags=SYN).src == OWN == sock.local_addr
    t.host.device.addresses.insert(0, Address(AF_INET, OWN + 5, 24))
    t.host.ip.local[OWN + 5] = t.host.device
    t.run(s(1))
    assert t.sends(at=s(1), flags=SYN).src == OWN
