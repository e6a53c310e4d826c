"""ICMP: echo, which errors are reported and which are not, how many, and who hears of them."""

from __future__ import annotations

import errno

import pytest

import lunar
from lunar.net import icmp, ip_output
from lunar.net.device import Device
from lunar.net.icmp import ECHO, ECHO_REPLY, HOST_UNREACHABLE, PORT_UNREACHABLE, TIME_EXCEEDED, UNREACHABLE
from lunar.packet import AF_INET, Frame, IcmpMessage, Packet, UdpDatagram
from lunar.udp import UdpSock
from lunar.wire import ipv4
from lunar.wire.address import ipv4_text, parse_ipv4

MS = 1_000_000
A, B = "10.0.0.1", "10.0.0.2"


def message(type: int, code: int = 0, rest: int = 0, payload: bytes = b"", dst: str = B) -> IcmpMessage:
    made = IcmpMessage(AF_INET, 0, parse_ipv4(dst), type, code, rest, payload)
    made.size_bytes = 28 + len(payload)
    return made


def datagram(dport: int = 9, payload: bytes = b"", dst: str = B) -> UdpDatagram:
    made = UdpDatagram(AF_INET, 0, parse_ipv4(dst), 5000, dport, payload)
    made.size_bytes = 28 + len(payload)
    return made


def foreign(payload: bytes = b"12345678", dst: str = B) -> Packet:
    """A packet of a protocol that nobody has."""
    made = Packet(AF_INET, 0, parse_ipv4(dst), 253, payload)
    made.size_bytes = 20 + len(payload)
    return made


class Wire:
    """Hosts a (10.0.0.1) and b (10.0.0.2), 1 ms apart; the ICMP messages that come to a, with their times."""

    def __init__(self) -> None:
        self.net = lunar.Network(seed=1)
        self.a = self.net.host("a", f"{A}/24")
        self.b = self.net.host("b", f"{B}/24")
        self.net.link(self.a, self.b, delay="1ms")
        self.times: list[int] = []
        self.messages: list[IcmpMessage] = []
        self.a.devices["eth0"].tap = self._seen

    def _seen(self, device: Device, frame: Frame) -> None:
        if isinstance(frame, IcmpMessage) and frame.eth_dst == device.mac:
            self.times.append(self.net.scheduler.now_ns)
            self.messages.append(frame)

    def sends(self, packet: Packet) -> Packet:
        assert ip_output.send(self.a.ip, packet, None) == 0
        return packet

    def runs(self, until: str = "10s") -> list[tuple[int, int]]:
        """The types and codes that came to a by then."""
        self.net.run(until=until)
        return [(one.type, one.code) for one in self.messages]


# Echo


def test_an_echo_is_answered_with_all_that_it_brought() -> None:
    w = Wire()
    w.sends(message(ECHO, rest=0x1234_0007, payload=b"abcdefgh"))
    assert w.runs() == [(ECHO_REPLY, 0)]
    (reply,) = w.messages
    assert (reply.rest, reply.payload, reply.size_bytes) == (0x1234_0007, b"abcdefgh", 36)
    assert (ipv4_text(reply.src), ipv4_text(reply.dst)) == (B, A)
    assert w.times == [2 * MS]


def test_the_reply_has_the_type_of_service_of_the_echo() -> None:
    w, echo = Wire(), message(ECHO)
    echo.tos = 0x20
    w.sends(echo)
    w.runs()
    assert w.messages[0].tos == 0x20


def test_the_reply_has_the_hosts_ttl() -> None:
    w = Wire()
    w.b.sh("sysctl -w net.ipv4.ip_default_ttl=99")
    w.sends(message(ECHO))
    w.runs()
    assert w.messages[0].ttl == 99


def test_an_echo_to_oneself() -> None:
    w = Wire()
    heard: list[tuple[int, str]] = []
    w.a.icmp.echo_waiter = lambda reply: heard.append((w.net.scheduler.now_ns, ipv4_text(reply.src)))
    w.sends(message(ECHO, dst=A))
    w.sends(message(ECHO, dst="127.0.0.1"))
    w.runs()
    assert heard == [(0, A), (0, "127.0.0.1")]


def test_an_echo_to_a_broadcast_is_not_answered() -> None:
    w = Wire()
    w.sends(message(ECHO, dst="10.0.0.255"))
    assert w.runs() == []
    assert w.b.ip.counters.icmp_in_msgs == 1


def test_a_reply_is_not_answered() -> None:
    w = Wire()
    w.sends(message(ECHO_REPLY))
    w.runs()
    assert w.b.ip.counters.icmp_out_msgs == 0


