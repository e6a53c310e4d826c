"""The short way between a run and a socket that carries its frames, one a datagram: compiled, as each message of a
program waits for it twice.

Here is what happens when all is well. Whatever else there is (errors, rows of datagrams that the kernel is to cut), the
`peer` does, lunar/outside/peer_socket.py's: it knows the machine's sockets, which compiled modules do not import. What
the socket's calls are is handed in.
"""

from __future__ import annotations

from typing import Any, Final, final

from mypy_extensions import i64

from lunar.packet import ETHERNET_HEADER_BYTES
from weaves.outside import Gate

# errno.h
_ECONNREFUSED: Final = 111
_ROOM: Final = 65_536
_ITEMS_ROOM: Final = 64
# At most so many calls before the run goes on.
_MOST_CALLS: Final = 32


@final
class FrameSocket:
    """Lets the frames that come in by `gate`, those that came in together by `together`, and sends what is in `frames`,
    a list that stays the same. A frame has `longest` bytes at most.
    """

    def __init__(self, gate: Gate, together: Gate, frames: list[bytes], longest: i64) -> None:
        self.gate: Gate = gate
        self.together: Gate = together
        self.frames: list[bytes] = frames
        self.longest: i64 = longest
        self.peer: Any = None  # the PeerSocket, as long as it is open
        self.recvmsg: Any = None
        self.send: Any = None
        self.source: Any = None
        self.heard: bool = False  # the peer has been told of
        self.calls_in: i64 = 0
        self.received: i64 = 0  # datagrams
        self.received_bytes: i64 = 0
        self.sent: i64 = 0  # one by one
        self.sent_bytes: i64 = 0
        self.frames_in: i64 = 0
        self.frames_out: i64 = 0
        self.short: i64 = 0
        self.long: i64 = 0
        self._calls: i64 = 1
        self._in_a_row: i64 = 0

    def open(self, peer: Any, recvmsg: Any, send: Any, source: Any) -> None:
        """`peer` is open: `recvmsg` and `send` are the calls of its socket, and `source` says who it is."""
        self.peer = peer
        self.recvmsg = recvmsg
        self.send = send
        self.source = source

    def close(self) -> None:
        """It is closed. The counters stay."""
        self.peer = self.recvmsg = self.send = None

    def readable(self) -> None:
        """Something has come: let a bounded part of it in."""
        calls: i64 = self._calls
        while calls > 0:
            calls -= 1
            try:
                found = self.recvmsg(_ROOM, _ITEMS_ROOM)
            except BlockingIOError:
                self._calls = 1
                self._in_a_row = 0
                return
            except OSError as error:
                self.peer.told(error)
                continue
            self.calls_in += 1
            if found[3] != self.source:
                self.peer.early += 1  # it was under way before the socket was connected
                continue
            data: bytes = found[0]
            size: i64 = len(data)
            self.received_bytes += size
            items: list[Any] = found[1]
            if items:
                size = self.peer.size_of(items, int(size))
            if not self.heard:
                self.heard = True
                self.peer.hears()
            self._let_in(data, size)
        # There may be more. Whoever looks again at once asks for nothing when there is none, which an answer to a
        # single datagram would have to wait for; a stream gets more calls at a time.
        self._in_a_row += 1
        if self._in_a_row >= 4 and self._calls < _MOST_CALLS:
            self._calls *= 2
            self._in_a_row = 0

    def _let_in(self, data: bytes, size: i64) -> None:
        """`data` are datagrams of `size` bytes; the last one may be shorter."""
        length: i64 = len(data)
        if size >= length:
            self.received += 1
            self._admit(data)
            return
        count: i64 = (length + size - 1) // size
        self.received += count
        last: i64 = length - (count - 1) * size
        if last >= ETHERNET_HEADER_BYTES and size <= self.longest:
            self.frames_in += count
            self.together.admit(int(size).to_bytes(2, "big") + data)
            return
        at: i64 = 0
        while at < length:
            self._admit(data[at : min(at + size, length)])
            at += size

    def _admit(self, frame: bytes) -> None:
        size: i64 = len(frame)
        if size < ETHERNET_HEADER_BYTES:
            self.short += 1
        elif size > self.longest:
            self.long += 1
        else:
            self.frames_in += 1
            self.gate.admit(frame)

    def flush(self) -> None:
        """Send what waits."""
        frames = self.frames
        count: i64 = len(frames)
        if count == 0:
            return
        if self.peer is None:
            frames.clear()
            return
        self.frames_out += count
        if count > 1:
            self.peer.send(frames)
            frames.clear()
            return
        frame = frames.pop()
        try:
            self.send(frame)
        except OSError as error:
            if error.errno == _ECONNREFUSED:
                self.peer.told(error)  # it is about a datagram before
            self.peer.send([frame])
            return
        self.sent += 1
        self.sent_bytes += len(frame)
