"""LOG: a line in the host's kernel log for each packet, in the form of Linux' nf_log.

Fields are as iptables-extensions(8) and many a captured log show them: devices, the Ethernet header, addresses and the
rest of the IP header, then the transport's. `--log-*` options add sequence numbers, options, the program's user.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.netfilter.headers import icmp_of, ports_of, tcp_of, tcp_options_of
from lunar.netfilter.rule import ACTS, CONTINUE, Context, Target
from lunar.packet import (
    ACK,
    AF_INET,
    AF_INET6,
    CWR,
    ECE,
    FIN,
    ICMP,
    ICMPV6,
    PSH,
    RST,
    SYN,
    TCP,
    UDP,
    URG,
    IcmpMessage,
    Packet,
)
from lunar.wire import ipv4
from lunar.wire.address import ipv4_text

# `LogTarget.flags`, with Linux' bits.
TCP_SEQUENCE: Final = 1
TCP_OPTIONS: Final = 2
IP_OPTIONS: Final = 4
USER: Final = 8
MAC_DECODED: Final = 32

_FLAG_NAMES: Final = [
    (CWR, "CWR"), (ECE, "ECE"), (URG, "URG"), (ACK, "ACK"), (PSH, "PSH"), (RST, "RST"), (SYN, "SYN"), (FIN, "FIN"),
]  # fmt: skip
_UDP_LITE: Final = 136
_AH: Final = 51
_ESP: Final = 50
_SPI_AT: Final = {_AH: 4, _ESP: 0}  # where the security parameters index is


@final
class LogTarget(Target):
    """LOG with a level of syslog's (0 to 7), a prefix and flags."""

    def __init__(self, level: i64, prefix: str, flags: i64) -> None:
        super().__init__(ACTS)
        self.level: i64 = level
        self.prefix: str = prefix
        self.flags: i64 = flags

    def act(self, packet: Packet, context: Context) -> i64:
        line = self.prefix + _devices(packet, context, self.flags) + _ip(packet, self.flags, False)
        if self.flags & USER:
            owner = context.netfilter.senders.owner(packet)
            if owner is not None:
                line += f"UID={int(owner.uid)} GID={int(owner.gid)} "
        if packet.mark:
            line += f"MARK=0x{int(packet.mark):x} "
        context.netfilter.log(int(self.level), line)
        return CONTINUE


def _devices(packet: Packet, context: Context, flags: i64) -> str:
    came_by = context.came_by
    goes_by = context.goes_by
    text = f"IN={came_by.name if came_by is not None else ''} OUT={goes_by.name if goes_by is not None else ''} "
    if came_by is None:
        return text
    of_lo = came_by is context.netfilter.ip.loopback_device()
    dst = _mac(0 if of_lo else packet.eth_dst)
    src = _mac(0 if of_lo else packet.eth_src)
    protocol = int(packet.ethertype)
    if flags & MAC_DECODED and not of_lo:
        return f"{text}MACSRC={src} MACDST={dst} MACPROTO={protocol:04x} "
    return f"{text}MAC={dst}:{src}:{protocol >> 8:02x}:{protocol & 0xFF:02x} "


def _mac(address: i64) -> str:
    return ":".join([f"{byte:02x}" for byte in int(address).to_bytes(6, "big")])


def _ip(packet: Packet, flags: i64, quoted: bool) -> str:
    if packet.family == AF_INET:
        tos = int(packet.tos)
        text = (
            f"SRC={ipv4_text(packet.src)} DST={ipv4_text(packet.dst)} LEN={int(packet.size_bytes)} "
            f"TOS=0x{tos & 0x1E:02X} PREC=0x{tos & 0xE0:02X} TTL={int(packet.ttl)} ID={int(packet.ident)} "
        )
        if packet.dont_fragment:
            text += "DF "
        if packet.more_fragments:
            text += "MF "
        if packet.fragment_offset:
            text += f"FRAG:{int(packet.fragment_offset) >> 3} "
        if flags & IP_OPTIONS and not quoted and packet.options:
            text += f"OPT ({packet.options.hex().upper()}) "
    else:
        text = (
            f"SRC={_long(packet.src)} DST={_long(packet.dst)} LEN={int(packet.size_bytes)} "
            f"TC={int(packet.tos)} HOPLIMIT={int(packet.ttl)} FLOWLBL={int(packet.flow_label)} "
        )
        if packet.more_fragments or packet.fragment_offset:
            text += f"FRAG:{int(packet.fragment_offset)} "
            if packet.more_fragments:
                text += "INCOMPLETE "
            text += f"ID:{int(packet.ident):08x} "
    return text + _transport(packet, flags, quoted)


def _long(address: int) -> str:
    """All eight groups of an IPv6 address, as the kernel's log has them."""
    return ":".join([f"{address >> shift & 0xFFFF:04x}" for shift in range(112, -1, -16)])


