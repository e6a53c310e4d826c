"""What a connection keeps of the bytes whose fate its program wants to know; send_marks.py is what happens to them."""

from __future__ import annotations

from collections import deque
from typing import final

from mypy_extensions import i64


@final
class Stamp:
    """The byte at `seq`, and which of its times are wanted: TX_RECORD flags of lunar/net/timestamping.py."""

    def __init__(self, seq: i64, wanted: i64) -> None:
        self.seq: i64 = seq
        self.wanted: i64 = wanted
        self.payload: bytes = b""  # of the segment that it went out in


@final
class Buffers:
    """Sends of MSG_ZEROCOPY, `first` to `last`, whose bytes end at `end_seq`."""

    def __init__(self, first: i64) -> None:
        self.first: i64 = first
        self.last: i64 = first
        self.end_seq: i64 = 0
        self.begun: bool = False  # some of it has been sent


@final
class Marks:
    """The marks of one connection, by sequence."""

    def __init__(self) -> None:
        self.stamps: deque[Stamp] = deque()
        self.buffers: deque[Buffers] = deque()
        # A blocking call writes piece by piece, and is one write: whether another piece follows if this one is taken
        # whole, and whether one follows if it is not. Set by who calls, where there are marks.
        self.piece_follows: bool = False
        self.rest_follows: bool = False
        # Where a send of many buffers without a copy must end a record, in bytes from its beginning.
        self.cuts: list[int] = []
        self.open: Buffers | None = None  # of a call that is not at its end
