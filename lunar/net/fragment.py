"""Reassembly, of both families: from the fragments of a packet to the packet. Cutting is in fragmenter.py.

RFC 791 section 3.2, RFC 8200 section 4.5, RFC 815's holes done as Linux does them: what came is kept in order, a piece
that lies wholly within what is there is ignored, and one that overlaps in any other way takes all of them with it (RFC
5722; Linux does so for IPv4 too). A fragment is a plain `Packet`; the whole is typed again by lunar/wire.

`Reassembly` is made with the first fragment of a host. Its bytes are bounded (ipfrag_high_thresh): beyond that new
fragments are dropped. Each packet that is incomplete has one event, which gives it up after ipfrag_time. Packets of
netfilter's conntrack are gathered apart from those for the host's own programs, as on Linux.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.net import icmp
from lunar.net.datagram_sock import QUEUE_OVERHEAD_BYTES
from lunar.net.device import Device
from lunar.net.family import Family
from lunar.net.ip import Ip
from lunar.packet import AF_INET, AF_INET6, ICMPV6, TCP, TCP_HEADER_BYTES, UDP, Packet
from lunar.wire import extension, inet
from lunar.wire.malformed import Malformed
from weaves.scheduler import Event

_S: Final = 1_000_000_000

# Where parameter problems of IPv6 point, and the code of RFC 7112.
_PAYLOAD_LENGTH_AT: Final = 4
_OFFSET_AT: Final = 2  # in the fragment header
_INCOMPLETE_HEADERS: Final = 3
_MAX_BYTES: Final = 65_535  # of an IPv4 packet with its header, of an IPv6 packet's payload

# Whose fragments they are (Linux' ip_defrag_users): those for the host itself, and those for conntrack.
_LOCAL: Final = 0
_GATHERED: Final = 1

# Bits for the ECN code points (RFC 3168, 5.3) that the pieces had.
_NOT_ECT: Final = 1
_ECT_1: Final = 2
_ECT_0: Final = 4
_CE: Final = 8


@final
class Piece:
    """Bytes from `start` to `end` of what was cut."""

    def __init__(self, start: i64, end: i64, data: bytes) -> None:
        self.start: i64 = start
        self.end: i64 = end
        self.data: bytes = data


@final
class Incomplete(Event):
    """A packet of which pieces are missing. As an event it is the end of its time."""

    def __init__(self, reassembly: Reassembly, family: Family, key: tuple[int, int, int, int, int]) -> None:
        super().__init__()
        self.reassembly: Reassembly = reassembly
        self.family: Family = family
        self.key: tuple[int, int, int, int, int] = key
        self.pieces: list[Piece] = []  # in order, without overlap
        self.size: i64 = -1  # of all of it; known when the last piece has come
        self.reached: i64 = 0  # the largest end of a piece
        self.got: i64 = 0
        self.charged: i64 = 0
        self.ecn: i64 = 0
        self.first: Packet | None = None  # the piece at 0, whose header the whole will have
        self.device: Device | None = None  # by which the last one came
        self.largest: i64 = 0  # size of the largest fragment, and of the largest that must not be cut further
        self.largest_df: i64 = 0
        self.seen: i64 = 0  # how many fragments of its source had come when its last did

    def fire(self) -> None:
        self.reassembly.give_up(self)


@final
class Source:
    """How many fragments have come from one address, and for how many packets they are that are incomplete."""

    def __init__(self) -> None:
        self.fragments: i64 = 0
        self.packets: i64 = 0


@final
class Reassembly:
    """The incomplete packets of a host."""

    def __init__(self, ip: Ip) -> None:
        self.ip: Ip = ip
        # (who for, source, destination, identification, protocol) -> the packet. IPv6's has no protocol in it.
        self.packets: dict[tuple[int, int, int, int, int], Incomplete] = {}
        self.sources: dict[int, Source] = {}
        self.charged: i64 = 0  # IPv4's
        self.charged6: i64 = 0

    def add(self, packet: Packet, user: int, device: Device | None) -> Packet | None:
        """Take a fragment. The whole packet when it was the last that was missing, else None."""
        family = self.ip.family(packet.family)
        family.counters.ip_reasm_reqds += 1
        if packet.family == AF_INET6 and not self._is_possible(packet, family):
            return None
        protocol = int(packet.protocol) if packet.family == AF_INET else 0
        key = (user, packet.src, packet.dst, int(packet.ident), protocol)
        held: i64 = self.charged if packet.family == AF_INET else self.charged6
        if held > family.frag_high_thresh or family.frag_high_thresh == 0:
            family.counters.ip_reasm_fails += 1
            return None
        found = self.packets.get(key)
        if found is None:
            found = Incomplete(self, family, key)
            self.packets[key] = found
            self.ip.scheduler.post(found, self.ip.lane, self.ip.scheduler.now_ns + family.frag_time * _S)
            self._count_source(packet.src).packets += 1
        elif self._is_too_far(found, packet):
            # As if it were the first of another packet with the same identification.
            family.counters.ip_reasm_fails += 1
            self._empty(found)
            self.ip.scheduler.cancel(found)
            again = Incomplete(self, family, key)
            self.packets[key] = again
            self.ip.scheduler.post(again, self.ip.lane, self.ip.scheduler.now_ns + family.frag_time * _S)
            found = again
        source = self._count_source(packet.src)
        source.fragments += 1
        found.seen = source.fragments
        verdict: i64 = _place(found, packet, family)
        if verdict == _REFUSED:
            self._end(found)
            family.counters.ip_reasm_fails += 1
            return None
        if verdict == _IGNORED:
            return None
        if verdict == _IMPOSSIBLE:
            family.counters.ip_reasm_fails += 1
            if not found.pieces:
                self._end(found)
            return None
        found.device = device
        charge: i64 = QUEUE_OVERHEAD_BYTES + len(packet.payload)
        found.charged += charge
        self._charge(family, charge)
        if found.got != found.size or found.first is None:
            return None
        self._end(found)
        whole = _joined(found)
        if whole is None:
            family.counters.ip_reasm_fails += 1
            return None
        family.counters.ip_reasm_oks += 1
        return whole

    def _is_possible(self, packet: Packet, family: Family) -> bool:
        """What RFC 8200 (4.5) wants to be told to the sender of an IPv6 fragment: a length that is no multiple of 8, an
        end beyond all packets, a first fragment without all headers (RFC 7112).
        """
        size: i64 = len(packet.payload)
        problem: i64 = -1
        code: i64 = 0
        if packet.more_fragments and size & 7:
            problem = _PAYLOAD_LENGTH_AT
        elif packet.fragment_offset + size > _MAX_BYTES:
            problem = family.header_bytes + len(packet.options) + _OFFSET_AT
        elif packet.fragment_offset == 0 and size < _least(packet):
            problem = 0
            code = _INCOMPLETE_HEADERS
        if problem < 0:
            return True
        family.counters.ip_in_hdr_errors += 1
        icmp.send_message(self.ip, packet, icmp.PARAMETER_PROBLEM6, code, problem)
        return False

    def _count_source(self, src: int) -> Source:
        source = self.sources.get(src)
        if source is None:
            source = Source()
            self.sources[src] = source
        return source

    def _is_too_far(self, found: Incomplete, packet: Packet) -> bool:
        """net.ipv4.ipfrag_max_dist: so many fragments of the same source came in between that the identification has
        probably been used again.
        """
        distance: i64 = self.ip.frag_max_dist
        if distance == 0 or packet.family != AF_INET or not found.pieces:
            return False
        return self._count_source(packet.src).fragments + 1 - found.seen > distance

    def _charge(self, family: Family, charge: i64) -> None:
        if family.number == AF_INET:
            self.charged += charge
        else:
            self.charged6 += charge

    def _empty(self, found: Incomplete) -> None:
        self._charge(found.family, -found.charged)
        found.charged = 0
        found.pieces.clear()

    def _end(self, found: Incomplete) -> None:
        """It is complete, or given up."""
        self.ip.scheduler.cancel(found)
        del self.packets[found.key]
        self._charge(found.family, -found.charged)
        src = found.key[1]
        source = self.sources[src]
        source.packets -= 1
        if source.packets == 0:
            del self.sources[src]

    def give_up(self, found: Incomplete) -> None:
        """The time of a packet is over: what came of it is dropped, and its sender is told if the first piece came."""
        if self.packets.get(found.key) is not found:
            return
        self._end(found)
        counters = found.family.counters
        counters.ip_reasm_timeout += 1
        counters.ip_reasm_fails += 1
        first = found.first
        if first is not None and found.key[0] == _LOCAL:
            icmp.tell_reassembly_failed(self.ip, first)


# What `_place` says of a fragment.
_KEPT: Final = 0
_IGNORED: Final = 1  # all of it was there
_REFUSED: Final = 2  # it contradicts what was there: all of it is dropped
_IMPOSSIBLE: Final = 3  # it is empty


def _least(packet: Packet) -> i64:
    """How much of a first fragment its headers take: extension headers, and the transport's."""
    at: i64 = 0
    number: i64 = packet.protocol
    data = packet.payload
    while extension.is_extension(number):
        length: i64 = extension.length(data, at, number)
        if length < 0:
            return at + 8 + len(data)  # they go on in the next fragment
        number = data[at]
        at += length
    if number == TCP:
        return at + TCP_HEADER_BYTES
    return at + 8 if number == UDP or number == ICMPV6 else at + 1


