"""A program of the machine that is connected to the gateway: its socket, and the session that talks to it.

What the session is shows in the first byte: SOCKS5 begins with its version, HTTP with a letter. A forwarded port has a
session of its own from the start. Flow control: what the client does not read is counted as unsent until it has left
(`Client.passing_on`), and a session stops reading from a client whose channel is full.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from lunar.gateway.channel import Channel
from lunar.gateway.messages import reset, target_text

if TYPE_CHECKING:
    from lunar.gateway.channel import Channels
    from lunar.gateway.service import Service


# How long a client that was refused may take to close its connection, in seconds of the machine's clock.
_FAREWELL_S: Final = 5.0


class Session:
    """What a client says goes to its session."""

    def client_sent(self, data: bytes) -> None:
        """The client has sent this."""

    def client_ended(self) -> None:
        """The client sends no more; it may still read."""

    def client_lost(self) -> None:
        """The connection to the client is gone."""


class _Farewell(Session):
    """Waits for the client to close, and not for ever."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._timer = client.service.loop.call_later(_FAREWELL_S, client.close)

    def client_ended(self) -> None:
        self._client.close()

    def client_lost(self) -> None:
        self._timer.cancel()


class Client(asyncio.Protocol):
    """One connection that the gateway has accepted, as a protocol of the machine's event loop."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.transport: Any = None
        self.session: Session = Session()
        self.name = ""
        self._waits_to_leave: list[tuple[Channel, int]] = []
        self._stuck = False
        self._reading = True
        self._ended = False  # the client sends no more
        self._closed = False

    @property
    def channels(self) -> Channels:
        """Where its session gets channels."""
        return self.service.channels

    # What sessions do

    def write(self, data: bytes) -> None:
        """Send `data` to the client."""
        if data and not self._closed:
            self.transport.write(data)

    def passing_on(self, channel: Channel, count: int) -> None:
        """Tell `channel` that so many bytes have passed, as soon as all that was written has left."""
        if self._closed:
            return
        if self._stuck:
            self._waits_to_leave.append((channel, count))
        else:
            channel.passed_on(count)

    def end(self) -> None:
        """No more is sent to the client."""
        if not self._closed:
            self.transport.write_eof()

    def close(self) -> None:
        """Close the connection, after what was written."""
        if not self._closed:
            self._closed = True
            self.transport.close()

    def farewell(self) -> None:
        """Close it after what was written, and let the client read that first.

        What it still sends is thrown away: with that unread, the kernel would send a RST, which may overtake an answer.
        """
        if self._ended:
            self.close()
        elif not self._closed:
            self.transport.write_eof()
            self.session = _Farewell(self)
            self.read(True)

    def reset(self) -> None:
        """Close it at once, with a RST."""
        if not self._closed:
            self._closed = True
            reset(self.transport)

    def abort(self) -> None:
        """Close it at once; the run is over."""
        self._closed = True
        if self.transport is not None:
            self.transport.abort()

    def read(self, on: bool) -> None:
        """Go on reading from the client, or let it wait."""
        if on != self._reading and not self._closed:
            self._reading = on
            if on:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    # What the machine's loop calls

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        # Zero: whether something waits is what `_stuck` says.
        transport.set_write_buffer_limits(0)
        address = transport.get_extra_info("peername")
        if address is None:  # who came has reset the connection before anybody took it
            self.abort()
            return
        self.name = target_text(address[0], address[1])
        self.session = self.service.session(self)
        self.service.clients[self] = None

    def data_received(self, data: bytes) -> None:
        self.session.client_sent(data)

    def eof_received(self) -> bool:
        self._ended = True
        self.session.client_ended()
        return True

    def pause_writing(self) -> None:
        self._stuck = True

    def resume_writing(self) -> None:
        self._stuck = False
        passed, self._waits_to_leave = self._waits_to_leave, []
        for channel, count in passed:
            channel.passed_on(count)

    def connection_lost(self, exception: Exception | None) -> None:
        self._closed = True
        self.service.clients.pop(self, None)
        self.session.client_lost()
        self.session = Session()  # which led back here
