"""IPv4's options: what a host and a router do with those of packets that come in, and which of them an answer has.

RFC 791 section 3.1, RFC 1122 section 3.2.1.8, RFC 1812 sections 5.2.4 and 5.3.13. Record route, timestamp, loose and
strict source routes and router alert are understood; others are passed on as they are. The order of checks, and where a
parameter problem points, are Linux' answers. A source route is obeyed where net.ipv4.conf.DEV.accept_source_route says
so; Linux begins with a host that drops such packets.

A packet that passes gets its options changed twice: at the entrance with the address that the host has there (`read`),
and before it leaves with the one that it has there (`leave`).
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.net.ip import Ip
from lunar.packet import Packet

END: Final = 0
NO_OPERATION: Final = 1
RECORD_ROUTE: Final = 7
TIMESTAMP: Final = 68
LOOSE_SOURCE_ROUTE: Final = 131
STRICT_SOURCE_ROUTE: Final = 137
ROUTER_ALERT: Final = 148

# The flag of a timestamp: times alone, with addresses, at the addresses that the sender has put there.
TIMES: Final = 0
TIMES_AND_ADDRESSES: Final = 1
PRESPECIFIED: Final = 3

_HEADER_BYTES: Final = 20
_DAY_MS: Final = 86_400_000


@final
class Options:
    """Where the options of one packet are, as offsets into `data`; -1 for what is not there.

    `problem` is the offset in the packet of what is wrong, -1 if nothing is.
    """

    def __init__(self, data: bytes) -> None:
        self.data: bytearray = bytearray(data)
        self.problem: i64 = -1
        self.record_at: i64 = -1
        self.stamp_at: i64 = -1
        self.source_at: i64 = -1
        self.alert_at: i64 = -1
        self.strict: bool = False
        self.record_filled: bool = False  # an address was put there at the entrance; leaving replaces it
        self.next_hop: int = 0  # of a source route that is obeyed


def read(ip: Ip, data: bytes, here: int, stamps: bool, counts: bool = True) -> Options:
    """Look through options of a packet that came in; `here` is the host's address where it came.

    With `stamps` record route and timestamps get their entries; without `counts` a full timestamp stays as it is.
    """
    options = Options(data)
    view = options.data
    size: i64 = len(view)
    at: i64 = 0
    while at < size:
        kind: i64 = view[at]
        if kind == END:
            # Whatever follows is padding.
            view[at:] = bytes(len(view) - int(at))
            break
        if kind == NO_OPERATION:
            at += 1
            continue
        length: i64 = view[at + 1] if at + 1 < size else 0
        if length < 2 or at + length > size:
            options.problem = _HEADER_BYTES + at
            return options
        problem: i64 = -1
        if kind == RECORD_ROUTE:
            problem = _read_record(options, at, length, here, stamps)
        elif kind == TIMESTAMP:
            problem = _read_stamp(ip, options, at, length, here, stamps, counts)
        elif kind == LOOSE_SOURCE_ROUTE or kind == STRICT_SOURCE_ROUTE:
            problem = _read_source_route(options, at, length, kind)
        elif kind == ROUTER_ALERT:
            if length < 4:
                problem = 1
            elif view[at + 2] == 0 and view[at + 3] == 0:
                options.alert_at = at
        if problem >= 0:
            options.problem = _HEADER_BYTES + at + problem
            return options
        at += length
    return options


def _read_record(options: Options, at: i64, length: i64, here: int, stamps: bool) -> i64:
    """-1, or where in the option the mistake is; as those that follow."""
    view = options.data
    if options.record_at >= 0:
        return 0
    if length < 3:
        return 1
    pointer: i64 = view[at + 2]
    if pointer < 4:
        return 2
    if pointer <= length:
        if pointer + 3 > length:
            return 2
        if stamps:
            _put(view, at + pointer - 1, here)
            view[at + 2] = pointer + 4
            options.record_filled = True
    options.record_at = at
    return -1


def _read_stamp(ip: Ip, options: Options, at: i64, length: i64, here: int, stamps: bool, counts: bool) -> i64:
    view = options.data
    if options.stamp_at >= 0:
        return 0
    if length < 4:
        return 1
    pointer: i64 = view[at + 2]
    if pointer < 5:
        return 2
    flag: i64 = view[at + 3] & 0x0F
    if pointer <= length:
        if pointer + 3 > length or (flag != TIMES and pointer + 7 > length):
            return 2
        if stamps:
            if flag == TIMES:
                _put(view, at + pointer - 1, midnight_ms(ip))
                view[at + 2] = pointer + 4
            elif flag == TIMES_AND_ADDRESSES:
                _put(view, at + pointer - 1, here)
                _put(view, at + pointer + 3, midnight_ms(ip))
                view[at + 2] = pointer + 8
            elif flag == PRESPECIFIED and ip.has_address(_address(view, at + pointer - 1)):
                _put(view, at + pointer + 3, midnight_ms(ip))
                view[at + 2] = pointer + 8
    elif flag != PRESPECIFIED and counts:
        # Full: it counts how many hosts had no room.
        overflow: i64 = view[at + 3] >> 4
        if overflow == 15:
            return 3
        if stamps:
            view[at + 3] = (overflow + 1) << 4 | flag
    options.stamp_at = at
    return -1


def _read_source_route(options: Options, at: i64, length: i64, kind: i64) -> i64:
    if length < 3:
        return 1
    if options.data[at + 2] < 4:
        return 2
    if options.source_at >= 0:
        return 0
    options.source_at = at
    options.strict = kind == STRICT_SOURCE_ROUTE
    return -1


def follow(ip: Ip, packet: Packet, options: Options) -> i64:
    """Obey the source route of a packet that is addressed to this host: `options.next_hop` is where it goes on.

    0, also if the route is at its end; -1 for a packet to drop; else the offset of what is wrong with it.
    """
    view = options.data
    at: i64 = options.source_at
    length: i64 = view[at + 1]
    pointer: i64 = view[at + 2]
    while pointer <= length:
        if pointer + 3 > length:
            return _HEADER_BYTES + at + 2
        next_hop = _address(view, at + pointer - 1)
        if not ip.has_address(next_hop):
            if ip.inet.routes.lookup(next_hop) is None:
                return -1
            options.next_hop = next_hop
            return 0
        # The next hop is the host itself: its entry is done.
        packet.dst = next_hop
        view[at + 2] = pointer + 4
        pointer += 4
    return 0


def leave(packet: Packet, options: Options, source: int) -> None:
    """The packet goes on: `source` is the host's address there, which a route that is recorded gets in place of the one
    at the entrance. A timestamp keeps that one, as Linux' does.
    """
    view = options.data
    if options.record_filled:
        _put(view, options.record_at + view[options.record_at + 2] - 5, source)
    if options.next_hop:
        at: i64 = options.source_at
        pointer: i64 = view[at + 2]
        _put(view, at + pointer - 1, source)
        view[at + 2] = pointer + 4
        packet.dst = options.next_hop
    packet.options = bytes(view)


def answer(ip: Ip, packet: Packet, source: int) -> tuple[bytes, int]:
    """What an answer to `packet` from `source` has for options, and where it goes: back by a source route.

    RFC 1122 (3.2.2.6): record route and timestamps go on filling, a source route is reversed; no others are echoed.
    """
    data = packet.options
    dst = packet.src
    if not data:
        return b"", dst
    options = read(ip, data, 0, False)
    made = bytearray()
    if options.source_at >= 0:
        route, dst = _reversed(options, packet.src)
        made += route
    if options.record_at >= 0:
        made += _piece(options, options.record_at)
    if options.stamp_at >= 0:
        made += _piece(options, options.stamp_at)
    made += bytes(-len(made) % 4)
    if len(made) > 40:
        return b"", packet.src
    # What goes out gets an entry, too, where there is room for one.
    filled = read(ip, bytes(made), source, True, counts=False)
    if filled.problem >= 0:
        return bytes(made), dst
    return bytes(filled.data), dst


def begin(ip: Ip, data: bytes, source: int) -> bytes:
    """The options that a socket wants in a packet from `source`: a record of the route and timestamps begin there."""
    return bytes(read(ip, data, source, True, counts=False).data)


def _reversed(options: Options, sender: int) -> tuple[bytes, int]:
    """A source route to the sender by the way that the packet came, and its first hop."""
    view = options.data
    at: i64 = options.source_at
    last: i64 = min(view[at + 2] - 4, view[at + 1] - 3)
    hops: list[int] = []
    entry: i64 = 4
    while entry <= last:
        hops.insert(0, _address(view, at + entry - 1))
        entry += 4
    if not hops:
        return b"", sender
    first = hops.pop(0)
    hops.append(sender)
    made = bytearray([view[at], 3 + 4 * len(hops), 4])
    for hop in hops:
        made += hop.to_bytes(4, "big")
    return bytes(made), first


def _piece(options: Options, at: i64) -> bytes:
    return bytes(options.data[at : at + options.data[at + 1]])


def _address(view: bytearray, at: i64) -> int:
    return int.from_bytes(view[at : at + 4], "big")


def _put(view: bytearray, at: i64, value: int) -> None:
    view[at : at + 4] = value.to_bytes(4, "big")


def midnight_ms(ip: Ip) -> int:
    """Milliseconds since midnight UT (RFC 792, RFC 791), by the host's wall clock."""
    return int((ip.epoch_ns + ip.scheduler.now_ns) // 1_000_000 % _DAY_MS)
