"""What is sent to the two sides, and what of the answers is not compared: a table of probes, and one of fields.

A `Group` has command lines for a fresh host, which both sides obey, and probes that follow one another, because some
need what came before. The host is 10.0.0.1 and 2001:db8::1 on eth0, 10.1.0.1 and 2001:db8:1::1 on eth1; .2 and ::2 are
neighbours there.
"""

from __future__ import annotations

import struct
from typing import Final

import attrs
from frame_bytes import (
    ICMP,
    ICMPV6,
    MORE,
    UDP,
    checksum,
    ethernet,
    fragment_header,
    icmp,
    icmp6,
    ip4,
    ip6,
    packed,
    udp,
)
from network_sides import MACS, Sent

HOST, NEAR, OTHER, FAR = "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.1.0.2"
HOST6, NEAR6, OTHER6, FAR6 = "2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:1::2"
LINK_LOCAL6 = "fe80::2"
# The host's address in a network that a router tells of: its hardware address in EUI-64.
MADE, MADE_TOO = "2001:db8:5::ff:fe00:a01", "2001:db8:6::ff:fe00:a01"
OWN: Final = {packed(address) for address in (HOST, "10.1.0.1", HOST6, "2001:db8:1::1", MADE)}

BROADCAST: Final = 0xFFFF_FFFF_FFFF
ALL_NODES: Final = 0x3333_0000_0001


@attrs.frozen
class Probe:
    """One exchange. `wait_s` is how long to wait for what comes by a timer; `any_order`: by several at once."""

    name: str
    frames: list[Sent]
    wait_s: float = 0.0
    any_order: bool = False


@attrs.frozen
class Group:
    """Probes of one host. `six` are its IPv6 addresses, too; with `resolves` neighbours have to be asked for,
    and neighbour discovery is compared; `joins` are groups that a program is a member of, and MLD is compared. With
    `link_local` the host speaks by such an address, which the kernel needs a second for.
    """

    name: str
    commands: list[str]
    probes: list[Probe]
    six: bool = False
    resolves: bool = False
    joins: tuple[str, ...] = ()
    link_local: bool = False


# What is not compared, and why: the place, and the reason. `compared` below does it.
LEFT_OUT: Final = [
    ("IPv4 identification of what the host itself sends", "the kernel hashes the destination with a secret"),
    ("IPv4 header checksum of the same", "it follows from the identification"),
    ("IPv6 flow label of what the host itself sends", "a hash with a secret"),
    ("times in ICMP's timestamp replies and in IPv4's timestamp option, and checksums over them", "the clock"),
    (
        "IPv4 header checksum in the quotation of what has options, and the ICMP checksum over it",
        "the kernel fills the options in, and quotes the old checksum",
    ),
    ("the order of what timers send that end together", "the kernel's has no meaning"),
    ("MLD and neighbour discovery in probes of something else", "the kernel sends them at random times"),
]

TRANSPORT_CHECKSUM_AT: Final = {1: 2, 17: 6}


def compared(sent: list[Sent], group: Group, probe: Probe) -> list[Sent]:
    """`sent` without what LEFT_OUT names, sorted by device."""
    found = [(device, _without(data)) for device, data in sent if not _is_of_something_else(data, group)]
    return sorted(found, key=None if probe.any_order else lambda frame: frame[0])


def _is_of_something_else(data: bytes, group: Group) -> bool:
    if data[12:14] != b"\x86\xdd":
        return False
    # MLD's messages stand behind hop-by-hop options.
    kind = data[62] if data[20] == 0 else data[54] if data[20] == ICMPV6 else 0
    if kind in (131, 132, 143):
        return not any(":" in joined for joined in group.joins)
    return kind in (133, 135, 136) and not group.resolves


def _without(data: bytes) -> bytes:
    frame = bytearray(data)
    if data[12:14] == b"\x08\x00":
        header = 14 + 4 * (data[14] & 15)
        if bytes(data[26:30]) in OWN:
            frame[18:20] = b"\0\0"
            frame[24:26] = b"\0\0"
        _clear_option_times(frame, 34, header)
        if frame[24:26] != b"\0\0" and header > 34 and 68 in data[34:header]:
            frame[24:26] = b"\0\0"
        if data[23] == ICMP and data[header] in (3, 5, 11, 12) and data[header + 8] & 15 > 5:
            frame[header + 2 : header + 4] = b"\0\0"
            frame[header + 18 : header + 20] = b"\0\0"
        if data[23] == ICMP and data[header] == 14:
            frame[header + 2 : header + 4] = b"\0\0"
            frame[header + 12 :] = bytes(len(frame) - header - 12)
    elif data[12:14] == b"\x86\xdd" and (bytes(data[22:38]) in OWN or data[22:24] == b"\xfe\x80"):
        frame[15] &= 0xF0
        frame[16:18] = b"\0\0"
    return bytes(frame)


def _clear_option_times(frame: bytearray, at: int, end: int) -> None:
    while at < end and frame[at] != 0:
        if frame[at] == 1:
            at += 1
            continue
        length = frame[at + 1]
        if length < 2:
            return
        if frame[at] == 68:
            flag = frame[at + 3] & 15
            step, skip = (4, 0) if flag == 0 else (8, 4)
            for entry in range(at + 4, at + length - step + 1, step):
                frame[entry + skip : entry + skip + 4] = b"\0\0\0\0"
        at += length


# Builders


def ping(src: str = NEAR, dst: str = HOST, data: bytes = b"abcdefgh", **fields: object) -> bytes:
    return ip4(src, dst, ICMP, icmp(8, 0, 0x0001_0002, data), **fields)  # type: ignore[arg-type]


def datagram(src: str = NEAR, dst: str = HOST, size: int = 5, **fields: object) -> bytes:
    return ip4(src, dst, UDP, udp(src, dst, 1000, 2000, bytes(size)), **fields)  # type: ignore[arg-type]


def ping6(src: str = NEAR6, dst: str = HOST6, ext: bytes = b"", first: int = ICMPV6, **fields: object) -> bytes:
    return ip6(src, dst, first, ext + icmp6(src, dst, 128, 0, 0x0001_0002, bytes(8)), **fields)  # type: ignore[arg-type]


def datagram6(src: str = NEAR6, dst: str = HOST6, size: int = 5, **fields: object) -> bytes:
    return ip6(src, dst, UDP, udp(src, dst, 1000, 2000, bytes(size)), **fields)  # type: ignore[arg-type]


def one(name: str, packet: bytes, device: int = 0, dst: int | None = None, wait_s: float = 0.0) -> Probe:
    return Probe(name, [ethernet(packet, device, dst)], wait_s)


BYTES72 = bytes(range(72))
Pieces = list[tuple[int, int, int]]
_ident = iter(range(100, 60_000))


def pieces(
    name: str, cuts: Pieces, body: bytes = BYTES72, protocol: int = 200, dst: str = HOST, wait_s: float = 0.0,
    tos: tuple[int, ...] = (), word: tuple[int, ...] = (), options: bytes = b"",
) -> Probe:  # fmt: skip
    """Fragments of an IPv4 packet: from, to, and whether more follow. Protocol 200 brings an error that quotes all."""
    ident = next(_ident)
    frames = []
    for number, (start, end, more) in enumerate(cuts):
        flags = (MORE if more else 0) | start // 8 | (word[number] if word else 0)
        frames.append(
            ethernet(
                ip4(
                    NEAR, dst, protocol, body[start:end], ident=ident, word=flags, options=options,
                    tos=tos[number] if tos else 0,
                )
            )
        )  # fmt: skip
    return Probe(name, frames, wait_s)


