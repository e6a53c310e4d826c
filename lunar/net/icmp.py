"""ICMP for IPv4: echo, and the errors that a host or router reports and hears of.

Read RFC 792, RFC 1122 section 3.2.2 and RFC 1812 section 4.3 beside this file. What errno an error becomes is Linux'
table (icmp(7)). Redirect, timestamp and router discovery are not here yet.
"""

from __future__ import annotations

import errno
from typing import Any, Final, final

from mypy_extensions import i64

from lunar.net.device import Device
from lunar.net.error_queue import Report, of_icmp
from lunar.net.ip import Handler, Ip
from lunar.net.ip_output import send
from lunar.packet import AF_INET, IcmpMessage, Packet
from lunar.wire import ipv4

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

# RFC 1812 (4.3.2.3): as much of the offending packet as fits an ICMP packet of 576 bytes; Linux does the same.
_QUOTE_BYTES: Final = 576 - 20 - 8

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


@final
class Icmp(Handler):
    """The ICMP of one host. `echo_waiter`, when set, is called with each echo reply (message) that arrives."""

    def __init__(self, ip: Ip) -> None:
        self.ip: Ip = ip
        self.echo_waiter: Any = None

    def receive(self, packet: Packet, device: Device) -> None:
        ip = self.ip
        ip.counters.icmp_in_msgs += 1
        if not isinstance(packet, IcmpMessage):
            ip.counters.icmp_in_errors += 1  # a fragment, or a protocol number without an ICMP header
            return
        if packet.type == ECHO:
            self._reply(packet)
        elif packet.type == ECHO_REPLY:
            if self.echo_waiter is not None:
                self.echo_waiter(packet)
        elif packet.type == UNREACHABLE or packet.type == TIME_EXCEEDED or packet.type == PARAMETER_PROBLEM:
            self._heard_error(packet)

    def _reply(self, packet: IcmpMessage) -> None:
        ip = self.ip
        # RFC 1122 (3.2.2.6): an echo to a broadcast address may be ignored; Linux does (icmp_echo_ignore_broadcasts).
        if not ip.has_address(packet.dst):
            return
        reply = IcmpMessage(packet.family, packet.dst, packet.src, ECHO_REPLY, 0, packet.rest, packet.payload)
        reply.size_bytes = 28 + len(packet.payload)
        reply.ttl = ip.family(packet.family).hop_limit
        reply.tos = packet.tos
        ip.counters.icmp_out_msgs += 1
        send(ip, reply, None)

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
        raw = ip.raw
        if raw is not None:
            raw.error(protocol, packet, number, fatal, src, dst)
        handler = ip.handlers.get(protocol)
        if handler is not None:
            handler.error(packet, number, fatal, src, dst, quoted[20:])

    def error(self, message: IcmpMessage, errno: i64, fatal: bool, src: int, dst: int, data: bytes) -> None:
        """An error about an ICMP message of ours: told to whoever waits for the echo's reply."""
        if self.echo_waiter is not None:
            self.echo_waiter(message)


def report_of(message: IcmpMessage, number: i64, dst: int, port: i64, data: bytes) -> Report:
    """What a program with IP_RECVERR is told of the error `message`: the MTU, or where the mistake is, as `info`."""
    info: i64 = 0
    if message.type == UNREACHABLE and message.code == FRAGMENTATION_NEEDED:
        info = message.rest & 0xFFFF
    elif message.type == PARAMETER_PROBLEM:
        info = message.rest >> 24
    return of_icmp(message, message.type, message.code, info, number, dst, port, data)


def send_error(ip: Ip, offender: Packet, type: i64, code: i64, rest: i64) -> None:
    """Report to the sender of `offender` that it could not be delivered; not where RFC 1122 (3.2.2) forbids it.

    A router's report carries the address of the device that it leaves by (RFC 1812, 4.3.2.4), as Linux' does.
    """
    if offender.fragment_offset != 0:
        return
    if isinstance(offender, IcmpMessage) and offender.type != ECHO and offender.type != ECHO_REPLY:
        return
    if offender.src == 0 or offender.src in ip.broadcasts or offender.src >= 0xE000_0000:
        return
    if offender.dst in ip.broadcasts or offender.dst >= 0xE000_0000:
        return
    # Linux limits neither what path MTU discovery needs nor what is about a packet that came by lo.
    free = (type == UNREACHABLE and code == FRAGMENTATION_NEEDED) or ip.has_address(offender.src)
    if not free and not _allowed(ip):
        ip.counters.icmp_out_rate_limited += 1
        return
    src: int = offender.dst if ip.has_address(offender.dst) else 0
    quote = ipv4.encode(offender)[:_QUOTE_BYTES]
    message = IcmpMessage(AF_INET, src, offender.src, type, code, rest, quote)
    message.size_bytes = 28 + len(quote)
    message.ttl = ip.family(offender.family).hop_limit
    message.tos = 0xC0  # RFC 1812 (4.3.2.5): precedence 6, internetwork control
    ip.counters.icmp_out_msgs += 1
    send(ip, message, None)


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
