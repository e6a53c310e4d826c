"""The outside ends of a gateway's channels, without clients: what the inside half tells is heard by the right one."""

from __future__ import annotations

import pytest

from lunar.gateway.channel import Channels, ChannelUser
from lunar.gateway.messages import DATA, Told


class Listener(ChannelUser):
    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def peer_sent(self, data: bytes) -> None:
        if data == b"bad":
            raise ValueError("a session that cannot go on")
        self.heard.append(data)


def test_what_one_session_raises_keeps_nothing_from_the_others() -> None:
    channels = Channels()
    first, second = Listener(), Listener()
    for number, user in enumerate((first, second), start=1):
        channels.new(user)
        channels.tell(Told(DATA, number, b"1"))
    channels.tell(Told(DATA, 1, b"bad"))
    channels.tell(Told(DATA, 2, b"2"))
    with pytest.raises(ValueError, match="cannot go on"):
        channels.hand_on()
    assert channels.has_news  # so that the gateway hands on once more
    channels.hand_on()
    assert (first.heard, second.heard, channels.has_news) == ([b"1"], [b"1", b"2"], False)
