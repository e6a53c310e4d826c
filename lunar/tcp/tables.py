"""Who has which port of a host, and who talks to whom: the tables behind demux.py.

Three kinds of objects can be the host's end of a connection: a TcpSock, a Request (an entry of a SYN queue)
and a TimeWait (time_wait.py). They share one table, as on Linux, so that each segment costs one lookup. `Bound` is what
binding rules need to know of whoever uses a port.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from mypy_extensions import i64

from lunar.net.ip import Ip
from lunar.net.sock import covers_of
from lunar.tcp.loss.news import News
from lunar.tcp.loss.rate import Sample
from lunar.tcp.opening.metrics import Metrics
from lunar.tcp.rules import Rules
from lunar.tcp.sysctls import Sysctls
from weaves.scheduler import Event

if TYPE_CHECKING:
    from lunar.tcp.tcb import Tcb

_UNLIMITED: Final = 0x7FFF_FFFF  # of tcp_challenge_ack_limit


@final
class Bound:
    """One use of a port. `auto` is a port that `connect` chose: connections to other peers may share it.

    `covers` is that of the socket: :: without IPV6_V6ONLY takes the port of both families.
    """

    def __init__(
        self, serial: i64, addr: int, port: i64, covers: i64, reuse_addr: bool, reuse_port: bool, auto: bool
    ) -> None:
        self.serial: i64 = serial
        self.addr: int = addr
        self.port: i64 = port
        self.covers: i64 = covers
        self.reuse_addr: bool = reuse_addr
        self.reuse_port: bool = reuse_port
        self.auto: bool = auto
        self.listening: bool = False


class Remnant(Event):
    """What keeps the ends of a connection that is over, and may give them to another: time_wait.TimeWait."""

    def may_follow(self) -> bool:
        """Whether a new connection of this host's may take its place now."""
        raise NotImplementedError


