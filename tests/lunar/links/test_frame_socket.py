"""The short way of frames: what comes in by which gate, and who is asked where not all is well."""

from __future__ import annotations

import errno
from typing import Any

from lunar.links.frame_socket import FrameSocket
from weaves.outside import Gates
from weaves.scheduler import FOREVER, Call, Scheduler

LONGEST = 100
PEER = ("127.0.0.1", 9)


class Bench:
    """A way whose socket gives what is in `waits`: datagrams with what the kernel says beside them, or errors."""

    def __init__(self) -> None:
        scheduler = Scheduler()
        gates = Gates(scheduler)
        self.scheduler = scheduler
        self.came: list[tuple[str, bytes]] = []
        single = gates.gate("single", lambda data: Call(self.came.append, ("single", data)))
        together = gates.gate("together", lambda data: Call(self.came.append, ("together", data)))
        self.frames: list[bytes] = []
        self.way = FrameSocket(single, together, self.frames, LONGEST)
        self.waits: list[Any] = []
        self.sent: list[bytes] = []
        self.asked: list[Any] = []
        self.refuses: list[OSError] = []
        self.early = 0
        self.way.open(self, self._recvmsg, self._send, PEER)

    def _recvmsg(self, _room: int, _items: int) -> Any:
        if not self.waits:
            raise BlockingIOError
        found = self.waits.pop(0)
        if isinstance(found, OSError):
            raise found
        data, size, *source = found
        return data, [] if size is None else [size], 0, source[0] if source else PEER

    def _send(self, frame: bytes) -> int:
        if self.refuses:
            raise self.refuses.pop()
        self.sent.append(frame)
        return len(frame)

    # What a PeerSocket does.

    def size_of(self, items: list[int], _size: int) -> int:
        return items[0]

    def told(self, error: OSError) -> None:
        self.asked.append(error.errno)

    def send(self, frames: list[bytes]) -> None:
        self.asked.append(list(frames))

    def hears(self) -> None:
        self.asked.append("hears")

    def take(self, *waits: Any) -> list[tuple[str, bytes]]:
        self.waits += waits
        while self.waits:
            self.way.readable()
        self.scheduler.run(FOREVER, 100)
        return self.came


def test_a_single_frame_and_a_row_have_a_gate_each() -> None:
    bench = Bench()
    row = b"a" * 20 + b"b" * 20 + b"c" * 15
    assert bench.take((b"x" * 30, None), (row, 20)) == [("single", b"x" * 30), ("together", b"\x00\x14" + row)]
    assert (bench.way.received, bench.way.frames_in, bench.way.calls_in) == (4, 4, 2)
    assert bench.asked == ["hears"]


def test_what_is_no_frame_is_counted() -> None:
    bench = Bench()
    assert bench.take((b"", None), (b"x" * 13, None), (b"x" * 101, None), (b"y" * 30, 20)) == [("single", b"y" * 20)]
    # Of the row the second, of 10 bytes, is too short for a frame.
    assert (bench.way.short, bench.way.long, bench.way.frames_in, bench.way.received) == (3, 1, 1, 5)


def test_strangers_and_errors_are_the_peer_sockets_business() -> None:
    bench = Bench()
    assert bench.take((b"x" * 30, None, ("127.0.0.1", 10)), ConnectionRefusedError(errno.ECONNREFUSED, "")) == []
    assert bench.early == 1 and bench.asked == [errno.ECONNREFUSED]


def test_one_frame_is_sent_at_once_and_a_row_by_the_peer_socket() -> None:
    bench = Bench()
    bench.way.flush()
    bench.frames.append(b"one")
    bench.way.flush()
    bench.frames += [b"two", b"three"]
    bench.way.flush()
    assert bench.sent == [b"one"] and bench.asked == [[b"two", b"three"]] and bench.frames == []
    assert (bench.way.frames_out, bench.way.sent, bench.way.sent_bytes) == (3, 1, 3)


def test_one_that_is_refused_is_tried_again_there() -> None:
    bench = Bench()
    bench.refuses = [ConnectionRefusedError(errno.ECONNREFUSED, "")]
    bench.frames.append(b"one")
    bench.way.flush()
    assert bench.asked == [errno.ECONNREFUSED, [b"one"]] and bench.way.sent == 0


def test_closed_it_keeps_nothing() -> None:
    bench = Bench()
    bench.way.close()
    bench.frames.append(b"one")
    bench.way.flush()
    assert bench.frames == [] and bench.sent == []
