"""Connection tracking at exact virtual times: states, timeouts, what belongs to what; and conntrack(8)'s lines.

The router is that of the duels (routers.py), without the kernel beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import dpkt
import pytest
from routers import LunarRouter

from lunar.net_tools.errors import CommandError
from lunar.netfilter.conntrack import Conntrack
from lunar.netfilter.netfilter import Netfilter
from lunar.packet import (
    ACK,
    AF_INET,
    AF_INET6,
    FIN,
    RST,
    SYN,
    IcmpMessage,
    Packet,
    TcpSegment,
    UdpDatagram,
    set_tcp_size,
)
from lunar.wire import inet, ipv4
from lunar.wire.malformed import Malformed

_A: Final = 0x0A00_0002
_B: Final = 0x0A01_0002
_S: Final = 1_000_000_000


class Router(LunarRouter):
    """With a rule that has it track, and words for what is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.command("iptables -A FORWARD -m conntrack --ctstate INVALID -j DROP")

    def udp(self, *, back: bool = False, sport: int = 1000, dport: int = 53) -> list[Packet]:
        ends = (_B, _A, dport, sport) if back else (_A, _B, sport, dport)
        return self.gets("tb" if back else "ta", UdpDatagram(AF_INET, *ends, b"x"))

    def tcp(self, flags: int, seq: int, ack: int = 0, *, back: bool = False, data: bytes = b"") -> list[Packet]:
        ends = (_B, _A, 80, 2000) if back else (_A, _B, 2000, 80)
        segment = TcpSegment(AF_INET, *ends, seq, ack, flags, 1000, data)
        set_tcp_size(segment)
        return self.gets("tb" if back else "ta", segment)

    def handshake(self) -> None:
        self.tcp(SYN, 100)
        self.tcp(SYN | ACK, 500, 101, back=True)
        self.tcp(ACK, 101, 501)

    def gets(self, device: str, packet: Packet) -> list[Packet]:
        found = []
        for _device, data in self.send(device, inet.encode(packet)):
            left = inet.decode(data)
            assert not isinstance(left, Malformed)
            found.append(left)
        return found

    def wait(self, seconds: float) -> None:
        self.network.scheduler.advance(self.network.scheduler.now_ns + int(seconds * _S))

    @property
    def lines(self) -> list[str]:
        return self.command("conntrack -L").splitlines()

    @property
    def conntrack(self) -> Conntrack:
        filter = self.host.ip.filter
        assert isinstance(filter, Netfilter) and filter.conntrack is not None
        return filter.conntrack


@pytest.fixture
def router() -> Iterator[Router]:
    made = Router()
    yield made
    made.close()


def test_udp_is_a_stream_when_answered_two_seconds_after_its_beginning(router: Router) -> None:
    router.udp()
    assert router.lines == [
        "udp      17 30 src=10.0.0.2 dst=10.1.0.2 sport=1000 dport=53 packets=1 bytes=29 [UNREPLIED] "
        "src=10.1.0.2 dst=10.0.0.2 sport=53 dport=1000 packets=0 bytes=0 mark=0 use=1"
    ]
    router.udp(back=True)
    assert "17 30" in router.lines[0] and "UNREPLIED" not in router.lines[0] and "ASSURED" not in router.lines[0]
    router.wait(2)
    router.udp()
    assert "17 120" in router.lines[0] and "[ASSURED]" in router.lines[0]


def test_a_connection_is_forgotten_when_its_time_is_over_and_not_before(router: Router) -> None:
    router.udp()
    router.wait(29.999_999_999)
    assert len(router.lines) == 1
    router.wait(0.000_000_001)
    assert router.lines == []
    assert router.command("conntrack -C") == "0\n"


def test_tcp_goes_through_its_states(router: Router) -> None:
    def state() -> str:
        words = router.lines[0].split()
        return f"{words[3]} {words[2]}"

    router.tcp(SYN, 100)
    assert state() == "SYN_SENT 120"
    router.tcp(SYN | ACK, 500, 101, back=True)
    assert state() == "SYN_RECV 60"
    router.tcp(ACK, 101, 501)
    assert state() == "ESTABLISHED 432000"
    router.tcp(ACK, 101, 501, data=b"abc")
    assert state() == "ESTABLISHED 300"  # nf_conntrack_tcp_timeout_unacknowledged
    router.tcp(ACK, 501, 104, back=True)
    assert state() == "ESTABLISHED 432000"
    router.tcp(FIN | ACK, 104, 501)
    assert state() == "FIN_WAIT 120"
    router.tcp(ACK, 501, 105, back=True)
    assert state() == "CLOSE_WAIT 60"
    router.tcp(FIN | ACK, 501, 105, back=True)
    assert state() == "LAST_ACK 30"
    router.tcp(ACK, 105, 502)
    assert state() == "TIME_WAIT 120"
    router.tcp(SYN, 9000)
    assert state() == "SYN_SENT 120"  # another connection by the same ports


