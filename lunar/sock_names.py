"""What getsockname(2), getpeername(2), accept(2) and recvfrom(2) tell: the addresses of sockets, as programs see them.

A tuple for AF_INET and AF_INET6, a path or an abstract name for AF_UNIX (socket_address.py, unix_names.py).
"""

from __future__ import annotations

import errno

from lunar import link_names, unix_names
from lunar.errors import error
from lunar.net.sock import Sock
from lunar.socket_address import Address, own_address, shown
from lunar.sockets import syscalls
from lunar.sockets.packet_sock import LinkSock
from lunar.sockets.raw_table import PacketSock
from lunar.sockets.unix import CONNECTED, UnixSock
from lunar.tcp.sock import TcpSock

Name = Address | link_names.LinkName | str | bytes


def own_name(sock: Sock) -> Name:
    """The address that `sock` is bound to."""
    if isinstance(sock, LinkSock):
        return link_names.own_name(sock)
    return unix_names.shown(sock.name) if isinstance(sock, UnixSock) else own_address(sock)


def peer_name(sock: Sock) -> Name:
    """Whom `sock` is connected to. ENOTCONN: a stream that was reset or never connected has no peer."""
    if isinstance(sock, LinkSock):
        raise error(errno.EOPNOTSUPP)
    if isinstance(sock, UnixSock):
        connected = sock.state == CONNECTED
    else:
        connected = bool(sock.is_connected()) if isinstance(sock, TcpSock) else sock.remote_port != 0
    if not connected:
        raise error(errno.ENOTCONN)
    return accepted_from(sock)


def accepted_from(child: Sock) -> Name:
    """The address that accept(2) gives beside `child`, even if that has ended since."""
    if isinstance(child, UnixSock):
        return unix_names.shown(child.peer_name)
    return shown(child, child.remote_addr, int(child.remote_port))


def sender(sock: Sock, got: syscalls.Received) -> Name | None:
    """Who sent a datagram, or of a report where its packet was to go; None for what came over a connection, or from a
    Unix socket without a name.
    """
    if got.report is not None:
        return shown(sock, got.addr, int(got.port)) if got.report.named else None
    if isinstance(sock, LinkSock):
        return link_names.sender(sock, got)
    if got.name:
        return unix_names.shown(got.name)
    return shown(sock, got.addr, int(got.port), int(got.scope)) if got.port or isinstance(sock, PacketSock) else None
