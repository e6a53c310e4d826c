"""Connection tracking: which connection a packet belongs to, and what a state match reads of it.

`enter` finds or makes the connection when a packet comes in or is sent; `confirm` puts a new one into the table once
its packet has passed all rules, so what is dropped leaves nothing behind. Between the two, nat.py may change what the
answers will look like (`Track.reply`). Packets must be whole: fragments are gathered before (net/fragment.py).

Read conntrack(8) and nf_conntrack-sysctl in the kernel's documentation beside this file. TCP is in conntrack_tcp.py,
the errors of ICMP in conntrack_error.py. No timer runs: a connection whose time is over is not found, and is removed
when the next is made. Left out: helpers (FTP, SIP ...) and with them expected connections, zones, labels; SCTP, DCCP,
UDP-Lite and GRE are told apart by their addresses alone.
"""

from __future__ import annotations

import heapq
from typing import Final, final

from mypy_extensions import i64

from lunar.net.device import Device
from lunar.net.ip import Ip
from lunar.netfilter import conntrack_error, conntrack_tcp, conntrack_tuple
from lunar.netfilter.conntrack_sysctls import ConntrackSysctls
from lunar.netfilter.conntrack_tcp import TcpTrack
from lunar.netfilter.conntrack_tuple import ICMPV6, Tuple
from lunar.packet import ICMP, TCP, UDP, IcmpMessage, Packet, TcpSegment

# The hooks, with Linux' numbers (NF_INET_*).
PRE_ROUTING: Final = 0
LOCAL_IN: Final = 1
FORWARD: Final = 2
LOCAL_OUT: Final = 3
POST_ROUTING: Final = 4

# Packet.ctinfo, with Linux' numbers. From REPLY_INFO on the packet goes the way of the answers.
ESTABLISHED: Final = 0
RELATED: Final = 1
NEW: Final = 2
ESTABLISHED_REPLY: Final = 3
RELATED_REPLY: Final = 4
UNTRACKED: Final = 7
REPLY_INFO: Final = 3

# Track.status, with Linux' numbers (IPS_*).
SEEN_REPLY: Final = 0x002
ASSURED: Final = 0x004  # it is not given up when the table is full
CONFIRMED: Final = 0x008
SRC_NAT: Final = 0x010
DST_NAT: Final = 0x020
SRC_NAT_DONE: Final = 0x080
DST_NAT_DONE: Final = 0x100

_S: Final = 1_000_000_000
# Linux calls UDP a stream when there are answers beyond two seconds after its first packet.
_STREAM_AFTER_NS: Final = 2 * _S
# What lives for less than this anyway is left to it when there is doubt about a connection.
_SHORTENED_FROM_S: Final = 120
# How many connections are looked at for one to give up when the table is full; Linux looks into eight of its buckets.
_EARLY_DROP_LOOKS: Final = 8
# Neighbour discovery and multicast listeners (RFC 4861, RFC 2710, RFC 3810), which are no connections.
_NOT_TRACKED_6: Final = (130, 131, 132, 133, 134, 135, 136, 137, 143)


@final
class Track:
    """One connection. `reply` is the tuple of the answers as they come in, before any translation is taken back."""

    def __init__(self, original: Tuple, reply: Tuple) -> None:
        self.original: Tuple = original
        self.reply: Tuple = reply
        self.status: i64 = 0
        self.mark: i64 = 0
        self.timeout_s: i64 = 0
        self.expires_ns: i64 = 0
        self.dead: bool = False  # no longer in the table
        self.tcp: TcpTrack | None = None
        self.made_ns: i64 = 0
        # With nf_conntrack_acct.
        self.original_packets: i64 = 0
        self.original_bytes: i64 = 0
        self.reply_packets: i64 = 0
        self.reply_bytes: i64 = 0
        self.counted: bool = False
        self.stamped: bool = False  # with nf_conntrack_timestamp
        # The device whose address MASQUERADE gave it; it ends with it.
        self.masquerade: Device | None = None
        self.number: i64 = 0  # in the order of their making; 0: it is not confirmed
        self.heap_ns: i64 = 0  # for when the table's heap has it

    def closed(self) -> bool:
        """Whether it is a TCP connection that is over, though it is still remembered."""
        tcp = self.tcp
        if tcp is None:
            return False
        return tcp.state == conntrack_tcp.TIME_WAIT or tcp.state == conntrack_tcp.CLOSE


