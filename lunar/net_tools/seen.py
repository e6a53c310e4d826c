"""A host's sockets as ss, netstat and /proc/net show them: one `Seen` for each, whatever it is.

In Linux' order of kinds; of one kind listeners first, then the connections in the order in which they came about. The
number that stands for a socket's inode is made of its lowest descriptor, so that it is the same in every run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import attrs

from lunar.net.datagram_sock import DatagramSock
from lunar.net.sock import Sock
from lunar.packet import AF_INET, AF_INET6, TCP, UDP
from lunar.sockets.fdtable import FD_BASE
from lunar.sockets.ioctl import FIONREAD, TIOCOUTQ, ioctl
from lunar.sockets.raw import RawSock
from lunar.sockets.raw_table import RawTable
from lunar.sockets.unix import LISTENING, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM, UnixSock
from lunar.tcp import timers
from lunar.tcp.opening.request import Request
from lunar.tcp.sock import TcpSock
from lunar.tcp.tcb import CLOSED, ESTABLISHED, LISTEN, SYN_RECEIVED, Tcb
from lunar.tcp.time_wait import TimeWait

if TYPE_CHECKING:
    from lunar.host import Host

_INODE_BASE: Final = 20_000

# What a timer is for, as ss says it, and the number of /proc/net/tcp.
TIMER_OFF: Final = (0, "")
_ON: Final = (1, "on")
_KEEPALIVE: Final = (2, "keepalive")
_TIME_WAIT: Final = (3, "timewait")
_PERSIST: Final = (4, "persist")


@attrs.define
class Seen:
    """One socket. `kind` is "tcp", "udp", "raw", "unix"; addresses are of `family`, that of the socket's own making."""

    kind: str
    family: int
    state: int
    recv_q: int = 0
    send_q: int = 0
    local: int = 0
    local_port: int = 0
    remote: int = 0
    remote_port: int = 0
    device: str = ""
    both: bool = False  # an IPv6 socket that takes IPv4, too
    mapped: bool = False  # an IPv6 socket that talks IPv4
    inode: int = 0
    users: list[tuple[str, int, int]] = attrs.field(factory=list)  # program, its number, its descriptor
    timer: tuple[int, str] = TIMER_OFF
    timer_ns: int = 0  # until it fires
    timer_count: int = 0
    sock: Sock | None = None
    refs: int = 2


