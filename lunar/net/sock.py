"""What all sockets of a host have in common: identity, options, an error, and who waits.

A socket never blocks and knows nothing of event loops. When something that a waiter could care about happens (data,
space, a connection, an error) it calls `wake(mask)`; the faces (lunar/asyncio, lunar/host_socket.py) wait in their own
way and then ask again. Masks are those of poll(2).
"""

from __future__ import annotations

from typing import Any, Final, final

from mypy_extensions import i64, mypyc_attr

from lunar.net.bpf import Program
from lunar.net.device import Device
from lunar.net.error_queue import (
    ORIGIN_TIMESTAMPING,
    ORIGIN_ZEROCOPY,
    ErrorQueue,
    Report,
    charge,
    is_of_icmp,
)
from lunar.net.groups import Multicast
from lunar.net.ipv6_options import Ipv6Options
from lunar.net.timestamping import Stamping
from lunar.net.zerocopy import ZeroCopy
from lunar.packet import AF_INET, AF_INET6

POLLIN: Final = 0x001
POLLPRI: Final = 0x002
POLLOUT: Final = 0x004
POLLERR: Final = 0x008
POLLHUP: Final = 0x010
POLLNVAL: Final = 0x020  # of a wake: a descriptor of the socket was closed, and nothing else has happened
POLLRDHUP: Final = 0x2000


# Which families' addresses a binding takes (`Sock.covers`).
COVERS_IPV4: Final = 1
COVERS_IPV6: Final = 2
COVERS_BOTH: Final = 3


def covers_of(family: i64) -> i64:
    """The bit of `Sock.covers` for addresses of `family`."""
    return COVERS_IPV4 if family == AF_INET else COVERS_IPV6


@final
class Header:
    """What sendmsg(2) wants of one packet's header: source (0: that of the route), TTL, TOS; -1 for the socket's.

    TTL and TOS are IPv6's hop limit and traffic class, too.
    """

    def __init__(self) -> None:
        self.src: int = -1
        self.ttl: i64 = -1
        self.tos: i64 = -1
        self.dont_fragment: i64 = -1
        self.segment_bytes: i64 = -1  # UDP_SEGMENT
        self.options: bytes | None = None  # IPv4's
        self.device: Device | None = None  # by which it shall go


