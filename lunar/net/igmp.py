"""IGMP, a host's side: RFC 3376 (version 3), RFC 2236 (2), RFC 1112 (1). Messages are plain packets of protocol 2.

When something is said is in listener.py. Here is how it looks: TTL 1, the router alert option (RFC 2113), precedence 6.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.net import listener
from lunar.net.device import Device
from lunar.net.group_output import send_report
from lunar.net.groups import Record, is_multicast
from lunar.net.ip import Handler, Ip
from lunar.net.listener import Speaker
from lunar.packet import AF_INET, IGMP, IPV4_HEADER_BYTES, IcmpMessage, Packet
from lunar.wire import checksum

QUERY: Final = 0x11
REPORT_V1: Final = 0x12
REPORT_V2: Final = 0x16
LEAVE: Final = 0x17
REPORT_V3: Final = 0x22

ALL_HOSTS: Final = 0xE000_0001
_ALL_ROUTERS: Final = 0xE000_0002
_ALL_V3_ROUTERS: Final = 0xE000_0016

_ROUTER_ALERT: Final = b"\x94\x04\x00\x00"
_HEADER_BYTES: Final = 8
_RECORD_BYTES: Final = 8
_TENTH_NS: Final = 100_000_000
# RFC 3376 section 8.3, which a query of version 1 has for its answers.
_RESPONSE_NS: Final = 10_000_000_000


@final
class IgmpSpeaker(Speaker):
    """How IPv4 tells."""

    def __init__(self) -> None:
        super().__init__()
        self.newest = 3
        self.everybody = ALL_HOSTS

    def is_told(self, ip: Ip, group: int) -> bool:
        if group == ALL_HOSTS:
            return False
        # net.ipv4.igmp_link_local_mcast_reports: 224.0.0.0/24, which no router forwards.
        return ip.igmp_link_local_reports or group >> 8 != 0xE0_0000

    def robustness(self, ip: Ip) -> i64:
        return ip.igmp_qrv

    def forced(self, device: Device) -> i64:
        return device.inet.force_igmp_version

    def interval_ms(self, device: Device, version: i64) -> i64:
        if version == 3:
            return device.inet.igmpv3_unsolicited_report_interval
        return device.inet.igmpv2_unsolicited_report_interval

    def report(self, ip: Ip, device: Device, records: list[Record]) -> None:
        most: i64 = device.mtu - IPV4_HEADER_BYTES - len(_ROUTER_ALERT) - _HEADER_BYTES
        for count, body in listener_bodies(records, most, 4):
            start = bytes((REPORT_V3, 0, 0, 0, 0, 0, count >> 8, count & 0xFF))
            _send(ip, device, _ALL_V3_ROUTERS, start + body)

    def report_one(self, ip: Ip, device: Device, group: int, version: i64) -> None:
        kind: int = REPORT_V1 if version == 1 else REPORT_V2
        _send(ip, device, group, bytes((kind, 0, 0, 0)) + group.to_bytes(4, "big"))

    def leave(self, ip: Ip, device: Device, group: int) -> None:
        _send(ip, device, _ALL_ROUTERS, bytes((LEAVE, 0, 0, 0)) + group.to_bytes(4, "big"))


# It has no state: one for all hosts.
SPEAKER: Final = IgmpSpeaker()


def listener_bodies(records: list[Record], most: i64, width: int) -> list[tuple[int, bytes]]:
    """The records as bytes, of addresses of `width` bytes, in as few pieces of `most` bytes as there must be: how many
    records each has, and its bytes. A record that needs more than one piece goes on in the next with the same type,
    but one of all but some sources (EXCLUDE) is cut (RFC 3376 section 4.2.16).
    """
    pieces: list[tuple[int, bytes]] = []
    count: int = 0
    body: bytes = b""
    head: i64 = 4 + width
    for record in records:
        sources = record.sources
        first = True
        while first or sources:
            first = False
            room: i64 = (most - len(body) - head) // width
            if room < 1 and body and (room < 0 or sources):
                pieces.append((count, body))
                count, body = 0, b""
                room = (most - head) // width
            part = sources[: int(max(room, 0))]
            sources = sources[len(part) :]
            number: int = len(part)
            body += bytes((int(record.type), 0, number >> 8, number & 0xFF)) + record.group.to_bytes(width, "big")
            for source in part:
                body += source.to_bytes(width, "big")
            count += 1
            if record.type == 2 or record.type == 4 or not part:
                break
    if count:
        pieces.append((count, body))
    return pieces


def _send(ip: Ip, device: Device, dst: int, message: bytes) -> None:
    check: int = checksum.internet(message)
    payload = message[:2] + bytes((check >> 8, check & 0xFF)) + message[4:]
    packet = Packet(AF_INET, device.primary_address(AF_INET), dst, IGMP, payload)
    packet.options = _ROUTER_ALERT
    packet.size_bytes = IPV4_HEADER_BYTES + len(_ROUTER_ALERT) + len(payload)
    packet.ttl = 1
    packet.tos = 0xC0
    packet.dont_fragment = True
    send_report(ip, packet, device)


def code_value(code: i64) -> i64:
    """RFC 3376 (4.1.1, 4.1.7): a number of eight bits, from 128 on with an exponent."""
    if code < 128:
        return code
    mantissa: i64 = (code & 0xF) | 0x10
    exponent: i64 = ((code >> 4) & 7) + 3
    return mantissa << exponent


@final
class Igmp(Handler):
    """The IGMP of one host: what routers and other hosts say of groups."""

    def __init__(self, ip: Ip) -> None:
        self.ip: Ip = ip

    def receive(self, packet: Packet, device: Device) -> None:
        data = packet.payload
        if len(data) < _HEADER_BYTES or checksum.internet(data) != 0:
            return  # Linux has no counter for it
        found = listener.find(self.ip, device, SPEAKER)
        if found is None:
            return
        kind: i64 = data[0]
        group = int.from_bytes(data[4:8], "big")
        if kind == REPORT_V1 or kind == REPORT_V2:
            if not self.ip.has_address(packet.src):
                found.heard_report(group)
            return
        if kind != QUERY:
            return
        code: i64 = data[1]
        if group != 0 and not is_multicast(group):
            return
        if len(data) == _HEADER_BYTES:
            if code == 0:
                found.heard_query(1, 0, [], _RESPONSE_NS, 0, 0)
            else:
                found.heard_query(2, group, [], code * _TENTH_NS, 0, 0)
            return
        if len(data) < 12:
            return
        count: i64 = (int(data[10]) << 8) | int(data[11])
        if len(data) < 12 + 4 * count:
            return
        sources = [int.from_bytes(data[at : at + 4], "big") for at in range(12, int(12 + 4 * count), 4)]
        flags: i64 = data[8]
        interval: i64 = data[9]
        found.heard_query(
            3, group, sources, max(code_value(code) * _TENTH_NS, 1), flags & 7, code_value(interval)
        )  # fmt: skip

    def error(self, message: IcmpMessage, errno: i64, fatal: bool, src: int, dst: int, data: bytes) -> None:
        """Nobody waits for an answer."""