def _transport(packet: Packet, flags: i64, quoted: bool) -> str:
    protocol = int(packet.protocol)
    if protocol == TCP:
        return "PROTO=TCP " + _tcp(packet, flags, quoted)
    if protocol == UDP or protocol == _UDP_LITE:
        text = "PROTO=UDP " if protocol == UDP else "PROTO=UDPLITE "
        if packet.fragment_offset:
            return text
        both = ports_of(packet)
        if both < 0:
            return f"{text}INCOMPLETE [{len(packet.payload)} bytes] "
        length = int(packet.size_bytes) - (20 if packet.family == AF_INET else 40) - len(packet.options)
        return f"{text}SPT={int(both >> 16)} DPT={int(both & 0xFFFF)} LEN={length} "
    if protocol == ICMP or protocol == ICMPV6:
        text = "PROTO=ICMP " if protocol == ICMP else "PROTO=ICMPv6 "
        if packet.fragment_offset:
            return text
        return text + _icmp(packet, flags, quoted)
    if packet.family == AF_INET and protocol in _SPI_AT:
        at = _SPI_AT[protocol]
        text = "PROTO=AH " if protocol == _AH else "PROTO=ESP "
        if packet.fragment_offset:
            return text
        if len(packet.payload) < at + 4:
            return f"{text}INCOMPLETE [{len(packet.payload)} bytes] "
        return f"{text}SPI=0x{int.from_bytes(packet.payload[at : at + 4], 'big'):x} "
    return f"PROTO={protocol} "


def _tcp(packet: Packet, flags: i64, quoted: bool) -> str:
    if packet.fragment_offset:
        return ""
    segment = tcp_of(packet)
    if segment is None:
        return f"INCOMPLETE [{len(packet.payload)} bytes] "
    text = f"SPT={int(segment.sport)} DPT={int(segment.dport)} "
    if flags & TCP_SEQUENCE:
        text += f"SEQ={int(segment.seq)} ACK={int(segment.ack)} "
    text += f"WINDOW={int(segment.window)} RES=0x00 "
    for bit, name in _FLAG_NAMES:
        if segment.flags & bit:
            text += name + " "
    text += f"URGP={int(segment.urgent)} "
    if flags & TCP_OPTIONS and not quoted:
        options = tcp_options_of(packet)
        if options:
            text += f"OPT ({options.hex().upper()}) "
    return text


def _icmp(packet: Packet, flags: i64, quoted: bool) -> str:
    both = icmp_of(packet)
    if both < 0:
        return f"INCOMPLETE [{len(packet.payload)} bytes] "
    type = int(both >> 8)
    code = int(both & 0xFF)
    text = f"TYPE={type} CODE={code} "
    if not isinstance(packet, IcmpMessage):
        return text
    rest = int(packet.rest)
    if packet.family == AF_INET:
        if type in (3, 4, 5, 11, 12) and len(packet.payload) < 20:
            return f"{text}INCOMPLETE [{8 + len(packet.payload)} bytes] "
        if type == 0 or type == 8:
            return f"{text}ID={rest >> 16} SEQ={rest & 0xFFFF} "
        if type == 12:
            text += f"PARAMETER={rest >> 24} "
        elif type == 5:
            text += f"GATEWAY={ipv4_text(rest)} "
        if type in (3, 4, 5, 11, 12) and not quoted:
            text += _quotation(packet, flags)
            if type == 3 and code == 4:
                text += f"MTU={rest & 0xFFFF} "
        return text
    if type == 128 or type == 129:
        return f"{text}ID={rest >> 16} SEQ={rest & 0xFFFF} "
    if type == 4:
        text += f"POINTER={rest:x} "
    if 1 <= type <= 4 and not quoted:
        text += _quotation(packet, flags)
        if type == 2:
            text += f"MTU={rest} "
    return text


def _quotation(packet: Packet, flags: i64) -> str:
    """The packet that an error is about, in brackets, as far as it is quoted."""
    data = packet.payload
    if packet.family == AF_INET:
        inner = ipv4.decode_header(data)
    else:
        if len(data) < 40:
            return f"[INCOMPLETE [{len(data)} bytes] ] "
        inner = _inner6(data)
    return "[" + _ip(inner, flags, True) + "] "


def _inner6(data: bytes) -> Packet:
    """What an IPv6 header says that is quoted with the beginning of its packet, whatever there is in it."""
    first: i64 = int.from_bytes(data[:4], "big")
    src = int.from_bytes(data[8:24], "big")
    dst = int.from_bytes(data[24:40], "big")
    inner = Packet(AF_INET6, src, dst, data[6], data[40:])
    inner.tos = first >> 20 & 0xFF
    inner.flow_label = first & 0xF_FFFF
    inner.ttl = data[7]
    inner.size_bytes = 40 + int.from_bytes(data[4:6], "big")
    return inner