def pieces6(
    name: str, cuts: Pieces, body: bytes = BYTES72, protocol: int = 200, wait_s: float = 0.0, ext: bytes = b"",
    tos: tuple[int, ...] = (),
) -> Probe:  # fmt: skip
    ident = next(_ident)
    frames = []
    for number, (start, end, more) in enumerate(cuts):
        payload = ext + fragment_header(protocol, start, bool(more), ident) + body[start:end]
        frames.append(
            ethernet(ip6(NEAR6, HOST6, 0 if ext else 44, payload, tos=tos[number] if tos else 0))
        )  # fmt: skip
    return Probe(name, frames, wait_s)


def together(name: str, wait_s: float, *probes: Probe) -> Probe:
    """Several probes at once, which wait for the same time."""
    return Probe(name, [frame for probe in probes for frame in probe.frames], wait_s, any_order=True)


def options_header(following: int, options: bytes) -> bytes:
    """IPv6's hop-by-hop or destination options, padded."""
    room = -(2 + len(options)) % 8
    padding = b"" if room == 0 else b"\0" if room == 1 else bytes([1, room - 2]) + bytes(room - 2)
    return bytes([following, (2 + len(options) + room) // 8 - 1]) + options + padding


def routing_header(following: int, kind: int, left: int) -> bytes:
    return bytes([following, 2, kind, left, 0, 0, 0, 0]) + packed(FAR6)


RECORD: Final = bytes([7, 15, 4]) + bytes(13)
FREE: Final = ["sysctl -w net.ipv4.icmp_ratelimit=0", "sysctl -w net.ipv6.icmp.ratelimit=0"]
# Neighbours that do not answer are asked again each 300 ms.
SOON: Final = [
    f"sysctl -w net.{ip}.neigh.{device}.retrans_time_ms=300" for ip in ("ipv4", "ipv6") for device in ("eth0", "eth1")
]
ROUTER: Final = [*FREE, "sysctl -w net.ipv4.ip_forward=1"]


def stamp(pointer: int, flag: int, *entries: bytes) -> bytes:
    body = b"".join(entries)
    return bytes([68, 4 + len(body), pointer, flag]) + body


def source_route(kind: int, pointer: int, *hops: str) -> bytes:
    body = b"".join(packed(hop) for hop in hops)
    return bytes([kind, 3 + len(body), pointer]) + body + b"\0"


STRANGER_MAC: Final = 0x0200_0000_0A55


def arp(kind: int, sender: str, target: str, device: int = 0, dst: int = BROADCAST, **fields: int) -> Sent:
    """A frame of ARP from a host that has STRANGER_MAC."""
    body = struct.pack("!HHBBH", fields.get("hardware", 1), fields.get("protocol", 0x0800), 6, 4, kind)
    body += STRANGER_MAC.to_bytes(6, "big") + packed(sender) + fields.get("mac", 0).to_bytes(6, "big") + packed(target)
    return device, dst.to_bytes(6, "big") + STRANGER_MAC.to_bytes(6, "big") + b"\x08\x06" + body


def from_stranger(sent: Sent) -> Sent:
    device, data = sent
    return device, data[:6] + STRANGER_MAC.to_bytes(6, "big") + data[12:]


def asks(name: str, *frames: Sent, wait_s: float = 0.0) -> Probe:
    return Probe(name, [from_stranger(frame) for frame in frames], wait_s)


LINK_OPTION: Final = bytes([1, 1]) + STRANGER_MAC.to_bytes(6, "big")
TARGET_OPTION: Final = bytes([2, 1]) + STRANGER_MAC.to_bytes(6, "big")


def solicitation(src: str, dst: str, target: str, options: bytes = LINK_OPTION, hops: int = 255) -> Sent:
    """A question of neighbour discovery."""
    body = icmp6(src, dst, 135, 0, 0, packed(target) + options)
    group = packed(dst)
    mac = 0x3333_0000_0000 | int.from_bytes(group[12:], "big") if group[0] == 0xFF else None
    return ethernet(ip6(src, dst, ICMPV6, body, hops=hops), 0, mac)


def advertisement(src: str, dst: str, target: str, flags: int, options: bytes = TARGET_OPTION) -> Sent:
    return ethernet(ip6(src, dst, ICMPV6, icmp6(src, dst, 136, 0, flags, packed(target) + options), hops=255))


def igmp(kind: int, code: int, group: str, more: bytes = b"", dst: str = "224.0.0.1", src: str = NEAR) -> Sent:
    bare = bytes([kind, code, 0, 0]) + packed(group) + more
    body = bare[:2] + struct.pack("!H", checksum(bare)) + bare[4:]
    mac = 0x0100_5E00_0000 | int.from_bytes(packed(dst), "big") & 0x7F_FFFF
    return ethernet(ip4(src, dst, 2, body, ttl=1, options=b"\x94\x04\0\0"), 0, mac)


def mld_query(delay_ms: int, group: str, more: bytes = b"", dst: str = "ff02::1") -> Sent:
    body = icmp6(LINK_LOCAL6, dst, 130, 0, delay_ms << 16, packed(group) + more)
    alert = bytes([ICMPV6, 0, 5, 2, 0, 0, 1, 0])
    mac = 0x3333_0000_0000 | int.from_bytes(packed(dst)[12:], "big")
    return ethernet(ip6(LINK_LOCAL6, dst, 0, alert + body, hops=1), 0, mac)


def router_says(
    lifetime_s: int, options: bytes = b"", src: str = LINK_LOCAL6, hops: int = 255, limit: int = 33, flags: int = 0
) -> Sent:
    """A router's advertisement (RFC 4861, 4.2), to all nodes."""
    body = icmp6(src, "ff02::1", 134, 0, limit << 24 | flags << 16 | lifetime_s, bytes(8) + options)
    return ethernet(ip6(src, "ff02::1", ICMPV6, body, hops=hops), 0, ALL_NODES)


def prefix(network: str, valid_s: int, preferred_s: int, flags: int = 0xC0, length: int = 64) -> bytes:
    """The option that tells a prefix: on the link and for addresses, if `flags` are as here."""
    return struct.pack("!BBBBIII", 3, 4, length, flags, valid_s, preferred_s, 0) + packed(network)


STRANGER6: Final = "2001:db8:99::1"


def redirect6(src: str, target: str, dst: str, *, hops: int = 255, options: bytes = b"") -> Sent:
    """A redirect (RFC 4861, 4.5) to the host, of its echo reply to `dst`."""
    body = icmp6(src, HOST6, 137, 0, 0, packed(target) + packed(dst) + options)
    return ethernet(ip6(src, HOST6, ICMPV6, body, hops=hops))


SOLICITED: Final = "ff02::1:ff00:1"  # of the host's address on eth0

BIG = bytes(1000)
# What the host has sent, by which a redirect is believed.
REPLY = ip4(HOST, "30.0.0.1", ICMP, icmp(0, 0, 0x0001_0002, b"abcdefgh"))

# Fragments that lie in all ways to one another.
CUTS: Final[list[tuple[str, Pieces]]] = [
    ("in order", [(0, 32, 1), (32, 72, 0)]),
    ("reverse", [(32, 72, 0), (0, 32, 1)]),
    ("three, the last first", [(40, 72, 0), (0, 24, 1), (24, 40, 1)]),
    ("a duplicate", [(0, 32, 1), (0, 32, 1), (32, 72, 0)]),
    ("a duplicate of the second", [(0, 32, 1), (32, 64, 1), (32, 64, 1), (64, 72, 0)]),
    ("a piece within another", [(0, 32, 1), (8, 24, 1), (32, 72, 0)]),
    ("a piece within two others", [(0, 32, 1), (32, 64, 1), (16, 48, 1), (64, 72, 0)]),
    ("an overlap", [(0, 32, 1), (24, 48, 1), (48, 72, 0)]),
    ("an overlap with the next", [(32, 72, 0), (24, 40, 1), (0, 32, 1)]),
    ("all again after an overlap", [(0, 32, 1), (24, 48, 1), (0, 32, 1), (32, 72, 0)]),
    ("a piece around another", [(8, 24, 1), (0, 32, 1), (32, 72, 0)]),
    ("beyond the end", [(32, 64, 0), (64, 72, 1), (0, 32, 1)]),
    ("two ends, the second before", [(32, 72, 0), (32, 64, 0), (0, 32, 1)]),
    ("two ends, the second behind", [(32, 64, 0), (32, 72, 0), (0, 32, 1)]),
    ("an end before what is there", [(40, 72, 1), (32, 40, 0), (0, 32, 1)]),
    ("the same end twice", [(32, 72, 0), (32, 72, 0), (0, 32, 1)]),
    ("an empty piece", [(0, 32, 1), (32, 32, 1), (32, 72, 0)]),
    ("an empty end", [(0, 72, 1), (72, 72, 0)]),
    ("an empty first piece", [(0, 0, 1), (0, 32, 1), (32, 72, 0)]),
    ("only the first", [(0, 72, 1)]),
]

GROUPS: Final = [
    Group(
        "echo and errors", ROUTER,
        [
            one("echo", ping()),
            one("echo with TOS and DF", ping(tos=0x1C, word=0x4000)),
            one("echo with code 5", ip4(NEAR, HOST, ICMP, icmp(8, 5, 1, b"xx"))),
            one("echo to the other address", ping(dst="10.1.0.1")),
            one("echo whose checksum is wrong", ip4(NEAR, HOST, ICMP, icmp(8, 0, 1, b"xx")[:-1] + b"y")),
            one("echo whose TTL is 0", ping(ttl=0)),
            one("echo by a broadcast frame", ping(), dst=BROADCAST),
            one("timestamp", ip4(NEAR, HOST, ICMP, icmp(13, 0, 0x0001_0002, b"\0\0\0\7" + bytes(8)))),
            one("timestamp of 4 bytes", ip4(NEAR, HOST, ICMP, icmp(13, 0, 0x0001_0002, b"\0\0\0\7"))),
            one("address mask", ip4(NEAR, HOST, ICMP, icmp(17, 0, 0, bytes(4)))),
            one("information request", ip4(NEAR, HOST, ICMP, icmp(15, 0, 0))),
            one("router solicitation", ip4(NEAR, HOST, ICMP, icmp(10, 0, 0))),
            one("source quench", ip4(NEAR, HOST, ICMP, icmp(4, 0, 0, datagram(HOST, NEAR)))),
            one("type 40", ip4(NEAR, HOST, ICMP, icmp(40, 0, 0))),
            one("type 200", ip4(NEAR, HOST, ICMP, icmp(200, 0, 0))),
            one("extended echo", ip4(NEAR, HOST, ICMP, icmp(42, 0, 0))),
            one("an ICMP header of 4 bytes", ip4(NEAR, HOST, ICMP, b"\x08\0\xf7\xff")),
            one("a closed port", datagram()),
            one("a closed port of the other address", datagram(dst="10.1.0.1")),
            one("a closed port, with much data", datagram(size=1200)),
            one("a protocol that nobody has", ip4(NEAR, HOST, 200, b"hello")),
            one("ICMPv6's number", ip4(NEAR, HOST, ICMPV6, icmp6(NEAR6, HOST6, 128, 0, 1))),
            one("a closed port by broadcast", datagram(dst="10.0.0.255")),
            one("echo by broadcast", ping(dst="10.0.0.255")),
            one("echo to everybody", ping(dst="255.255.255.255"), dst=BROADCAST),
            one("echo to 224.0.0.1", ping(dst="224.0.0.1"), dst=0x0100_5E00_0001),
            one("a closed port by a broadcast frame", datagram(), dst=BROADCAST),
            one("trailing bytes", ping() + b"zzzz"),
            one("a total length beyond the frame", ip4(NEAR, HOST, ICMP, icmp(8, 0, 1, b"x"), total=99)),
        ],
    ),
    Group(
        "echoes to groups and switched off", [*FREE, "sysctl -w net.ipv4.icmp_echo_ignore_broadcasts=0"],
        [
            one("echo by broadcast", ping(dst="10.0.0.255")),
            one("timestamp by broadcast", ip4(NEAR, "10.0.0.255", ICMP, icmp(13, 0, 1, bytes(12)))),
            one("echo to 224.0.0.1", ping(dst="224.0.0.1"), dst=0x0100_5E00_0001),
        ],
    ),
    Group("no echoes", ["sysctl -w net.ipv4.icmp_echo_ignore_all=1"], [one("echo", ping()), one("a port", datagram())]),
    Group(
        "how often", [],
        [
            Probe("ten closed ports: six answers", [ethernet(datagram()) for _ in range(10)]),
            one("no other at once", datagram()),
            Probe("another peer", [ethernet(datagram(src=OTHER)) for _ in range(10)]),
            Probe("echoes are not limited", [ethernet(ping()) for _ in range(10)]),
        ],
    ),
    Group(
        "martians", ROUTER,
        [
            one("own source", datagram(src=HOST)),
            one("source 127.0.0.1", datagram(src="127.0.0.1")),
            one("destination 127.0.0.1", datagram(dst="127.0.0.1")),
            one("source 224.1.1.1", datagram(src="224.1.1.1")),
            one("source 255.255.255.255", datagram(src="255.255.255.255")),
            one("source 0.0.0.0", datagram(src="0.0.0.0")),
            one("source 240.0.0.1", datagram(src="240.0.0.1")),
            one("destination 0.0.0.0", datagram(dst="0.0.0.0")),
            one("destination 0.1.1.1", datagram(dst="0.1.1.1")),
            one("destination 240.0.0.1", datagram(dst="240.0.0.1")),
            one("a source without a route", ping(src="99.0.0.1")),
            one("a source of another device", ping(src="10.1.0.2")),
        ],
    ),
    *(
        Group(
            f"rp_filter {value}", [*ROUTER, f"sysctl -w net.ipv4.conf.all.rp_filter={value}"],
            [
                one("a source of this device", ping()),
                one("a source of another device", ping(src="10.1.0.2")),
                one("a source without a route", ping(src="99.0.0.1")),
                one("passing, a source of another device", datagram(src="10.1.0.3", dst=FAR)),
            ],
        )
        for value in (1, 2)
    ),
    Group(
        "forwarding",
        [
            *ROUTER, "ip route add unreachable 20.0.1.0/24", "ip route add prohibit 20.0.2.0/24",
            "ip route add blackhole 20.0.3.0/24", "ip route add throw 20.0.4.0/24",
        ],
        [
            one("through", datagram(dst=FAR, ttl=2)),
            one("the last TTL", datagram(dst=FAR, ttl=1)),
            one("an echo's last TTL", ping(dst=FAR, ttl=1)),
            one("an error's last TTL", ip4(NEAR, FAR, ICMP, icmp(3, 1, 0, datagram(FAR, NEAR)), ttl=1)),
            one("a first fragment's last TTL", ip4(NEAR, FAR, 200, bytes(16), ttl=1, word=MORE)),
            one("a later fragment's last TTL", ip4(NEAR, FAR, 200, bytes(16), ttl=1, word=4)),
            one("no route", datagram(dst="11.0.0.1")),
            one("no route, and the last TTL", datagram(dst="11.0.0.1", ttl=1)),
            *(
                one(f"a route of type {kind}", datagram(dst=f"20.0.{number}.1"))
                for number, kind in enumerate(("unreachable", "prohibit", "blackhole", "throw"), 1)
            ),
            one("a group", datagram(dst="224.1.2.3")),
            one("by a broadcast frame", datagram(dst=FAR), dst=BROADCAST),
            one("to another hardware address", datagram(dst=FAR), dst=0x0200_0000_0777),
            one("the far network's broadcast", datagram(dst="10.1.0.255")),
        ],
    ),
    Group(
        "the last TTL of ICMP", ROUTER,
        [
            one(f"type {kind}", ip4(NEAR, FAR, ICMP, icmp(kind, 0, 0, datagram(FAR, NEAR)), ttl=1))
            for kind in (*range(20), 40, 42, 43, 200)
        ],
    ),
    Group(
        "the last hop of ICMPv6", [*ROUTER, "sysctl -w net.ipv6.conf.all.forwarding=1"],
        [
            one(
                f"type {kind}",
                ip6(NEAR6, FAR6, ICMPV6, icmp6(NEAR6, FAR6, kind, 0, 0, datagram6(FAR6, NEAR6)), hops=1),
            )
            for kind in (0, 1, 2, 3, 4, 5, 100, 127, 128, 129, 130, 133, 134, 135, 136, 137, 143, 200)
        ],
        six=True,
    ),
    Group(
        "no way, the limit of which is another",
        [
            "sysctl -w net.ipv4.ip_forward=1", "ip route add unreachable 20.0.1.0/24",
            "ip route add prohibit 20.0.2.0/24",
        ],
        [
            one("no route", datagram(dst="11.0.0.1")),
            one("unreachable, to another peer", datagram(src=OTHER, dst="20.0.1.1")),
            one("prohibited, to a third", datagram(src="10.0.0.254", dst="20.0.2.1")),
            Probe("ten without a route", [ethernet(datagram(dst="11.0.0.1")) for _ in range(10)]),
        ],
    ),
    Group("no router", FREE, [one("through", datagram(dst=FAR)), one("the last TTL", datagram(dst=FAR, ttl=1))]),
    Group(
        "broadcasts passed on",
        [*ROUTER, "sysctl -w net.ipv4.conf.all.bc_forwarding=1", "sysctl -w net.ipv4.conf.eth0.bc_forwarding=1"],
        [one("the far network's broadcast", datagram(dst="10.1.0.255"))],
    ),
    Group(
        "the address of errors", [*ROUTER, "sysctl -w net.ipv4.icmp_errors_use_inbound_ifaddr=1"],
        [one("a port", datagram(src=FAR)), one("the last TTL, from afar", datagram(src=FAR, dst="10.0.0.3", ttl=1))],
    ),
    Group(
        "MTU", [*ROUTER, "ip link set eth1 mtu 600"],
        [
            one("too big, with DF", datagram(dst=FAR, size=1000, word=0x4000)),
            one("too big, without", datagram(dst=FAR, size=1000)),
            one("just fits", datagram(dst=FAR, size=572, word=0x4000)),
            one(
                "too big, with options that are copied and not",
                datagram(dst=FAR, size=1000, options=bytes([7, 7, 4, 0, 0, 0, 0, 1, 0x94, 4, 0, 0])),
            ),
            one("a fragment that is too big", ip4(NEAR, FAR, 200, bytes(1200), ident=77, word=MORE | 10)),
            one("a last fragment that is too big", ip4(NEAR, FAR, 200, bytes(1203), ident=78, word=10)),
            one("from the host itself", ping(src=FAR, data=BIG), device=1),
        ],
    ),
    Group(
        "MTU of a route", [*ROUTER, "ip route add 10.1.0.2/32 dev eth1 mtu 700"],
        [one("too big, with DF", datagram(dst=FAR, size=1000, word=0x4000))],
    ),
    Group(
        "learned MTU", FREE,
        [
            one("a large echo", ping(data=BIG)),
            one(
                "a router says 600",
                ip4(OTHER, HOST, ICMP, icmp(3, 4, 600, ip4(HOST, NEAR, ICMP, icmp(0, 0, 1, BIG))[:76])),
            ),
            one("a large echo again", ping(data=BIG)),
        ],
    ),
    Group(
        "redirects told", [*ROUTER, "ip route add 30.0.0.0/8 via 10.0.0.3"],
        [
            one("by a gateway beside it", datagram(dst="30.0.0.1")),
            one("at once again", datagram(dst="30.0.0.1")),
            one("to the gateway itself", datagram(src=OTHER, dst="30.0.0.1")),
            one("to one who is no neighbour", datagram(src="99.0.0.1", dst="30.0.0.1")),
            one("with options", datagram(src="10.0.0.254", dst="30.0.0.1", options=bytes([7, 7, 4, 0, 0, 0, 0, 1]))),
            one("the last TTL", datagram(src="10.0.0.254", dst="30.0.0.1", ttl=1)),
        ],
    ),
    Group(
        "redirects told of a neighbour", ROUTER,
        [one("the destination is one", datagram(dst=OTHER))],
    ),
    Group(
        "no redirects told",
        [
            *ROUTER, "ip route add 30.0.0.0/8 via 10.0.0.3", "sysctl -w net.ipv4.conf.all.send_redirects=0",
            "sysctl -w net.ipv4.conf.eth0.send_redirects=0",
        ],
        [one("by a gateway beside it", datagram(dst="30.0.0.1"))],
    ),
    Group(
        "redirects heard", [*FREE, "ip route add 30.0.0.0/8 via 10.0.0.3", "ip neigh replace 10.0.0.77 lladdr "
                            "02:00:00:00:00:77 dev eth0 nud permanent"],
        [
            one("an answer by the gateway", ping(src="30.0.0.1")),
            one(
                "not from the gateway",
                ip4(NEAR, HOST, ICMP, icmp(5, 1, int.from_bytes(packed("10.0.0.77"), "big"), REPLY)),
            ),
            one("an answer by the gateway still", ping(src="30.0.0.1")),
            one(
                "from the gateway",
                ip4(OTHER, HOST, ICMP, icmp(5, 1, int.from_bytes(packed("10.0.0.77"), "big"), REPLY)),
            ),
            one("an answer by the other", ping(src="30.0.0.1")),
            one("one to another host as before", ping(src="30.0.0.2")),
        ],
    ),
    Group(
        "options", ROUTER,
        [
            one("record route, echo", ping(options=RECORD)),
            one("record route, through", datagram(dst=FAR, options=RECORD)),
            one("record route, a closed port", datagram(options=RECORD)),
            one("record route, full", datagram(dst=FAR, options=bytes([7, 7, 8, 1, 2, 3, 4, 0]))),
            one("record route, a pointer of 3", datagram(dst=FAR, options=bytes([7, 7, 3, 1, 2, 3, 4, 0]))),
            one("record route, room for 2 bytes", datagram(dst=FAR, options=bytes([7, 7, 6, 1, 2, 3, 4, 0]))),
            one("record route, a length of 2", datagram(options=bytes([7, 2, 0, 0]))),
            one("record route twice", ping(options=bytes([7, 7, 4, 0, 0, 0, 0, 1, 7, 7, 4, 0, 0, 0, 0, 1]))),
            one("times", ping(options=stamp(5, 0, bytes(8)))),
            one("times and addresses", ping(options=stamp(5, 1, bytes(8)))),
            one("times and addresses, through", ping(dst=FAR, options=stamp(5, 1, bytes(8)))),
            one(
                "a time asked of the host",
                ping(options=stamp(5, 3, packed(HOST), bytes(4), packed("9.9.9.9"), bytes(4))),
            ),
            one("a time asked of others", ping(options=stamp(5, 3, packed("9.9.9.9"), bytes(4)))),
            one("times, full", ping(options=stamp(9, 0x10, b"\1\1\1\1"))),
            one("times, overflown", ping(options=stamp(9, 0xF0, b"\1\1\1\1"))),
            one("times, a pointer of 4", ping(options=stamp(4, 0, bytes(4)))),
            one("times, room for 2 bytes", ping(options=stamp(7, 0, bytes(4)))),
            one("loose source route", ping(options=source_route(131, 4, FAR))),
            one("router alert", ping(options=bytes([0x94, 4, 0, 0]))),
            one("router alert, through", ping(dst=FAR, options=bytes([0x94, 4, 0, 0]))),
            one("router alert of 3 bytes", ping(options=bytes([0x94, 3, 0, 0]))),
            one("an unknown option", ping(options=bytes([0x99, 4, 1, 2]))),
            one("an option beyond the header", ping(options=bytes([0x99, 9, 1, 2]))),
            one("one beyond the header after a NOP", ping(options=bytes([1, 0x99, 1, 2]))),
            one("an option of length 0", ping(options=bytes([0x99, 0, 1, 2]))),
            one("a length beyond the options", ping(options=bytes([1, 1, 1, 0x99]))),
            one("security", ping(options=bytes([0x82, 11]) + bytes(10))),
            one("all NOPs", ping(options=bytes([1] * 8))),
        ],
    ),
    Group(
        "source routes",
        [
            *ROUTER, "sysctl -w net.ipv4.conf.all.accept_source_route=1",
            "sysctl -w net.ipv4.conf.eth0.accept_source_route=1",
        ],
        [
            one("loose, one hop more", ping(options=source_route(131, 4, FAR, "10.1.0.3"))),
            one("loose, at its end", ping(options=source_route(131, 8, FAR))),
            one("loose, at its end, a closed port", datagram(options=source_route(131, 12, "10.0.0.254", "10.1.0.3"))),
            one("loose, passing", ping(dst=FAR, options=source_route(131, 4, "10.1.0.3"))),
            one("strict", ping(options=source_route(137, 4, FAR, "10.1.0.3"))),
            one("strict, not addressed to the host", ping(dst=FAR, options=source_route(137, 4, "10.1.0.3"))),
            one("strict, without a route", ping(options=source_route(137, 4, "10.9.0.2"))),
            one("a pointer of 3", ping(options=source_route(131, 3, FAR))),
            one("room for 2 bytes", ping(options=bytes([131, 7, 6, 1, 2, 3, 4, 0]))),
            one("two of them", ping(options=source_route(131, 4, FAR) + source_route(131, 4, FAR))),
        ],
    ),
    Group(
        "fragments", FREE,
        [
            *(pieces(name, cuts) for name, cuts in CUTS),
            pieces("a length that is no multiple of 8", [(0, 30, 1), (24, 72, 0)]),
            pieces("a length that is less than 8", [(0, 7, 1), (0, 32, 1), (32, 72, 0)]),
            pieces("an echo", [(0, 32, 1), (32, 72, 0)], icmp(8, 0, 1, bytes(range(64))), ICMP),
            pieces("a closed port", [(0, 64, 1), (64, 108, 0)], udp(NEAR, HOST, 1000, 2000, bytes(100)), UDP),
            pieces("DF on the first", [(0, 32, 1), (32, 72, 0)], word=(0x4000, 0)),
            pieces("DF on the larger", [(0, 32, 1), (32, 72, 0)], word=(0, 0x4000)),
            pieces("DF on both", [(0, 32, 1), (32, 72, 0)], word=(0x4000, 0x4000)),
            pieces("options on both", [(0, 32, 1), (32, 72, 0)], options=bytes([7, 7, 4, 0, 0, 0, 0, 0])),
            *(
                pieces(f"TOS {first:#x} and {second:#x}", [(0, 8, 1), (8, 16, 0)], tos=(first, second))
                for first, second in ((0, 1), (1, 2), (2, 3), (1, 3), (0, 3), (3, 3), (0x10, 0), (2, 1), (0xB8, 2))
            ),
            Probe(
                "other protocols", [
                    ethernet(ip4(NEAR, HOST, 200, BYTES72[:32], ident=90, word=MORE)),
                    ethernet(ip4(NEAR, HOST, 201, BYTES72[32:], ident=90, word=4)),
                ],
            ),
            Probe(
                "the second by another device", [
                    ethernet(ip4(NEAR, HOST, 204, BYTES72[:32], ident=91, word=MORE)),
                    ethernet(ip4(NEAR, HOST, 204, BYTES72[32:], ident=91, word=4), 1),
                ],
            ),
            Probe(
                "TTL and TOS are the first piece's", [
                    ethernet(ip4(NEAR, HOST, 203, BYTES72[32:], ident=92, word=4, ttl=9, tos=4)),
                    ethernet(ip4(NEAR, HOST, 203, BYTES72[:32], ident=92, word=MORE, ttl=3)),
                ],
            ),
            Probe(
                "as large as can be", [
                    ethernet(
                        ip4(
                            NEAR, HOST, 200, bytes(min(1480, 65_515 - start)), ident=93,
                            word=(MORE if start + 1480 < 65_515 else 0) | start // 8,
                        )
                    )
                    for start in range(0, 65_515, 1480)
                ],
            ),
            Probe(
                "larger than can be", [
                    ethernet(
                        ip4(
                            NEAR, HOST, 200, bytes(min(1480, 65_520 - start)), ident=94,
                            word=(MORE if start + 1480 < 65_520 else 0) | start // 8,
                        )
                    )
                    for start in range(0, 65_520, 1480)
                ],
            ),
        ],
    ),
    Group(
        "fragments that stay alone", [*FREE, "sysctl -w net.ipv4.ipfrag_time=1"],
        [
            together(
                "all of them", 1.5,
                pieces("the first", [(0, 32, 1)]),
                pieces("a later one", [(32, 64, 1)]),
                pieces("the first and the last", [(0, 32, 1), (40, 72, 0)]),
                pieces("an overlap", [(0, 32, 1), (24, 48, 1)]),
                pieces("with options", [(0, 32, 1)], options=bytes([7, 7, 4, 0, 0, 0, 0, 0])),
                pieces("by broadcast", [(0, 32, 1)], dst="10.0.0.255"),
            ),
        ],
    ),
    Group(
        "fragments passing", ROUTER,
        [pieces("are not put together", [(0, 32, 1), (24, 72, 0)], dst=FAR)],
    ),
    Group(
        "many fragments in between", [*FREE, "sysctl -w net.ipv4.ipfrag_max_dist=2"],
        [
            Probe(
                "three of others", [
                    *(ethernet(ip4(NEAR, HOST, 200, BYTES72[:32], ident=5000 + n, word=MORE)) for n in range(4)),
                    ethernet(ip4(NEAR, HOST, 200, BYTES72[32:], ident=5000, word=4)),
                ],
            ),
            Probe(
                "one of others", [
                    *(ethernet(ip4(NEAR, HOST, 200, BYTES72[:32], ident=6000 + n, word=MORE)) for n in range(2)),
                    ethernet(ip4(NEAR, HOST, 200, BYTES72[32:], ident=6000, word=4)),
                ],
            ),
        ],
    ),
    Group(
        "IPv6: echo and errors", [*ROUTER, "sysctl -w net.ipv6.conf.all.forwarding=1"],
        [
            one("echo", ping6()),
            one("echo with traffic class and label", ping6(tos=0x1C, flow=0x12345)),
            one("echo with code 5", ip6(NEAR6, HOST6, ICMPV6, icmp6(NEAR6, HOST6, 128, 5, 0, b"xx"))),
            one("echo to the other address", ping6(dst="2001:db8:1::1")),
            one("echo to all nodes", ping6(dst="ff02::1"), dst=ALL_NODES),
            one("echo from a link-local address", ping6(src=LINK_LOCAL6)),
            one("a closed port", datagram6()),
            one("a closed port, with much data", datagram6(size=1400)),
            one("a closed port by a group", datagram6(dst="ff02::1"), dst=ALL_NODES),
            one("a protocol that nobody has", ip6(NEAR6, HOST6, 200, b"hello")),
            one("no next header", ip6(NEAR6, HOST6, 59, b"hello")),
            one("ICMP's number", ip6(NEAR6, HOST6, ICMP, icmp(8, 0, 1))),
            one("IGMP's number", ip6(NEAR6, HOST6, 2, bytes(8))),
            one(
                "authentication",
                ip6(NEAR6, HOST6, 51, bytes([58, 1]) + bytes(10) + icmp6(NEAR6, HOST6, 128, 0, 1)),
            ),
            one("an unknown informational message", ip6(NEAR6, HOST6, ICMPV6, icmp6(NEAR6, HOST6, 200, 0, 0, b"xx"))),
            one("an unknown error", ip6(NEAR6, HOST6, ICMPV6, icmp6(NEAR6, HOST6, 100, 0, 0, datagram6(HOST6, NEAR6)))),
            one("node information", ip6(NEAR6, HOST6, ICMPV6, icmp6(NEAR6, HOST6, 139, 0, 0, b"xx"))),
            one("a source that is a group", datagram6(src="ff02::1")),
            one("source ::1", datagram6(src="::1")),
            one("destination ::1", datagram6(dst="::1")),
            one("source ::", datagram6(src="::")),
            one("trailing bytes", ping6() + b"zzzz"),
        ],
        six=True,
    ),
    Group(
        "IPv6: forwarding",
        [
            *ROUTER, "sysctl -w net.ipv6.conf.all.forwarding=1", "ip -6 route add unreachable 2001:db8:9:1::/64",
            "ip -6 route add prohibit 2001:db8:9:2::/64", "ip -6 route add blackhole 2001:db8:9:3::/64",
            "ip -6 route add throw 2001:db8:9:4::/64",
        ],
        [
            one("through", datagram6(dst=FAR6, hops=2)),
            one("the last hop", datagram6(dst=FAR6, hops=1)),
            one("no route", datagram6(dst="2001:db9::1")),
            one("no route, and the last hop", datagram6(dst="2001:db9::1", hops=1)),
            *(
                one(f"a route of type {kind}", datagram6(dst=f"2001:db8:9:{number}::1"))
                for number, kind in enumerate(("unreachable", "prohibit", "blackhole", "throw"), 1)
            ),
            one("from a link-local address", datagram6(src=LINK_LOCAL6, dst=FAR6)),
            one("a group", datagram6(dst="ff05::99"), dst=0x3333_0000_0099),
            one("by a frame to all", datagram6(dst=FAR6), dst=ALL_NODES),
        ],
        six=True,
        link_local=True,
    ),
    Group(
        "IPv6: MTU", [*ROUTER, "sysctl -w net.ipv6.conf.all.forwarding=1", "ip link set eth1 mtu 1300"],
        [
            one("too big", datagram6(dst=FAR6, size=1400)),
            one("just fits", datagram6(dst=FAR6, size=1252)),
            one("one more", datagram6(dst=FAR6, size=1253)),
        ],
        six=True,
    ),
    Group(
        "IPv6: options", [*ROUTER, "sysctl -w net.ipv6.conf.all.forwarding=1"],
        [
            one(
                f"{header} {name}{' passing' if dst == FAR6 else ''}",
                ping6(dst=dst, ext=options_header(ICMPV6, options), first=first),
            )
            for name, options in (
                ("padding", b""), ("unknown, to skip", bytes([0x1E, 2, 0, 0])),
                ("unknown, to drop", bytes([0x5E, 2, 0, 0])), ("unknown, to tell", bytes([0x9E, 2, 0, 0])),
                ("unknown, to tell but of groups", bytes([0xDE, 2, 0, 0])), ("router alert", bytes([5, 2, 0, 0])),
                ("a jumbogram", bytes([0xC2, 4, 0, 1, 0, 0])), ("a small jumbogram", bytes([0xC2, 4, 0, 0, 1, 0])),
                ("a jumbogram out of place", bytes([1, 0, 0xC2, 4, 0, 1, 0, 0])),
                ("one beyond the header", bytes([0x1E, 20, 0, 0])),
                ("padding that is not zero", bytes([1, 2, 1, 0])), ("8 bytes of padding", bytes([1, 6]) + bytes(6)),
                ("router alert of 1 byte", bytes([5, 1, 0])), ("9 options", bytes([0x1E, 0]) * 9),
                ("8 options", bytes([0x1E, 0]) * 8),
            )
            for header, first, dst in (("hop by hop", 0, HOST6), ("hop by hop", 0, FAR6), ("destination", 60, HOST6))
        ],
        six=True,
    ),
    Group(
        "IPv6: other headers", [*ROUTER, "sysctl -w net.ipv6.conf.all.forwarding=1"],
        [
            one("hop by hop twice", ping6(ext=options_header(0, b"") + options_header(ICMPV6, b""), first=0)),
            one("hop by hop behind another", ping6(ext=options_header(0, b"") + options_header(ICMPV6, b""), first=60)),
            one("destination twice", ping6(ext=options_header(60, b"") + options_header(ICMPV6, b""), first=60)),
            one(
                "to tell, to a group",
                ping6(dst="ff02::1", ext=options_header(ICMPV6, bytes([0x9E, 2, 0, 0])), first=0), dst=ALL_NODES,
            ),
            one(
                "to tell but of groups, to one",
                ping6(dst="ff02::1", ext=options_header(ICMPV6, bytes([0xDE, 2, 0, 0])), first=0), dst=ALL_NODES,
            ),
            one("hop by hop, cut", ip6(NEAR6, HOST6, 0, bytes([ICMPV6, 3]) + bytes(6))),
            one("hop by hop, 3 bytes", ip6(NEAR6, HOST6, 0, bytes([ICMPV6, 0, 0]))),
            one("destination, cut", ip6(NEAR6, HOST6, 60, bytes([ICMPV6, 3]) + bytes(6))),
            *(
                one(f"routing by type {kind}, {left} left", ping6(ext=routing_header(ICMPV6, kind, left), first=43))
                for kind in (0, 1, 2, 3, 4, 5, 99)
                for left in (0, 1)
            ),
            one("routing by type 0, passing", ping6(dst=FAR6, ext=routing_header(ICMPV6, 0, 1), first=43)),
            one(
                "three headers",
                ping6(ext=options_header(43, b"") + routing_header(60, 99, 0) + options_header(ICMPV6, b""), first=0),
            ),
            one("an unknown protocol behind one", ip6(NEAR6, HOST6, 60, options_header(200, b"") + b"hello")),
        ],
        six=True,
    ),
    Group(
        "IPv6: fragments", FREE,
        [
            *(pieces6(name, cuts) for name, cuts in CUTS),
            pieces6("a length that is no multiple of 8", [(0, 30, 1), (24, 72, 0)]),
            pieces6("an echo", [(0, 32, 1), (32, 72, 0)], icmp6(NEAR6, HOST6, 128, 0, 1, bytes(64)), ICMPV6),
            pieces6("an echo in one", [(0, 72, 0)], icmp6(NEAR6, HOST6, 128, 0, 1, bytes(64)), ICMPV6),
            pieces6("a closed port", [(0, 32, 1), (32, 72, 0)], udp(NEAR6, HOST6, 1000, 2000, bytes(64)), UDP),
            pieces6("with hop-by-hop options", [(0, 32, 1), (32, 72, 0)], ext=options_header(44, b"")),
            pieces6("destination options, cut", [(0, 8, 1), (8, 72, 0)], bytes([ICMPV6, 1]) + bytes(70), 60),
            pieces6("a TCP header, cut", [(0, 8, 1)], protocol=6),
            *(
                pieces6(f"traffic class {first:#x} and {second:#x}", [(0, 8, 1), (8, 16, 0)], tos=(first, second))
                for first, second in ((0, 1), (1, 2), (2, 3))
            ),
            one("beyond all packets", ip6(NEAR6, HOST6, 44, fragment_header(UDP, 65_528, False, 6) + bytes(16))),
            Probe(
                "protocols that differ", [
                    ethernet(ip6(NEAR6, HOST6, 44, fragment_header(200, 0, True, 901) + BYTES72[:32])),
                    ethernet(ip6(NEAR6, HOST6, 44, fragment_header(201, 32, False, 901) + BYTES72[32:])),
                ],
            ),
            Probe(
                "hop limit, class and label are the first piece's", [
                    ethernet(
                        ip6(
                            NEAR6, HOST6, 44, fragment_header(200, 32, False, 900) + BYTES72[32:], hops=3, flow=5,
                            tos=0x20,
                        )
                    ),
                    ethernet(
                        ip6(
                            NEAR6, HOST6, 44, fragment_header(200, 0, True, 900) + BYTES72[:32], hops=7, flow=9,
                            tos=0x40,
                        )
                    ),
                ],
            ),
        ],
        six=True,
    ),
    Group(
        "IPv6: fragments that stay alone", [*FREE, "sysctl -w net.ipv6.ip6frag_time=1"],
        [
            together(
                "all of them", 1.5,
                pieces6("the first", [(0, 32, 1)]),
                pieces6("a later one", [(32, 64, 1)]),
                pieces6("with hop-by-hop options", [(0, 32, 1)], ext=options_header(44, b"")),
            ),
        ],
        six=True,
    ),
    Group(
        "IPv6: redirects told",
        [
            *ROUTER, "sysctl -w net.ipv6.conf.all.forwarding=1", "ip -6 route add 2001:db8:e::/48 via fe80::3 dev eth0",
            "ip -6 route add 2001:db8:f::/48 via 2001:db8::3 dev eth0",
        ],
        [
            one("by a gateway beside it", datagram6(dst="2001:db8:e::1")),
            one("by a gateway with a global address", datagram6(dst="2001:db8:f::1")),
            one("of a neighbour", datagram6(src=OTHER6, dst=NEAR6)),
        ],
        six=True,
        link_local=True,
    ),
    Group(
        "IPv6: redirects heard",
        [
            *FREE, "ip -6 route add 2001:db8:99::/64 via fe80::3 dev eth0",
            "ip -6 neigh replace fe80::77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent",
        ],
        [
            one("an answer by the gateway", ping6(src=STRANGER6)),
            Probe("not from the gateway", [redirect6(LINK_LOCAL6, "fe80::77", STRANGER6)]),
            one("an answer by the gateway still", ping6(src=STRANGER6)),
            Probe("from afar", [redirect6("fe80::3", "fe80::77", STRANGER6, hops=64)]),
            one("an answer by the gateway yet", ping6(src=STRANGER6)),
            Probe("of a target that is no router", [redirect6("fe80::3", OTHER6, STRANGER6)]),
            one("an answer by the gateway as before", ping6(src=STRANGER6)),
            Probe("from the gateway", [redirect6("fe80::3", "fe80::77", STRANGER6)]),
            one("an answer by the other", ping6(src=STRANGER6)),
            one("one to another host as before", ping6(src="2001:db8:99::2")),
        ],
        six=True,
    ),
    Group(
        "IPv6: how often", [],
        [
            Probe("ten closed ports: six answers", [ethernet(datagram6()) for _ in range(10)]),
            Probe("echoes are not limited", [ethernet(ping6()) for _ in range(10)]),
        ],
        six=True,
    ),
    Group(
        "ARP", [*ROUTER, *SOON],
        [
            asks("who has the host", arp(1, "10.0.0.50", HOST)),
            asks("a question to the host alone", arp(1, "10.0.0.50", HOST, dst=MACS[0])),
            asks("who has another", arp(1, "10.0.0.50", "10.0.0.60")),
            asks("who has the other device's address", arp(1, "10.0.0.50", "10.1.0.1")),
            asks("somebody wants the host's address (RFC 5227)", arp(1, "0.0.0.0", HOST)),
            asks("gratuitous", arp(1, "10.0.0.50", "10.0.0.50")),
            asks("gratuitous, as an answer", arp(2, "10.0.0.50", "10.0.0.50")),
            asks("an answer that nobody wanted", arp(2, "10.0.0.52", HOST, dst=MACS[0], mac=MACS[0])),
            asks("one whose network is unknown", arp(1, "99.0.0.1", HOST)),
            asks("of another hardware", arp(1, "10.0.0.50", HOST, hardware=7)),
            asks("of another protocol", arp(1, "10.0.0.50", HOST, protocol=0x86DD)),
            asks("of another kind", arp(8, "10.0.0.50", HOST)),
            Probe("cut", [(0, arp(1, "10.0.0.50", HOST)[1][:30])]),
            asks("who has 127.0.0.1", arp(1, "10.0.0.50", "127.0.0.1")),
            asks("who has a group", arp(1, "10.0.0.50", "224.0.0.1")),
            asks("an echo from a stranger: who has it?", ethernet(ping(src="10.0.0.61"))),
            asks("it answers, and gets its echo", arp(2, "10.0.0.61", HOST, dst=MACS[0], mac=MACS[0])),
            asks("its next echo at once", ethernet(ping(src="10.0.0.61"))),
            asks("a stranger who does not answer", ethernet(ping(src="10.0.0.62")), wait_s=1.2),
            asks("passing to one who does not answer", ethernet(datagram(dst="10.1.0.77")), wait_s=1.2),
        ],
        resolves=True,
    ),
    Group(
        "ARP, answers for the device's own addresses alone", [*ROUTER, "sysctl -w net.ipv4.conf.eth0.arp_ignore=1"],
        [
            asks("who has the host", arp(1, "10.0.0.50", HOST)),
            asks("who has the other device's address", arp(1, "10.0.0.50", "10.1.0.1")),
        ],
        resolves=True,
    ),
    Group(
        "proxy ARP",
        [*ROUTER, "sysctl -w net.ipv4.conf.eth0.proxy_arp=1", "sysctl -w net.ipv4.neigh.eth0.proxy_delay=0"],
        [
            asks("who has one behind the router", arp(1, "10.0.0.50", "10.1.0.2")),
            asks("who has one on the asker's own network", arp(1, "10.0.0.50", "10.0.0.60")),
            asks("who has one without a route", arp(1, "10.0.0.50", "99.0.0.1")),
        ],
        resolves=True,
    ),
    Group(
        "neighbour discovery", [*FREE, *SOON],
        [
            asks("who has the host", solicitation(OTHER6, SOLICITED, HOST6)),
            asks("a question to the host alone", solicitation(OTHER6, HOST6, HOST6)),
            asks("without the asker's address", solicitation(NEAR6, HOST6, HOST6, b"")),
            asks("somebody wants the host's address (RFC 4862)", solicitation("::", SOLICITED, HOST6, b"")),
            asks("that with a link address", solicitation("::", SOLICITED, HOST6)),
            asks("that to the host alone", solicitation("::", HOST6, HOST6, b"")),
            asks("who has another", solicitation(OTHER6, SOLICITED, "2001:db8::77")),
            asks("who has a group", solicitation(OTHER6, SOLICITED, "ff02::1")),
            asks("from afar", solicitation(OTHER6, SOLICITED, HOST6, hops=64)),
            asks("with an option of length 0", solicitation(OTHER6, SOLICITED, HOST6, bytes([1, 0]) + bytes(6))),
            asks(
                "with an unknown option",
                solicitation(OTHER6, SOLICITED, HOST6, LINK_OPTION + bytes([99, 1]) + bytes(6)),
            ),
            asks("an answer that nobody wanted", advertisement("2001:db8::52", HOST6, "2001:db8::52", 0x6000_0000)),
            asks("an echo from a stranger: who has it?", ethernet(ping6(src="2001:db8::61"))),
            asks("it answers, and gets its echo", advertisement("2001:db8::61", HOST6, "2001:db8::61", 0x6000_0000)),
            asks("its next echo at once", ethernet(ping6(src="2001:db8::61"))),
            asks("a stranger who does not answer", ethernet(ping6(src="2001:db8::62")), wait_s=1.2),
            asks(
                "who asks is known thereby",
                solicitation("2001:db8::63", SOLICITED, HOST6), ethernet(ping6(src="2001:db8::63")),
            ),
        ],
        six=True,
        resolves=True,
    ),
    Group(
        "neighbour discovery of a router", [*FREE, *SOON, "sysctl -w net.ipv6.conf.all.forwarding=1"],
        [
            asks("who has the host", solicitation(OTHER6, SOLICITED, HOST6)),
            asks("passing to one who does not answer", ethernet(datagram6(dst="2001:db8:1::77")), wait_s=1.2),
        ],
        six=True,
        link_local=True,
        resolves=True,
    ),
    Group(
        "SLAAC",
        [*FREE, "sysctl -w net.ipv6.conf.eth0.accept_ra=1", "sysctl -w net.ipv6.conf.eth0.dad_transmits=0"],
        [
            one("an echo to nobody yet", ping6(dst=MADE)),
            Probe(
                "a router by its global address", [router_says(1800, prefix("2001:db8:5::", 600, 300), src=NEAR6)], 0.3
            ),
            one("is not believed", ping6(dst=MADE)),
            Probe("one from afar", [router_says(1800, prefix("2001:db8:5::", 600, 300), hops=64)], 0.3),
            one("is not believed either", ping6(dst=MADE)),
            Probe("a router and a prefix", [router_says(1800, prefix("2001:db8:5::", 600, 300))], 1.5),
            one("the host has an address there", ping6(dst=MADE)),
            one("answers have the router's hop limit", ping6()),
            one("and go by the router", ping6(src=STRANGER6)),
            Probe("a prefix of 63 bits", [router_says(1800, prefix("2001:db8:6::", 600, 300, length=63))], 0.3),
            one("makes no address", ping6(dst=MADE_TOO)),
            Probe("preferred longer than valid", [router_says(1800, prefix("2001:db8:6::", 300, 600))], 0.3),
            one("makes none", ping6(dst=MADE_TOO)),
            Probe("not for addresses", [router_says(1800, prefix("2001:db8:6::", 600, 300, flags=0x80))], 0.3),
            one("makes none either", ping6(dst=MADE_TOO)),
            Probe("a prefix that ends at once", [router_says(1800, prefix("2001:db8:5::", 0, 0))], 0.3),
            one("the address stays for two hours", ping6(dst=MADE)),
            Probe("another hop limit", [router_says(1800, limit=44)], 0.3),
            one("which answers have", ping6()),
            Probe("a router no more", [router_says(0)], 0.3),
            one("no way to strangers", ping6(src=STRANGER6)),
        ],
        six=True,
    ),
    Group(
        "IGMP", FREE,
        [
            Probe("a question of version 3", [igmp(0x11, 1, "0.0.0.0", bytes([2, 125, 0, 0]))], 0.5),
            Probe(
                "about the group", [igmp(0x11, 1, "239.1.2.3", bytes([2, 125, 0, 0]), dst="239.1.2.3")], 0.5,
            ),
            Probe("about another", [igmp(0x11, 1, "239.1.2.4", bytes([2, 125, 0, 0]), dst="239.1.2.4")], 0.5),
            Probe("a wrong checksum", [(0, igmp(0x11, 1, "0.0.0.0", bytes([2, 125, 0, 0]))[1][:-1] + b"\1")], 0.5),
            Probe("a question of version 2", [igmp(0x11, 1, "0.0.0.0")], 0.5),
            Probe("of version 3 after that", [igmp(0x11, 1, "0.0.0.0", bytes([2, 125, 0, 0]))], 0.5),
        ],
        resolves=True,
        joins=("239.1.2.3",),
    ),
    Group(
        "MLD", FREE,
        [
            Probe("about the group, version 2", [mld_query(100, "ff05::9", bytes([2, 125, 0, 0]), "ff05::9")], 0.5),
            Probe("about another", [mld_query(100, "ff05::10", bytes([2, 125, 0, 0]), "ff05::10")], 0.5),
            Probe("about the group, version 1", [mld_query(100, "ff05::9", b"", "ff05::9")], 0.5),
        ],
        six=True,
        link_local=True,
        resolves=True,
        joins=("ff05::9",),
    ),
]  # fmt: skip