def test_a_refused_connection_is_forgotten_at_once(router: Router) -> None:
    router.tcp(SYN, 100)
    assert len(router.tcp(RST | ACK, 0, 101, back=True)) == 1
    assert router.lines == []


def test_a_reset_with_another_number_than_expected_leaves_time_for_a_challenge(router: Router) -> None:
    """RFC 5961 (3.2)."""
    router.handshake()
    router.tcp(RST, 501 + 10, back=True)
    assert router.lines[0].split()[2:4] == ["10", "ESTABLISHED"]
    router.tcp(ACK, 101, 501)
    # As if what lies before the reset's number had been sent and not acknowledged.
    assert router.lines[0].split()[2:4] == ["300", "ESTABLISHED"]
    router.tcp(RST, 501, back=True)
    assert router.lines[0].split()[2:4] == ["10", "CLOSE"]


@pytest.mark.parametrize("flags", [SYN | ACK, RST, FIN | ACK, 0, SYN | FIN, SYN | RST])
def test_no_connection_begins_so(router: Router, flags: int) -> None:
    assert router.tcp(flags, 100, 1) == []
    assert router.lines == []
    assert " invalid=1 " in router.command("conntrack -S")


def test_one_met_in_its_middle_is_picked_up_unless_told_not_to(router: Router) -> None:
    router.tcp(ACK, 5000, 1)
    assert router.lines[0].split()[2:4] == ["300", "ESTABLISHED"]
    router.command("conntrack -F")
    router.command("sysctl -w net.netfilter.nf_conntrack_tcp_loose=0")
    assert router.tcp(ACK, 5000, 1) == []


def test_an_acknowledgment_of_what_nobody_sent_is_invalid(router: Router) -> None:
    router.handshake()
    assert router.tcp(ACK, 101, 502) == []
    assert len(router.tcp(ACK, 101, 501)) == 1
    router.command("sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1")
    assert len(router.tcp(ACK, 101, 502)) == 1


def test_what_rules_drop_leaves_nothing_behind(router: Router) -> None:
    router.command("iptables -A FORWARD -p udp --dport 7 -j DROP")
    router.udp(dport=7)
    assert router.lines == []
    router.udp(dport=8)
    assert len(router.lines) == 1


def test_an_error_belongs_to_what_it_quotes(router: Router) -> None:
    router.command("iptables -P FORWARD DROP")
    router.command("iptables -A FORWARD -m state --state RELATED -j ACCEPT")
    router.command("iptables -A FORWARD -p udp -j ACCEPT")
    sent = router.udp()
    quote = inet.encode(sent[0])
    assert len(router.gets("tb", IcmpMessage(AF_INET, _B, _A, 3, 3, 0, quote))) == 1
    # Of a packet that nobody sent, and one that is too short to say.
    other = inet.encode(UdpDatagram(AF_INET, _A, _B, 1001, 53, b"x"))
    for bad in (other, quote[:27], b"", b"\x45" * 28):
        assert router.gets("tb", IcmpMessage(AF_INET, _B, _A, 3, 3, 0, bad)) == []
    assert len(router.lines) == 1


def test_both_families_are_tracked_by_the_same_table(router: Router) -> None:
    router.command("ip6tables -A FORWARD -m conntrack --ctstate INVALID -j DROP")
    a, b = 0x2001_0DB8 << 96 | 2, 0x2001_0DB8_000B << 80 | 2
    assert len(router.gets("ta", UdpDatagram(AF_INET6, a, b, 1000, 53, b"x"))) == 1
    router.udp()
    assert [line[:40].split()[3] for line in router.lines] == ["src=2001:db8::2", "src=10.0.0.2"]
    assert router.connections().splitlines()[0].startswith(
        "ipv6     10 udp      17 29 src=2001:0db8:0000:0000:0000:0000:0000:0002 dst=2001:0db8:000b:"
    )
    # Its answers, and an error that quotes it.
    assert len(router.gets("tb", UdpDatagram(AF_INET6, b, a, 53, 1000, b"x"))) == 1
    quote = inet.encode(UdpDatagram(AF_INET6, a, b, 1000, 53, b"x"))
    error = IcmpMessage(AF_INET6, b, a, 1, 4, 0, quote)
    error.protocol = 58
    assert len(router.gets("tb", error)) == 1