@final
class Tables:
    """The tables of one host."""

    def __init__(self, ip: Ip) -> None:
        self.ip: Ip = ip
        self.sysctls: Sysctls = Sysctls()
        self.rules: Rules = Rules()
        # The class that new sockets get their congestion control from.
        self.congestion: Any = None
        self.congestion_allowed: list[str] | None = None  # what programs may choose; None: what is not restricted
        self.news: News = News()
        self.sample: Sample = Sample()  # of the ACK that is being processed (rate.py)
        # (local address << 16 | port) -> (remote address << 16 | port) -> TcpSock, Request or TimeWait
        self.connections: dict[int, dict[int, object]] = {}
        self.listeners: dict[int, list[Tcb]] = {}  # by port, in the order of listen()
        self.ports: dict[int, dict[int, Bound]] = {}  # by port, then by serial
        self.next_serial: i64 = 0
        # Drawn when first needed, -1 before: an idle host's generator is never made.
        self._isn_secret: i64 = -1
        self._timestamp_secret: i64 = -1
        self._metrics: Metrics | None = None
        self.md5_used: bool = False  # a socket has had a key (md5.py)
        self.cookie_key: bytes = b""  # of SYN cookies

        self.time_waits: i64 = 0
        self.orphans: i64 = 0
        # The second of the last challenge ACK, and how many more it may have.
        self._challenge_second: i64 = -1
        self._challenges_left: i64 = 0

    def may_challenge(self) -> bool:
        """Whether the host may send one more challenge ACK now. RFC 5961 (7); tcp_challenge_ack_limit.

        Half of the limit to one and a half, at random: a fixed number would tell an attacker who sends through this
        host of connections that are none of his (CVE-2016-5696).
        """
        limit: i64 = self.sysctls.tcp_challenge_ack_limit
        if limit == _UNLIMITED:
            return True
        second: i64 = self.ip.scheduler.now_ns // 1_000_000_000
        if second != self._challenge_second:
            self._challenge_second = second
            self._challenges_left = ((limit + 1) >> 1) + (self.ip.rng.randrange(int(limit)) if limit > 0 else 0)
        if self._challenges_left <= 0:
            return False
        self._challenges_left -= 1
        return True

    def metrics(self) -> Metrics:
        """What is remembered of peers."""
        found = self._metrics
        if found is None:
            found = Metrics()
            self._metrics = found
        return found

    # Numbers to start with.

    def initial_sequence(self, local: int, local_port: i64, remote: int, remote_port: i64) -> i64:
        """RFC 6528: a clock, and an offset for each connection that nobody can guess. Linux' clock ticks each 64 ns."""
        if self._isn_secret < 0:
            self._isn_secret = self.ip.rng.getrandbits(32)
        number: i64 = _mix(self._isn_secret, _low(local))
        number = _mix(number, _low(remote))
        number = _mix(number, (local_port << 16) | remote_port)
        return (number + (self.ip.scheduler.now_ns >> 6)) & 0xFFFF_FFFF

    def timestamp_offset(self, local: int, remote: int) -> i64:
        """RFC 7323 (7.1): where the timestamp clock starts; the same for all connections of two hosts, so that each
        connection's timestamps come after those of the one before it. None with net.ipv4.tcp_timestamps at 2.
        """
        if self.sysctls.tcp_timestamps == 2:
            return 0
        if self._timestamp_secret < 0:
            self._timestamp_secret = self.ip.rng.getrandbits(32)
        return _mix(_mix(self._timestamp_secret, _low(local)), _low(remote))

    # Connections.

    def find(self, local: int, local_port: i64, remote: int, remote_port: i64) -> object | None:
        """The host's end of the connection, if there is one."""
        row = self.connections.get((local << 16) | int(local_port))
        if row is None:
            return None
        return row.get((remote << 16) | int(remote_port))

    def add(self, local: int, local_port: i64, remote: int, remote_port: i64, end: object) -> None:
        """Enter `end`, in the place of one that is there already."""
        key = (local << 16) | int(local_port)
        row = self.connections.get(key)
        if row is None:
            row = {}
            self.connections[key] = row
        row[(remote << 16) | int(remote_port)] = end

    def remove(self, local: int, local_port: i64, remote: int, remote_port: i64) -> None:
        key = (local << 16) | int(local_port)
        row = self.connections.get(key)
        if row is not None:
            row.pop((remote << 16) | int(remote_port), None)
            if not row:
                del self.connections[key]

    # Listeners.

    def find_listener(self, family: i64, addr: int, port: i64, hash: i64, device: str = "") -> Tcb | None:
        """Who listens at `addr` of `family`, `port`, by `device`: one bound to the address before one bound to all.

        Where several share the port (SO_REUSEPORT) `hash`, made of the peer's address, chooses.
        """
        row = self.listeners.get(int(port))
        if row is None:
            return None
        if len(row) == 1:
            only = row[0]
            if only.bound_device and only.bound_device != device:
                return None
            return only if only.local_addr in (0, addr) and only.covers & covers_of(family) else None
        row = [tcb for tcb in row if not tcb.bound_device or tcb.bound_device == device]
        exact = [tcb for tcb in row if tcb.local_addr == addr]
        if not exact:
            exact = [tcb for tcb in row if tcb.local_addr == 0 and tcb.covers & covers_of(family)]
            if not exact:
                return None
        return exact[int(hash) % len(exact)]

    def add_listener(self, tcb: Tcb) -> None:
        row = self.listeners.get(int(tcb.local_port))
        if row is None:
            row = []
            self.listeners[int(tcb.local_port)] = row
        row.append(tcb)

    def remove_listener(self, tcb: Tcb) -> None:
        row = self.listeners.get(int(tcb.local_port))
        if row is not None and tcb in row:
            row.remove(tcb)
            if not row:
                del self.listeners[int(tcb.local_port)]

    # Ports.

    def bind(self, addr: int, port: i64, covers: i64, reuse_addr: bool, reuse_port: bool, auto: bool) -> Bound:
        """Note a use of `port`; the caller has looked for conflicts."""
        self.next_serial += 1
        bound = Bound(self.next_serial, addr, port, covers, reuse_addr, reuse_port, auto)
        uses = self.ports.get(int(port))
        if uses is None:
            uses = {}
            self.ports[int(port)] = uses
        uses[int(bound.serial)] = bound
        return bound

    def release(self, bound: Bound) -> None:
        uses = self.ports.get(int(bound.port))
        if uses is not None:
            uses.pop(int(bound.serial), None)
            if not uses:
                del self.ports[int(bound.port)]

    def conflicts(
        self, addr: int, port: i64, covers: i64, reuse_addr: bool, reuse_port: bool, own: Bound | None
    ) -> bool:
        """Whether somebody else's use of `port` forbids one at `addr`.

        Linux' rule, socket(7): addresses that overlap conflict, unless both have SO_REUSEADDR and the other does not
        listen, or both have SO_REUSEPORT.
        """
        uses = self.ports.get(int(port))
        if uses is None:
            return False
        for other in uses.values():
            if other is own or not covers & other.covers:
                continue
            if addr and other.addr and other.addr != addr:
                continue
            if reuse_addr and other.reuse_addr and not other.listening:
                continue
            if reuse_port and other.reuse_port:
                continue
            return True
        return False

    def _span(self) -> i64:
        """How many ports ip_local_port_range has."""
        return max(self.ip.local_port_last - self.ip.local_port_first + 1, 1)

    def free_port(self) -> i64:
        """A port of the ephemeral range that nobody uses, for bind(0); -1 when there is none."""
        span: i64 = self._span()
        start: i64 = self.ip.rng.randrange(int(span))
        tried: i64 = 0
        while tried < span:
            port: i64 = self.ip.local_port_first + (start + tried) % span
            if int(port) not in self.ports and not self.ip.is_reserved(port):
                return port
            tried += 1
        return -1

    def port_for(self, local: int, remote: int, remote_port: i64) -> i64:
        """A port for a connection from `local` to the peer; -1 when all are taken.

        Linux' way: it may be shared with connections to other peers, but not with a socket that called bind().
        """
        span: i64 = self._span()
        start: i64 = self.ip.rng.randrange(int(span))
        tried: i64 = 0
        while tried < span:
            port: i64 = self.ip.local_port_first + (start + tried) % span
            tried += 1
            if self.ip.is_reserved(port):
                continue
            uses = self.ports.get(int(port))
            if uses is not None:
                shared = True
                for other in uses.values():
                    if not other.auto:
                        shared = False
                        break
                if not shared or not self.is_free(local, port, remote, remote_port):
                    continue
            return port
        return -1

    def is_free(self, local: int, port: i64, remote: int, remote_port: i64) -> bool:
        """Whether a connection may begin with these ends: nobody has them, or a TIME-WAIT that may be reused."""
        end = self.find(local, port, remote, remote_port)
        return end is None or (isinstance(end, Remnant) and end.may_follow())


def _low(addr: int) -> i64:
    """32 bits of an address of either family."""
    return (addr ^ (addr >> 32) ^ (addr >> 64) ^ (addr >> 96)) & 0xFFFF_FFFF


def _mix(a: i64, b: i64) -> i64:
    """32 bits that depend on all of both; products stay below 2**63, so that native and interpreted integers agree."""
    x: i64 = a ^ b
    x = ((x ^ (x >> 16)) * 0x7FEB_352D) & 0xFFFF_FFFF
    x = ((x ^ (x >> 15)) * 0x6C8E_9CF5) & 0xFFFF_FFFF
    return x ^ (x >> 16)
