"""MLD, a host's side: RFC 9777 (version 2, before it RFC 3810), RFC 2710 (version 1), as ICMPv6 messages.

When something is said is in listener.py. Here is how it looks: hop limit 1, the router alert option (RFC 2711) in a
hop-by-hop header, from the link-local address, or from :: as long as there is none.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.net import listener
from lunar.net.address import IFA_F_TENTATIVE, is_link_local
from lunar.net.device import Device
from lunar.net.group_output import send_report
from lunar.net.groups import Record
from lunar.net.igmp import code_value, listener_bodies
from lunar.net.ip import Ip
from lunar.net.listener import Speaker
from lunar.packet import AF_INET6, IPV6_HEADER_BYTES, IcmpMessage

QUERY: Final = 130
REPORT_V1: Final = 131
DONE: Final = 132
REPORT_V2: Final = 143

ALL_NODES: Final = 0xFF02 << 112 | 1
_ALL_ROUTERS: Final = 0xFF02 << 112 | 2
_ALL_V2_ROUTERS: Final = 0xFF02 << 112 | 0x16
_SOLICITED: Final = 0xFF02 << 88 | 0x1FF  # the leading 104 bits of ff02::1:ff00:0/104

# A hop-by-hop header with the router alert for MLD and two bytes of padding; its first byte says its own number
# (lunar/wire/extension.py).
_ROUTER_ALERT: Final = b"\x00\x00\x05\x02\x00\x00\x01\x00"
_V1_BYTES: Final = 16  # behind the header's eight
_MS: Final = 1_000_000


@final
class MldSpeaker(Speaker):
    """How IPv6 tells."""

    def __init__(self) -> None:
        super().__init__()
        self.newest = 2
        self.everybody = ALL_NODES

    def is_told(self, ip: Ip, group: int) -> bool:
        # RFC 3810 (6): neither all nodes nor what stays on the host (scope 0 and 1).
        return group != ALL_NODES and group >> 112 & 0xF > 1

    def robustness(self, ip: Ip) -> i64:
        return ip.mld_qrv

    def forced(self, device: Device) -> i64:
        return device.inet6.force_mld_version

    def interval_ms(self, device: Device, version: i64) -> i64:
        if version == 2:
            return device.inet6.mldv2_unsolicited_report_interval
        return device.inet6.mldv1_unsolicited_report_interval

    def report(self, ip: Ip, device: Device, records: list[Record]) -> None:
        kept: list[Record] = []
        for record in records:
            # Nobody has to be asked for hardware addresses where the medium tells them: no frames of idle hosts.
            if device.arp or record.group >> 24 != _SOLICITED:
                kept.append(record)
        most: i64 = device.mtu - IPV6_HEADER_BYTES - len(_ROUTER_ALERT) - 8
        for count, body in listener_bodies(kept, most, 16):
            _send(ip, device, _ALL_V2_ROUTERS, REPORT_V2, count, body)

    def report_one(self, ip: Ip, device: Device, group: int, version: i64) -> None:
        if device.arp or group >> 24 != _SOLICITED:
            _send(ip, device, group, REPORT_V1, 0, group.to_bytes(16, "big"))

    def leave(self, ip: Ip, device: Device, group: int) -> None:
        if device.arp or group >> 24 != _SOLICITED:
            _send(ip, device, _ALL_ROUTERS, DONE, 0, group.to_bytes(16, "big"))


# It has no state: one for all hosts.
SPEAKER: Final = MldSpeaker()


def _send(ip: Ip, device: Device, dst: int, type: i64, rest: i64, payload: bytes) -> None:
    message = IcmpMessage(AF_INET6, _source(device), dst, type, 0, rest, payload)
    message.options = _ROUTER_ALERT
    message.size_bytes = IPV6_HEADER_BYTES + len(_ROUTER_ALERT) + 8 + len(payload)
    message.ttl = 1
    send_report(ip, message, device)


def _source(device: Device) -> int:
    """RFC 3590: the link-local address, and :: while it is not known whether it is nobody else's."""
    for own in device.addresses:
        if own.family == AF_INET6 and is_link_local(own.address) and not own.flags & IFA_F_TENTATIVE:
            return own.address
    return 0


def response_ms(code: i64) -> i64:
    """RFC 3810 (5.1.3): a number of sixteen bits, from 32,768 on with an exponent."""
    if code < 32_768:
        return code
    mantissa: i64 = (code & 0xFFF) | 0x1000
    exponent: i64 = ((code >> 12) & 7) + 3
    return mantissa << exponent


def receive(ip: Ip, message: IcmpMessage, device: Device) -> None:
    """What routers and other hosts say of groups."""
    found = listener.find(ip, device, SPEAKER)
    if found is None:
        return
    data = message.payload
    if len(data) < _V1_BYTES:
        return
    group = int.from_bytes(data[:16], "big")
    if message.type == REPORT_V1:
        if is_link_local(message.src) and not ip.has_address(message.src):
            found.heard_report(group)
        return
    # RFC 3810 (5.1.14): from a link-local address, and not from afar.
    if message.type != QUERY or not is_link_local(message.src) or message.ttl != 1:
        return
    if group != 0 and group >> 120 != 0xFF:
        return
    code: i64 = message.rest >> 16 & 0xFFFF
    if len(data) == _V1_BYTES:
        found.heard_query(1, group, [], max(code * _MS, 1), 0, 0)
        return
    if len(data) < _V1_BYTES + 4:
        return
    count: i64 = (int(data[18]) << 8) | int(data[19])
    if len(data) < 20 + 16 * count:
        return
    sources = [int.from_bytes(data[at : at + 16], "big") for at in range(20, int(20 + 16 * count), 16)]
    flags: i64 = data[16]
    interval: i64 = data[17]
    found.heard_query(2, group, sources, max(response_ms(code) * _MS, 1), flags & 7, code_value(interval))
