"""Packets of a script and packets of the stack: made from the one, compared with the other, and said in words.

Fields are compared in the order of the headers, and the first that differs is told, as the tool does it.
"""

from __future__ import annotations

from typing import Final

from lunar.packet import (
    ACK,
    AF_INET6,
    CWR,
    ECE,
    FIN,
    ICMP,
    ICMPV6,
    IPV6_HEADER_BYTES,
    PSH,
    RST,
    SYN,
    TCP,
    UDP,
    URG,
)
from lunar.packetdrill import live
from lunar.packetdrill.flows import Flow, Flows
from lunar.packetdrill.live import LivePacket
from lunar.packetdrill.script import (
    CE,
    ECT0,
    ECT01,
    ECT1,
    NO_ECN,
    TOS,
    IcmpPacket,
    IpInfo,
    Packet,
    TcpOption,
    TcpPacket,
    UdpPacket,
)
from lunar.wire.address import family_of

_NS: Final = 1_000_000_000
_MASK: Final = 0xFFFF_FFFF
# RFC 9293 section 3.1: the data offset has four bits and counts words.
_OPTIONS_ROOM: Final = 40
# The two bits of ECN, RFC 3168 section 5.
_ECN_BITS: Final = {NO_ECN: 0, ECT1: 1, ECT0: 2, CE: 3}
_LETTERS: Final = ((SYN, "S"), (FIN, "F"), (RST, "R"), (PSH, "P"), (URG, "U"), (ECE, "E"), (CWR, "W"), (ACK, "."))
_FLAG_FIELDS: Final = (
    (FIN, "fin"), (SYN, "syn"), (RST, "rst"), (PSH, "psh"), (ACK, "ack"), (URG, "urg"), (ECE, "ece"), (CWR, "cwr"),
)  # fmt: skip

# ICMP's types and codes, RFC 792 and the IANA registry, by the names that scripts give them.
ICMP_TYPES: Final = {
    "echo_reply": 0, "unreachable": 3, "source_quench": 4, "redirect": 5, "echo_request": 8, "time_exceeded": 11,
    "parameter_problem": 12, "timestamp_request": 13, "timestamp_reply": 14,
    # What IPv6 calls so is this in IPv4.
    "packet_too_big": 3,
}  # fmt: skip
_UNREACHABLE: Final = (
    "net_unreachable", "host_unreachable", "protocol_unreachable", "port_unreachable", "frag_needed",
    "source_route_failed", "net_unknown", "host_unknown", "source_host_isolated", "net_prohibited", "host_prohibited",
    "net_unreachable_for_tos", "host_unreachable_for_tos", "comm_prohibited", "host_precedence_violation",
    "precedence_cutoff",
)  # fmt: skip
ICMP_CODES: Final[dict[str, dict[str, int]]] = {
    "unreachable": {name: number for number, name in enumerate(_UNREACHABLE)},
    "time_exceeded": {"exc_ttl": 0, "ttl_exceeded": 0, "exc_fragtime": 1, "reassembly_time_exceeded": 1},
    "redirect": {"net": 0, "host": 1, "net_for_tos": 2, "host_for_tos": 3},
}


# ICMPv6's, RFC 4443, by the names that the tool has for them.
ICMPV6_TYPES: Final = {
    "unreachable": 1, "packet_too_big": 2, "time_exceeded": 3, "parameter_problem": 4, "echo_request": 128,
    "echo_reply": 129,
}  # fmt: skip
ICMPV6_CODES: Final[dict[str, dict[str, int]]] = {
    "unreachable": {
        "net_unreachable": 0, "no_route": 0, "admin_prohibited": 1, "not_neighbour": 2, "address_unreachable": 3,
        "port_unreachable": 4,
    },
}  # fmt: skip
_FIRST_INFORMATIONAL6: Final = 128  # below it are errors


class Mismatch(Exception):
    """A packet is not what the script says; `str` of it says in what."""


class Unsupported(Exception):
    """A script asks for a packet that the interpreter cannot make. `str` of it says what."""


# Into the stack


def inbound_tcp(spec: TcpPacket, flow: Flow, flows: Flows) -> bytes:
    """The segment of the script, on the wire."""
    tos, ttl = _tos(spec.ip), spec.ip.ttl or live.INBOUND_TTL
    options = live.options_bytes(flow.live_options(spec.options or ()))
    if len(options) > _OPTIONS_ROOM:
        raise Unsupported(f"its options take {len(options)} bytes, and a header has room for {_OPTIONS_ROOM}")
    acknowledged = flow.live_seq(spec.ack or 0, spec.flags) if spec.flags & ACK else 0
    seq = flow.live_remote(spec.seq, spec.flags)
    flow.note_inbound(spec.seq, spec.flags)
    return live.tcp_bytes(
        flows.remote_ip, flows.local_ip, flow.remote_port, flow.local_port, seq, acknowledged, spec.flags,
        spec.window or 0, spec.urgent or 0, options, bytes(spec.payload), tos, ttl,
    )  # fmt: skip


