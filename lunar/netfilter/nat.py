"""Address translation: what a connection is changed to is chosen with its first packet, and then done to all of them.

The choice (`bind`) changes the tuple of the answers (Track.reply); what must be done to a packet follows from the two
tuples. Each connection gets a binding for its destination, before it is routed, and one for its source, when it leaves
or is delivered; where no rule wants anything they change nothing, unless that would make it the same as another.

Which port is taken is as Linux does it: the packet's own if it is free, else one of its class (below 512, below 1024,
the rest), found from a random start. Read RFC 4787 and RFC 5382 for the words: mapping is endpoint-independent while
ports are kept, filtering is address and port-dependent. RFC 5508 is about ICMP. The targets of rules are in
target_nat.py, how packets are rewritten in nat_rewrite.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from lunar.netfilter import conntrack_error, conntrack_tuple, nat_rewrite
from lunar.netfilter.conntrack import (
    DST_NAT,
    DST_NAT_DONE,
    ESTABLISHED,
    ESTABLISHED_REPLY,
    LOCAL_OUT,
    POST_ROUTING,
    PRE_ROUTING,
    RELATED,
    RELATED_REPLY,
    REPLY_INFO,
    SRC_NAT,
    SRC_NAT_DONE,
    Conntrack,
    Track,
)
from lunar.netfilter.conntrack_tuple import ICMPV6, Tuple
from lunar.netfilter.rule import (
    ACCEPT,
    DROP,
    MAP_ADDRESS,
    MAP_PORTS,
    OFFSET,
    PERSISTENT,
    RANDOM,
    RANDOM_FULLY,
    Context,
    Range,
)
from lunar.packet import ICMP, TCP, UDP, IcmpMessage, Packet

if TYPE_CHECKING:
    from lunar.netfilter.netfilter import Netfilter

_REDIRECT: Final = 5  # RFC 792
_REDIRECT_6: Final = 137  # RFC 4861

# How many ports are tried in a row, from one random start; then half as many from another, and so on down to so few.
# A range that is nearly used up may therefore be found full though it is not, on Linux too.
_MOST_TRIES: Final = 128
_LEAST_TRIES: Final = 16


def translate(netfilter: Netfilter, packet: Packet, context: Context) -> i64:
    """Let a tracked packet through the translation of this point: destinations at PRE_ROUTING and LOCAL_OUT, sources at
    LOCAL_IN and POST_ROUTING. The verdict is ACCEPT, or DROP where a rule or a connection at its end says so.
    """
    track = packet.track
    conntrack = netfilter.conntrack
    if not isinstance(track, Track) or conntrack is None:
        return ACCEPT
    of_source = not (context.point == PRE_ROUTING or context.point == LOCAL_OUT)
    info: i64 = packet.ctinfo
    if (info == RELATED or info == RELATED_REPLY) and isinstance(packet, IcmpMessage):
        return _translate_error(track, packet, of_source)
    done: i64 = SRC_NAT_DONE if of_source else DST_NAT_DONE
    if not (track.status & done or info == ESTABLISHED or info == ESTABLISHED_REPLY):
        verdict: i64 = netfilter.run_nat_table(packet, context)
        if verdict != ACCEPT:
            return verdict
        if not track.status & done:
            _bind_as_it_is(conntrack, track, of_source)
    elif track.masquerade is not None and context.point == POST_ROUTING and info < REPLY_INFO:
        if track.masquerade is not context.goes_by:
            # The way out has changed, and with it the address that it should have had: the other side knows nothing
            # of a connection from there.
            conntrack.remove(track)
            return DROP
    reply = info >= REPLY_INFO
    # The answers to what had its source changed come to the new source, which is their destination.
    if track.status & (SRC_NAT if of_source != reply else DST_NAT):
        nat_rewrite.change(packet, _wanted(track, reply), of_source)
    return ACCEPT


def bind(conntrack: Conntrack, track: Track, range: Range, of_source: bool) -> i64:
    """Choose the source, or the destination, that a new connection is to have. ACCEPT; what cannot be made unique is
    dropped when it is confirmed.
    """
    now = conntrack_tuple.inverted(track.reply)
    assert now is not None, "the tuple of an answer is one that has been inverted"
    chosen = _unique(conntrack, track, now, range, of_source)
    if chosen.key != now.key:
        answer = conntrack_tuple.inverted(chosen)
        assert answer is not None, "only addresses and ports have changed"
        track.reply = answer
        track.status |= SRC_NAT if of_source else DST_NAT
    track.status |= SRC_NAT_DONE if of_source else DST_NAT_DONE
    return ACCEPT


def _bind_as_it_is(conntrack: Conntrack, track: Track, of_source: bool) -> None:
    # By the answers, and not by the original tuple: the destination may have been bound before.
    own = track.reply.dst if of_source else track.reply.src
    bind(conntrack, track, Range(MAP_ADDRESS, own, own, 0, 0, 0), of_source)


def _wanted(track: Track, reply: bool) -> Tuple:
    """What a packet of this direction looks like when all is translated."""
    wanted = conntrack_tuple.inverted(track.original if reply else track.reply)
    assert wanted is not None, "both tuples have been inverted before"
    return wanted


def _translate_error(track: Track, packet: IcmpMessage, of_source: bool) -> i64:
    """An ICMP error about a translated packet: its own header as a packet of the connection has it, and what it quotes
    as the receiver of the error has sent it.
    """
    reply = packet.ctinfo >= REPLY_INFO
    kind: i64 = packet.type
    if (packet.protocol == ICMP and kind == _REDIRECT) or (packet.protocol == ICMPV6 and kind == _REDIRECT_6):
        # It names a router, which the one behind the translation cannot use.
        if track.status & (SRC_NAT | DST_NAT):
            return DROP
    if not track.status & (SRC_NAT if of_source != reply else DST_NAT):
        return ACCEPT
    found = conntrack_error.quote(packet)
    if found is None:
        return DROP
    nat_rewrite.change_quote(packet, found, track.original if reply else track.reply, not of_source)
    nat_rewrite.change_addresses(packet, _wanted(track, reply), of_source)
    return ACCEPT


# The choice


def _unique(conntrack: Conntrack, track: Track, now: Tuple, range: Range, of_source: bool) -> Tuple:
    flags: i64 = range.flags
    random = flags & (RANDOM | RANDOM_FULLY) != 0
    if of_source and not random:
        if _is_within(now, range):
            if not _is_taken(conntrack, track, now):
                return now
        else:
            known = _same_source(conntrack, now, range)
            if known is not None and not _is_taken(conntrack, track, known):
                return known
    chosen = _with_address(now, range, of_source)
    if not random:
        if flags & MAP_PORTS:
            fits = _port_fits(chosen, range, of_source) and not flags & OFFSET
            if fits and (range.min_port == range.max_port or not _is_taken(conntrack, track, chosen)):
                return chosen
        elif not _is_taken(conntrack, track, chosen):
            return chosen
    return _with_free_port(conntrack, track, chosen, range, of_source)


def _is_taken(conntrack: Conntrack, track: Track, one: Tuple) -> bool:
    """Whether another connection has the answers to `one`."""
    answer = conntrack_tuple.inverted(one)
    if answer is None:
        return False
    half = conntrack.find(answer)
    return half is not None and half.track is not track


def _is_within(one: Tuple, range: Range) -> bool:
    """Whether the source of `one` is one that the range allows."""
    if range.flags & MAP_ADDRESS and not range.min_address <= one.src <= range.max_address:
        return False
    return not range.flags & MAP_PORTS or _port_fits(one, range, True)


def _port_fits(one: Tuple, range: Range, of_source: bool) -> bool:
    protocol = one.protocol
    if protocol == ICMP or protocol == ICMPV6:
        port: i64 = one.sport
    elif protocol == TCP or protocol == UDP:
        port = one.sport if of_source else one.dport
    else:
        return True
    return range.min_port <= port <= range.max_port


def _same_source(conntrack: Conntrack, now: Tuple, range: Range) -> Tuple | None:
    """As a connection that has the same source already: what is behind one address and port keeps one in front."""
    for other in conntrack.with_source(now):
        mapped = other.reply
        mine = Tuple(now.family, now.protocol, mapped.dst, now.dst, _source_port(mapped), now.dport)
        if _is_within(mine, range):
            return mine
    return None


def _source_port(reply: Tuple) -> i64:
    return reply.sport if reply.protocol == ICMP or reply.protocol == ICMPV6 else reply.dport


def _with_address(now: Tuple, range: Range, of_source: bool) -> Tuple:
    """With an address of the range: always the same for the same two hosts; for the same source, if persistent."""
    if not range.flags & MAP_ADDRESS:
        return now
    address = range.min_address
    count = range.max_address - range.min_address + 1
    if count > 1:
        # Linux hashes, so that a source keeps its address and the load is spread. Any hash does; this is FNV-1a's.
        mixed = 2_166_136_261
        for value in (now.src, 0 if range.flags & PERSISTENT else now.dst):
            rest = value
            while True:
                mixed = ((mixed ^ (rest & 0xFFFF)) * 16_777_619) & 0xFFFF_FFFF
                rest >>= 16
                if rest == 0:
                    break
        address += (mixed ^ (mixed >> 15)) % count
    if of_source:
        return Tuple(now.family, now.protocol, address, now.dst, now.sport, now.dport)
    return Tuple(now.family, now.protocol, now.src, address, now.sport, now.dport)


def _with_port(one: Tuple, port: i64, of_source: bool) -> Tuple:
    if of_source or one.protocol == ICMP or one.protocol == ICMPV6:
        return Tuple(one.family, one.protocol, one.src, one.dst, port, one.dport)
    return Tuple(one.family, one.protocol, one.src, one.dst, one.sport, port)


def _with_free_port(conntrack: Conntrack, track: Track, one: Tuple, range: Range, of_source: bool) -> Tuple:
    """With a port, or an ICMP identifier, by which it is unique; as it is when none is found."""
    protocol = one.protocol
    flags: i64 = range.flags
    is_icmp = protocol == ICMP or protocol == ICMPV6
    if not is_icmp and protocol != TCP and protocol != UDP:
        return one
    port: i64 = one.sport if of_source or is_icmp else one.dport
    first: i64 = 0
    size: i64 = 0x10000
    if flags & MAP_PORTS:
        first = min(range.min_port, range.max_port)
        size = max(range.min_port, range.max_port) - first + 1
    elif not is_icmp:
        if not of_source:
            return one  # to change where it goes is not in anybody's mind
        if port < 512:
            first = 1
            size = 511
        elif port < 1024:
            first = 600
            size = 424
        else:
            first = 1024
            size = 0x10000 - 1024
    offset: i64 = 0
    if flags & OFFSET:
        offset = (port - range.base_port) & 0xFFFF
    elif of_source or is_icmp or flags & (RANDOM | RANDOM_FULLY):
        offset = _random(conntrack)
    tries: i64 = min(size, _MOST_TRIES)
    while True:
        at: i64 = 0
        chosen = one
        while at < tries:
            chosen = _with_port(one, first + (offset + at) % size, of_source)
            if not _is_taken(conntrack, track, chosen):
                return chosen
            at += 1
        if tries >= size or tries < _LEAST_TRIES:
            return chosen
        tries >>= 1
        offset = _random(conntrack)


def _random(conntrack: Conntrack) -> i64:
    drawn: int = conntrack.ip.rng.getrandbits(16)
    return drawn