def _place(found: Incomplete, packet: Packet, family: Family) -> i64:
    """Put a fragment to the others, if it agrees with them."""
    start: i64 = packet.fragment_offset
    data = packet.payload
    end: i64 = start + len(data)
    if packet.more_fragments:
        if end & 7:
            # Linux cuts IPv4's to the multiple of 8 below; for IPv6 it is an error that was seen before.
            end &= ~7
            data = data[: end - start]
        if end > found.reached:
            if found.size >= 0:
                return _REFUSED
            found.reached = end
    else:
        if end < found.reached or (found.size >= 0 and end != found.size):
            return _REFUSED
        found.size = end
        found.reached = end
    if end == start:
        return _REFUSED if found.pieces else _IMPOSSIBLE
    pieces = found.pieces
    at = len(pieces)
    while at > 0 and pieces[at - 1].start > start:
        at -= 1
    if _is_within(pieces, at, start, end):
        return _IGNORED
    if (at > 0 and pieces[at - 1].end > start) or (at < len(pieces) and pieces[at].start < end):
        family.counters.ip_reasm_overlaps += 1
        return _REFUSED
    pieces.insert(at, Piece(start, end, data))
    found.got += end - start
    found.ecn |= _ecn_bit(packet.tos & 3)
    size: i64 = packet.size_bytes
    found.largest = max(found.largest, size)
    if packet.dont_fragment:
        found.largest_df = max(found.largest_df, size)
    if start == 0:
        found.first = packet
    return _KEPT