def inbound_udp(spec: UdpPacket, flows: Flows) -> bytes:
    """The datagram of the script; without ports it has those of the one before."""
    if spec.ports is not None:
        flows.datagram_ports = spec.ports[1], spec.ports[0]
    local, remote = flows.datagram_ports
    ttl = spec.ip.ttl or live.INBOUND_TTL
    return live.udp_bytes(flows.remote_ip, flows.local_ip, remote, local, spec.payload, _tos(spec.ip), ttl)


def inbound_icmp(spec: IcmpPacket, flow: Flow | None, flows: Flows) -> bytes:
    """The message of the script. An error quotes a packet of `flow`, by default one at its first sequence number."""
    kind, code = icmp_numbers(spec, flows.is_ipv6)
    rest = spec.mtu or 0
    if spec.echo_id is not None:
        rest = spec.echo_id << 16
    body = b""
    if spec.quoted is not None and spec.quoted[0] == "raw":
        body = bytes(spec.quoted[2])
    elif kind < _FIRST_INFORMATIONAL6 if flows.is_ipv6 else kind in (3, 4, 5, 11, 12):
        body = _quotation(spec, flow, flows)
    tos, ttl = _tos(spec.ip), spec.ip.ttl or live.INBOUND_TTL
    return live.icmp_bytes(flows.remote_ip, flows.local_ip, kind, code, rest, body, tos, ttl)


def _quotation(spec: IcmpPacket, flow: Flow | None, flows: Flows) -> bytes:
    """IP header and the first eight bytes of the packet that an error is about (RFC 792), and no more."""
    local, remote = (flow.local_port, flow.remote_port) if flow is not None else (0, 0)
    if spec.quoted is not None and spec.quoted[0] == "udp":
        local, remote = flows.datagram_ports
    ports = local.to_bytes(2, "big") + remote.to_bytes(2, "big")
    if spec.quoted is not None and spec.quoted[0] == "udp":
        size = 8 + spec.quoted[2]
        header = live.ip_header(flows.local_ip, flows.remote_ip, UDP, size, ttl=64)
        return header + ports + size.to_bytes(2, "big") + bytes(2)
    # Which number is the stack's first one.
    flags = ACK if flow is not None and flow.handshaken else SYN
    first = end = flow.first_seq if flow is not None and not flow.handshaken else 0
    if spec.quoted is not None:
        first, end = spec.quoted[1], spec.quoted[2]
    size = 20 + ((end - first) & _MASK)
    header = live.ip_header(flows.local_ip, flows.remote_ip, TCP, size, ttl=64)
    seq = flow.live_seq(first, flags) if flow is not None else first
    return header + ports + seq.to_bytes(4, "big") + bytes(12)


def icmp_numbers(spec: IcmpPacket, is_ipv6: bool) -> tuple[int, int]:
    """Type and code. Raises `Unsupported`."""
    kind = (ICMPV6_TYPES if is_ipv6 else ICMP_TYPES).get(spec.type)
    if kind is None:
        raise Unsupported(f"unknown ICMP type: '{spec.type}'")
    if spec.type == "packet_too_big" and not is_ipv6:
        return kind, 4
    if spec.code is None:
        return kind, 0
    code = (ICMPV6_CODES if is_ipv6 else ICMP_CODES).get(spec.type, {}).get(spec.code)
    if code is None:
        raise Unsupported(f"unknown ICMP code: '{spec.code}'")
    return kind, code


def _tos(ip: IpInfo) -> int:
    if ip.ecn == TOS:
        return ip.tos or 0
    return 0 if ip.ecn is None else _ECN_BITS.get(ip.ecn, 2)


# Out of the stack


