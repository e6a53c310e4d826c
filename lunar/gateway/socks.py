"""SOCKS5 (RFC 1928), the server's part: no authentication, CONNECT and UDP ASSOCIATE, names and addresses of both
families. BIND is refused, and so is who insists on a user and password (RFC 1929).

A client may send on before it has an answer; what it sends goes into the connection when that stands.
"""

from __future__ import annotations

from typing import Final

from lunar.gateway.associate import Association, UnknownKind, address_bytes, read_address
from lunar.gateway.channel import ChannelUser
from lunar.gateway.client import Client, Session
from lunar.gateway.messages import HOST_UNREACHABLE, NET_UNREACHABLE, NO_NAME, REFUSED, TIMED_OUT, Failure
from lunar.gateway.tunnel import Tunnel

VERSION: Final = 5

# Methods (section 3).
_NO_AUTHENTICATION: Final = 0x00
_NO_ACCEPTABLE_METHOD: Final = 0xFF

# Commands (section 4).
_CONNECT: Final = 1
_UDP_ASSOCIATE: Final = 3

# Replies (section 6).
_SUCCEEDED: Final = 0
_FAILURE: Final = 1
_COMMAND_NOT_SUPPORTED: Final = 7
_ADDRESS_NOT_SUPPORTED: Final = 8
# RFC 1928 has no number for a name that nobody has, nor for a host that does not answer; these are what others use.
_REPLIES: Final = {NET_UNREACHABLE: 3, HOST_UNREACHABLE: 4, NO_NAME: 4, REFUSED: 5, TIMED_OUT: 6}

# SOCKS4's first byte, and its reply to a request that is not granted; clients ignore the other fields.
SOCKS4: Final = 4
_SOCKS4_REJECTED: Final = b"\0\x5b" + bytes(6)


def refuse_socks4(client: Client) -> None:
    """The version before, which knows no names and no IPv6."""
    client.write(_SOCKS4_REJECTED)
    client.farewell()


class Socks(Session, ChannelUser):
    """The negotiation; afterwards a tunnel, or datagrams, take over."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._buffer = b""
        self._greeted = False
        self._asked = False
        self._ended = False
        self._channel = client.channels.new(self)

    def client_sent(self, data: bytes) -> None:
        if self._asked:
            self._channel.write(data)
            self._client.read(not self._channel.full)
            return
        self._buffer += data
        if self._greeted or self._greeting():
            self._request()

    def _greeting(self) -> bool:
        """Choose a method. False while the greeting is not whole, and if there is none to choose."""
        data = self._buffer
        if len(data) < 2 or len(data) < 2 + data[1]:
            return False
        methods = data[2 : 2 + data[1]]
        self._buffer = data[2 + data[1] :]
        if _NO_AUTHENTICATION not in methods:
            self._client.write(bytes([VERSION, _NO_ACCEPTABLE_METHOD]))
            self._close()
            return False
        self._client.write(bytes([VERSION, _NO_AUTHENTICATION]))
        self._greeted = True
        return True

    def _request(self) -> None:
        data = self._buffer
        if len(data) < 4:
            return
        try:
            found = read_address(data[3:])
        except UnknownKind:
            self._refuse(_ADDRESS_NOT_SUPPORTED)
            return
        if found is None:
            return
        name, port, length = found
        rest, self._buffer = data[3 + length :], b""
        self._asked = True
        if data[0] != VERSION:
            self._refuse(_FAILURE)
        elif data[1] == _CONNECT and name:
            self._channel.connect(name, port, self._client.name)
            self._channel.write(rest)
        elif data[1] == _CONNECT:
            self._refuse(_FAILURE)
        elif data[1] == _UDP_ASSOCIATE:
            self._associate(port)
        else:
            self._refuse(_COMMAND_NOT_SUPPORTED)

    def _associate(self, port: int) -> None:
        try:
            association = Association(self._client, self._channel, port)
        except OSError:
            self._refuse(_FAILURE)
            return
        self._client.write(_reply(_SUCCEEDED, association.address, association.port))

    def opened(self, address: str, port: int) -> None:
        self._client.write(_reply(_SUCCEEDED, address, port))
        tunnel = Tunnel(self._client, self._channel)
        if self._ended:
            tunnel.client_ended()

    def failed(self, failure: Failure) -> None:
        self._refuse(_REPLIES.get(failure.kind, _FAILURE))

    def _refuse(self, reply: int) -> None:
        self._client.write(_reply(reply, "0.0.0.0", 0))
        self._close()

    def _close(self) -> None:
        self._channel.reset()
        self._client.farewell()

    def client_ended(self) -> None:
        self._ended = True
        if not self._asked:
            self._close()

    def client_lost(self) -> None:
        self._channel.reset()

    def peer_lost(self) -> None:
        self._client.reset()

    def room(self) -> None:
        self._client.read(True)


def _reply(reply: int, address: str, port: int) -> bytes:
    return bytes([VERSION, reply, 0]) + address_bytes(address) + port.to_bytes(2)