class Look:
    """One look at a host: who has which descriptor is found once."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._now = int(host.scheduler.now_ns)
        self._fds: dict[int, list[int]] = {}
        for fd, sock in host.descriptors.numbered():
            self._fds.setdefault(id(sock), []).append(fd)
        self._owners: dict[int, list[tuple[str, int]]] = {}
        for weave in host.weaves():
            for fd in weave.descriptors:
                self._owners.setdefault(fd, []).append((weave.name, weave.pid))

    def _own(self, seen: Seen, sock: Sock) -> Seen:
        """Add whose the socket is."""
        seen.sock = sock
        fds = self._fds.get(id(sock), [])
        if fds:
            seen.inode = _INODE_BASE + min(fds) - FD_BASE
        seen.users = [(name, pid, fd) for fd in fds for name, pid in self._owners.get(fd, [])]
        return seen

    # TCP

    def tcp(self) -> Iterator[Seen]:
        """TCP's sockets of both families, IPv4's first."""
        yield from sorted([*self._listeners(), *self._connections()], key=lambda seen: seen.family)

    def _listeners(self) -> Iterator[Seen]:
        for tcbs in self._host.tcp.tables.listeners.values():
            for tcb in tcbs:
                seen = _ends("tcp", tcb, LISTEN)
                listener = tcb.listener if isinstance(tcb, TcpSock) else None
                if listener is not None:
                    seen.recv_q, seen.send_q = len(listener.accept_queue), int(listener.backlog)
                yield self._own(seen, tcb)

    def _connections(self) -> Iterator[Seen]:
        for row in self._host.tcp.tables.connections.values():
            for end in row.values():
                if isinstance(end, TimeWait):
                    yield self._time_wait(end)
                elif isinstance(end, Request):
                    yield self._request(end)
                elif isinstance(end, TcpSock):
                    yield self._connection(end)

    def _connection(self, sock: TcpSock) -> Seen:
        seen = _ends("tcp", sock, int(sock.state))
        seen.recv_q, seen.send_q = max(0, ioctl(sock, FIONREAD)), max(0, ioctl(sock, TIOCOUTQ))
        seen.recv_q += int(sock.fin_received)  # Linux counts sequence numbers
        retransmit, keepalive = sock.retransmit_timer, sock.keepalive_timer
        if retransmit.at_ns:
            seen.timer = _PERSIST if retransmit.kind == timers.PROBE else _ON
            seen.timer_ns = int(retransmit.at_ns) - self._now
            seen.timer_count = int(sock.probes_out if retransmit.kind == timers.PROBE else sock.retransmits)
        elif keepalive.at_ns:
            seen.timer = _KEEPALIVE
            seen.timer_ns = int(keepalive.at_ns) - self._now
        return self._own(seen, sock)

    def _time_wait(self, end: TimeWait) -> Seen:
        seen = Seen(
            "tcp", int(end.family), int(end.substate), local=end.local_addr, local_port=int(end.local_port),
            remote=end.remote_addr, remote_port=int(end.remote_port), timer=_TIME_WAIT,
        )  # fmt: skip
        seen.timer_ns = int(end.until_ns) - self._now
        seen.refs = 3
        return seen

    def _request(self, end: Request) -> Seen:
        family = AF_INET if end.local_addr < 1 << 32 and end.remote_addr < 1 << 32 else AF_INET6
        seen = Seen(
            "tcp", family, SYN_RECEIVED, local=end.local_addr, local_port=int(end.local_port),
            remote=end.remote_addr, remote_port=int(end.remote_port), timer=_ON,
        )  # fmt: skip
        seen.timer_ns = max(0, int(end.at_ns) - self._now) if end.queued else 0
        seen.timer_count = int(end.retransmits)
        return seen

    # Datagrams

    def udp(self) -> Iterator[Seen]:
        """UDP's sockets that have a port."""
        socks = [sock for ones in self._host.udp.ports.values() for sock in ones]
        for sock in sorted(socks, key=lambda one: int(one.domain)):
            seen = _ends("udp", sock, ESTABLISHED if sock.has_peer() else CLOSED)
            seen.recv_q = int(sock.queued_bytes)
            yield self._own(seen, sock)

    def raw(self) -> Iterator[Seen]:
        """Raw sockets; where others have a port they have their protocol."""
        table = self._host.ip.raw
        if not isinstance(table, RawTable):
            return
        found = [sock for ones in table.socks.values() for sock in ones if isinstance(sock, RawSock)]
        for sock in sorted(found, key=lambda one: int(one.domain)):
            seen = _ends("raw", sock, ESTABLISHED if sock.connected else CLOSED)
            seen.local_port, seen.remote_port = int(sock.protocol), 0
            seen.recv_q = int(sock.queued_bytes)
            yield self._own(seen, sock)

    def unix(self) -> Iterator[Seen]:
        """Unix sockets that have a descriptor."""
        seen_before: set[int] = set()
        for _, sock in self._host.descriptors.numbered():
            if not isinstance(sock, UnixSock) or id(sock) in seen_before:
                continue
            seen_before.add(id(sock))
            listening = sock.state == LISTENING
            peer = sock.outbox.reader
            connected = isinstance(peer, UnixSock) and peer is not sock and not listening and sock.type != SOCK_DGRAM
            seen = Seen("unix", 1, LISTEN if listening else ESTABLISHED if connected else CLOSED)
            seen.recv_q = len(sock.waiting) if listening else max(0, ioctl(sock, FIONREAD))
            seen.send_q = int(sock.backlog) if listening else max(0, ioctl(sock, TIOCOUTQ))
            self._own(seen, sock)
            if connected:
                seen.refs = 3
                fds = self._fds.get(id(peer), [])
                seen.remote_port = _INODE_BASE + min(fds) - FD_BASE if fds else 0
            yield seen


def _ends(kind: str, sock: Sock, state: int) -> Seen:
    family = int(sock.domain)
    seen = Seen(kind, family, state, local=sock.local_addr, local_port=int(sock.local_port), device=sock.bound_device)
    connected = isinstance(sock, Tcb) and state != LISTEN
    if connected or (isinstance(sock, DatagramSock) and sock.has_peer()):
        seen.remote, seen.remote_port = sock.remote_addr, int(sock.remote_port)
    seen.mapped = family == AF_INET6 and (sock.family == AF_INET or 1 < sock.local_addr < 1 << 32)
    seen.both = family == AF_INET6 and not sock.v6only
    return seen


def unix_name(seen: Seen) -> str:
    """The name of a Unix socket, "@" for the zero of an abstract one; "" without a name."""
    assert isinstance(seen.sock, UnixSock), "of a Unix socket"
    return seen.sock.name.replace(b"\0", b"@", 1).decode("utf-8", "backslashreplace")


UNIX_TYPES: Final = {SOCK_STREAM: "STREAM", SOCK_DGRAM: "DGRAM", SOCK_SEQPACKET: "SEQPACKET"}
PROTOCOLS: Final = {"tcp": TCP, "udp": UDP}
