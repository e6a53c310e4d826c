"""The error queue of a socket, recvmsg(2) with MSG_ERRQUEUE: what happened to packets that a program has sent.

Read ip(7), IP_RECVERR. A `Report` is what the program gets at once: a `struct sock_extended_err`, the packet that it is
about or its start, where that was to go, and who complained. What comes here: ICMP errors and refusals of our own,
where the socket has IP_RECVERR; times of what was sent (timestamping.py); which buffers are free (zerocopy.py). A
socket without reports has no queue (`Sock.error_queue` is None).
"""

from __future__ import annotations

from collections import deque
from typing import Final, final

from mypy_extensions import i64

from lunar.packet import AF_INET, Packet

# linux/errqueue.h: ee_origin.
ORIGIN_LOCAL: Final = 1
ORIGIN_ICMP: Final = 2
ORIGIN_ICMP6: Final = 3
ORIGIN_TIMESTAMPING: Final = 4
ORIGIN_ZEROCOPY: Final = 5

# What Linux charges the receive buffer with for a report beside its data.
_OVERHEAD_BYTES: Final = 768


@final
class Report:
    """One entry. `code`, `type`, `info` and `data` are those of `struct sock_extended_err`, `number` its errno."""

    def __init__(self, number: i64, origin: i64, type: i64, code: i64, info: i64, data: i64, payload: bytes) -> None:
        self.number: i64 = number
        self.origin: i64 = origin
        self.type: i64 = type
        self.code: i64 = code
        self.info: i64 = info
        self.data: i64 = data
        self.payload: bytes = payload
        self.named: bool = False  # whether it says where the packet was to go, `addr` and `port`
        self.addr: int = 0
        self.port: i64 = 0
        self.packet: Packet | None = None  # the ICMP message, whose sender is the offender
        self.stamp_ns: i64 = -1  # in virtual time; -1: it is no stamp
        self.stats: bytes = b""  # what SOF_TIMESTAMPING_OPT_STATS tells beside a stamp


@final
class ErrorQueue:
    """Reports, the oldest first."""

    def __init__(self) -> None:
        self.reports: deque[Report] = deque()
        self.charged: i64 = 0

    def add(self, report: Report) -> None:
        self.reports.append(report)
        self.charged += charge(report)

    def take(self) -> Report:
        """The oldest; there is one."""
        report = self.reports.popleft()
        self.charged -= charge(report)
        return report


def is_of_icmp(report: Report) -> bool:
    """Whether it is an error that came from the network."""
    return report.origin == ORIGIN_ICMP or report.origin == ORIGIN_ICMP6


def charge(report: Report) -> i64:
    """What a report takes of the receive buffer, in bytes."""
    return _OVERHEAD_BYTES + len(report.payload)


def of_icmp(message: Packet, type: i64, code: i64, info: i64, number: i64, dst: int, port: i64, data: bytes) -> Report:
    """An ICMP error about a packet that went to `dst` and `port` and had `data` in it."""
    origin: i64 = ORIGIN_ICMP if message.family == AF_INET else ORIGIN_ICMP6
    report = Report(number, origin, type, code, info, 0, data)
    report.named = True
    report.addr = dst
    report.port = port
    report.packet = message
    return report


def of_local(number: i64, info: i64, dst: int, port: i64) -> Report:
    """Our own refusal to send a packet to `dst` and `port`: EMSGSIZE, with the MTU as `info`."""
    report = Report(number, ORIGIN_LOCAL, 0, 0, info & 0xFFFF_FFFF, 0, b"")
    report.named = True
    report.addr = dst
    report.port = port
    return report
