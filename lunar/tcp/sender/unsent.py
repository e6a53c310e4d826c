"""What a program wrote and was never sent: its bytes, and where the records end that they will become.

A write adds to the last record up to the size goal (output.size_goal), the next bytes begin another one. A record that
is `eor` takes no more. The bytes stay the pieces that the program wrote until a record is sent, which takes its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64

from lunar.tcp.receiver.byte_queue import ByteQueue

if TYPE_CHECKING:
    from lunar.tcp.tcb import Sent

# Records that left are in the list until they are this many and the majority.
_COMPACT_FROM: Final = 32


@final
class Unsent:
    """`size` is the number of bytes in it. A FIN that waits is no part of it."""

    def __init__(self) -> None:
        self.size: i64 = 0
        self.records: list[Sent] = []
        self.head: i64 = 0
        self._bytes: ByteQueue = ByteQueue()

    def is_empty(self) -> bool:
        return self.head == len(self.records)

    def count(self) -> i64:
        """How many records wait."""
        return len(self.records) - self.head

    def first(self) -> Sent:
        return self.records[self.head]

    def last(self) -> Sent:
        return self.records[len(self.records) - 1]

    def append(self, record: Sent) -> None:
        """Open a record at the end; bytes come by `write`."""
        self.records.append(record)

    def write(self, piece: bytes) -> None:
        """Add `piece`, which is not empty, to the last record."""
        size: i64 = len(piece)
        self._bytes.append(piece)
        self.size += size
        self.records[len(self.records) - 1].end_seq += size

    def take(self) -> Sent:
        """Take the first record out, with its bytes in it."""
        head: i64 = self.head
        records = self.records
        record = records[head]
        size: i64 = record.end_seq - record.seq
        if size > 0:
            record.payload = self._bytes.take(size)
            self.size -= size
        head += 1
        if head == len(records):
            records.clear()
            head = 0
        elif head >= _COMPACT_FROM and head * 2 >= len(records):
            del records[:head]
            head = 0
        self.head = head
        return record

    def put_back(self, record: Sent) -> None:
        """The first record was taken, and could not be sent."""
        if record.payload:
            self._bytes.put_back(record.payload)
            self.size += len(record.payload)
            record.payload = b""
        self.records.insert(self.head, record)

    def insert_after_first(self, record: Sent) -> None:
        """The first record was cut, and `record` is what follows it."""
        self.records.insert(self.head + 1, record)

    def second(self) -> Sent:
        """The one after the first; there must be one."""
        return self.records[self.head + 1]

    def remove_second(self) -> None:
        """The first record has taken all of the second."""
        del self.records[self.head + 1]

    def peek(self, size: i64) -> bytes:
        """The first `size` bytes, which stay."""
        return self._bytes.peek(size)

    def clear(self) -> None:
        self.records.clear()
        self.head = 0
        self._bytes.clear()
        self.size = 0
