"""SOCKS5's UDP ASSOCIATE (RFC 1928 section 7), the client's side: a UDP socket beside the client's TCP connection.

Datagrams of others than the client are dropped, and so are fragments, which need not be supported.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any, Final

from lunar.gateway.channel import Channel, ChannelUser
from lunar.gateway.client import Client, Session

# The header: two reserved bytes, the number of the fragment; then an address as in requests.
_HEAD: Final = b"\0\0\0"

# Kinds of addresses (RFC 1928 section 5).
IPV4: Final = 1
NAME: Final = 3
IPV6: Final = 4


class Association(Session, ChannelUser, asyncio.DatagramProtocol):
    """Makes itself the session of `client` and the user of `channel`, until the client's TCP connection ends.

    `port` is from which the client will send, 0 if it does not know. Raises `OSError` without a socket.
    """

    def __init__(self, client: Client, channel: Channel, port: int) -> None:
        local = client.transport.get_extra_info("sockname")[0]
        self._client = client
        self._channel = channel
        self._peer = (client.transport.get_extra_info("peername")[0], port)
        self._transport: Any = None
        made = socket.socket(socket.AF_INET6 if ":" in local else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            made.bind((local, 0))
        except OSError:
            made.close()
            raise
        self.address, self.port = made.getsockname()[:2]
        client.session = self
        channel.user = self
        self._task = client.service.loop.create_task(self._open(made))

    async def _open(self, made: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, sock=made)
        if self._channel.over:
            self._transport.close()

    def client_ended(self) -> None:
        self._client.close()

    def client_lost(self) -> None:
        self._channel.reset()
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, address: Any) -> None:
        host, port = self._peer
        if address[0] != host or (port and address[1] != port):
            return
        self._peer = (host, address[1])
        if data[2:3] != b"\0":
            return
        try:
            found = read_address(data[3:])
        except UnknownKind:
            return
        if found is not None and found[0]:
            name, port, length = found
            self._channel.send_datagram(name, port, data[3 + length :])

    def datagram(self, address: str, port: int, data: bytes) -> None:
        if self._transport is not None and self._peer[1]:
            self._transport.sendto(_HEAD + address_bytes(address) + port.to_bytes(2) + data, self._peer)


class UnknownKind(ValueError):
    """An address of a kind that there is not."""


def read_address(data: bytes) -> tuple[str, int, int] | None:
    """The name or address, the port and the length of both at the beginning of `data`; None if it is not all there.

    Raises `UnknownKind`.
    """
    if len(data) < 2:
        return None
    kind, first = data[0], data[1]
    length = {IPV4: 4, IPV6: 16, NAME: 1 + first}.get(kind)
    if length is None:
        raise UnknownKind(f"address of kind {kind}")
    end = 1 + length
    if len(data) < end + 2:
        return None
    if kind == NAME:
        text = data[2:end].decode("utf-8", "surrogateescape")
    else:
        text = str(ipaddress.ip_address(data[1:end]))
    return text, int.from_bytes(data[end : end + 2]), end + 2


def address_bytes(address: str) -> bytes:
    """An address as SOCKS has it: its kind, and its bytes. A scope ("%eth0") has no place there."""
    packed = ipaddress.ip_address(address.partition("%")[0]).packed
    return bytes([IPV4 if len(packed) == 4 else IPV6]) + packed
