"""IPv6's extension headers, RFC 8200 section 4: from a chain on the wire to `Packet.options` and back.

On the wire each header says what follows it, and IPv6's own header says which is first. `Packet.options` has the same
bytes in the same order, but a header's first byte is its own number in place of the next one's: so the list says by
itself what is in it, and `Packet.protocol` is what comes after. That is a rotation; the length is the same.

Here are hop-by-hop options, routing and destination options. A fragment header belongs to fragments, which ipv6.py
makes; one that is about the whole packet (RFC 6946's atomic fragment) stays in the list, where it says nothing. Any
other number (ESP, AH, mobility ...) is a protocol that nobody here speaks. What the options say, lunar/net judges.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

HOP_BY_HOP: Final = 0
ROUTING: Final = 43
FRAGMENT: Final = 44
NO_NEXT_HEADER: Final = 59
DESTINATION: Final = 60

FRAGMENT_HEADER_BYTES: Final = 8


def is_extension(number: i64) -> bool:
    """Whether a header of this number has its length in its second byte, in units of 8 bytes beyond the first."""
    return number == HOP_BY_HOP or number == ROUTING or number == DESTINATION


def length(data: bytes, at: i64, number: i64) -> i64:
    """How long the header at `at` is; -1 when it does not fit into `data`."""
    size: i64 = len(data)
    if at + 8 > size:
        return -1
    units: i64 = data[at + 1]
    own: i64 = 8 if number == FRAGMENT else (units + 1) << 3
    return own if at + own <= size else -1


def headers(options: bytes) -> list[tuple[int, bytes]]:
    """Each header of `Packet.options`: its number, and its bytes, of which the first is that number."""
    found: list[tuple[int, bytes]] = []
    at: i64 = 0
    while at < len(options):
        number: i64 = options[at]
        size: i64 = length(options, at, number)
        assert size > 0, "Packet.options are whole headers"
        found.append((int(number), options[at : at + size]))
        at += size
    return found


def to_wire(options: bytes, protocol: i64) -> bytes:
    """The chain as it goes on the wire before `protocol`. IPv6's own header then says `options[0]`."""
    if not options:
        return b""
    chain = bytearray(options)
    last: i64 = 0
    at: i64 = 0
    while True:
        size: i64 = length(options, at, options[at])
        assert size > 0, "Packet.options are whole headers"
        at += size
        if at >= len(options):
            break
        chain[last] = options[at]
        last = at
    chain[last] = protocol
    return bytes(chain)