@final
class Half:
    """An entry of the table: a connection, and which of its tuples led to it."""

    def __init__(self, track: Track, is_reply: bool) -> None:
        self.track: Track = track
        self.is_reply: bool = is_reply


@final
class Statistics:
    """What `conntrack -S` shows."""

    def __init__(self) -> None:
        self.found: i64 = 0
        self.invalid: i64 = 0
        self.insert: i64 = 0
        self.insert_failed: i64 = 0
        self.drop: i64 = 0
        self.early_drop: i64 = 0
        self.error: i64 = 0


@final
class Conntrack:
    """The connections of one host, of both families."""

    def __init__(self, ip: Ip) -> None:
        self.ip: Ip = ip
        self.sysctls: ConntrackSysctls = sysctls_of(ip)
        self.nat: bool = False  # whether there is a nat table to ask
        self.statistics: Statistics = Statistics()
        self._table: dict[tuple[int, int, int, int], Half] = {}
        self._tracks: dict[int, Track] = {}  # by the number of their making, which is the order of listings
        self._made: i64 = 0
        # (when its time may be over, number). What lives longer is put back when it comes up; what was given an
        # earlier end is there twice.
        self._heap: list[tuple[int, int]] = []
        # With NAT: the connections of each source (address, port, protocol), the newest last.
        self._sources: dict[tuple[int, int, int], list[Track]] = {}

    # What the rules call

    def enter(self, packet: Packet, point: i64, came_by: Device | None) -> bool:
        """Set `packet.track` and `packet.ctinfo`. False: there is no room for a new connection, it is to be dropped."""
        if packet.track is not None or packet.ctinfo == UNTRACKED:
            return True
        if isinstance(packet, IcmpMessage):
            if conntrack_error.is_error(packet):
                self._enter_error(packet)
                return True
            if packet.protocol == ICMPV6 and int(packet.type) in _NOT_TRACKED_6:
                packet.ctinfo = UNTRACKED
                return True
        one = conntrack_tuple.of_packet(packet)
        if one is None:
            self.statistics.invalid += 1
            return True
        return self._enter(packet, one)

    def confirm(self, packet: Packet) -> bool:
        """The packet has passed all rules: its connection, if it is new, is one. False: it is to be dropped."""
        track = packet.track
        if not isinstance(track, Track):
            return True
        if track.status & CONFIRMED or packet.ctinfo >= REPLY_INFO:
            return True  # what goes the other way of a new one is an error or a reset about its first packet
        now: i64 = self.ip.scheduler.now_ns
        if self.find(track.original) is not None or self.find(track.reply) is not None:
            # NAT has found nothing by which it would be another.
            self.statistics.insert_failed += 1
            self.statistics.drop += 1
            return False
        self._forget_old(now)
        track.status |= CONFIRMED
        track.expires_ns = now + track.timeout_s * _S
        self._table[track.reply.key] = Half(track, True)
        self._table[track.original.key] = Half(track, False)
        self._made += 1
        track.number = self._made
        self._tracks[int(track.number)] = track
        self._schedule(track)
        if self.nat and track.status & SRC_NAT_DONE:
            self._sources.setdefault(_source_of(track.original), []).append(track)
        return True

    # The table

    def find(self, one: Tuple) -> Half | None:
        """The connection that has `one` as one of its tuples, if its time is not over."""
        half = self._table.get(one.key)
        if half is None:
            return None
        if half.track.expires_ns <= self.ip.scheduler.now_ns:
            self.remove(half.track)
            return None
        return half

    def count(self) -> int:
        """How many connections there are."""
        self._forget_old(self.ip.scheduler.now_ns)
        return len(self._tracks)

    def all(self) -> list[Track]:
        """The connections in the order of their making."""
        self._forget_old(self.ip.scheduler.now_ns)
        return list(self._tracks.values())

    def seconds_left(self, track: Track) -> int:
        """How long it will live without a packet, in whole seconds."""
        return max(0, int((track.expires_ns - self.ip.scheduler.now_ns) // _S))

    def remove(self, track: Track) -> None:
        """Forget a connection; a packet of it is the first of another."""
        if track.number == 0 or track.dead:
            return
        track.dead = True
        del self._tracks[int(track.number)]
        self._table.pop(track.original.key, None)
        self._table.pop(track.reply.key, None)
        source = _source_of(track.original)
        others = self._sources.get(source)
        if others is not None and track in others:
            others.remove(track)
            if not others:
                del self._sources[source]

    def with_source(self, one: Tuple) -> list[Track]:
        """The connections with the source of `one` whose own source was bound by NAT, the newest first."""
        found = self._sources.get(_source_of(one))
        return found[::-1] if found is not None else []

    def flush(self) -> None:
        """Forget all."""
        for track in list(self._tracks.values()):
            self.remove(track)

    def address_lost(self, device: Device, address: int) -> None:
        """What MASQUERADE let go out under an address of `device`, any if it is 0, ends: another may have it soon."""
        for track in list(self._tracks.values()):
            if track.masquerade is device and (address == 0 or track.reply.dst == address):
                self.remove(track)

    def is_reset(self, packet: Packet) -> None:
        """This host itself resets the TCP connection of `packet`."""
        track = packet.track
        if isinstance(track, Track) and track.tcp is not None:
            track.tcp.state = conntrack_tcp.CLOSE
            self.refresh(track, self.sysctls.tcp_timeout_close)

    def refresh(self, track: Track, timeout_s: i64) -> None:
        """Let a connection live for `timeout_s` from now on."""
        track.timeout_s = timeout_s
        if track.status & CONFIRMED and not track.dead:
            track.expires_ns = self.ip.scheduler.now_ns + timeout_s * _S
            if track.expires_ns < track.heap_ns:
                self._schedule(track)

    def _schedule(self, track: Track) -> None:
        number = int(track.number)
        track.heap_ns = track.expires_ns
        if len(self._heap) > 2 * len(self._tracks) + 64:
            # Half of it says nothing any more.
            self._heap = [(int(one.heap_ns), at) for at, one in self._tracks.items() if at != number]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (int(track.heap_ns), number))

    def _forget_old(self, now: i64) -> None:
        heap = self._heap
        while heap and heap[0][0] <= now:
            at, number = heapq.heappop(heap)
            track = self._tracks.get(number)
            if track is None or track.heap_ns != at:
                continue
            if track.expires_ns <= now:
                self.remove(track)
            else:
                self._schedule(track)

    def _has_room(self) -> bool:
        """Whether a connection more may be made; where the table is full one is given up that was never answered."""
        most = self.sysctls.max
        if most == 0 or len(self._tracks) < most:
            return True
        self._forget_old(self.ip.scheduler.now_ns)
        if len(self._tracks) < most:
            return True
        looks: i64 = _EARLY_DROP_LOOKS
        for track in self._tracks.values():
            if not track.status & ASSURED:
                self.remove(track)
                self.statistics.early_drop += 1
                return True
            looks -= 1
            if looks == 0:
                break
        self.statistics.drop += 1
        return False

    # One packet

    def _enter(self, packet: Packet, one: Tuple) -> bool:
        half = self.find(one)
        if half is None:
            answer = conntrack_tuple.inverted(one)
            if answer is None:
                self.statistics.invalid += 1
                return True
            if not self._has_room():
                return False
            return self._begin(packet, Track(one, answer))
        track = half.track
        reply = half.is_reply
        if not self._follows(packet, track, reply):
            return self._enter(packet, one)  # it was forgotten meanwhile: this packet begins another
        return True

    def _begin(self, packet: Packet, track: Track) -> bool:
        sysctls = self.sysctls
        protocol = track.original.protocol
        track.made_ns = self.ip.scheduler.now_ns
        track.counted = sysctls.acct != 0
        track.stamped = sysctls.timestamp != 0
        if protocol == TCP:
            assert isinstance(packet, TcpSegment), "of_packet() gives no tuple else"
            tcp = conntrack_tcp.opens(sysctls, packet)
            if tcp is None:
                self.statistics.invalid += 1
                return True
            track.tcp = tcp
        elif protocol == ICMP or protocol == ICMPV6:
            if not conntrack_tuple.begins(track.original):
                self.statistics.invalid += 1
                return True
        self._follows(packet, track, False)
        return True

    def _follows(self, packet: Packet, track: Track, reply: bool) -> bool:
        """Take a packet of `track`, which gets its state. False: the connection was another, and is forgotten."""
        sysctls = self.sysctls
        protocol = track.original.protocol
        timeout_s: i64 = 0
        refreshes = True
        tcp = track.tcp
        ends = False
        if tcp is not None:
            assert isinstance(packet, TcpSegment), "its tuple says so"
            found = conntrack_tcp.follow(tcp, sysctls, packet, reply, track.status)
            if found == conntrack_tcp.REOPENS:
                self.remove(track)
                return False
            if found == conntrack_tcp.SHORTENS:
                left: i64 = track.expires_ns - self.ip.scheduler.now_ns
                if left > max(sysctls.tcp_timeout_unacknowledged, _SHORTENED_FROM_S) * _S:
                    self.refresh(track, sysctls.tcp_timeout_unacknowledged)
                found = conntrack_tcp.INVALID
            if found == conntrack_tcp.INVALID:
                self.statistics.invalid += 1
                return True
            timeout_s = tcp.timeout_s
            refreshes = found == conntrack_tcp.REFRESHES
            ends = found == conntrack_tcp.ENDS
        elif protocol == UDP:
            timeout_s = sysctls.udp_timeout
            if track.status & SEEN_REPLY and self.ip.scheduler.now_ns > track.made_ns + _STREAM_AFTER_NS:
                timeout_s = sysctls.udp_timeout_stream
                track.status |= ASSURED
        elif protocol == ICMP:
            timeout_s = sysctls.icmp_timeout
        elif protocol == ICMPV6:
            timeout_s = sysctls.icmpv6_timeout
        else:
            timeout_s = sysctls.generic_timeout
        packet.track = track
        seen_reply = track.status & SEEN_REPLY != 0
        if reply:
            packet.ctinfo = ESTABLISHED_REPLY
        else:
            packet.ctinfo = ESTABLISHED if seen_reply else NEW
        if ends:
            self.remove(track)
        elif refreshes:
            if tcp is not None and tcp.state == conntrack_tcp.ESTABLISHED and seen_reply:
                track.status |= ASSURED
            self.refresh(track, timeout_s)
        if track.counted and (refreshes or ends):
            _count(track, packet, reply)  # what only passes by is not counted, as on Linux
        if reply:
            track.status |= SEEN_REPLY
        return True

    def _enter_error(self, packet: IcmpMessage) -> None:
        """An ICMP error belongs to the connection of the packet that it quotes."""
        quoted = conntrack_error.quoted_tuple(packet)
        answer = conntrack_tuple.inverted(quoted) if quoted is not None else None
        half = self.find(answer) if answer is not None else None
        if half is None:
            self.statistics.invalid += 1
            return
        packet.track = half.track
        packet.ctinfo = RELATED_REPLY if half.is_reply else RELATED


def _source_of(one: Tuple) -> tuple[int, int, int]:
    return (one.src, one.sport, one.protocol)


def sysctls_of(ip: Ip) -> ConntrackSysctls:
    """The host's parameters, made when somebody asks for the first time; they may be set before there is a table."""
    found = ip.conntrack_sysctls
    if not isinstance(found, ConntrackSysctls):
        found = ConntrackSysctls()
        ip.conntrack_sysctls = found
    return found


def _count(track: Track, packet: Packet, reply: bool) -> None:
    if reply:
        track.reply_packets += 1
        track.reply_bytes += packet.size_bytes
    else:
        track.original_packets += 1
        track.original_bytes += packet.size_bytes