@mypyc_attr(allow_interpreted_subclasses=True)  # by way of sockets/foreign.py
class Sock:
    """One socket. `error` is a pending errno (SO_ERROR), 0 if there is none.

    `family` is that of its packets and of its addresses here; `domain` is that of the addresses that its program sees.
    They differ for an AF_INET6 socket that reaches IPv4 by mapped addresses (RFC 4291 section 2.5.5.2): its family is
    AF_INET6 as long as it is bound to no such address and connected to none.
    """

    def __init__(self, family: i64, type: i64, protocol: i64) -> None:
        self.family: i64 = family
        self.domain: i64 = family
        self.v6only: bool = False  # IPV6_V6ONLY
        self.covers: i64 = COVERS_BOTH if family == AF_INET6 else COVERS_IPV4
        self.ipv6: Ipv6Options | None = Ipv6Options() if family == AF_INET6 else None
        self.type: i64 = type
        self.protocol: i64 = protocol
        self.local_addr: int = 0
        self.local_port: i64 = 0
        self.remote_addr: int = 0
        self.remote_port: i64 = 0
        self.error: i64 = 0
        self.error_queue: ErrorQueue | None = None  # None while there is nothing in it
        self.recverr: bool = False  # IP_RECVERR
        self.recverr6: bool = False  # IPV6_RECVERR
        self.stamping: Stamping | None = None  # SO_TIMESTAMP, SO_TIMESTAMPING
        self.zerocopy: ZeroCopy | None = None  # SO_ZEROCOPY
        self.filter: Program | None = None  # SO_ATTACH_FILTER, of datagram, raw and packet sockets
        self.filter_locked: bool = False
        self.multicast: Multicast | None = None  # what was set of it, for IPv4 and for IPv6
        self.multicast6: Multicast | None = None
        self.select_errors: bool = False  # SO_SELECT_ERR_QUEUE: of datagram sockets reports are POLLPRI, too
        self.reuse_addr: bool = False
        self.reuse_port: bool = False
        self.keepalive: bool = False
        self.broadcast: bool = False
        self.oob_inline: bool = False
        self.header: Header | None = None  # for the length of one sendmsg
        self.tells: i64 = 0  # IP_PKTINFO, IP_RECVTTL, IP_RECVTOS (sockets/packet_info.py)
        self.ttl: i64 = -1  # IP_TTL; -1: net.ipv4.ip_default_ttl, when something is sent
        self.tos: i64 = 0
        self.priority: i64 = 0
        self.mtu_discover: i64 = 1  # IP_MTU_DISCOVER, ip(7): 1 is IP_PMTUDISC_WANT
        self.sndbuf: i64 = 212_992
        self.rcvbuf: i64 = 212_992
        self.sndbuf_locked: bool = False  # set by SO_SNDBUF: no auto-tuning
        self.rcvbuf_locked: bool = False
        self.linger_on: bool = False
        self.linger_s: i64 = 0
        self.rcvlowat: i64 = 1  # SO_RCVLOWAT; obeyed by TCP
        self.mark: i64 = 0  # SO_MARK, for rules that look at it
        self.freebind: bool = False  # IP_FREEBIND: an address that the host does not have will do
        self.rcvtimeo_ns: i64 = 0  # SO_RCVTIMEO, 0 for none; obeyed by the faces, as `nonblocking`
        self.sndtimeo_ns: i64 = 0
        self.bound_device: str = ""  # SO_BINDTODEVICE
        self.unicast_device: Device | None = None  # IP_UNICAST_IF
        self.ip_options: bytes = b""  # IP_OPTIONS, of what is sent over IPv4
        self.nonblocking: bool = False  # O_NONBLOCK; obeyed by the faces, because no call of the stack blocks
        self.descriptors: i64 = 0  # how many of the host's name it; the last one's end closes it
        self.held: i64 = 0  # how many calls wait in it; the last one's end closes it, too
        # Called as waiter(mask) at each wake; a list, because poll and a reader may wait at once. Each waiter judges
        # by itself whether the mask concerns it.
        self.waiters: list[Any] = []
        # Called without arguments when an urgent pointer arrives: what sends SIGURG to the owner (F_SETOWN).
        self.on_urgent: Any = None

    def discovers_mtu(self) -> i64:
        """IP_MTU_DISCOVER or IPV6_MTU_DISCOVER, by the family of what is sent."""
        six = self.ipv6
        return self.mtu_discover if six is None or self.family == AF_INET else six.mtu_discover

    def reports(self, family: i64) -> bool:
        """IP_RECVERR or IPV6_RECVERR, by the family of the packet that an error is about."""
        return self.recverr if family == AF_INET else self.recverr6

    def wake(self, mask: i64) -> None:
        """Tell the waiters that the conditions in `mask` may now hold."""
        if self.waiters:
            for waiter in self.waiters.copy():
                waiter(mask)

    def poll(self) -> int:
        """The conditions of poll(2) that hold now."""
        raise NotImplementedError

    def take_error(self) -> int:
        """The pending errno, which is thereby cleared (SO_ERROR's semantics)."""
        error = self.error
        self.error = 0
        return error

    def charged_bytes(self) -> i64:
        """How much of the receive buffer is taken, by Linux' count."""
        return 0

    def report(self, report: Report) -> bool:
        """Put `report` on the error queue, and say so. False when the receive buffer is full: it is lost then."""
        queue = self.error_queue
        if queue is None:
            queue = ErrorQueue()
        if self.charged_bytes() + queue.charged + charge(report) >= self.rcvbuf:
            return False
        queue.add(report)
        self.error_queue = queue
        self.wake(POLLERR)
        return True

    def free_buffers(self, first: i64, last: i64, code: i64) -> None:
        """Report that the sends `first` to `last` of MSG_ZEROCOPY need their buffers no more; `code` 1: for a copy.

        What continues the newest report only extends it.
        """
        queue = self.error_queue
        if queue is not None:
            newest = queue.reports[-1]
            if newest.origin == ORIGIN_ZEROCOPY and first == newest.data + 1:
                newest.data = last
                self.wake(POLLERR)
                return
        self.report(Report(0, ORIGIN_ZEROCOPY, 0, code, first, last, b""))

    def clear_errors(self) -> None:
        """IP_RECVERR is off: errors leave the queue, stamps and what is told of buffers stay."""
        queue = self.error_queue
        if queue is None:
            return
        kept = ErrorQueue()
        for report in queue.reports:
            if report.origin >= ORIGIN_TIMESTAMPING:
                kept.add(report)
        self.error_queue = kept if kept.reports else None

    def take_report(self) -> Report | None:
        """The oldest report, which leaves the queue; None when there is none.

        An ICMP error that is next becomes the pending error, and one that was the last leaves none, as on Linux.
        """
        queue = self.error_queue
        if queue is None:
            return None
        report = queue.take()
        if not queue.reports:
            self.error_queue = None
            if is_of_icmp(report):
                self.error = 0
            return report
        following = queue.reports[0]
        if is_of_icmp(following):
            self.error = following.number
        elif is_of_icmp(report):
            self.error = 0
        self.wake(POLLERR)
        return report
