"""The inside half of a gateway: a weave on a virtual host that connects to others, as any program there does.

It does only what messages tell it, so that a run which gets the same messages at the same times is the same run. It
hears them as events of their gate (`event_of`); each is taken up in a turn of the weave's own loop, on sockets of the
host, and names are looked up as that host looks them up. The weave is made with the first message after each boot.

Datagrams are in datagrams.py.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from asyncio import staggered
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from lunar.gateway.datagrams import Datagrams
from lunar.gateway.messages import (
    DATA,
    DATAGRAM,
    END,
    FAILED,
    HOST_DOWN,
    HOST_UNREACHABLE,
    NET_UNREACHABLE,
    NO_NAME,
    OPEN,
    OPENED,
    OTHER,
    REFUSED,
    RESET,
    TAKEN,
    TELL_FROM,
    TIMED_OUT,
    WINDOW,
    Failure,
    Message,
    Told,
    reset,
    target_text,
    unpack,
)  # fmt: skip
from weaves.scheduler import Call, Event
from weaves.weave import Weave

if TYPE_CHECKING:
    from lunar.host import Host

NAME: Final = "gateway"

# RFC 8305 (Happy Eyeballs), section 8: how long the next address waits for the one before it, in seconds.
_NEXT_ADDRESS_AFTER_S: Final = 0.25

# As asyncio's own transports: from here on a writer is told to wait.
_WRITE_BUFFER: Final = 64 * 1024

_KINDS: Final = {
    errno.ECONNREFUSED: REFUSED,
    errno.ENETUNREACH: NET_UNREACHABLE,
    errno.EHOSTUNREACH: HOST_UNREACHABLE,
    errno.ETIMEDOUT: TIMED_OUT,
}

_TEXTS: Final = {
    errno.ECONNREFUSED: "the connection was refused",
    errno.ENETUNREACH: "there is no route to its network",
    errno.EHOSTUNREACH: "there is no way to the host",
    errno.ETIMEDOUT: "it does not answer",
}

# What befalls a host (lunar/host.py) and takes its connections with it.
_LOSES_ALL: Final = ("crashes", "powers off")


class Inside:
    """The weave of a gateway on `host`. What it has to say goes to `tell`."""

    def __init__(self, host: Host, tell: Callable[[Told], None]) -> None:
        self.host = host
        self.tell = tell
        # What it has done: connections that stood, and that failed; bytes of streams from the machine and to it.
        self.connections = self.failed = self.bytes_in = self.bytes_out = 0
        self._weave: Weave | None = None
        self._streams: dict[int, Stream] = {}
        self._datagrams: dict[int, Datagrams] = {}
        # What a crash took: held until the weave is gone, because nothing of it may run meanwhile.
        self._lost: list[Any] = []
        host.network.supervisor.trace.subscribe_changes(self._changed)

    def event_of(self, data: bytes) -> Event:
        """The event that a message has arrived: what its gate posts. Raises `ValueError` for what is no message."""
        return Call(self._arrive, unpack(data))

    def _arrive(self, message: Message) -> None:
        self._lost.clear()
        if self.host.state == "down":
            if message.kind == OPEN:
                self.open_failed(message, Failure(HOST_DOWN, f"host {self.host.name} is down"))
            return
        if self._weave is None:
            self._weave = self.host.new_weave(NAME)
        self._weave.loop.call_soon(self._take, message)

    def _changed(self, _time_ns: int, name: str, what: str) -> None:
        if name == self.host.name and what in _LOSES_ALL:
            for number in self._streams:
                self.tell(Told(RESET, number))
            self._lost = [self._streams, self._datagrams]
            self._streams, self._datagrams = {}, {}
            self._weave = None

    def _take(self, message: Message) -> None:
        number = message.number
        if message.kind == OPEN:
            self._streams[number] = Stream(self, message)
        elif message.kind == DATAGRAM:
            if number not in self._datagrams:
                self._datagrams[number] = Datagrams(partial(self._datagram, number))
            self._datagrams[number].send(message)
        elif message.kind == RESET and number in self._datagrams:
            self._datagrams.pop(number).close()
        # One that ended here meanwhile is not known any more; the outside hears of that soon.
        elif (stream := self._streams.get(number)) is not None:
            stream.take(message)

    def _datagram(self, number: int, datagram: tuple[str, int, bytes]) -> None:
        self.tell(Told(DATAGRAM, number, datagram))

    def forget(self, number: int) -> None:
        """The stream of this number is over."""
        self._streams.pop(number, None)

    def say(self, text: str) -> None:
        """A line for who watches the run."""
        supervisor = self.host.network.supervisor
        supervisor.trace.change(supervisor.scheduler.now_ns, self.host.name, text)

    def open_failed(self, message: Message, failure: Failure) -> None:
        """A connection cannot be opened."""
        self.failed += 1
        self.say(f"{message.client} to {target_text(message.name, message.port)}: {failure.text}")
        self.tell(Told(FAILED, message.number, failure))


class Stream(asyncio.Protocol):
    """One connection of the gateway's host, from the order to open it to its end in both directions."""

    def __init__(self, inside: Inside, order: Message) -> None:
        self._inside = inside
        self._order = order
        self._number = order.number
        self._transport: Any = None
        self._early: list[bytes] = []  # what came before the connection stood
        self._taken = 0  # bytes that have gone into the connection, or on their way there, and were not told
        self._untold = 0
        self._full = False  # the connection's buffer: it will say when there is room
        self._ended_in = False  # the client has ended its direction
        self._ended_out = False  # the peer has
        self._over = False
        self._unread = 0  # bytes that the outside has not passed on yet
        self._task = asyncio.get_running_loop().create_task(self._open())

    # From the outside

    def take(self, message: Message) -> None:
        """A message for this stream."""
        if message.kind == DATA:
            if self._transport is None:
                self._early.append(message.data)
            else:
                self._write(message.data)
        elif message.kind == END:
            self._ended_in = True
            if self._transport is not None:
                self._transport.write_eof()
                self._close_if_over()
        elif message.kind == RESET:
            self._finish()
            self._task.cancel()
            if self._transport is not None:
                reset(self._transport)
        elif message.kind == TAKEN:
            self._unread -= message.taken
            if self._unread < WINDOW and self._transport is not None:
                self._transport.resume_reading()

    def _write(self, data: bytes) -> None:
        if self._over:
            return
        self._untold += len(data)
        self._inside.bytes_in += len(data)
        self._transport.write(data)
        self._tell_taken()

    def _tell_taken(self) -> None:
        if not self._full and self._untold >= TELL_FROM:
            self._inside.tell(Told(TAKEN, self._number, self._untold))
            self._untold = 0

    # The connection

    async def _open(self) -> None:
        order = self._order
        try:
            await self._connect(order.name, order.port)
        except socket.gaierror as error:
            self._failed(NO_NAME, _name_text(order.name, error))
        except UnicodeError:
            self._failed(NO_NAME, "no host can have such a name")
        except OSError as error:
            self._failed(_KINDS.get(error.errno or 0, OTHER), _connect_text(error))

    async def _connect(self, name: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        attempts = [partial(_connected, info[0], info[4]) for info in found]
        if len(attempts) == 1:
            sock = await attempts[0]()
        else:
            sock, winner, errors = await staggered.staggered_race(attempts, _NEXT_ADDRESS_AFTER_S)
            if winner is None:
                raise next((error for error in errors if error is not None), OSError(errno.EHOSTUNREACH, "no address"))
        peer, own = sock.getpeername(), sock.getsockname()
        self._inside.connections += 1
        where = "" if peer[0] == name else f" ({peer[0]})"
        self._inside.say(f"{self._order.client} to {target_text(name, port)}{where}")
        self._inside.tell(Told(OPENED, self._number, own[:2]))
        await loop.create_connection(lambda: self, sock=sock)

    def _failed(self, kind: str, text: str) -> None:
        if not self._over:
            self._finish()
            self._inside.open_failed(self._order, Failure(kind, text))

    def connection_made(self, transport: Any) -> None:
        if self._over:  # the client went while it was on its way
            reset(transport)
            return
        self._transport = transport
        transport.set_write_buffer_limits(_WRITE_BUFFER)
        early, self._early = self._early, []
        for data in early:
            self._write(data)
        if self._ended_in:
            transport.write_eof()

    def data_received(self, data: bytes) -> None:
        self._unread += len(data)
        self._inside.bytes_out += len(data)
        self._inside.tell(Told(DATA, self._number, data))
        if self._unread >= WINDOW:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._ended_out = True
        self._inside.tell(Told(END, self._number))
        self._close_if_over()
        return not self._ended_in

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._tell_taken()

    def connection_lost(self, exception: Exception | None) -> None:
        if not self._over:
            self._finish()
            self._inside.tell(Told(RESET, self._number))

    def _close_if_over(self) -> None:
        """Both directions have ended: what is left is the stack's."""
        if self._ended_in and self._ended_out:
            self._finish()
            self._transport.close()

    def _finish(self) -> None:
        self._over = True
        self._inside.forget(self._number)


async def _connected(family: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:  # cancelled, too, because another address was faster
        sock.close()
        raise
    return sock


def _name_text(name: str, error: socket.gaierror) -> str:
    if error.errno == socket.EAI_AGAIN:
        return "no name server answers"
    if error.errno == socket.EAI_NODATA:
        return "the name has no address"
    return f"no host has the name {name}"


def _connect_text(error: OSError) -> str:
    number = error.errno or 0
    return _TEXTS.get(number) or (os.strerror(number) if number else str(error))