def compare_tcp(spec: TcpPacket, packet: LivePacket, flow: Flow, tick_usecs: int, tolerance_usecs: int) -> None:
    """Raise `Mismatch` if `packet`, of `flow`, is not what the script says. Its timestamp is learned."""
    if packet.protocol != TCP:
        _differs("ip_protocol", TCP, packet.protocol)
    if packet.payload != spec.payload:
        raise Mismatch(f"live packet payload: expected {spec.payload} bytes vs actual {packet.payload} bytes")
    size = len(packet.options)
    if spec.options is not None:
        size = len(live.options_bytes(spec.options))
    if family_of(packet.src) == AF_INET6:
        # What IPv6's header says does not count itself.
        _check("ipv6_payload_len", 20 + size + spec.payload, packet.total_length - IPV6_HEADER_BYTES)
    else:
        _check("ipv4_total_length", 40 + size + spec.payload, packet.total_length)
    _compare_ip(spec.ip, packet)
    _check("tcp_seq", spec.seq & _MASK, flow.script_seq(packet.seq, spec.flags))
    if spec.ack is not None:
        _check("tcp_ack_seq", spec.ack & _MASK, flow.script_remote(packet.ack, spec.flags))
    for flag, name in _FLAG_FIELDS:
        if (spec.flags ^ packet.flags) & flag:
            _differs(f"tcp_{name}", int(spec.flags & flag != 0), int(packet.flags & flag != 0))
    if spec.window is not None:
        _check("tcp_window", spec.window, packet.window)
    if spec.urgent is not None:
        _check("tcp_urg_ptr", spec.urgent, packet.urgent)
    if spec.options:
        _compare_options(spec.options, packet, flow, tick_usecs, tolerance_usecs)
    flow.note_segment(spec.flags)


def compare_udp(spec: UdpPacket, packet: LivePacket, flows: Flows) -> None:
    """As `compare_tcp`. Its ports are learned."""
    if packet.protocol != UDP:
        _differs("ip_protocol", UDP, packet.protocol)
    if packet.payload != spec.payload:
        raise Mismatch(f"live packet payload: expected {spec.payload} bytes vs actual {packet.payload} bytes")
    _compare_ip(spec.ip, packet)
    if spec.ports is not None:
        _check("udp_src_port", spec.ports[0], packet.sport)
        _check("udp_dst_port", spec.ports[1], packet.dport)
    flows.datagram_ports = packet.sport, packet.dport


def compare_icmp(spec: IcmpPacket, packet: LivePacket) -> None:
    """As `compare_tcp`."""
    is_ipv6 = family_of(packet.src) == AF_INET6
    kind, code = icmp_numbers(spec, is_ipv6)
    protocol = ICMPV6 if is_ipv6 else ICMP
    if packet.protocol != protocol:
        _differs("ip_protocol", protocol, packet.protocol)
    _compare_ip(spec.ip, packet)
    _check("icmp_type", kind, packet.type)
    _check("icmp_code", code, packet.code)
    if spec.mtu is not None:
        _check("icmp_mtu", spec.mtu, packet.rest if is_ipv6 else packet.rest & 0xFFFF)
    if spec.echo_id is not None:
        _check("icmp_id", spec.echo_id, packet.rest >> 16)


def _compare_ip(ip: IpInfo, packet: LivePacket) -> None:
    if ip.ecn is not None:
        if ip.ecn == TOS:
            _check("tos", ip.tos or 0, packet.tos)
        elif ip.ecn == ECT01:
            if packet.tos & 3 not in (1, 2):
                raise Mismatch(f"live packet field ip_ecn: expected: 1 or 2 vs actual: {packet.tos & 3}")
        else:
            _check("ip_ecn", _ECN_BITS[ip.ecn], packet.tos & 3)
    if ip.ttl is not None:
        _check("ttl", ip.ttl, packet.ttl)


def _compare_options(
    expected: tuple[TcpOption, ...], packet: LivePacket, flow: Flow, tick_usecs: int, tolerance_usecs: int
) -> None:
    actual = script_options(packet, flow)
    names = [option.name for option in expected]
    if names != [option.name for option in actual]:
        raise Mismatch(f"bad outbound TCP options: expected: {_options_text(expected)} actual: {_options_text(actual)}")
    for want, have in zip(expected, actual, strict=True):
        if want.name == "TS":
            _compare_timestamps(want, packet, flow, tick_usecs, tolerance_usecs)
        elif want.value != have.value:
            raise Mismatch(
                f"bad value in outbound TCP option (kind={live.KINDS[want.name]}): "
                f"expected: {_option_text(want)} actual: {_option_text(have)}"
            )