def test_a_full_table_gives_up_what_was_never_answered(router: Router) -> None:
    router.command("sysctl -w net.netfilter.nf_conntrack_max=3")
    for port in range(1, 6):
        assert len(router.udp(sport=port)) == 1
    assert [line.split("sport=")[1].split()[0] for line in router.lines] == ["3", "4", "5"]
    assert " early_drop=2 " in router.command("conntrack -S")


def test_the_table_and_what_it_keeps_of_times_stay_bounded(router: Router) -> None:
    router.command("sysctl -w net.netfilter.nf_conntrack_max=50")
    for number in range(500):
        router.handshake()
        router.tcp(RST, 101)
        router.udp(sport=number + 1)
    conntrack = router.conntrack
    assert conntrack.count() <= 50
    # Interpreted only can the insides be seen.
    heap = getattr(conntrack, "_heap", [])
    assert len(heap) <= 2 * 50 + 65
    router.wait(500_000)
    assert conntrack.count() == 0


def test_conntrack_chooses_and_deletes(router: Router) -> None:
    for port in (1, 2, 3):
        router.udp(sport=port)
    router.tcp(SYN, 100)
    assert len(router.command("conntrack -L -p udp").splitlines()) == 3
    assert len(router.command("conntrack -L -p udp --sport 2").splitlines()) == 1
    assert len(router.command("conntrack -L -s 10.0.0.0/24").splitlines()) == 4
    assert router.command("conntrack -L -d 10.0.0.2") == ""
    assert len(router.command("conntrack -L -q 10.0.0.2 -u UNREPLIED").splitlines()) == 4
    assert router.command("conntrack -L -n") == ""
    assert len(router.command("conntrack -D -p udp --sport 2").splitlines()) == 1
    assert router.command("conntrack -C") == "3\n"
    assert router.command("conntrack -G -p tcp --dport 80").startswith("tcp      6 ")
    with pytest.raises(CommandError, match="such conntrack doesn't exist"):
        router.command("conntrack -G -p udp --sport 2")
    router.command("conntrack -F")
    assert router.lines == []


@pytest.mark.parametrize(
    ("line", "refusal"),
    [
        ("-L -x", "unknown option `-x'"), ("-L -p foo", "`foo' unsupported protocol"),
        ("-L -s foo", "Invalid IP address `foo'"), ("-L --sport 1", "unknown option `--sport'"),
        ("-L -D", "Invalid commands combination"),
    ],
)  # fmt: skip
def test_conntrack_refuses_in_its_own_words(router: Router, line: str, refusal: str) -> None:
    with pytest.raises(CommandError) as refused:
        router.command(f"conntrack {line}")
    assert str(refused.value).startswith(f"conntrack v1.4.7 (conntrack-tools): {refusal}\n")


def test_parameters_are_read_and_set_before_anything_is_tracked() -> None:
    router = LunarRouter()
    assert router.command("sysctl -n net.netfilter.nf_conntrack_count") == "0\n"
    router.command("sysctl -w net.netfilter.nf_conntrack_udp_timeout=5")
    assert router.host.ip.filter is None
    router.command("iptables -A FORWARD -m state --state NEW")
    router.send("ta", inet.encode(UdpDatagram(AF_INET, _A, _B, 1, 2, b"")))
    assert " 17 5 " in router.command("conntrack -L")
    assert router.command("sysctl -n net.netfilter.nf_conntrack_count") == "1\n"
    router.close()


@pytest.mark.parametrize("cut", [28, 48, 1000])
def test_a_translated_error_quotes_what_its_receiver_sent_with_right_checksums(router: Router, cut: int) -> None:
    """By dpkt, which reads the quote. A checksum that has not come along is left alone."""
    router.command("iptables -t nat -A POSTROUTING -o tb -j SNAT --to-source 10.1.0.77")
    for packet in (
        UdpDatagram(AF_INET, _A, _B, 1000, 53, b"some payload"),
        TcpSegment(AF_INET, _A, _B, 1000, 80, 1, 0, SYN, 1000, b""),
        IcmpMessage(AF_INET, _A, _B, 8, 0, 7 << 16, b"some payload"),
    ):
        if isinstance(packet, TcpSegment):
            set_tcp_size(packet)
        original = ipv4.encode(packet)
        out = router.gets("ta", packet)[0]
        assert out.src == 0x0A01_004D
        error = router.gets("tb", IcmpMessage(AF_INET, _B, out.src, 11, 0, 0, ipv4.encode(out)[:cut]))[0]
        assert isinstance(error, IcmpMessage) and error.dst == _A
        # What the sender sent, but for the hop that it has taken.
        quoted = dpkt.ip.IP(error.payload + original[len(error.payload) :])
        assert quoted.ttl == 63
        quoted.ttl, quoted.sum = 64, 0
        assert bytes(quoted) == original
        header = error.payload[:20]
        assert dpkt.in_cksum(header) == 0
