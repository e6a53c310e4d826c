"""From a script's text to its model: one fact of the grammar each."""

from __future__ import annotations

from typing import Any

import pytest

from lunar.packet import ACK, CWR, ECE, FIN, PSH, SYN
from lunar.packetdrill.parser import parse
from lunar.packetdrill.script import (
    ABSOLUTE,
    ANY,
    ELLIPSIS,
    RELATIVE,
    Array,
    Code,
    Command,
    Encapsulation,
    Event,
    Field,
    Function,
    IcmpPacket,
    Or,
    ScriptError,
    Struct,
    SystemCall,
    TcpOption,
    TcpPacket,
    Text,
    UdpPacket,
    Word,
)

MS = 1_000_000


def event(text: str, **define: str) -> Event:
    script = parse(text, "x.pkt", define)
    assert len(script.events) == 1
    return script.events[0]


def tcp(text: str) -> TcpPacket:
    packet = event(f"0 {text}").action
    assert isinstance(packet, TcpPacket)
    return packet


def call(text: str) -> SystemCall:
    made = event(f"0 {text}").action
    assert isinstance(made, SystemCall)
    return made


def complaint(text: str) -> str:
    with pytest.raises(ScriptError) as raised:
        parse(text, "x.pkt")
    return str(raised.value)


# Times


@pytest.mark.parametrize(
    ("text", "time", "at_ns", "until_ns"),
    [
        ("0", ABSOLUTE, 0, None),
        ("1.25", ABSOLUTE, 1250 * MS, None),
        ("+.01", RELATIVE, 10 * MS, None),
        ("*", ANY, 0, None),
        ("0.1~0.2", ABSOLUTE, 100 * MS, 200 * MS),
        ("+.3~+.400", RELATIVE, 300 * MS, 400 * MS),
        ("+0.000000001", RELATIVE, 1, None),
    ],
)
def test_times(text: str, time: str, at_ns: int, until_ns: int | None) -> None:
    found = event(f"{text} > . 1:1(0) ack 1")
    assert (found.time, found.at_ns, found.until_ns) == (time, at_ns, until_ns)


def test_ranges_are_for_expected_packets_only() -> None:
    assert complaint("+0~+1 read(3, ..., 1) = 1") == (
        "x.pkt:1: semantic error: event time range can only be used with outbound packets"
    )
    assert complaint("* < . 1:1(0) ack 1 win 1") == (
        "x.pkt:1: semantic error: event star time can only be used with outbound packets"
    )
    assert complaint("1...0.5 read(3, ..., 1) = 1") == "x.pkt:1: semantic error: the call ends before it begins"
    assert complaint("+2~+1 > . 1:1(0) ack 1") == "x.pkt:1: semantic error: time range is backward"


# Packets


def test_a_segment_with_everything() -> None:
    packet = tcp("> [ect0] 8080 > 1234 FP. 1:101(100) ack 7 win 300 urg 5 <nop,mss 1000>")
    assert packet.outbound
    assert packet.ip.ecn == "ect0"
    assert packet.ports == (8080, 1234)
    assert packet.flags == FIN | PSH | ACK
    assert (packet.seq, packet.payload, packet.ack, packet.window, packet.urgent) == (1, 100, 7, 300, 5)
    assert packet.options == (TcpOption("nop"), TcpOption("mss", 1000))


def test_what_a_segment_does_not_say() -> None:
    packet = tcp("< S 0:0(0)")
    assert not packet.outbound
    assert (packet.ack, packet.window, packet.urgent, packet.ports, packet.ip.ecn) == (None,) * 5
    assert packet.options == ()


@pytest.mark.parametrize(
    ("text", "flags"), [("SEW", SYN | ECE | CWR), (".", ACK), ("S.", SYN | ACK), ("-", 0), ("E.", ECE | ACK)]
)
def test_flags(text: str, flags: int) -> None:
    assert tcp(f"> {text} 0:0(0)").flags == flags


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("wscale 7", TcpOption("wscale", 7)),
        ("sackOK", TcpOption("sackOK")),
        ("eol", TcpOption("eol")),
        ("TS val 10 ecr 20", TcpOption("TS", (10, 20))),
        ("sack 1:2 5:9", TcpOption("sack", ((1, 2), (5, 9)))),
        ("md5 000102030405060708090a0b0c0d0e0f", TcpOption("md5", bytes(range(16)))),
        ("FO", TcpOption("FO", b"")),
        ("FO abcd1234", TcpOption("FO", bytes.fromhex("abcd1234"))),
        ("FOEXP 12345678", TcpOption("FOEXP", bytes.fromhex("12345678"))),
    ],
)
def test_options(text: str, option: TcpOption) -> None:
    assert tcp(f"> . 1:1(0) ack 1 <{text}>").options == (option,)


def test_whatever_options() -> None:
    assert tcp("> . 1:1(0) ack 1 <...>").options is None


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("[noecn]", "ecn", "noecn"),
        ("(tos 0x10)", "tos", 16),
        ("[ttl 3]", "ttl", 3),
        ("(flowlabel 0x1)", "flow_label", 1),
    ],
)
def test_what_is_said_of_ip(text: str, field: str, value: Any) -> None:
    assert getattr(tcp(f"> {text} . 1:1(0) ack 1").ip, field) == value


def test_icmp() -> None:
    packet = event("0 < icmp unreachable frag_needed mtu 840 [0:1000(1000)]").action
    assert isinstance(packet, IcmpPacket)
    assert (packet.type, packet.code, packet.mtu, packet.quoted) == (
        "unreachable", "frag_needed", 840, ("tcp", 0, 1000),
    )  # fmt: skip
    packet = event("0 > icmp echo_reply id 7 [raw(8)]").action
    assert isinstance(packet, IcmpPacket)
    assert (packet.code, packet.echo_id, packet.quoted) == (None, 7, ("raw", 0, 8))


