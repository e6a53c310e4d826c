"""The outside half's end of the channels: what clients' sessions speak to, and what the inside half has told.

A session (tunnel.py, http.py, associate.py) opens a `Channel` and gets what comes back as calls of its `ChannelUser`.
What it sends passes the gate; what the inside tells is kept until the driver of the run says that a slice is over
(`Channels.hand_on`), because the machine's event loop is out of sight within one.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from lunar.gateway.messages import (
    DATA,
    DATAGRAM,
    END,
    FAILED,
    OPEN,
    OPENED,
    RESET,
    TAKEN,
    TELL_FROM,
    WINDOW,
    Failure,
    Message,
    Told,
    pack,
)
from weaves.outside import Gate


class ChannelUser:
    """What a channel tells. Whoever gets data tells the channel when it has passed it on (`Channel.passed_on`)."""

    def opened(self, address: str, port: int) -> None:
        """The connection stands; its own end has this address."""

    def failed(self, failure: Failure) -> None:
        """It does not; the channel is over."""

    def peer_sent(self, data: bytes) -> None:
        """The peer has sent this."""

    def peer_ended(self) -> None:
        """The peer sends no more."""

    def peer_lost(self) -> None:
        """The connection was reset; the channel is over."""

    def room(self) -> None:
        """A channel that was `full` takes more."""

    def datagram(self, address: str, port: int, data: bytes) -> None:
        """A datagram has come from there."""


class Channels:
    """All channels of a gateway."""

    def __init__(self) -> None:
        self.gate: Gate | None = None
        self._numbers = 0
        self._open: dict[int, Channel] = {}
        self._told: deque[Told] = deque()

    def tell(self, told: Told) -> None:
        """Keep a message of the inside half until `hand_on`."""
        self._told.append(told)

    @property
    def has_news(self) -> bool:
        """Whether something waits for `hand_on`."""
        return bool(self._told)

    def hand_on(self) -> None:
        """Let the users of the channels hear what was told since."""
        while self._told:
            one = self._told.popleft()
            channel = self._open.get(one.number)
            if channel is not None:  # otherwise its client has gone meanwhile
                channel.hear(one)

    def new(self, user: ChannelUser) -> Channel:
        """A channel of its own for `user`."""
        self._numbers += 1
        channel = self._open[self._numbers] = Channel(self, self._numbers, user)
        return channel

    def admit(self, message: Message) -> None:
        """Send a message in."""
        assert self.gate is not None, "it is made with the gateway"
        self.gate.admit(pack(message))

    def forget(self, number: int) -> None:
        """The channel of this number is over."""
        self._open.pop(number, None)


class Channel:
    """The outside end of one connection of the gateway's host. `user` may be replaced by another."""

    def __init__(self, channels: Channels, number: int, user: ChannelUser) -> None:
        self.user = user
        self._channels = channels
        self._number = number
        self._untaken = 0  # bytes that are on their way in
        self._passed = 0  # bytes that were passed on, and not told yet
        self._ended_in = False
        self._ended_out = False
        self._known_inside = False
        self.over = False

    # What the user says

    def connect(self, name: str, port: int, client: str) -> None:
        """Open a connection to a name or address; `client` is who asks, for people. The first that a user says."""
        self._admit(Message(OPEN, self._number, name=name, port=port, client=client))

    def write(self, data: bytes) -> None:
        """Send `data`, at once or when the connection stands. Who goes on although it is `full` fills the memory."""
        if data and not self.over and not self._ended_in:
            self._untaken += len(data)
            self._admit(Message(DATA, self._number, data))

    def end(self) -> None:
        """No more will be sent."""
        if not self.over and not self._ended_in:
            self._ended_in = True
            self._admit(Message(END, self._number))
            self._see_end()

    def reset(self) -> None:
        """Give the connection up. Nothing is heard of it any more."""
        if not self.over:
            if self._known_inside:
                self._admit(Message(RESET, self._number))
            self._forget()

    def send_datagram(self, name: str, port: int, data: bytes) -> None:
        """Send a datagram from a socket of the gateway's host."""
        self._admit(Message(DATAGRAM, self._number, data, name, port))

    def passed_on(self, count: int) -> None:
        """So many received bytes have left: as many more may come."""
        self._passed += count
        if self._passed >= TELL_FROM and not self.over and not self._ended_out:
            self._admit(Message(TAKEN, self._number, taken=self._passed))
            self._passed = 0

    @property
    def full(self) -> bool:
        """Whether more than enough is on its way in already; `ChannelUser.room` says when there is room."""
        return self._untaken >= WINDOW and not self.over

    def _admit(self, message: Message) -> None:
        self._known_inside = True
        self._channels.admit(message)

    # What the inside half says

    def hear(self, told: Told) -> None:
        """A message of the inside half."""
        value: Any = told.value
        if told.kind == DATA:
            self.user.peer_sent(value)
        elif told.kind == TAKEN:
            was_full = self.full
            self._untaken -= value
            if was_full and not self.full:
                self.user.room()
        elif told.kind == END:
            self._ended_out = True
            self._see_end()
            self.user.peer_ended()
        elif told.kind == RESET:
            self._forget()
            self.user.peer_lost()
        elif told.kind == OPENED:
            self.user.opened(*value)
        elif told.kind == FAILED:
            self._forget()
            self.user.failed(value)
        elif told.kind == DATAGRAM:
            self.user.datagram(*value)

    def _see_end(self) -> None:
        if self._ended_in and self._ended_out:
            self._forget()

    def _forget(self) -> None:
        self.over = True
        self._channels.forget(self._number)
