"""Which program of a host sends a packet: what netfilter's `owner` match and `LOG --log-uid` ask.

The socket is found by the packet's addresses and ports, and the program by the descriptors that it has open. A socket
that its program has closed, which TCP goes on with, has no program any more, as on Linux.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lunar.net.sock import Sock
from lunar.netfilter.headers import ports_of
from lunar.netfilter.netfilter import Owner, SenderFinder
from lunar.packet import TCP, UDP, Packet

if TYPE_CHECKING:
    from lunar.host import Host


class Senders(SenderFinder):
    """The programs of one host."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def owner(self, packet: Packet) -> Owner | None:
        """The program whose socket sends `packet`. Its user is the machine's, as programs see it."""
        sock = self._sock(packet)
        if sock is None:
            return None
        for weave in self._host.weaves():
            for descriptor in sorted(weave.descriptors):
                if self._host.descriptors.get(descriptor) is sock:
                    return Owner(os.getuid(), os.getgid(), weave.pid, weave.name)
        return None

    def _sock(self, packet: Packet) -> Sock | None:
        both = int(ports_of(packet))
        if both < 0:
            return None
        sport, dport = both >> 16, both & 0xFFFF
        if packet.protocol == TCP:
            found = self._host.tcp.tables.find(packet.src, sport, packet.dst, dport)
            return found if isinstance(found, Sock) else None
        if packet.protocol != UDP:
            return None
        candidates = [
            sock
            for sock in self._host.udp.ports.get(sport, [])
            if sock.local_addr in (0, packet.src) and sock.remote_addr in (0, packet.dst)
        ]
        # A connected socket is the likelier sender, then one with the very address.
        candidates.sort(key=lambda sock: (sock.remote_addr != packet.dst, sock.local_addr != packet.src))
        return candidates[0] if candidates else None
