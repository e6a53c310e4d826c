"""What lies between two descriptors of one host: pieces of data in order, with a bound, from one writer to one reader.

pipe.py and unix.py build on it; both decide by themselves what their ends may do, this only keeps. Nothing here meets
a network, a route or a clock.
"""

from __future__ import annotations

from collections import deque
from typing import final

from mypy_extensions import i64

from lunar.net.sock import Sock
from lunar.sockets.attachment import Attachment, is_same_sender


@final
class Channel:
    """A queue of pieces. Each is charged its length and `overhead` more, and `charged` is what all of them are."""

    def __init__(self, overhead: i64) -> None:
        self._overhead: i64 = overhead
        self._pieces: deque[bytes] = deque()
        self._at: i64 = 0  # how far into the first piece
        # What came with pieces, by their numbers; made for the first that has something. `came` is what a reader got.
        self._attached: dict[int, Attachment] | None = None
        self._first: i64 = 0  # the number of the first piece
        self.came: Attachment | None = None
        self.charged: i64 = 0
        self.ended: bool = False  # nothing more will be put in
        self.deaf: bool = False  # nobody will take anything out
        self.reader: Sock | None = None
        self.writer: Sock | None = None

    def is_empty(self) -> bool:
        return not self._pieces

    def waiting_bytes(self) -> i64:
        """How many bytes wait to be taken out."""
        return self.charged - self._overhead * len(self._pieces) - self._at

    def first_bytes(self) -> i64:
        """The length of the first piece, 0 if there is none."""
        return len(self._pieces[0]) if self._pieces else 0

    def put(self, piece: bytes, attachment: Attachment | None = None) -> None:
        """Add a piece. The caller has looked for room."""
        if attachment is not None:
            if self._attached is None:
                self._attached = {}
            self._attached[int(self._first + len(self._pieces))] = attachment
        self._pieces.append(piece)
        self.charged += len(piece) + self._overhead

    def take_message(self, peek: bool) -> bytes:
        """The first piece as it was put in. The caller has looked that there is one."""
        piece = self._pieces[0]
        self.came = None
        self._meet(0, peek)
        if not peek:
            self._drop(piece)
        return piece

    def take(self, size: i64, peek: bool, by_sender: bool = False) -> bytes:
        """Up to `size` bytes, across pieces but none that came with files; with `by_sender` of one sender only."""
        self.came = None
        if size <= 0:
            return b""
        if self._attached is not None:
            size = self._size_together(size, by_sender)
            self._meet_all(size, peek, by_sender)
        if peek:
            return self._peek(size)
        parts: list[bytes] = []
        left: i64 = size
        while left > 0 and self._pieces:
            piece = self._pieces[0]
            have: i64 = len(piece) - self._at
            if have > left:
                parts.append(piece[self._at : self._at + left])
                self._at += left
                left = 0
            else:
                parts.append(piece if self._at == 0 else piece[self._at :])
                left -= have
                self._at = 0
                self._drop(piece)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _size_together(self, size: i64, by_sender: bool) -> i64:
        """How many of `size` bytes may be read at once."""
        attached = self._attached
        assert attached is not None, "there is nothing beside the bytes"
        together: i64 = -self._at
        number: i64 = self._first
        before: Attachment | None = None
        for piece in self._pieces:
            attachment = attached.get(int(number))
            if by_sender and number > self._first and not is_same_sender(before, attachment):
                break
            together += len(piece)
            if together >= size or (attachment is not None and attachment.files):
                break
            before = attachment
            number += 1
        return min(size, together)

    def _meet_all(self, size: i64, peek: bool, by_sender: bool) -> None:
        """Note what comes with the next `size` bytes.

        Who only looks sees the next files of the same sender, too, wherever they are: so does Linux.
        """
        attached = self._attached
        assert attached is not None, "there is nothing beside the bytes"
        left: i64 = size + self._at
        before: Attachment | None = None
        for index, piece in enumerate(self._pieces):
            attachment = attached.get(int(self._first) + index)
            if left <= 0 and not peek:
                break
            if by_sender and index and not is_same_sender(before, attachment):
                break
            self._meet(index, peek)
            if attachment is not None and peek and attachment.files:
                break
            before = attachment
            left -= len(piece)

    def _meet(self, index: i64, peek: bool) -> None:
        attached = self._attached
        attachment = None if attached is None else attached.get(int(self._first + index))
        if attachment is not None:
            self.came = attachment.peek() if peek else attachment.take()

    def _peek(self, size: i64) -> bytes:
        parts: list[bytes] = []
        left: i64 = size
        at: i64 = self._at
        for piece in self._pieces:
            part = piece[at : at + left]
            parts.append(part)
            left -= len(part)
            at = 0
            if left == 0:
                break
        return b"".join(parts)

    def clear(self) -> None:
        attached = self._attached
        self._attached = None
        self._pieces.clear()
        self._at = 0
        self.charged = 0
        if attached is not None:
            for attachment in attached.values():
                attachment.release()

    def wake_reader(self, mask: i64) -> None:
        if self.reader is not None:
            self.reader.wake(mask)

    def wake_writer(self, mask: i64) -> None:
        if self.writer is not None:
            self.writer.wake(mask)

    def _drop(self, piece: bytes) -> None:
        self._pieces.popleft()
        if self._attached is not None:
            self._attached.pop(int(self._first), None)
        self._first += 1
        self.charged -= len(piece) + self._overhead
