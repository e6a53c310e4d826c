"""What travels: frames, and the packets in them, as typed objects.

A packet is its own event on the scheduler's heap: a link puts it there at its arrival time and the scheduler calls
`fire`, which hands it to the port it was sent to. Header fields are attributes in host order; bytes are made only at an
edge (capture, a real link, the test mode), by lunar/wire. An address is an `int` with its family beside it.

A packet is owned by one place at a time: who passes it on does not touch it again, except that TCP keeps the payload.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from weaves.scheduler import Event

# Address families, with Linux' numbers (bits/socket.h), so that they are what programs pass and see.
AF_INET: Final = 2
AF_INET6: Final = 10

# IANA protocol numbers.
ICMP: Final = 1
IGMP: Final = 2
TCP: Final = 6
UDP: Final = 17
ICMPV6: Final = 58

# EtherTypes (IEEE 802).
ETHERTYPE_IPV4: Final = 0x0800
ETHERTYPE_ARP: Final = 0x0806
ETHERTYPE_IPV6: Final = 0x86DD
BROADCAST_MAC: Final = 0xFFFF_FFFF_FFFF
GROUP_BIT: Final = 0x0100_0000_0000  # of a hardware address: it is a group's, or the broadcast
ETHERNET_HEADER_BYTES: Final = 14

ARP_BYTES: Final = 28
IPV4_HEADER_BYTES: Final = 20
IPV6_HEADER_BYTES: Final = 40
UDP_HEADER_BYTES: Final = 8
TCP_HEADER_BYTES: Final = 20
ICMP_HEADER_BYTES: Final = 8

# TCP flags, RFC 9293 section 3.1.
FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
PSH: Final = 0x08
ACK: Final = 0x10
URG: Final = 0x20
ECE: Final = 0x40
CWR: Final = 0x80


class Port:
    """Where a frame can arrive: a host's device, or a switch's port."""

    def arrive(self, frame: Frame) -> None:
        raise NotImplementedError


class Frame(Event):
    """An Ethernet frame. `size_bytes` counts what it carries, without the Ethernet header."""

    def __init__(self, ethertype: i64) -> None:
        super().__init__()
        self.ethertype: i64 = ethertype
        self.eth_src: i64 = 0
        self.eth_dst: i64 = 0
        self.size_bytes: i64 = 0
        self.target: Port | None = None

    def fire(self) -> None:
        target = self.target
        assert target is not None, "a frame without a target was put on the heap"
        target.arrive(self)


@final
class Damaged(Frame):
    """A frame without a good IP header: its bytes behind Ethernet's, in which there is nothing to read.

    It reaches the next device, as a real one does whose frame check sequence was made after the damage, and is counted
    there.
    """

    def __init__(self, ethertype: i64, data: bytes) -> None:
        super().__init__(ethertype)
        self.data: bytes = data
        self.size_bytes = len(data)


@final
class RawFrame(Frame):
    """A frame of which no more is known than its bytes, Ethernet's header included: what comes from outside of a run
    and may go out again as it came. Its addresses and its EtherType are those in the bytes.
    """

    def __init__(self, data: bytes) -> None:
        head: bytes = data[:14]
        if len(head) < 14:
            head = head.ljust(14, b"\0")
        super().__init__(int.from_bytes(head[12:14], "big"))
        self.eth_dst = int.from_bytes(head[:6], "big")
        self.eth_src = int.from_bytes(head[6:12], "big")
        self.data: bytes = data
        self.size_bytes = len(data) - 14 if len(data) > 14 else 0


@final
class ArpMessage(Frame):
    """RFC 826's message, of IPv4 addresses over Ethernet: who asks or answers, and of whom."""

    def __init__(self, operation: i64, sender_mac: i64, sender_ip: int, target_mac: i64, target_ip: int) -> None:
        super().__init__(0x0806)
        self.operation: i64 = operation
        self.sender_mac: i64 = sender_mac
        self.sender_ip: int = sender_ip
        self.target_mac: i64 = target_mac
        self.target_ip: int = target_ip
        self.size_bytes = 28


class Packet(Frame):
    """An IP packet with a payload that this stack does not look into.

    `size_bytes` is IPv4's total length, or IPv6's header and payload. `ttl` is IPv6's hop limit, `tos` its traffic
    class. The fragment offset is in bytes. `options` are IPv4's options or IPv6's extension headers (but the fragment
    header) as on the wire; `protocol` is that of what follows them. `mark`, `track` and `ctinfo` are the host's own and
    never on the wire: what rules have marked it with, the connection to which netfilter's conntrack counts it, and how
    it belongs to it (Linux' enum ip_conntrack_info; 2 is IP_CT_NEW).
    """

    def __init__(self, family: i64, src: int, dst: int, protocol: i64, payload: bytes) -> None:
        super().__init__(0x0800 if family == 2 else 0x86DD)
        self.family: i64 = family
        self.src: int = src
        self.dst: int = dst
        self.protocol: i64 = protocol
        self.payload: bytes = payload
        self.ttl: i64 = 64  # below 0 as long as it is not known (ip_output.hops)
        self.tos: i64 = 0
        self.ident: i64 = 0
        self.dont_fragment: bool = False
        self.more_fragments: bool = False
        self.fragment_offset: i64 = 0
        self.options: bytes = b""
        # Of a packet that netfilter has put together: the size of its largest fragment. It goes on in such pieces.
        self.gathered: i64 = 0
        self.flow_label: i64 = 0
        self.mark: i64 = 0
        self.track: object | None = None
        self.ctinfo: i64 = 2


