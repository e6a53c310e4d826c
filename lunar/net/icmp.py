"""ICMP for both families, RFC 792 and RFC 4443: echo, errors about packets that could not go on, errors that come back.

What is reported and when not: RFC 1122 section 3.2.2, RFC 1812 section 4.3 and RFC 4443 section 2.4. The layers say
what happened to a packet in IPv4's numbers (`send_error`), for which `_SIX` has ICMPv6's; who has a number of its own,
as netfilter's REJECT, calls `send_message`. Counted per family. How often errors are
sent is in icmp_limits.py, what redirects do in redirect.py. Router discovery and address masks are left out, as Linux'
kernel does.
"""

from __future__ import annotations

import errno
from typing import Any, Final, final

from mypy_extensions import i64

from lunar.net import icmp_limits, ipv4_options, mld, path_mtu, redirect
from lunar.net.address import SCOPE_LINK
from lunar.net.device import Device
from lunar.net.error_queue import Report, of_icmp
from lunar.net.ip import Handler, Ip
from lunar.net.ip_output import route_back, route_by, route_for, send, source_for
from lunar.net.ipv4_options import midnight_ms
from lunar.net.route import Route
from lunar.packet import (
    AF_INET,
    AF_INET6,
    ICMP_HEADER_BYTES,
    ICMPV6,
    IPV6_HEADER_BYTES,
    TCP,
    IcmpMessage,
    Packet,
    relate,
)
from lunar.wire import extension, inet, nd_option
from lunar.wire.address import family_of

ECHO_REPLY: Final = 0
UNREACHABLE: Final = 3
ECHO: Final = 8
TIME_EXCEEDED: Final = 11
PARAMETER_PROBLEM: Final = 12
TIMESTAMP: Final = 13
TIMESTAMP_REPLY: Final = 14
REDIRECT: Final = 5
# Types of which Linux says that they are obsolete, and drops them without a word.
_PASSED_OVER: Final = (9, 10, 15, 16, 17, 18)

NET_UNREACHABLE: Final = 0
HOST_UNREACHABLE: Final = 1
PROTOCOL_UNREACHABLE: Final = 2
PORT_UNREACHABLE: Final = 3
FRAGMENTATION_NEEDED: Final = 4
SOURCE_ROUTE_FAILED: Final = 5
PROHIBITED: Final = 13
REDIRECT_HOST: Final = 1
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
BEYOND_SCOPE6: Final = 2
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
    UNREACHABLE << 8 | PROHIBITED: UNREACHABLE6 << 8 | PROHIBITED6,
    TIME_EXCEEDED << 8 | TTL_EXCEEDED: TIME_EXCEEDED6 << 8,
    TIME_EXCEEDED << 8 | REASSEMBLY_TIME_EXCEEDED: TIME_EXCEEDED6 << 8 | 1,
    PARAMETER_PROBLEM << 8: PARAMETER_PROBLEM6 << 8,
}

# RFC 1812 (4.3.2.3): as much of the offending packet as fits an ICMP packet of 576 bytes; Linux does the same. RFC 4443
# (2.4 c): as fits the least MTU of IPv6.
_ERROR_BYTES: Final = 576
_QUOTE_BYTES: Final = _ERROR_BYTES - 20 - ICMP_HEADER_BYTES
_LEAST_MTU6: Final = 1280
_QUOTE6_BYTES: Final = _LEAST_MTU6 - IPV6_HEADER_BYTES - ICMP_HEADER_BYTES

_TOS_MASK: Final = 0x1E  # RFC 1349: what is neither precedence nor the last bit

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


