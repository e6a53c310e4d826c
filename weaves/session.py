"""A recorded session as a replay reads it: record by record, so that one of any length fits.

It is read twice. Once at the beginning, to find out whether it is whole: what is damaged is told before anything runs.
Then the run goes through it. session_log.py tells the format.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import attrs

from weaves.clock import format_duration
from weaves.session_log import (
    CHECK,
    CLOSED,
    END,
    FORMAT,
    GATE,
    HEADER,
    INPUT,
    INPUTS,
    MAGIC,
    MARK,
    NAME,
    NUMBER,
    PLACE,
    RECORD,
)

# No record that was written is longer; a length beyond it is damage, and memory is not asked for it.
_LONGEST_BYTES: Final = 1 << 30
_BUFFER_BYTES: Final = 1 << 18


class SessionError(ValueError):
    """A file that is no recorded session, is damaged, or is of something else than what is to be replayed."""


@attrs.frozen(slots=True)
class Gate:
    """The gate of this number has this name."""

    number: int
    name: str


@attrs.frozen(slots=True)
class Inputs:
    """What came in at a place: of each its virtual time, the number of its gate, its bytes."""

    steps: int
    now_ns: int
    inputs: tuple[tuple[int, int, bytes], ...]


@attrs.frozen(slots=True)
class Mark:
    """The digest at a place, "" where it was not noted."""

    steps: int
    now_ns: int
    digest: str


@attrs.frozen(slots=True)
class End:
    """A drive ended at a place: `how` (replay.py lists the ways), what was said of it, and the digest."""

    steps: int
    now_ns: int
    how: str
    digest: str
    told: str = ""
    signum: int = 0
    hangs: int = 0


Item = Gate | Inputs | Mark | End


class Session:
    """The session in the file at `path`. Raises `SessionError`, and `OSError` if it cannot be read.

    `what` is its header. `cut_off`: the process that wrote it was killed, so that nothing says how it ended.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: Final = os.fspath(path)
        self._absolute: Final = os.path.abspath(self.path)
        self.what: dict[str, Any] = {}
        self.inputs = 0
        self.now_ns = 0  # how far it is known
        self.end: End | None = None  # of its last drive
        self.closed = False
        with self._open() as file:
            for item in self._items(file):
                self._look_at(item)
        if not self.what:
            raise self.error("was cut off before the run began: there is nothing to replay")

    @property
    def seed(self) -> int:
        """The seed of its run."""
        return int(self.what.get("seed", 0))

    @property
    def hash_seed(self) -> str:
        """The hash seed of its Python: a number, or "random"."""
        return str(self.what.get("hash_seed", "random"))

    @property
    def tapestry(self) -> str | None:
        """The path of its tapestry; None for a program of its own."""
        path = self.what.get("tapestry")
        return None if path is None else str(path)

    @property
    def options(self) -> dict[str, Any]:
        """The options that its tapestry was run with."""
        return dict(self.what.get("options", {}))

    def differences(self, sha256: str, tapestry: str) -> list[str]:
        """What is otherwise now than when it was recorded, of what a run depends on. The hash is `tapestry`'s."""
        import weaves  # which imports this file

        python = ".".join(map(str, sys.version_info[:2]))
        found = []
        if self.what.get("sha256") not in (None, sha256):
            found.append(f"{tapestry} is not what it was when the session was recorded")
        if self.what.get("weave") != weaves.__version__:
            found.append(f"the session was recorded by version {self.what.get('weave')}, this is {weaves.__version__}")
        if self.what.get("python") != python:
            found.append(f"the session was recorded on Python {self.what.get('python')}, this is {python}")
        if self.end is not None and self.end.hangs:
            found.append("the watchdog has stopped something in the session, by the machine's clock")
        return found

    @property
    def cut_off(self) -> bool:
        return not self.closed

    def error(self, text: str) -> SessionError:
        """What is wrong with it."""
        return SessionError(f"{self.path}: {text}")

    def items(self) -> Iterator[Item]:
        """What happened, from the beginning."""
        with self._open() as file:
            yield from self._items(file)

    def summary(self) -> str:
        """What it is, in a line."""
        count = f"{self.inputs:,} input{'s'[: self.inputs != 1]}"
        text = f"{count} in {format_duration(self.now_ns)} of virtual time"
        if self.cut_off:
            return f"{text}, cut off: its process was killed"
        return text

    def _open(self) -> BinaryIO:
        try:
            # Not to wait for who writes to a pipe that stands there.
            descriptor = os.open(self._absolute, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            error.filename = self.path
            raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise self.error("is not a file; expected a session that was recorded")
        return open(descriptor, "rb", buffering=_BUFFER_BYTES)

    def _look_at(self, item: Item) -> None:
        if isinstance(item, Gate):
            return
        self.now_ns = max(self.now_ns, item.now_ns)
        if isinstance(item, Inputs):
            self.inputs += len(item.inputs)
            self.now_ns = max([self.now_ns, *(at_ns for at_ns, _, _ in item.inputs)])
        elif isinstance(item, End):
            self.end = item

    def _items(self, file: BinaryIO) -> Iterator[Item]:
        self._read_magic(file)
        first = True
        while (record := self._record(file)) is not None:
            kind, payload, start = record
            try:
                if (kind == HEADER) is not first or (kind == CLOSED and file.read(1)):
                    raise ValueError("a record where none is expected")
                first = False
                if kind == HEADER:
                    self.what = dict(json.loads(payload))
                elif kind == CLOSED:
                    self.closed = True
                else:
                    yield _item(kind, payload)
            except (ValueError, TypeError, KeyError) as error:
                # Its checksum is right: whoever wrote it was not this program.
                raise self.error(f"is damaged at byte {start:,}: {error}") from None

    def _read_magic(self, file: BinaryIO) -> None:
        magic = file.read(len(MAGIC))
        if not magic:
            raise self.error("is empty; expected a session that was recorded")
        if magic == MAGIC:
            return
        if MAGIC.startswith(magic):
            raise self.error("was cut off before the run began: there is nothing to replay")
        name, number = magic[: len(NAME)], magic[len(NAME) :].strip()
        if name == NAME and number.isdigit():
            raise self.error(f"is a session in format {int(number)}; this weave reads format {FORMAT}")
        raise self.error("is not a session that `weave run --record` wrote")

    def _record(self, file: BinaryIO) -> tuple[int, bytes, int] | None:
        """The next record: its kind, its payload, where it begins. None at the end, also in the middle of a record."""
        start = file.tell()
        head = file.read(RECORD.size + CHECK.size)
        if len(head) < RECORD.size + CHECK.size:
            return None
        kind, length, checksum = RECORD.unpack_from(head)
        if zlib.crc32(head[: RECORD.size]) != CHECK.unpack_from(head, RECORD.size)[0] or length > _LONGEST_BYTES:
            raise self.error(f"is damaged at byte {start:,}")
        payload = file.read(length)
        if len(payload) < length:
            return None
        if zlib.crc32(payload) != checksum:
            raise self.error(f"is damaged at byte {start + RECORD.size + CHECK.size:,} or behind it")
        return kind, payload, start


def session_of(path: str | os.PathLike[str], seed: int) -> Session:
    """The session in the file at `path`, which was recorded with that seed. Raises `SessionError` and `OSError`."""
    session = Session(path)
    if session.seed != seed:
        raise session.error(f"was recorded with seed {session.seed}, and here it is {seed}")
    return session


def _item(kind: int, payload: bytes) -> Item:
    if kind == GATE:
        return Gate(_unpacked(NUMBER, payload)[0], payload[NUMBER.size :].decode("utf-8", "surrogatepass"))
    steps, now_ns = _unpacked(PLACE, payload)
    rest = payload[PLACE.size :]
    if kind == INPUTS:
        return Inputs(steps, now_ns, tuple(_inputs(rest)))
    if kind == MARK:
        return Mark(steps, now_ns, rest.decode())
    if kind == END:
        return End(steps, now_ns, **json.loads(rest))
    raise ValueError(f"a record of kind {kind}, which there is not")


def _inputs(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at < len(data):
        at_ns, gate, length = _unpacked(INPUT, data[at : at + INPUT.size])
        at += INPUT.size
        if at + length > len(data):
            raise ValueError("an input that is longer than its record")
        yield at_ns, gate, data[at : at + length]
        at += length


def _unpacked(struct: Any, data: bytes) -> tuple[Any, ...]:
    if len(data) < struct.size:
        raise ValueError("a record that is too short")
    found: tuple[Any, ...] = struct.unpack_from(data)
    return found
