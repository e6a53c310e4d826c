"""When a router advertises itself, and what it says: RFC 4861 section 6.2, RFC 4191, RFC 8106.

`Advertiser.run` is a blocking program on a packet socket (packet(7)) of one device; it makes its own IPv6 headers, as
DHCP servers do. It tells all nodes three times soon after it has begun, then at random times between two limits, and
within half a second whoever asks, but not two times in three seconds. When it is told to stop (SIGTERM) it says that it
is no default router any more. The host is to forward (sysctl -w net.ipv6.conf.all.forwarding=1), or the questions of
hosts, which go to the group of all routers, do not reach it.
"""

from __future__ import annotations

import errno
import random
import socket
import struct
import time
from typing import Final

import attrs

from lunar.packet import AF_INET6, ICMPV6, IcmpMessage
from lunar.wire import ipv6, nd_option

_ETH_P_IPV6: Final = 0x86DD
_SOLICITATION: Final = 133
_ADVERTISEMENT: Final = 134
_ALL_NODES: Final = 0xFF02 << 112 | 1
_ALL_ROUTERS: Final = 0xFF02 << 112 | 2
_ALL_NODES_MAC: Final = "33:33:00:00:00:01"
_HOP_LIMIT: Final = 255
_ETHERNET: Final = struct.Struct(">6s6sH")

# RFC 4861 (10), in seconds: the first advertisements, and answers.
INITIAL: Final = 3
INITIAL_INTERVAL_S: Final = 16.0
_ANSWER_WITHIN_S: Final = 0.5
_LEAST_BETWEEN_S: Final = 3.0

PREFERENCES: Final = {"medium": 0, "high": 1, "low": 3}  # RFC 4191 (2.1)


@attrs.frozen
class Prefix:
    """An advertised prefix. Lifetimes in seconds."""

    network: int
    length: int
    valid_s: int = 86_400
    preferred_s: int = 14_400
    flags: int = nd_option.ON_LINK | nd_option.AUTONOMOUS


@attrs.frozen
class Said:
    """What a router advertises; defaults are radvd's. `routes` are (network, length) that it reaches."""

    prefixes: tuple[Prefix, ...] = ()
    lifetime_s: int = 1800
    hop_limit: int = 64
    mtu: int = 0
    reachable_ms: int = 0
    retrans_ms: int = 0
    preference: str = "medium"
    managed: bool = False
    other: bool = False
    servers: tuple[int, ...] = ()
    servers_lifetime_s: int = 1800
    routes: tuple[tuple[int, int], ...] = ()

    def body(self, mac: int, lifetime_s: int) -> tuple[int, bytes]:
        """The second word of the message, and what follows it."""
        flags = (0x80 if self.managed else 0) | (0x40 if self.other else 0) | PREFERENCES[self.preference] << 3
        parts = [
            struct.pack(">II", self.reachable_ms, self.retrans_ms),
            nd_option.address_option(nd_option.SOURCE_ADDRESS, mac),
        ]
        parts += [
            nd_option.prefix_option(one.network, one.length, one.flags, one.valid_s, one.preferred_s)
            for one in self.prefixes
        ]
        if self.mtu:
            parts.append(nd_option.mtu_option(self.mtu))
        parts += [
            nd_option.route_option(network, length, PREFERENCES[self.preference], lifetime_s)
            for network, length in self.routes
        ]
        if self.servers:
            parts.append(nd_option.servers_option(list(self.servers), self.servers_lifetime_s if lifetime_s else 0))
        return self.hop_limit << 24 | flags << 16 | lifetime_s, b"".join(parts)


def _link_local(device: str) -> int:
    """The address of its link that a device has: hosts take a router for what it says under that address."""
    with open("/proc/net/if_inet6", encoding="ascii") as table:
        for line in table:
            address, *_, name = line.split()
            if name == device and address.startswith("fe80"):
                return int(address, 16)
    raise OSError(errno.EADDRNOTAVAIL, "it has no IPv6 address of its link to advertise by")


class Advertiser:
    """Advertises `said` by the device of this name, at random times from `least_s` to `most_s` seconds.

    Raises `OSError`: there is no such device (ENODEV), or it has no address of its link (EADDRNOTAVAIL).
    """

    def __init__(self, device: str, said: Said, least_s: float = 200.0, most_s: float = 600.0) -> None:
        self.said = said
        self.least_s = least_s
        self.most_s = most_s
        self.sent = 0
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_IPV6))
        self._sock.bind((device, _ETH_P_IPV6))
        mac: bytes = self._sock.getsockname()[4]
        self._mac = mac
        self._source = _link_local(device)
        self._last: float = -_LEAST_BETWEEN_S

    def run(self) -> None:
        """Advertise until an exception (SystemExit, KeyboardInterrupt) comes; then say good-bye."""
        due = time.monotonic()
        try:
            while True:
                now = time.monotonic()
                if now >= due:
                    self.send(self.said.lifetime_s)
                    due = time.monotonic() + self._pause()
                    continue
                self._sock.settimeout(due - now)
                try:
                    data = self._sock.recv(2048)
                except TimeoutError:
                    continue
                if is_question(data):
                    now = time.monotonic()
                    due = min(due, max(now + random.uniform(0, _ANSWER_WITHIN_S), self._last + _LEAST_BETWEEN_S))
        finally:
            self.send(0)
            self._sock.close()

    def _pause(self) -> float:
        pause = random.uniform(self.least_s, self.most_s)
        return min(pause, INITIAL_INTERVAL_S) if self.sent < INITIAL else pause

    def send(self, lifetime_s: int) -> None:
        """Tell all nodes."""
        rest, body = self.said.body(int.from_bytes(self._mac, "big"), lifetime_s)
        message = IcmpMessage(AF_INET6, self._source, _ALL_NODES, _ADVERTISEMENT, 0, rest, body)
        message.ttl = _HOP_LIMIT
        to = bytes.fromhex(_ALL_NODES_MAC.replace(":", ""))
        self._sock.send(_ETHERNET.pack(to, self._mac, _ETH_P_IPV6) + ipv6.encode(message))
        self._last = time.monotonic()
        self.sent += 1


def is_question(frame: bytes) -> bool:
    """Whether a frame is a router solicitation as it must be (RFC 4861, 6.1.1)."""
    packet = ipv6.decode(frame[_ETHERNET.size :])
    if not isinstance(packet, IcmpMessage) or packet.protocol != ICMPV6:
        return False
    if packet.type != _SOLICITATION or packet.code != 0 or packet.ttl != _HOP_LIMIT:
        return False
    options = nd_option.parse(packet.payload)
    if options is None:
        return False
    return packet.src != 0 or nd_option.first(options, nd_option.SOURCE_ADDRESS) is None
