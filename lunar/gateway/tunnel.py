"""A client and a connection of the gateway's host, joined: bytes both ways, each direction's end by itself, resets.

What SOCKS, CONNECT and an upgraded HTTP connection become once they stand, and a forwarded port from its start.
"""

from __future__ import annotations

from lunar.gateway.channel import Channel, ChannelUser
from lunar.gateway.client import Client, Session
from lunar.gateway.messages import Failure


class Tunnel(Session, ChannelUser):
    """Makes itself the session of `client` and the user of `channel`."""

    def __init__(self, client: Client, channel: Channel) -> None:
        self._client = client
        self._channel = channel
        self._client_ended = False
        self._peer_ended = False
        client.session = self
        channel.user = self

    def client_sent(self, data: bytes) -> None:
        self._channel.write(data)
        if self._channel.full:
            self._client.read(False)

    def client_ended(self) -> None:
        self._client_ended = True
        self._channel.end()
        self._close_if_over()

    def client_lost(self) -> None:
        self._channel.reset()

    def peer_sent(self, data: bytes) -> None:
        self._client.write(data)
        self._client.passing_on(self._channel, len(data))

    def peer_ended(self) -> None:
        self._peer_ended = True
        self._client.end()
        self._close_if_over()

    def peer_lost(self) -> None:
        self._client.reset()

    def failed(self, failure: Failure) -> None:
        """Of a forwarded port: the client had its connection too early, and now loses it."""
        self._client.reset()

    def room(self) -> None:
        self._client.read(True)

    def _close_if_over(self) -> None:
        if self._client_ended and self._peer_ended:
            self._client.close()
