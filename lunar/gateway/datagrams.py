"""Datagrams of one client of the gateway: SOCKS5's UDP ASSOCIATE, on the virtual host's side.

A socket for each family of addresses, made when the first datagram goes there. They are sent in the order in which
they came, also where a name has to be looked up first; what cannot be sent is lost, as datagrams are.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from lunar.gateway.messages import Message

# As many datagrams wait for their names to be found; further ones are lost.
_WAITING: Final = 256


class Datagrams:
    """The sockets of one client; what arrives at them goes to `received((address, port, payload))`."""

    def __init__(self, received: Callable[[tuple[str, int, bytes]], None]) -> None:
        self._received = received
        self._sockets: dict[int, Any] = {}  # transports, by their families
        self._waiting: deque[Message] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def send(self, message: Message) -> None:
        """Send what the message has to where it says."""
        if len(self._waiting) < _WAITING:
            self._waiting.append(message)
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._send_all())

    def close(self) -> None:
        """The client is gone."""
        self._closed = True
        self._waiting.clear()
        for transport in self._sockets.values():
            transport.close()

    async def _send_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            message = self._waiting.popleft()
            try:
                found = await loop.getaddrinfo(message.name, message.port, type=socket.SOCK_DGRAM)
                family, address = int(found[0][0]), found[0][4]
                transport = self._sockets.get(family)
                if transport is None:
                    transport, _ = await loop.create_datagram_endpoint(lambda: _Receiver(self._received), family=family)
                    self._sockets[family] = transport
            except (OSError, UnicodeError):
                continue  # there is no such name, no such family here: nobody tells who sends a datagram
            if self._closed:
                transport.close()
            else:
                transport.sendto(message.data, address)
        self._task = None


class _Receiver(asyncio.DatagramProtocol):
    def __init__(self, received: Callable[[tuple[str, int, bytes]], None]) -> None:
        self._received = received

    def datagram_received(self, data: bytes, address: Any) -> None:
        self._received((address[0], address[1], data))