def test_an_unknown_type_is_ignored() -> None:
    w = Wire()
    w.sends(message(40))
    w.runs()
    assert (w.b.ip.counters.icmp_in_msgs, w.b.ip.counters.icmp_in_errors, w.b.ip.counters.icmp_out_msgs) == (1, 1, 0)


# Errors that are reported


def test_a_protocol_that_nobody_has() -> None:
    w = Wire()
    w.sends(foreign())
    assert w.runs() == [(UNREACHABLE, icmp.PROTOCOL_UNREACHABLE)]
    assert w.b.ip.counters.ip_in_no_protos == 1


def test_a_port_that_nobody_has() -> None:
    w = Wire()
    w.sends(datagram())
    assert w.runs() == [(UNREACHABLE, PORT_UNREACHABLE)]
    assert w.b.ip.counters.udp_no_ports == 1


def test_the_report_comes_from_the_address_that_was_meant() -> None:
    w = Wire()
    w.b.add_address(w.b.devices["eth0"], parse_ipv4("10.0.0.22"), 24)
    w.sends(datagram(dst="10.0.0.22"))
    w.runs()
    assert ipv4_text(w.messages[0].src) == "10.0.0.22"


def test_the_report_quotes_the_packet() -> None:
    w = Wire()
    sent = w.sends(datagram(payload=b"hello"))
    w.runs()
    assert w.messages[0].payload == ipv4.encode(sent)


def test_the_report_fits_576_bytes() -> None:
    w = Wire()
    sent = w.sends(datagram(payload=bytes(1000)))
    w.runs()
    (report,) = w.messages
    assert report.size_bytes == 576
    assert report.payload == ipv4.encode(sent)[: 576 - 28]


def test_the_report_has_the_precedence_of_internetwork_control() -> None:
    w = Wire()
    w.sends(datagram())
    w.runs()
    assert w.messages[0].tos == 0xC0


def test_an_echo_that_expires_is_reported() -> None:
    w = Wire()
    w.b.sh("sysctl -w net.ipv4.ip_forward=1")
    w.a.sh("route add default gw 10.0.0.2")
    w.b.sh("route add default gw 10.0.0.9")  # who has no route says that before
    for type in (ECHO, ECHO_REPLY):
        echo = message(type, dst="10.9.9.9")
        echo.ttl = 1
        w.sends(echo)
    assert w.runs() == [(TIME_EXCEEDED, 0)] * 2


# Errors that are not: RFC 1122 section 3.2.2


def expiring(packet: Packet) -> Wire:
    """`packet` is sent to a router, b, with its last TTL."""
    w = Wire()
    w.b.sh("sysctl -w net.ipv4.ip_forward=1")
    w.a.sh("route add default gw 10.0.0.2")
    w.b.sh("route add default gw 10.0.0.9")
    packet.dst, packet.ttl = parse_ipv4("10.9.9.9"), 1
    w.sends(packet)
    w.runs()
    counters = w.b.ip.counters
    assert counters.ip_in_hdr_errors + counters.ip_in_addr_errors == 1  # it is counted, and one of the two says why
    return w


@pytest.mark.parametrize("type", [UNREACHABLE, TIME_EXCEEDED, icmp.PARAMETER_PROBLEM, 5])
def test_no_error_about_an_error(type: int) -> None:
    assert expiring(message(type)).messages == []


def test_no_error_about_a_later_fragment() -> None:
    piece = foreign()
    piece.fragment_offset = 8
    assert expiring(piece).messages == []


def test_an_error_about_the_first_fragment() -> None:
    piece = foreign()
    piece.more_fragments = True
    assert len(expiring(piece).messages) == 1


@pytest.mark.parametrize("source", ["10.0.0.255", "224.0.0.1", "255.255.255.255"])
def test_no_error_to_a_source_that_is_not_one_host(source: str) -> None:
    packet = foreign()
    packet.src = parse_ipv4(source)
    w = expiring(packet)
    assert w.b.ip.counters.icmp_out_msgs == 0


@pytest.mark.parametrize("packet", [datagram(dst="10.0.0.255"), foreign(dst="10.0.0.255")], ids=["port", "protocol"])
def test_no_error_about_a_broadcast(packet: Packet) -> None:
    w = Wire()
    w.sends(packet)
    assert w.runs() == []
    assert w.b.ip.counters.ip_in_receives == 1


# How many


def test_a_peer_is_told_six_times_in_a_row_and_then_once_a_second() -> None:
    w = Wire()
    for _ in range(10):
        w.sends(datagram())
    assert len(w.runs(until="100ms")) == 6
    assert w.b.ip.counters.icmp_out_rate_limited_host == 4
    for number in range(1, 31):
        w.net.run(until=0.1 + number / 10)
        w.sends(datagram())
    assert len(w.runs(until="4s")) == 6 + 3  # at 1, 2 and 3 s


