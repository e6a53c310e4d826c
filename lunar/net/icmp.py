"""ICMP for both families, RFC 792 and RFC 4443: echo, errors about packets that could not go on, errors that come back.

What is reported and when not: RFC 1122 section 3.2.2, RFC 1812 section 4.3 and RFC 4443 section 2.4. The layers say
what happened to a packet in IPv4's numbers (`send_error`), for which `_SIX` has ICMPv6's; who has a number of its own,
as netfilter's REJECT, calls `send_message`. Counted per family. Redirects, timestamps and others are not here yet.
"""

from __future__ import annotations

import errno
from typing import Any, Final, final

from mypy_extensions import i64

from lunar.net.device import Device
from lunar.net.error_queue import Report, of_icmp
from lunar.net.ip import Handler, Ip
from lunar.net.ip_output import route_back, send
from lunar.packet import AF_INET, AF_INET6, ICMP_HEADER_BYTES, ICMPV6, IPV6_HEADER_BYTES, IcmpMessage, Packet
from lunar.wire import extension, inet

ECHO_REPLY: Final = 0
UNREACHABLE: Final = 3
ECHO: Final = 8
TIME_EXCEEDED: Final = 11
PARAMETER_PROBLEM: Final = 12

NET_UNREACHABLE: Final = 0
HOST_UNREACHABLE: Final = 1
PROTOCOL_UNREACHABLE: Final = 2
PORT_UNREACHABLE: Final = 3
FRAGMENTATION_NEEDED: Final = 4
TTL_EXCEEDED: Final = 0
REASSEMBLY_TIME_EXCEEDED: Final = 1

# ICMPv6's own, RFC 4443. What is below 128 is an error.
UNREACHABLE6: Final = 1
TOO_BIG6: Final = 2
TIME_EXCEEDED6: Final = 3
PARAMETER_PROBLEM6: Final = 4
ECHO6: Final = 128
ECHO_REPLY6: Final = 129
REDIRECT6: Final = 137
_INFORMATIONAL6: Final = 128

# Codes of UNREACHABLE6 (section 3.1) and PARAMETER_PROBLEM6 (section 3.4).
NO_ROUTE6: Final = 0
PROHIBITED6: Final = 1
ADDRESS_UNREACHABLE6: Final = 3
PORT_UNREACHABLE6: Final = 4
UNKNOWN_NEXT_HEADER6: Final = 1
UNKNOWN_OPTION6: Final = 2

# What ICMPv6 says for IPv4's type << 8 | code: the same, and so its type << 8 | code.
_SIX: Final = {
    UNREACHABLE << 8 | NET_UNREACHABLE: UNREACHABLE6 << 8 | NO_ROUTE6,
    UNREACHABLE << 8 | HOST_UNREACHABLE: UNREACHABLE6 << 8 | ADDRESS_UNREACHABLE6,
    UNREACHABLE << 8 | PROTOCOL_UNREACHABLE: PARAMETER_PROBLEM6 << 8 | UNKNOWN_NEXT_HEADER6,
    UNREACHABLE << 8 | PORT_UNREACHABLE: UNREACHABLE6 << 8 | PORT_UNREACHABLE6,
    UNREACHABLE << 8 | FRAGMENTATION_NEEDED: TOO_BIG6 << 8,
    UNREACHABLE << 8 | 13: UNREACHABLE6 << 8 | PROHIBITED6,
    TIME_EXCEEDED << 8 | TTL_EXCEEDED: TIME_EXCEEDED6 << 8,
    TIME_EXCEEDED << 8 | REASSEMBLY_TIME_EXCEEDED: TIME_EXCEEDED6 << 8 | 1,
    PARAMETER_PROBLEM << 8: PARAMETER_PROBLEM6 << 8,
}

# RFC 1812 (4.3.2.3): as much of the offending packet as fits an ICMP packet of 576 bytes; Linux does the same. RFC 4443
# (2.4 c): as fits the least MTU of IPv6.
_QUOTE_BYTES: Final = 576 - 20 - ICMP_HEADER_BYTES
_QUOTE6_BYTES: Final = 1280 - IPV6_HEADER_BYTES - ICMP_HEADER_BYTES

