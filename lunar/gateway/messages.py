"""What the two halves of a gateway tell each other. Each message is about one *channel*, by its number.

A channel stands for one connection of a virtual host, or for the datagrams of one client. What goes in is bytes,
because it passes a gate: a kind, the number, and what the kind has besides. What comes out is a `Told`.

Both directions have flow control by windows: whoever sends data has WINDOW bytes that the other half has not passed on
yet, and is told (TAKEN) when there is room again.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any, Final, NamedTuple

# Kinds of messages. Both ways:
DATA: Final = 1  # bytes of the stream
END: Final = 2  # no more of them: a FIN
RESET: Final = 3  # the connection is gone: a RST. Also the end of a client's datagrams
TAKEN: Final = 4  # so many bytes were passed on
DATAGRAM: Final = 5
# In:
OPEN: Final = 6  # a connection to a name and port
# Out:
OPENED: Final = 7  # it stands; the value is (address, port) of its own end
FAILED: Final = 8  # it does not; the value is a Failure

# How much may be on its way between the halves for each channel and direction, in bytes. Enough that a virtual link of
# 1 Gbit/s and a slice of the scheduler (20 ms) do not wait for each other, small enough for a thousand of them.
WINDOW: Final = 256 * 1024
# TAKEN is told when that much has gathered, so that not each piece of data costs another message.
TELL_FROM: Final = WINDOW // 4

_HEAD: Final = struct.Struct("!BI")
_PORT: Final = struct.Struct("!H")
_COUNT: Final = struct.Struct("!I")


# Why a connection could not be opened.
NO_NAME: Final = "no name"
REFUSED: Final = "refused"
NET_UNREACHABLE: Final = "network unreachable"
HOST_UNREACHABLE: Final = "host unreachable"
TIMED_OUT: Final = "timed out"
HOST_DOWN: Final = "host down"
OTHER: Final = "other"


class Failure(NamedTuple):
    """Why a connection could not be opened: one of the kinds above, and a sentence for people."""

    kind: str
    text: str


class Told(NamedTuple):
    """A message that came out: kind, number of the channel, and bytes, a count, an address or a Failure."""

    kind: int
    number: int
    value: Any = None


class Message(NamedTuple):
    """A message that goes in. `name`, `port` and `client` are of OPEN and DATAGRAM, `taken` of TAKEN."""

    kind: int
    number: int
    data: bytes = b""
    name: str = ""
    port: int = 0
    client: str = ""
    taken: int = 0


def pack(message: Message) -> bytes:
    """The bytes of a message."""
    head = _HEAD.pack(message.kind, message.number)
    if message.kind == DATA:
        return head + message.data
    if message.kind == TAKEN:
        return head + _COUNT.pack(message.taken)
    if message.kind in (OPEN, DATAGRAM):
        texts = [_text(message.name), _text(message.client)]
        return b"".join([head, _PORT.pack(message.port), *texts, message.data])
    return head


def unpack(data: bytes) -> Message:
    """The message in `data`. Raises `ValueError` for what `pack` has not made."""
    try:
        kind, number = _HEAD.unpack_from(data)
        at = _HEAD.size
        if kind == DATA:
            return Message(kind, number, data[at:])
        if kind == TAKEN:
            return Message(kind, number, taken=_COUNT.unpack_from(data, at)[0])
        if kind in (OPEN, DATAGRAM):
            port = _PORT.unpack_from(data, at)[0]
            name, at = _text_at(data, at + _PORT.size)
            client, at = _text_at(data, at)
            return Message(kind, number, data[at:], name, port, client)
        if kind in (END, RESET):
            return Message(kind, number)
    except struct.error:
        pass
    raise ValueError(f"{data[:16]!r} is no message of a gateway")


def _text(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogateescape")
    return _PORT.pack(len(encoded)) + encoded


def _text_at(data: bytes, at: int) -> tuple[str, int]:
    end = at + _PORT.size + _PORT.unpack_from(data, at)[0]
    return data[at + _PORT.size : end].decode("utf-8", "surrogateescape"), end


def target_text(name: str, port: int) -> str:
    """A name or an address with a port, as people write it: "server:80", "[2001:db8::1]:80"."""
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


# A connection that is closed with this option set is reset: l_onoff 1, l_linger 0 (socket(7), SO_LINGER).
_RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)


def reset(transport: Any) -> None:
    """Close the connection of an asyncio transport at once, so that its peer gets a RST."""
    sock = transport.get_extra_info("socket")
    if sock is not None and not transport.is_closing():
        with contextlib.suppress(OSError):  # the connection has gone already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
    transport.abort()