def _compare_timestamps(want: TcpOption, packet: LivePacket, flow: Flow, tick_usecs: int, tolerance_usecs: int) -> None:
    """The echo must be what the script says. The value is whatever it is, if no ticks are to be counted."""
    script_val, script_ecr = want.value
    live_val, live_ecr = _timestamps(packet)
    if live_ecr != script_ecr & _MASK:
        raise Mismatch(f"bad outbound TCP timestamp ecr: expected: {script_ecr} actual: {live_ecr}")
    if tick_usecs and flow.first_timestamp is not None:
        first_script, first_live = flow.first_timestamp
        actual = (live_val - first_live) & _MASK
        wanted = (script_val - first_script) & _MASK
        if abs(actual - wanted) * tick_usecs > tolerance_usecs:
            raise Mismatch(f"bad outbound TCP timestamp value, tolerance {tolerance_usecs}")
    flow.note_timestamp(script_val, live_val)


def _timestamps(packet: LivePacket) -> tuple[int, int]:
    for option in live.parse_options(packet.options):
        if option.name == "TS":
            val, ecr = option.value
            return val, ecr
    raise AssertionError("the options were compared")


def _check(field: str, expected: int, actual: int) -> None:
    if expected != actual:
        _differs(field, expected, actual)


def _differs(field: str, expected: int, actual: int) -> None:
    raise Mismatch(
        f"live packet field {field}: expected: {expected} ({expected:#x}) vs actual: {actual} ({actual:#x})"
    )


# In words


def script_options(packet: LivePacket, flow: Flow | None) -> list[TcpOption]:
    """The options of a packet that was sent, in the script's numbers."""
    found = live.parse_options(packet.options)
    if flow is None:
        return found
    made: list[TcpOption] = []
    for option in found:
        value = option.value
        if option.name == "TS" and flow.first_timestamp is not None:
            script, first = flow.first_timestamp
            made.append(TcpOption("TS", ((value[0] - first + script) & _MASK, value[1])))
        elif option.name == "sack":
            blocks = tuple((flow.script_remote(left), flow.script_remote(right)) for left, right in value)
            made.append(TcpOption("sack", blocks))
        else:
            made.append(option)
    return made


def script_text(spec: Packet, at_ns: int) -> str:
    """The packet of the script in one line, as the tool prints it."""
    if isinstance(spec, TcpPacket):
        return tcp_text(
            at_ns, spec.flags, spec.seq, spec.payload, spec.ack, spec.window, spec.urgent, spec.options
        )  # fmt: skip
    if isinstance(spec, UdpPacket):
        return f"{at_ns / _NS:9.6f} udp ({spec.payload})"
    words = ["icmp", spec.type, spec.code, None if spec.mtu is None else f"mtu {spec.mtu}"]
    return f"{at_ns / _NS:9.6f} " + " ".join(word for word in words if word)


def live_text(packet: LivePacket, flow: Flow | None, at_ns: int) -> str:
    """A packet of the stack in one line, in the script's numbers."""
    if packet.protocol == UDP:
        return f"{at_ns / _NS:9.6f} udp ({packet.payload})"
    if packet.protocol in (ICMP, ICMPV6):
        return f"{at_ns / _NS:9.6f} icmp type {packet.type} code {packet.code}"
    seq = packet.seq if flow is None else flow.script_seq(packet.seq, packet.flags)
    ack = None
    if packet.flags & ACK:
        ack = packet.ack if flow is None else flow.script_remote(packet.ack, packet.flags)
    urgent = packet.urgent if packet.flags & URG else None
    options = tuple(script_options(packet, flow))
    return tcp_text(at_ns, packet.flags, seq, packet.payload, ack, packet.window, urgent, options)


def tcp_text(
    at_ns: int, flags: int, seq: int, payload: int, ack: int | None, window: int | None, urgent: int | None,
    options: tuple[TcpOption, ...] | None,
) -> str:  # fmt: skip
    """A TCP segment in one line."""
    letters = "".join(letter for flag, letter in _LETTERS if flags & flag) or "-"
    words = [f"{at_ns / _NS:9.6f} {letters} {seq}:{(seq + payload) & _MASK}({payload}) "]
    if ack is not None:
        words.append(f"ack {ack} ")
    if window is not None:
        words.append(f"win {window} ")
    if urgent is not None:
        words.append(f"urg {urgent} ")
    if options is None:
        words.append("<...>")
    elif options:
        words.append(_options_text(options))
    return "".join(words)


def _options_text(options: tuple[TcpOption, ...] | list[TcpOption]) -> str:
    return f"<{','.join(map(_option_text, options))}>"


def _option_text(option: TcpOption) -> str:
    value = option.value
    if value is None:
        return option.name
    if isinstance(value, bytes):
        return f"{option.name} {value.hex()}".rstrip()
    if isinstance(value, int):
        return f"{option.name} {value}"
    if option.name == "TS":
        return f"TS val {value[0]} ecr {value[1]}"
    return "sack " + " ".join(f"{left}:{right}" for left, right in value)