# Linux' host-wide limit, net.ipv4.icmp_msgs_per_sec 1000 and icmp_msgs_burst 50: spent by errors, not by echo replies.
# Its limit for each destination (icmp_ratelimit) is not here.
_ERROR_EVERY_NS: Final = 1_000_000
_ERRORS_BURST: Final = 50

# icmp(7): code of "destination unreachable" -> errno, and whether a connection attempt ends by it, or a connected
# datagram socket is told. "Fragmentation needed" is told to datagram sockets; TCP learns the MTU by it.
_UNREACHABLE_ERRNO: Final = [
    errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENOPROTOOPT, errno.ECONNREFUSED, errno.EMSGSIZE, errno.EOPNOTSUPP,
    errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENONET, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETUNREACH,
    errno.EHOSTUNREACH, errno.EHOSTUNREACH, errno.EHOSTUNREACH, errno.EHOSTUNREACH,
]  # fmt: skip
_UNREACHABLE_FATAL: Final = [
    False, False, True, True, True, False, True, True, True, True, True, False, False, True, True, True,
]  # fmt: skip

# The same of ICMPv6, as Linux 6.18 answers: a code beyond the table is EPROTO, and fatal.
_UNREACHABLE6_ERRNO: Final = [
    errno.ENETUNREACH, errno.EACCES, errno.EHOSTUNREACH, errno.EHOSTUNREACH, errno.ECONNREFUSED, errno.EACCES,
    errno.EACCES,
]  # fmt: skip
_UNREACHABLE6_FATAL: Final = [False, True, False, False, True, True, True]