def test_another_peer_has_its_own_six() -> None:
    w = Wire()
    w.a.add_address(w.a.devices["eth0"], parse_ipv4("10.0.0.3"), 24)
    for number in range(20):
        packet = datagram()
        packet.src = parse_ipv4(A if number % 2 else "10.0.0.3")
        w.sends(packet)
    w.runs()
    assert w.b.ip.counters.icmp_out_msgs == 12


def test_a_type_whose_bit_is_off_is_not_limited() -> None:
    w = Wire()
    w.b.sh(f"sysctl -w net.ipv4.icmp_ratemask={0x1818 & ~(1 << UNREACHABLE)}")
    for _ in range(100):
        w.sends(datagram())
    assert len(w.runs()) == 100


def unlimited() -> Wire:
    """No limit for one peer: there is but the host's."""
    w = Wire()
    w.b.sh("sysctl -w net.ipv4.icmp_ratelimit=0")
    return w


def test_fifty_errors_at_once_and_no_more() -> None:
    w = unlimited()
    for _ in range(60):
        w.sends(datagram())
    assert len(w.runs()) == 50
    assert w.b.ip.counters.icmp_out_rate_limited == 10


def burst_after(w: Wire, pause_ns: int) -> int:
    """How many of 100 errors are reported `pause_ns` after a bucket was emptied."""
    for _ in range(50):
        w.sends(datagram())
    w.net.run(until=1.0)
    before = w.b.ip.counters.icmp_out_msgs
    assert before == 50
    # The packets reached b at 1 ms; these shall do so `pause_ns` later.
    w.net.scheduler.advance(1_000_000_000)
    w.b.ip.icmp_tokens, w.b.ip.icmp_stamp_ns = 0, 1_001_000_000 - pause_ns
    for _ in range(100):
        w.sends(datagram())
    w.net.run(until=2.0)
    return int(w.b.ip.counters.icmp_out_msgs - before)


@pytest.mark.parametrize(
    ("pause_ns", "allowed"),
    [(0, 0), (999_999, 0), (1_000_000, 1), (10_999_999, 10), (50_000_000, 50), (900_000_000, 50)],
)
def test_a_token_grows_each_millisecond_up_to_fifty(pause_ns: int, allowed: int) -> None:
    assert burst_after(unlimited(), pause_ns) == allowed


def test_a_steady_stream_gets_a_thousand_a_second() -> None:
    w = unlimited()
    # 3000 packets, three in each 2 ms: of each three, two are reported once the bucket is empty.
    for number in range(3000):
        w.net.run(until=number * 2 / 3000)
        w.sends(datagram())
    w.runs()
    # From 1 ms to 2001 ms 2000 tokens grow, the last after the last packet; 50 were there.
    assert w.b.ip.counters.icmp_out_msgs == 50 + 1999


def test_replies_to_echoes_are_not_limited() -> None:
    w = Wire()
    for _ in range(100):
        w.sends(message(ECHO))
    assert w.runs() == [(ECHO_REPLY, 0)] * 100


def test_what_path_mtu_discovery_needs_is_not_limited() -> None:
    net = lunar.Network(seed=1)
    a, r, b = net.host("a", "10.0.1.2/24"), net.host("r", "10.0.1.1/24", "10.0.2.1/24"), net.host("b", "10.0.2.2/24")
    net.link(a, "r.eth0")
    net.link("r.eth1", b, mtu=1000)
    a.sh("route add default gw 10.0.1.1")
    r.sh("sysctl -w net.ipv4.ip_forward=1")
    for _ in range(60):
        whole = datagram(payload=bytes(1000), dst="10.0.2.2")
        whole.dont_fragment = True
        assert ip_output.send(a.ip, whole, None) == 0
    net.run(until="1s")
    assert (r.ip.counters.icmp_out_msgs, r.ip.counters.icmp_out_rate_limited) == (60, 0)


def test_hosts_have_buckets_of_their_own() -> None:
    w = Wire()
    for _ in range(60):
        w.sends(datagram())
    w.runs()
    assert w.a.ip.icmp_tokens == 50


# Errors that are heard


def connected(w: Wire, port: int = 9) -> UdpSock:
    sock = w.a.udp.create(AF_INET)
    assert sock.connect(parse_ipv4(B), port) == 0
    return sock


def report(code: int, quote: bytes, type: int = UNREACHABLE) -> IcmpMessage:
    return message(type, code, payload=quote, dst=A)


