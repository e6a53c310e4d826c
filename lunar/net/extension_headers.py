"""IPv6's extension headers in packets that come in: who has to look at them, and what of them is refused.

RFC 8200 section 4, RFC 5095 (no routing by type 0). Hop-by-hop options are looked at by every node on the way, as Linux
does, destination options and routing headers at the destination. The limits are Linux', net.ipv6.max_hbh_opts_number
and its neighbours, and padding of 7 bytes at most. Jumbograms are refused. How chains are read and written is in
lunar/wire/extension.py.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from lunar.net import icmp
from lunar.net.ip import Ip
from lunar.packet import IPV6_HEADER_BYTES, Packet
from lunar.wire import extension

_PAD_1: Final = 0
_PAD_N: Final = 1
_ROUTER_ALERT: Final = 5
_JUMBO: Final = 0xC2
_PADDING_MAX: Final = 7

# What the two highest bits of an option's type want of who does not know it (RFC 8200, 4.2).
_SKIP: Final = 0
_DROP: Final = 1
_TELL: Final = 2

# Routing types that Linux takes only where it was told to (RFC 6554, RFC 8754), and drops without a word.
_RPL: Final = 3
_SEGMENTS: Final = 4

_BAD_FIELD: Final = 0  # code of a parameter problem
_BAD_NEXT_HEADER: Final = 1
_BAD_OPTION: Final = 2


def pass_on(ip: Ip, packet: Packet) -> bool:
    """Look at the hop-by-hop options. False if the packet is dropped, and its sender told where that is due."""
    options = packet.options
    if options[0] != extension.HOP_BY_HOP:
        return True
    length: i64 = extension.length(options, 0, extension.HOP_BY_HOP)
    return _look(ip, packet, 0, length, True, ip.max_hbh_opts_number, ip.max_hbh_length)


def deliver(ip: Ip, packet: Packet) -> bool:
    """Look at what concerns the destination. False if the packet is dropped."""
    options = packet.options
    at: i64 = 0
    while at < len(options):
        number: i64 = options[at]
        length: i64 = extension.length(options, at, number)
        if number == extension.DESTINATION:
            if not _look(ip, packet, at, length, False, ip.max_dst_opts_number, ip.max_dst_opts_length):
                return False
        elif number == extension.ROUTING:
            if not _routing(ip, packet, at):
                return False
        elif number == extension.HOP_BY_HOP and at > 0:
            # Only the first header may be that: anywhere else it is a protocol that nobody speaks. The field that says
            # so is the first byte of the header before.
            ip.inet6.counters.ip_in_no_protos += 1
            icmp.send_message(
                ip, packet, icmp.PARAMETER_PROBLEM6, _BAD_NEXT_HEADER, IPV6_HEADER_BYTES + _before(options, at)
            )
            return False
        elif number == extension.FRAGMENT:
            # A packet in one piece (RFC 6946).
            ip.inet6.counters.ip_reasm_reqds += 1
            ip.inet6.counters.ip_reasm_oks += 1
        at += length
    return True


def _before(options: bytes, end: i64) -> i64:
    """Where the header starts that ends at `end`."""
    at: i64 = 0
    while True:
        following: i64 = at + extension.length(options, at, options[at])
        if following >= end:
            return at
        at = following


def _bad(ip: Ip) -> bool:
    ip.inet6.counters.ip_in_hdr_errors += 1
    return False


def _tell(ip: Ip, packet: Packet, code: i64, at: i64) -> bool:
    ip.inet6.counters.ip_in_hdr_errors += 1
    icmp.send_message(ip, packet, icmp.PARAMETER_PROBLEM6, code, IPV6_HEADER_BYTES + at)
    return False


def _routing(ip: Ip, packet: Packet, at: i64) -> bool:
    kind: i64 = packet.options[at + 2]
    left: i64 = packet.options[at + 3]
    if kind == _RPL or kind == _SEGMENTS:
        ip.inet6.counters.ip_in_discards += 1
        return False
    return left == 0 or _tell(ip, packet, _BAD_FIELD, at + 2)


def _look(ip: Ip, packet: Packet, start: i64, length: i64, hops: bool, most: i64, longest: i64) -> bool:
    """The options of one header, at `start` of `Packet.options`."""
    data = packet.options
    end: i64 = start + length
    # A negative limit also forbids what is not known.
    allowed: i64 = -most if most < 0 else most
    if length > longest:
        return _bad(ip)
    at: i64 = start + 2
    padding: i64 = 0
    count: i64 = 0
    while at < end:
        kind: i64 = data[at]
        if kind == _PAD_1:
            padding += 1
            at += 1
            if padding > _PADDING_MAX:
                return _bad(ip)
            continue
        size: i64 = data[at + 1] + 2 if at + 1 < end else 0
        if size == 0 or at + size > end:
            return _bad(ip)
        if kind == _PAD_N:
            padding += size
            if padding > _PADDING_MAX or data[at + 2 : at + size] != bytes(int(size) - 2):
                return _bad(ip)
            at += size
            continue
        padding = 0
        count += 1
        if count > allowed:
            return _bad(ip)
        if hops and kind == _ROUTER_ALERT:
            if size != 4:
                return _bad(ip)
        elif hops and kind == _JUMBO:
            return _refuse_jumbo(ip, packet, start, at, size)
        else:
            action: i64 = kind >> 6
            if action == _SKIP:
                if most < 0:
                    return _bad(ip)
            elif action == _DROP or (action != _TELL and ip.is_multicast(packet.dst)):
                return _bad(ip)
            else:
                return _tell(ip, packet, _BAD_OPTION, at)
        at += size
    return True


def _refuse_jumbo(ip: Ip, packet: Packet, start: i64, at: i64, size: i64) -> bool:
    """RFC 2675 (3): what is wrong with a jumbo payload option here; that it is one, if nothing else."""
    data = packet.options
    if size != 6 or (at - start) & 3 != 2:
        return _bad(ip)
    if int.from_bytes(data[at + 2 : at + 6], "big") <= 0xFFFF:
        return _tell(ip, packet, _BAD_FIELD, at + 2)
    return _tell(ip, packet, _BAD_FIELD, at)