# ICMPv6's types of neighbour discovery (ndisc.py).
_FIRST_OF_NEIGHBORS: Final = 133
_LAST_OF_NEIGHBORS: Final = 137


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
            elif _FIRST_OF_NEIGHBORS <= type <= _LAST_OF_NEIGHBORS:
                neighbors = self.ip.inet6.neighbors
                if neighbors is not None:
                    neighbors.receive_frame(packet, device)
                if type == REDIRECT6:
                    redirect.heard6(self.ip, packet, device)
            elif type < _INFORMATIONAL6:
                self._heard_error6(packet)
            elif type == mld.QUERY or type == mld.REPORT_V1:
                mld.receive(self.ip, packet, device)
        elif not self.ip.has_address(packet.dst) and not self._answers_groups(packet):
            counters.icmp_in_errors += 1
        elif type == ECHO:
            self._reply(packet)
        elif type == ECHO_REPLY:
            if self.echo_waiter is not None:
                self.echo_waiter(packet)
        elif type == UNREACHABLE or type == TIME_EXCEEDED or type == PARAMETER_PROBLEM:
            self._heard_error(packet)
        elif type == TIMESTAMP:
            self._reply_time(packet)
        elif type == REDIRECT:
            redirect.heard(self.ip, packet, device)
        elif type != TIMESTAMP_REPLY and int(type) not in _PASSED_OVER:
            counters.icmp_in_errors += 1

    def _answers_groups(self, packet: IcmpMessage) -> bool:
        """RFC 1122 (3.2.2.6, 3.2.2.8): what went to a broadcast or multicast address may be ignored, and Linux does so
        with net.ipv4.icmp_echo_ignore_broadcasts; nothing else but requests should go there.
        """
        conf = self.ip.inet.icmp
        return not conf.echo_ignore_broadcasts and (packet.type == ECHO or packet.type == TIMESTAMP)

    def _reply(self, packet: IcmpMessage) -> None:
        ip = self.ip
        src = packet.dst
        family = ip.family(packet.family)
        conf = family.icmp
        if conf.echo_ignore_all:
            return
        # RFC 4443 (4.2): one to a group is answered, too, from an address of the device.
        if not ip.has_address(src):
            if conf.echo_ignore_multicast:
                return
            src = 0
        type: i64 = ECHO_REPLY if packet.family == AF_INET else ECHO_REPLY6
        # Linux returns the code that it got.
        reply = IcmpMessage(packet.family, src, packet.src, type, packet.code, packet.rest, packet.payload)
        reply.tos = packet.tos
        self._send_reply(packet, reply)

    def _reply_time(self, packet: IcmpMessage) -> None:
        """RFC 792: when the request was received and when the reply is sent is one instant here."""
        if len(packet.payload) < 4:
            self.ip.counters.icmp_in_errors += 1
            return
        src = packet.dst if self.ip.has_address(packet.dst) else 0
        now = midnight_ms(self.ip).to_bytes(4, "big")
        data = packet.payload[:4] + now + now
        reply = IcmpMessage(AF_INET, src, packet.src, TIMESTAMP_REPLY, 0, packet.rest, data)
        reply.tos = packet.tos
        self._send_reply(packet, reply)

    def _send_reply(self, packet: IcmpMessage, reply: IcmpMessage) -> None:
        ip = self.ip
        family = ip.family(packet.family)
        reply.ttl = -1
        route = route_back(ip, packet)
        if packet.options and packet.family == AF_INET:
            route = _answer_options(ip, packet, reply, route)
        reply.size_bytes = family.header_bytes + len(reply.options) + ICMP_HEADER_BYTES + len(reply.payload)
        family.counters.icmp_out_msgs += 1
        ip.icmp_sends = True
        send(ip, reply, route)
        ip.icmp_sends = False

    def _heard_error(self, packet: IcmpMessage) -> None:
        ip = self.ip
        quoted = packet.payload
        # The quote is an IP header and at least 8 bytes of what followed.
        header = (quoted[0] & 0x0F) << 2 if quoted else 0
        if header < 20 or len(quoted) < header + 8 or quoted[0] >> 4 != 4:
            ip.counters.icmp_in_errors += 1
            return
        protocol = quoted[9]
        src = int.from_bytes(quoted[12:16], "big")
        dst = int.from_bytes(quoted[16:20], "big")
        if not ip.has_address(src) or family_of(src) != AF_INET:
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
        self._tell(packet, number, fatal, src, dst, protocol, quoted[header:])

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
        # At least 8 bytes of what followed the headers. What a quote says was not looked at when bytes became objects:
        # ::10.0.0.1 is nobody's, and means no IPv4 address.
        if size < at + 8 or not ip.has_address(src) or family_of(src) != AF_INET6 or family_of(dst) != AF_INET6:
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
        if number == errno.EMSGSIZE and protocol != TCP:
            path_mtu.heard_too_big(ip, packet.family, dst, mtu_of(packet))  # TCP looks first whether it sent that
        raw = ip.raw
        if raw is not None:
            raw.error(protocol, packet, number, fatal, src, dst, data)
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
    if ip.icmp_sends:
        return  # Linux has one socket for this on each processor: what a rule rejects meanwhile it cannot report
    family = ip.family(offender.family)
    src = _speaker(ip, offender)
    if offender.family == AF_INET6:
        if _is_silent6(ip, offender, type, code):
            return
    else:
        if offender.fragment_offset != 0 or _is_for_all(offender):
            return
        if isinstance(offender, IcmpMessage) and _is_error(offender.type):
            return
        if offender.src == 0 or ip.is_broadcast(offender.src) or ip.is_multicast(offender.src):
            return
        if ip.is_broadcast(offender.dst) or ip.is_multicast(offender.dst):
            return
    # Linux does not limit what is about a packet that came by lo.
    if not ip.has_address(offender.src) and not icmp_limits.allows(ip, family, offender.src, type, code):
        return
    message = IcmpMessage(offender.family, src, offender.src, type, code, rest, b"")
    message.ttl = -1
    room: i64 = _QUOTE6_BYTES
    route = route_back(ip, offender)
    if offender.family == AF_INET:
        # RFC 1812 (4.3.2.5): precedence 6, internetwork control; the rest as the offender's.
        message.tos = 0xC0 | (offender.tos & _TOS_MASK)
        room = _QUOTE_BYTES
        if offender.options:
            route = _answer_options(ip, offender, message, route)
            room -= len(message.options)
    message.payload = inet.encode(offender)[: int(room)]
    message.size_bytes = family.header_bytes + len(message.options) + ICMP_HEADER_BYTES + len(message.payload)
    relate(message, offender)
    family.counters.icmp_out_msgs += 1
    ip.icmp_sends = True
    send(ip, message, route)
    ip.icmp_sends = False