def quote_of(sock: UdpSock) -> bytes:
    """What a report about a datagram of `sock` quotes."""
    sent = UdpDatagram(AF_INET, sock.local_addr, sock.remote_addr, sock.local_port, sock.remote_port, b"")
    return ipv4.encode(sent)


def hears(w: Wire, packet: IcmpMessage) -> None:
    assert ip_output.send(w.b.ip, packet, None) == 0
    w.runs()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (2, errno.ENOPROTOOPT), (3, errno.ECONNREFUSED), (4, errno.EMSGSIZE), (6, errno.ENETUNREACH),
        (7, errno.EHOSTDOWN), (8, errno.ENONET), (9, errno.ENETUNREACH), (10, errno.EHOSTUNREACH),
        (13, errno.EHOSTUNREACH), (15, errno.EHOSTUNREACH),
    ],
)  # fmt: skip
def test_a_fatal_code_is_told_to_the_connected_socket(code: int, expected: int) -> None:
    w = Wire()
    sock = connected(w)
    hears(w, report(code, quote_of(sock)))
    assert sock.take_error() == expected


@pytest.mark.parametrize("code", [0, HOST_UNREACHABLE, 5, 11, 12, 16, 200])
def test_other_codes_are_not(code: int) -> None:
    w = Wire()
    sock = connected(w)
    hears(w, report(code, quote_of(sock)))
    assert w.a.ip.counters.icmp_in_msgs == 1
    assert sock.take_error() == 0


def test_time_exceeded_is_not_told() -> None:
    w = Wire()
    sock = connected(w)
    hears(w, report(0, quote_of(sock), TIME_EXCEEDED))
    assert sock.take_error() == 0


def test_a_parameter_problem_is_told() -> None:
    w = Wire()
    sock = connected(w)
    hears(w, report(0, quote_of(sock), icmp.PARAMETER_PROBLEM))
    assert sock.take_error() == errno.EPROTO


def test_a_quote_of_somebody_elses_packet_is_an_error() -> None:
    w = Wire()
    sock = connected(w)
    sent = UdpDatagram(AF_INET, parse_ipv4("10.0.0.9"), sock.remote_addr, sock.local_port, sock.remote_port, b"")
    hears(w, report(PORT_UNREACHABLE, ipv4.encode(sent)))
    assert (sock.take_error(), w.a.ip.counters.icmp_in_errors) == (0, 1)


@pytest.mark.parametrize("length", [0, 20, 27])
def test_a_quote_that_is_too_short_is_an_error(length: int) -> None:
    w = Wire()
    sock = connected(w)
    hears(w, report(PORT_UNREACHABLE, quote_of(sock)[:length]))
    assert (sock.take_error(), w.a.ip.counters.icmp_in_errors) == (0, 1)


@pytest.mark.parametrize(("field", "change"), [("sport", 1), ("dport", 1), ("dst", 1)])
def test_an_error_about_another_flow_is_not_told(field: str, change: int) -> None:
    w = Wire()
    sock = connected(w)
    sent = UdpDatagram(AF_INET, sock.local_addr, sock.remote_addr, sock.local_port, sock.remote_port, b"")
    setattr(sent, field, getattr(sent, field) + change)
    hears(w, report(PORT_UNREACHABLE, ipv4.encode(sent)))
    assert sock.take_error() == 0


def test_of_two_sockets_with_one_port_the_one_that_sent_is_told() -> None:
    w = Wire()
    w.a.add_address(w.a.devices["eth0"], parse_ipv4("10.0.0.11"), 24)
    socks = []
    for address in (A, "10.0.0.11"):
        sock = w.a.udp.create(AF_INET)
        assert sock.bind(parse_ipv4(address), 4000) == 0
        assert sock.connect(parse_ipv4(B), 9) == 0
        socks.append(sock)
    hears(w, report(PORT_UNREACHABLE, quote_of(socks[1])))
    assert [sock.take_error() for sock in socks] == [0, errno.ECONNREFUSED]


def test_a_report_for_a_protocol_that_is_gone_is_ignored() -> None:
    w = Wire()
    sent = foreign()
    sent.src = parse_ipv4(A)
    hears(w, report(icmp.PROTOCOL_UNREACHABLE, ipv4.encode(sent)))
    assert (w.a.ip.counters.icmp_in_msgs, w.a.ip.counters.icmp_in_errors) == (1, 0)


def test_what_a_rule_says_of_icmps_own_answers_is_not_said() -> None:
    w = Wire()
    w.b.sh("iptables -A OUTPUT -p icmp -j REJECT")
    w.sends(message(ECHO))
    assert w.runs() == []  # neither the reply nor, over lo or to the peer, an error about it
    assert w.b.ip.counters.icmp_out_msgs == 1
