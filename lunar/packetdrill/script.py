"""A script as it was written: events at times, each a packet, a system call, a command line or a piece of code.

Everything here is frozen and knows nothing of a run. Times are nanoseconds, sequence numbers and ports the script's
own; what they stand for on the wire the runner finds out (flows.py). The grammar is in parser.py.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

# What the time of an event is counted from.
ABSOLUTE: Final = "absolute"  # "0.1": from the begin of the script
RELATIVE: Final = "relative"  # "+0.1": from the end of the event before
ANY: Final = "any"  # "*": whenever it comes

# What an expected packet says of the two bits of ECN (RFC 3168); `TOS` of the whole byte.
NO_ECN: Final = "noecn"
ECT0: Final = "ect0"
ECT1: Final = "ect1"
ECT01: Final = "ect01"  # either of the two
CE: Final = "ce"
TOS: Final = "tos"


class ScriptError(Exception):
    """A script cannot be read, or has failed. `str` of it is what the tool prints: file, line and reason."""

    def __init__(self, path: str, line: int, message: str) -> None:
        # All three, so that it can be passed from process to process.
        super().__init__(path, line, message)
        self.path = path
        self.line = line
        self.message = message

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}" if self.line else f"{self.path}: {self.message}"


# Expressions: an int is itself.


@attrs.frozen
class Word:
    """A name: of a constant (SOL_SOCKET), or one that stands for nothing but itself."""

    name: str


@attrs.frozen
class Text:
    """A string in quotes. `open_ended` is that of `"GET"...`: more may follow."""

    value: str
    open_ended: bool = False


@attrs.frozen
class Ellipsis_:
    """`...`: what the script leaves to the interpreter."""


ELLIPSIS: Final = Ellipsis_()


@attrs.frozen
class Or:
    """`O_RDWR|O_NONBLOCK`."""

    parts: tuple[Expression, ...]


@attrs.frozen
class Array:
    """`[1, 2]`: a value that is passed by its address."""

    items: tuple[Expression, ...]


@attrs.frozen
class Function:
    """`htons(80)`, `inet_addr("192.0.2.1")`."""

    name: str
    arguments: tuple[Expression, ...]


@attrs.frozen
class Field:
    """One of a structure's: `fd=4`, `msg_iov(2)=[...]`, where 2 is the `count`, or a value without a name."""

    name: str
    value: Expression
    count: Expression | None = None


@attrs.frozen
class Struct:
    """`{events=EPOLLIN, fd=4}`."""

    fields: tuple[Field, ...]

    def get(self, name: str) -> Expression | None:
        """The value of the field of this name, None if it is not there."""
        for field in self.fields:
            if field.name == name:
                return field.value
        return None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its fields, in order."""
        return tuple(field.name for field in self.fields)


Expression = int | Word | Text | Ellipsis_ | Or | Array | Function | Struct


# Packets


@attrs.frozen
class TcpOption:
    """An option of TCP: its name as scripts write it, and its value.

    mss, wscale: int; TS: (val, ecr); sack: pairs (left, right); md5, FO, FOEXP: bytes; nop, eol, sackOK: None.
    """

    name: str
    value: Any = None


@attrs.frozen
class IpInfo:
    """What `[ect0]`, `(tos 0x10)`, `[ttl 64]`, `(flowlabel 0x1)` say of the IP header."""

    ecn: str | None = None  # one of the constants above
    tos: int | None = None
    ttl: int | None = None
    flow_label: int | None = None


@attrs.frozen
class Encapsulation:
    """A header around the packet: "ipv4", "ipv6", "gre" or "mpls", with what the script says of it, as text."""

    kind: str
    text: str


@attrs.frozen
class TcpPacket:
    """A TCP segment. `flags` is those of lunar/packet.py, with ECE and CWR; sequence numbers are the script's.

    `options` is None for `<...>`: whatever it has. `ack`, `window`, `urgent` and `ports` are None where the script does
    not say.
    """

    outbound: bool
    ip: IpInfo
    ports: tuple[int, int] | None
    flags: int
    seq: int
    payload: int
    ack: int | None
    window: int | None
    urgent: int | None
    options: tuple[TcpOption, ...] | None
    around: tuple[Encapsulation, ...] = ()


@attrs.frozen
class UdpPacket:
    """A UDP datagram of `payload` bytes."""

    outbound: bool
    ip: IpInfo
    ports: tuple[int, int] | None
    payload: int
    around: tuple[Encapsulation, ...] = ()


@attrs.frozen
class IcmpPacket:
    """An ICMP message. What an error quotes: ("tcp", first, end), ("udp", 0, bytes), ("raw", 0, bytes)."""

    outbound: bool
    ip: IpInfo
    type: str
    code: str | None
    mtu: int | None
    echo_id: int | None
    quoted: tuple[str, int, int] | None
    around: tuple[Encapsulation, ...] = ()


Packet = TcpPacket | UdpPacket | IcmpPacket


# Events


@attrs.frozen
class SystemCall:
    """`read(4, ..., 1000) = 1000`. `end_ns` is that of a call that blocks, counted as its event's time; else None.

    `note` is what stands behind the result in parentheses, for people.
    """

    name: str
    arguments: tuple[Expression, ...]
    result: Expression
    errno: str | None
    note: str | None
    end_ns: int | None


@attrs.frozen
class Command:
    """A command line between back quotes; it may have several lines."""

    text: str


@attrs.frozen
class Code:
    """What stands in `%{ }%`: Python."""

    text: str


@attrs.frozen
class Event:
    """Something that is to happen, at `at_ns`; of a range `until_ns` is its end, otherwise None."""

    line: int
    time: str  # ABSOLUTE, RELATIVE or ANY
    at_ns: int
    until_ns: int | None
    action: Packet | SystemCall | Command | Code


@attrs.frozen
class Script:
    """A whole script. `options` are its own, as `--name=value` says them, in order; `path` is for messages."""

    path: str
    options: tuple[tuple[str, str], ...]
    init: Command | None
    events: tuple[Event, ...]
    cleanup: Command | None
    init_line: int = 0
    cleanup_line: int = 0