@final
class TcpSegment(Packet):
    """A TCP segment. An option that is absent is -1 (mss, window_scale) or has its flag False (timestamps)."""

    def __init__(
        self, family: i64, src: int, dst: int, sport: i64, dport: i64, seq: i64, ack: i64, flags: i64, window: i64,
        payload: bytes,
    ) -> None:
        super().__init__(family, src, dst, 6, payload)
        self.sport: i64 = sport
        self.dport: i64 = dport
        self.seq: i64 = seq
        self.ack: i64 = ack
        self.flags: i64 = flags
        self.window: i64 = window  # as on the wire, not scaled
        self.urgent: i64 = 0
        self.mss: i64 = -1
        self.window_scale: i64 = -1
        self.sack_permitted: bool = False
        self.has_timestamps: bool = False
        self.ts_val: i64 = 0
        self.ts_ecr: i64 = 0
        # SACK blocks (left edge, right edge) as on the wire; None when the option is absent.
        self.sack_blocks: list[tuple[int, int]] | None = None
        # For a device with `gso`: the segments that it is to cut this one into have this much payload; in what arrives,
        # those that a device has put together (GRO). 0: it is one.
        self.gso_bytes: i64 = 0
        # RFC 7413's cookie, b"" to ask for one, None when the option is absent. `fast_open_experimental`: it came, or
        # is to go, as the experiment's option, 254 with 0xF989 (section 4.1.1, appendix of the drafts).
        self.fast_open: bytes | None = None
        self.fast_open_experimental: bool = False
        self.md5: bytes | None = None  # RFC 2385's signature of 16 bytes


@final
class UdpDatagram(Packet):
    """A UDP datagram."""

    def __init__(self, family: i64, src: int, dst: int, sport: i64, dport: i64, payload: bytes) -> None:
        super().__init__(family, src, dst, 17, payload)
        self.sport: i64 = sport
        self.dport: i64 = dport
        # Over lo what a program sent at once (UDP_SEGMENT) stays together: it stands for datagrams of so many bytes.
        # 0: it is one.
        self.segment_bytes: i64 = 0
        self.peeked: bool = False  # a socket that peeks onwards has given it (SO_PEEK_OFF)
        self.unchecked: bool = False  # it goes without a checksum (UDP_NO_CHECK6_TX, SO_NO_CHECK)


@final
class IcmpMessage(Packet):
    """An ICMP or ICMPv6 message, by its family.

    `rest` is the header's second word: identifier and sequence of an echo, the MTU of "too big".

    The payload of an error is the offending packet's IP header and the start of its data, as bytes.
    """

    def __init__(self, family: i64, src: int, dst: int, type: i64, code: i64, rest: i64, payload: bytes) -> None:
        super().__init__(family, src, dst, 1 if family == 2 else 58, payload)
        self.type: i64 = type
        self.code: i64 = code
        self.rest: i64 = rest


def tcp_options_bytes(segment: TcpSegment) -> i64:
    """The length in bytes of the segment's options, padded to a multiple of 4 as Linux lays them out."""
    size: i64 = 0
    if segment.mss >= 0:
        size += 4
    if segment.has_timestamps:
        size += 12  # with SACK permitted or two NOPs: both fill the same two bytes
    elif segment.sack_permitted:
        size += 4
    if segment.window_scale >= 0:
        size += 4
    blocks = segment.sack_blocks
    if blocks is not None:
        size += 4 + 8 * len(blocks)
    cookie = segment.fast_open
    if cookie is not None:
        # Kind and length, and of the experiment's two bytes more; padded.
        size += (len(cookie) + (4 if segment.fast_open_experimental else 2) + 3) & ~3
    if segment.md5 is not None:
        size += 20
    return size


def set_tcp_size(segment: TcpSegment) -> None:
    """Set `size_bytes` from the header, the options and the payload."""
    header: i64 = 40 if segment.family == 2 else 60
    if segment.options:
        header += len(segment.options)
    segment.size_bytes = header + tcp_options_bytes(segment) + len(segment.payload)


def relate(message: Packet, offender: Packet) -> None:
    """`message` is about `offender`, an error or a reset: netfilter counts it to the same connection, the other way."""
    track = offender.track
    if track is not None:
        message.track = track
        message.ctinfo = 4 if offender.ctinfo < 3 else 1  # RELATED, of the answers or of what they answer
