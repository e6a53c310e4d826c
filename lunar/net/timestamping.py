"""When packets came and went: SO_TIMESTAMP, SO_TIMESTAMPNS, SO_TIMESTAMPING (the kernel's timestamping.rst).

A `Stamping` is what one socket wants; a socket that wants nothing has none. Times here are the run's; a program gets
them by its CLOCK_REALTIME (lunar/control_items.py). What is received has the time at which it was queued; of a stream
the newest of what waits, since Linux puts what comes into one piece. What is sent is told of on the error queue: when
it was given to the device (SCHED), when the device sent it (SND), when the peer's TCP had it (ACK). Devices here have
no queue of their own, so the first two are one instant. Which bytes of a stream are stamped is known in
lunar/tcp/sender/send_marks.py. There is no hardware that stamps.
"""

from __future__ import annotations

import errno
from collections import deque
from typing import Final, final

from mypy_extensions import i64

from lunar.net.error_queue import ORIGIN_TIMESTAMPING, Report
from lunar.packet import Packet
from lunar.wire import ethernet

# linux/net_tstamp.h: SOF_TIMESTAMPING_*.
TX_HARDWARE: Final = 1 << 0
TX_SOFTWARE: Final = 1 << 1
RX_SOFTWARE: Final = 1 << 3
SOFTWARE: Final = 1 << 4
OPT_ID: Final = 1 << 7
TX_SCHED: Final = 1 << 8
TX_ACK: Final = 1 << 9
OPT_CMSG: Final = 1 << 10
OPT_TSONLY: Final = 1 << 11
OPT_STATS: Final = 1 << 12
OPT_ID_TCP: Final = 1 << 16
TX_COMPLETION: Final = 1 << 18
_ALL: Final = (1 << 19) - 1
# What asks for stamps of what is sent; sendmsg(2) may say it for one call.
TX_RECORD: Final = TX_HARDWARE | TX_SOFTWARE | TX_SCHED | TX_ACK | TX_COMPLETION

# linux/errqueue.h: SCM_TSTAMP_*, what happened.
SND: Final = 0
SCHED: Final = 1
ACK: Final = 2

_PACKET_MAX_BYTES: Final = 65_535


@final
class Stamping:
    """What a socket wants to know of times."""

    def __init__(self) -> None:
        self.flags: i64 = 0  # of SO_TIMESTAMPING
        self.told_by: i64 = 0  # the option whose form the time of what came has (SO_TIMESTAMP ...); 0 for none
        self.new_form: bool = False  # SO_TIMESTAMPING_NEW, whose control message has another number
        self.key: i64 = 0  # of the next datagram; of a stream the sequence number that counts as 0
        self.for_call: i64 = -1  # TX_RECORD flags that sendmsg gives for one call; -1 for none
        # When the packets came that wait in the socket's queue; -1 for before it was asked for. None for a stream.
        self.arrivals: deque[i64] | None = None

    def inherited(self) -> Stamping:
        """What a connection has of its listener."""
        child = Stamping()
        child.flags = self.flags
        child.told_by = self.told_by
        child.new_form = self.new_form
        return child

    def stamps_arrivals(self) -> bool:
        return self.told_by != 0 or self.flags & RX_SOFTWARE != 0

    def wanted(self) -> i64:
        """Which stamps of what is sent now are wanted, as TX_RECORD flags."""
        return self.for_call if self.for_call >= 0 else self.flags & TX_RECORD


def check(flags: i64) -> i64:
    """0, or -EINVAL for flags that SO_TIMESTAMPING does not take."""
    if flags < 0 or flags & ~_ALL:
        return -errno.EINVAL
    if flags & OPT_ID_TCP and not flags & OPT_ID:
        return -errno.EINVAL
    if flags & OPT_STATS and not flags & OPT_TSONLY:
        return -errno.EINVAL
    return 0


def report(stamping: Stamping, what: i64, now_ns: i64, key: i64, payload: bytes) -> Report:
    """`what` has happened to what has the number `key`: SND, SCHED, ACK."""
    shown: i64 = key & 0xFFFF_FFFF if stamping.flags & OPT_ID else 0
    made = Report(errno.ENOMSG, ORIGIN_TIMESTAMPING, 0, 0, what, shown, payload)
    if stamping.flags & SOFTWARE:
        made.stamp_ns = now_ns
    return made


def copy_of(stamping: Stamping, packet: Packet) -> bytes:
    """What the program gets of a packet that is stamped: all of the frame, or with OPT_TSONLY nothing."""
    if stamping.flags & OPT_TSONLY or packet.size_bytes > _PACKET_MAX_BYTES:
        return b""
    return ethernet.encode(packet)