@final
class Icmp(Handler):
    """The ICMP of one host. `echo_waiter`, when set, is called with each echo reply (message) that arrives."""

    def __init__(self, ip: Ip) -> None:
        self.ip: Ip = ip
        self.echo_waiter: Any = None

    def receive(self, packet: Packet, device: Device) -> None:
        counters = self.ip.family(packet.family).counters
        counters.icmp_in_msgs += 1
        # Each family has its own protocol number, and no packet of the other with that is ICMP.
        if not isinstance(packet, IcmpMessage) or (packet.protocol == ICMPV6) != (packet.family == AF_INET6):
            counters.icmp_in_errors += 1  # a fragment, or a protocol number without an ICMP header
            return
        type: i64 = packet.type
        if packet.family == AF_INET6:
            if type == ECHO6:
                self._reply(packet)
            elif type == ECHO_REPLY6:
                if self.echo_waiter is not None:
                    self.echo_waiter(packet)
            elif type < _INFORMATIONAL6:
                self._heard_error6(packet)
        elif type == ECHO:
            self._reply(packet)
        elif type == ECHO_REPLY:
            if self.echo_waiter is not None:
                self.echo_waiter(packet)
        elif type == UNREACHABLE or type == TIME_EXCEEDED or type == PARAMETER_PROBLEM:
            self._heard_error(packet)

    def _reply(self, packet: IcmpMessage) -> None:
        ip = self.ip
        src = packet.dst
        # RFC 1122 (3.2.2.6): an echo to a broadcast address may be ignored; Linux does (icmp_echo_ignore_broadcasts).
        # RFC 4443 (4.2): one to a group is answered, from an address of the device.
        if not ip.has_address(src):
            if packet.family == AF_INET:
                return
            src = 0
        type: i64 = ECHO_REPLY if packet.family == AF_INET else ECHO_REPLY6
        reply = IcmpMessage(packet.family, src, packet.src, type, 0, packet.rest, packet.payload)
        family = ip.family(packet.family)
        reply.size_bytes = family.header_bytes + ICMP_HEADER_BYTES + len(packet.payload)
        reply.ttl = family.hop_limit
        reply.tos = packet.tos
        family.counters.icmp_out_msgs += 1
        send(ip, reply, route_back(ip, packet))

    def _heard_error(self, packet: IcmpMessage) -> None:
        ip = self.ip
        quoted = packet.payload
        # The quote is an IP header without options (we send none) and at least 8 bytes of what followed.
        if len(quoted) < 28 or quoted[0] != 0x45:
            ip.counters.icmp_in_errors += 1
            return
        protocol = quoted[9]
        src = int.from_bytes(quoted[12:16], "big")
        dst = int.from_bytes(quoted[16:20], "big")
        if not ip.has_address(src):
            ip.counters.icmp_in_errors += 1  # not ours: somebody guesses
            return
        number: i64 = errno.EPROTO
        fatal = packet.type == PARAMETER_PROBLEM
        if packet.type == UNREACHABLE:
            code = int(packet.code)
            if code >= len(_UNREACHABLE_ERRNO):
                return
            number = _UNREACHABLE_ERRNO[code]
            fatal = _UNREACHABLE_FATAL[code]
        elif packet.type == TIME_EXCEEDED:
            if packet.code == REASSEMBLY_TIME_EXCEEDED:
                return  # a lost fragment is a lost packet
            number = errno.EHOSTUNREACH
        self._tell(packet, number, fatal, src, dst, protocol, quoted[20:])

    def _heard_error6(self, packet: IcmpMessage) -> None:
        ip = self.ip
        quoted = packet.payload
        at: i64 = IPV6_HEADER_BYTES
        size: i64 = len(quoted)
        if size < at or quoted[0] >> 4 != 6:
            ip.inet6.counters.icmp_in_errors += 1
            return
        src = int.from_bytes(quoted[8:24], "big")
        dst = int.from_bytes(quoted[24:40], "big")
        protocol: i64 = quoted[6]
        while extension.is_extension(protocol) or protocol == extension.FRAGMENT:
            length: i64 = extension.length(quoted, at, protocol)
            if length < 0:
                ip.inet6.counters.icmp_in_errors += 1
                return
            protocol = quoted[at]
            at += length
        # At least 8 bytes of what followed the headers.
        if size < at + 8 or not ip.has_address(src):
            ip.inet6.counters.icmp_in_errors += 1
            return
        number: i64 = errno.EPROTO
        fatal = packet.type == PARAMETER_PROBLEM6
        if packet.type == UNREACHABLE6:
            code = int(packet.code)
            if code < len(_UNREACHABLE6_ERRNO):
                number = _UNREACHABLE6_ERRNO[code]
                fatal = _UNREACHABLE6_FATAL[code]
            else:
                fatal = True
        elif packet.type == TOO_BIG6:
            number = errno.EMSGSIZE
            fatal = True
        elif packet.type == TIME_EXCEEDED6:
            number = errno.EHOSTUNREACH
        self._tell(packet, number, fatal, src, dst, int(protocol), quoted[at:])

    def _tell(
        self, packet: IcmpMessage, number: i64, fatal: bool, src: int, dst: int, protocol: int, data: bytes
    ) -> None:
        """Hand an error about a packet of ours, whose transport header starts `data`, to its protocol."""
        ip = self.ip
        raw = ip.raw
        if raw is not None:
            raw.error(protocol, packet, number, fatal, src, dst)
        handler = ip.handlers.get(protocol)
        if handler is not None:
            handler.error(packet, number, fatal, src, dst, data)

    def error(self, message: IcmpMessage, errno: i64, fatal: bool, src: int, dst: int, data: bytes) -> None:
        """An error about an ICMP message of ours: told to whoever waits for the echo's reply."""
        if self.echo_waiter is not None:
            self.echo_waiter(message)


def report_of(message: IcmpMessage, number: i64, dst: int, port: i64, data: bytes) -> Report:
    """What a program with IP_RECVERR is told of the error `message`: the MTU, or where the mistake is, as `info`."""
    info: i64 = 0
    if message.family == AF_INET6:
        if message.type == TOO_BIG6 or message.type == PARAMETER_PROBLEM6:
            info = message.rest
    elif message.type == UNREACHABLE and message.code == FRAGMENTATION_NEEDED:
        info = message.rest & 0xFFFF
    elif message.type == PARAMETER_PROBLEM:
        info = message.rest >> 24
    return of_icmp(message, message.type, message.code, info, number, dst, port, data)