def _is_within(pieces: list[Piece], at: int, start: i64, end: i64) -> bool:
    """Whether bytes from `start` to `end` are there already, in pieces that follow one another without a hole."""
    if at < len(pieces) and pieces[at].start == start:
        at += 1
    if at == 0 or pieces[at - 1].end <= start:
        return False
    reached: i64 = pieces[at - 1].end
    while reached < end and at < len(pieces) and pieces[at].start == reached:
        reached = pieces[at].end
        at += 1
    return end <= reached


def _ecn_bit(code: i64) -> i64:
    if code == 0:
        return _NOT_ECT
    if code == 1:
        return _ECT_1
    return _ECT_0 if code == 2 else _CE


def _joined(found: Incomplete) -> Packet | None:
    """The whole packet; None when RFC 3168 (5.3) or its size forbids it."""
    first = found.first
    assert first is not None, "nothing is joined before its first piece came"
    if found.ecn & _NOT_ECT and found.ecn != _NOT_ECT:
        return None  # some say that the sender can do ECN, some that it cannot
    body = b"".join([piece.data for piece in found.pieces])
    header: i64 = found.family.header_bytes + len(first.options)
    limit: i64 = _MAX_BYTES if first.family == AF_INET else _MAX_BYTES + found.family.header_bytes
    if header + len(body) > limit:
        return None
    plain = Packet(first.family, first.src, first.dst, first.protocol, body)
    plain.options = first.options
    plain.flow_label = first.flow_label
    plain.ttl = first.ttl
    plain.tos = first.tos | 3 if found.ecn & _CE else first.tos
    plain.ident = first.ident
    plain.size_bytes = header + len(body)
    # The whole must not be cut if its largest piece must not.
    plain.dont_fragment = found.largest_df == found.largest
    typed = inet.decode_payload(plain)
    whole = plain if isinstance(typed, Malformed) else typed
    whole.eth_src = first.eth_src
    whole.eth_dst = first.eth_dst
    whole.target = first.target
    whole.mark = first.mark
    whole.gathered = found.largest
    return whole


def reassemble(ip: Ip, packet: Packet, device: Device) -> Packet | None:
    """A fragment for the host itself: the whole packet if it is complete now."""
    return _reassembly(ip).add(packet, _LOCAL, device)


def gather(ip: Ip, packet: Packet) -> Packet | None:
    """The same for netfilter, which looks at whole packets only: `packet` itself if it is no fragment."""
    if not packet.more_fragments and packet.fragment_offset == 0:
        return packet
    return _reassembly(ip).add(packet, _GATHERED, None)


def _reassembly(ip: Ip) -> Reassembly:
    found = ip.reassembly
    if found is None:
        made = Reassembly(ip)
        ip.reassembly = made
        return made
    assert isinstance(found, Reassembly), "only this file puts something there"
    return found