def test_udp() -> None:
    packet = event("0 < udp 53 > 999 (100)").action
    assert isinstance(packet, UdpPacket)
    assert (packet.ports, packet.payload) == ((53, 999), 100)


def test_headers_around_a_packet() -> None:
    packet = tcp("> ipv4 1.1.1.1 > 2.2.2.2: gre: . 1:1(0) ack 1")
    assert packet.around == (Encapsulation("ipv4", "1.1.1.1 > 2.2.2.2"), Encapsulation("gre", ""))


def test_sequence_numbers_must_fit_the_payload() -> None:
    assert complaint("0 > . 1:5(3) ack 1") == "x.pkt:1: inconsistent TCP sequence numbers and payload size"
    assert tcp("> . 4294967295:4(5) ack 1").payload == 5  # modulo 2**32


def test_wrong_packets() -> None:
    assert complaint("0 > Q. 1:1(0)") == "x.pkt:1: parse error at 'Q': The TCP flags are not valid"
    assert complaint("0 > . 1:1(0) ack") == "x.pkt:1: parse error at '': syntax error"
    assert complaint("0 > . 1:1(0) ack 1 win 65536") == "x.pkt:1: parse error at '65536': the window is beyond 65535"
    assert complaint("0 < . 1:1(0) ack 1 win -1") == "x.pkt:1: parse error at '-1': the window is negative"
    assert complaint("+-1 < . 1:1(0) ack 1") == "x.pkt:1: parse error at '-1': syntax error"
    assert complaint("0 < udp (65508)") == "x.pkt:1: parse error at '65508': the payload is beyond 65507"
    assert complaint("0 > S 0:0(0) <mss 65536>") == "x.pkt:1: parse error at '65536': the option is beyond 65535"
    assert complaint("0 < 1 > 65536 . 1:1(0) ack 1") == "x.pkt:1: parse error at '65536': the port is beyond 65535"
    assert complaint("0 > . 1:1(0) ack 1 <nope>") == "x.pkt:1: parse error at 'nope': syntax error"
    assert complaint("0 > . 1:1(0) <FO abc>") == (
        "x.pkt:1: parse error at 'abc': expected an even number of hexadecimal digits"
    )


# System calls


def test_a_call() -> None:
    made = call("socket(..., SOCK_STREAM, IPPROTO_TCP) = 3")
    assert made == SystemCall(
        "socket", (ELLIPSIS, Word("SOCK_STREAM"), Word("IPPROTO_TCP")), 3, None, None, None
    )


def test_a_call_that_fails() -> None:
    made = call("connect(3, ..., ...) = -1 EINPROGRESS (Operation now in progress)")
    assert (made.result, made.errno, made.note) == (-1, "EINPROGRESS", "Operation now in progress")


def test_a_result_with_flags() -> None:
    made = call("fcntl(3, F_GETFL) = 0x2 (flags O_RDWR|O_NONBLOCK)")
    assert (made.result, made.errno) == (2, None)


def test_a_call_that_blocks() -> None:
    assert call("...0.200 read(4, ..., 1) = 1").end_ns == 200 * MS


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0x10", 16),
        ("O_RDWR|O_NONBLOCK|1", Or((Word("O_RDWR"), Word("O_NONBLOCK"), 1))),
        ("[1, 2]", Array((1, 2))),
        ("[]", Array(())),
        ('"a\\n\\x41"', Text("a\nA")),
        ('"GET"...', Text("GET", True)),
        ("htons(80)", Function("htons", (80,))),
        ("{fd=4, events=POLLIN}", Struct((Field("fd", 4), Field("events", Word("POLLIN"))))),
        ("{..., 1000}", Struct((Field("", ELLIPSIS), Field("", 1000)))),
        (
            "{msg_name(...)=..., msg_iov(1)=[{..., 5}], msg_flags=0}",
            Struct(
                (
                    Field("msg_name", ELLIPSIS, ELLIPSIS),
                    Field("msg_iov", Array((Struct((Field("", ELLIPSIS), Field("", 5))),)), 1),
                    Field("msg_flags", 0),
                )
            ),
        ),
        (
            '{sa_family = AF_INET, sin_port = htons(80), sin_addr = inet_addr("1.2.3.4")}',
            Struct(
                (
                    Field("sa_family", Word("AF_INET")),
                    Field("sin_port", Function("htons", (80,))),
                    Field("sin_addr", Function("inet_addr", (Text("1.2.3.4"),))),
                )
            ),
        ),
    ],
)
def test_expressions(text: str, value: Any) -> None:
    assert call(f"f({text}) = 0").arguments == (value,)


# The whole


def test_a_whole_script() -> None:
    script = parse(
        """--mss=1000
        --tcp_ts_ecr_scaled
        `first
         second`
        0 close(3) = 0
        +0 `command`
        +0 %{ assert True }%
        `last`
        """,
        "x.pkt",
    )
    assert script.options == (("mss", "1000"), ("tcp_ts_ecr_scaled", ""))
    assert script.init is not None and script.init.text.split() == ["first", "second"]
    assert [type(one.action) for one in script.events] == [SystemCall, Command, Code]
    assert script.cleanup == Command("last")
    assert (script.init_line, script.events[0].line, script.cleanup_line) == (3, 5, 8)


def test_a_script_without_events() -> None:
    assert complaint("`only`") == "x.pkt:1: parse error at '': syntax error"