def mtu_of(message: IcmpMessage) -> i64:
    """The MTU that "too big" or "fragmentation needed" tells."""
    return message.rest if message.family == AF_INET6 else message.rest & 0xFFFF


def send_error(ip: Ip, offender: Packet, type: i64, code: i64, rest: i64) -> None:
    """Report to the sender of `offender` that it could not be delivered: `type` and `code` are IPv4's.

    Of ICMPv6's "unknown next header" `rest` is made here: where it says so, which is behind all headers.
    """
    if offender.family == AF_INET6:
        six: i64 = _SIX[int(type << 8 | code)]
        if type == UNREACHABLE and code == PROTOCOL_UNREACHABLE:
            rest = _place_of_next_header(offender)
        send_message(ip, offender, six >> 8, six & 0xFF, rest)
        return
    send_message(ip, offender, type, code, rest)


def _place_of_next_header(packet: Packet) -> i64:
    """RFC 4443 (3.4): the offset of the field that says which protocol comes."""
    last: i64 = 6
    at: i64 = IPV6_HEADER_BYTES
    for _number, header in extension.headers(packet.options):
        last = at
        at += len(header)
    return last


def send_message(ip: Ip, offender: Packet, type: i64, code: i64, rest: i64) -> None:
    """Send an error about `offender` to its sender, in the numbers of its family; not where the RFCs forbid it.

    A router's report carries the address of the device that it leaves by (RFC 1812, 4.3.2.4), as Linux' does.
    """
    if offender.fragment_offset != 0:
        return
    family = ip.family(offender.family)
    src: int = offender.dst if ip.has_address(offender.dst) else 0
    if offender.family == AF_INET6:
        if _is_silent6(ip, offender, type, code):
            return
        free = type == TOO_BIG6
    else:
        if isinstance(offender, IcmpMessage) and offender.type != ECHO and offender.type != ECHO_REPLY:
            return
        if offender.src == 0 or offender.src in ip.broadcasts or offender.src >= 0xE000_0000:
            return
        if offender.dst in ip.broadcasts or offender.dst >= 0xE000_0000:
            return
        # Linux limits neither what path MTU discovery needs nor what is about a packet that came by lo.
        free = type == UNREACHABLE and code == FRAGMENTATION_NEEDED
    if not free and not ip.has_address(offender.src) and not _allowed(ip):
        family.counters.icmp_out_rate_limited += 1
        return
    quote = inet.encode(offender)[: _QUOTE_BYTES if offender.family == AF_INET else _QUOTE6_BYTES]
    message = IcmpMessage(offender.family, src, offender.src, type, code, rest, quote)
    message.size_bytes = family.header_bytes + ICMP_HEADER_BYTES + len(quote)
    message.ttl = family.hop_limit
    if offender.family == AF_INET:
        message.tos = 0xC0  # RFC 1812 (4.3.2.5): precedence 6, internetwork control
    family.counters.icmp_out_msgs += 1
    send(ip, message, route_back(ip, offender))


def _is_silent6(ip: Ip, offender: Packet, type: i64, code: i64) -> bool:
    """RFC 4443 (2.4 e): no error about an error or a redirect, about what went to a group (but for what its sender has
    to learn), nor to who is not one host.
    """
    if isinstance(offender, IcmpMessage) and (offender.type < _INFORMATIONAL6 or offender.type == REDIRECT6):
        return True
    if offender.src == 0 or offender.src >> 120 == 0xFF:
        return True
    if ip.is_multicast(offender.dst):
        return type != TOO_BIG6 and not (type == PARAMETER_PROBLEM6 and code == UNKNOWN_OPTION6)
    return False


def _allowed(ip: Ip) -> bool:
    """Take one token of the host's bucket, which refills with time."""
    now: i64 = ip.scheduler.now_ns
    grown: i64 = (now - ip.icmp_stamp_ns) // _ERROR_EVERY_NS
    if grown > 0:
        ip.icmp_tokens = min(_ERRORS_BURST, ip.icmp_tokens + grown)
        ip.icmp_stamp_ns += grown * _ERROR_EVERY_NS  # what is left of a token's time counts for the next
    if ip.icmp_tokens <= 0:
        return False
    ip.icmp_tokens -= 1
    return True
