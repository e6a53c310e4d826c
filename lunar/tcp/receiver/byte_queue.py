"""A queue of bytes as the pieces they came in: what a program wrote and is not sent, or what arrived and is not read.

Pieces are kept as they are. Taking out exactly one piece gives that object back; taking part of one slices it; taking
several joins them once.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

# Taken pieces are b"" in the list until they are this many and the majority.
_COMPACT_FROM: Final = 64


@final
class ByteQueue:
    """`size` is the number of bytes in it."""

    def __init__(self) -> None:
        self.size: i64 = 0
        self._pieces: list[bytes] = []
        self._head: i64 = 0
        self._offset: i64 = 0  # into the first piece

    def append(self, piece: bytes) -> None:
        """Add a piece that is not empty."""
        self._pieces.append(piece)
        self.size += len(piece)

    def put_back(self, piece: bytes) -> None:
        """Add a piece, which is not empty, at the front: it was taken, and could not be used."""
        head: i64 = self._head
        if self._offset > 0:
            self._pieces[head] = self._pieces[head][self._offset :]
            self._offset = 0
        self._pieces.insert(head, piece)
        self.size += len(piece)

    def clear(self) -> None:
        self._pieces.clear()
        self._head = 0
        self._offset = 0
        self.size = 0

    def take(self, size: i64) -> bytes:
        """Take the first `size` bytes out; `size` is at least 1 and at most what is there."""
        head: i64 = self._head
        first = self._pieces[head]
        offset: i64 = self._offset
        have: i64 = len(first) - offset
        if have > size:
            self._offset = offset + size
            self.size -= size
            return first[offset : offset + size]
        if have == size:
            self._drop()
            self.size -= size
            return first if offset == 0 else first[offset:]
        parts: list[bytes] = []
        left: i64 = size
        while left > 0:
            piece = self._pieces[self._head]
            offset = self._offset
            have = len(piece) - offset
            if have > left:
                parts.append(piece[offset : offset + left])
                self._offset = offset + left
                left = 0
            else:
                parts.append(piece if offset == 0 else piece[offset:])
                left -= have
                self._drop()
        self.size -= size
        return b"".join(parts)

    def peek(self, size: i64) -> bytes:
        """The first `size` bytes, which stay; `size` is at least 1 and at most what is there."""
        parts: list[bytes] = []
        at: i64 = self._head
        offset: i64 = self._offset
        left: i64 = size
        while left > 0:
            piece = self._pieces[at]
            have: i64 = len(piece) - offset
            if have > left:
                parts.append(piece[offset : offset + left])
                left = 0
            else:
                parts.append(piece if offset == 0 else piece[offset:])
                left -= have
            at += 1
            offset = 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _drop(self) -> None:
        """Let the first piece go."""
        pieces = self._pieces
        head: i64 = self._head
        pieces[head] = b""
        head += 1
        self._offset = 0
        if head == len(pieces):
            pieces.clear()
            head = 0
        elif head >= _COMPACT_FROM and head * 2 >= len(pieces):
            del pieces[:head]
            head = 0
        self._head = head