# Echo, timestamp, information, address mask, and their replies; Linux takes all other types for errors.
_QUERIES: Final = (0, 8, 13, 14, 15, 16, 17, 18)


def _is_for_all(offender: Packet) -> bool:
    """Whether it came in a frame to a group or to everybody."""
    return (offender.eth_dst >> 40) & 1 != 0


def _is_error(type: i64) -> bool:
    """Whether a type of IPv4's is no query: of an error none is reported, of a redirect neither (RFC 1122, 3.2.2)."""
    return type not in _QUERIES


def _speaker(ip: Ip, offender: Packet) -> int:
    """The address from which an error comes: the one that was meant, else 0 for that of the device by which it leaves,
    or with icmp_errors_use_inbound_ifaddr of the one by which the packet came.
    """
    if ip.has_address(offender.dst):
        return offender.dst
    device = offender.target
    if offender.family == AF_INET and ip.inet.icmp.errors_use_inbound_ifaddr and isinstance(device, Device):
        return device.primary_address(AF_INET)
    return 0


def _answer_options(ip: Ip, packet: Packet, answer: IcmpMessage, route: Route | None) -> Route | None:
    """Give an answer to `packet` the options that it has for it, and find its route anew if that is another."""
    if route is None:
        route = route_for(ip, AF_INET, packet.src)
    if route is None:
        return None
    source = answer.src if answer.src else source_for(ip, packet.src, route)
    answer.options, answer.dst = ipv4_options.answer(ip, packet, source)
    return route if answer.dst == packet.src else route_for(ip, AF_INET, answer.dst)


def send_redirect6(ip: Ip, packet: Packet, device: Device, target: int) -> None:
    """RFC 4861 (4.5): tell the sender of `packet` that `target` is a better next hop, or that its destination is a
    neighbour. A router without a link-local address cannot.
    """
    own = 0
    for address in device.addresses:
        if address.family == AF_INET6 and address.scope == SCOPE_LINK:
            own = address.address
            break
    if own == 0:
        return
    data = target.to_bytes(16, "big") + packet.dst.to_bytes(16, "big")
    medium = device.medium
    mac: i64 = -1
    if medium is not None:
        mac = medium.resolve(device, target)
    if mac >= 0:
        data += nd_option.address_option(nd_option.TARGET_ADDRESS, mac)
    room: i64 = _LEAST_MTU6 - IPV6_HEADER_BYTES - ICMP_HEADER_BYTES - len(data) - 8
    quote = inet.encode(packet)[: int(room & ~7)]
    quote = quote[: len(quote) & ~7]
    data += nd_option.option(nd_option.REDIRECTED, bytes(6) + quote)
    message = IcmpMessage(AF_INET6, own, packet.src, REDIRECT6, 0, 0, data)
    message.ttl = 255
    message.size_bytes = IPV6_HEADER_BYTES + ICMP_HEADER_BYTES + len(data)
    ip.inet6.counters.icmp_out_msgs += 1
    send(ip, message, route_by(ip, device, AF_INET6, packet.src))


def _is_silent6(ip: Ip, offender: Packet, type: i64, code: i64) -> bool:
    """RFC 4443 (2.4 e): no error about an error, about what went to a group (but for what its sender has
    to learn), nor to who is not one host.
    """
    # RFC 4443 (2.4 e.2) spares redirects, too; Linux does not.
    if isinstance(offender, IcmpMessage) and offender.type < _INFORMATIONAL6:
        return True
    if offender.src == 0 or offender.src >> 120 == 0xFF:
        return True
    if ip.is_multicast(offender.dst) or _is_for_all(offender):
        return type != TOO_BIG6 and not (type == PARAMETER_PROBLEM6 and code == UNKNOWN_OPTION6)
    return False


def tell_reassembly_failed(ip: Ip, first: Packet) -> None:
    """The fragments that follow `first` did not all come in time."""
    send_error(ip, first, TIME_EXCEEDED, REASSEMBLY_TIME_EXCEEDED, 0)
