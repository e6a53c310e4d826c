"""The log of a live session: all that came in from outside, and where it came in; `Session` (session.py) reads it.

A run is a function of its tapestry, its seed and its inputs. So the log has, behind a header that says what was run,
the inputs in the order in which they were let in, each with the *place* of the run at that moment: how many events and
turns had been done (its *steps*), and the virtual time. A replay lets each in at the same place, and hence is the same
run. Places with a digest stand between them now and then, so that a replay which differs can say from where on; and one
stands at the end of each drive, with how it ended.

A file is _MAGIC and then records, each a `RECORD` and its payload:

    HEADER   JSON: what was run, and with what
    GATE     number, name: the gate of that number, before its first input
    INPUTS   a place; then for each input its virtual time, the number of its gate, its length, its bytes
    MARK     a place that the run has come to; its digest there, or nothing
    END      a place, JSON: how a drive ended (replay.py lists the ways), and the digest
    CLOSED   nothing: the session was closed in good order

A record is written by one call as soon as it is there, and that is before the run sees the input. So a process that is
killed leaves all that it has done anything about, perhaps with half a record behind, which a reader can tell: the log
was cut off. Checksums tell what was damaged. Nothing here says how late the run was for the machine's clock: a replay
has no use for it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
import zlib
from pathlib import Path
from struct import Struct
from typing import Any, Final

# The number is that of the format, which changes when an old reader would misread it.
NAME: Final = b"weave session "
FORMAT: Final = 1
MAGIC: Final = NAME + b"%d\n" % FORMAT

# Kind, length of the payload, its CRC-32; and of what stands before it the CRC-32 of these three.
RECORD: Final = Struct("<BII")
CHECK: Final = Struct("<I")
HEADER, GATE, INPUTS, MARK, END, CLOSED = range(1, 7)

PLACE: Final = Struct("<QQ")  # steps, virtual time in ns
INPUT: Final = Struct("<QII")  # virtual time in ns, gate, length in bytes
NUMBER: Final = Struct("<I")


class SessionLog:
    """Writes the session that begins to `path`, anew. It holds all that came in, so a new file is its owner's alone.

    Raises `OSError`, saying what the file is for, if it cannot be written; so does each method but `note`. After that
    nothing more is written, and the methods do nothing. `inputs` and `gates` are how many it has.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: Final = os.fspath(path)
        self.inputs = 0
        self.gates = 0
        self._gathered: list[bytes] = []
        self._descriptor = -1
        try:
            if os.path.isdir(self.path):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            self._write(MAGIC)
        except OSError as error:
            raise self._failed(error) from error

    def begin(self, what: dict[str, Any]) -> None:
        """Write the header, `what` is run: plain data."""
        self._record(HEADER, json.dumps(what).encode())

    def gate(self, name: str) -> None:
        """The next gate; they count from 0."""
        self._record(GATE, NUMBER.pack(self.gates) + name.encode("utf-8", "surrogatepass"))
        self.gates += 1

    def note(self, at_ns: int, gate: int, data: bytes) -> None:
        """`data` comes in by `gate` at the virtual time `at_ns`. It is written by the next `flush`."""
        self._gathered += (INPUT.pack(at_ns, gate, len(data)), data)
        self.inputs += 1

    def flush(self, steps: int, now_ns: int) -> None:
        """Write what was noted; the run is at this place, and has been since the first of it."""
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            self._record(INPUTS, PLACE.pack(steps, now_ns) + b"".join(gathered))

    def mark(self, steps: int, now_ns: int, digest: str) -> None:
        """The run has come to this place, and has that digest; "" says nothing of it."""
        self._record(MARK, PLACE.pack(steps, now_ns) + digest.encode())

    def end(self, steps: int, now_ns: int, ending: dict[str, Any]) -> None:
        """At this place a drive has ended, in this way."""
        self.flush(steps, now_ns)
        self._record(END, PLACE.pack(steps, now_ns) + json.dumps(ending).encode())

    def close(self) -> None:
        """The session is over. Closing again does nothing."""
        if self._descriptor >= 0:
            try:
                self._record(CLOSED, b"")
            finally:
                self._shut()

    def _record(self, kind: int, payload: bytes) -> None:
        if self._descriptor >= 0:
            head = RECORD.pack(kind, len(payload), zlib.crc32(payload))
            try:
                self._write(head + CHECK.pack(zlib.crc32(head)) + payload)
            except OSError as error:
                raise self._failed(error) from error

    def _write(self, data: bytes) -> None:
        while data:  # a disk that fills up takes a part first, and refuses the rest
            data = data[os.write(self._descriptor, data) :]

    def _failed(self, error: OSError) -> OSError:
        self._shut()
        return OSError(error.errno, f"cannot record the session: {error.strerror}", self.path)

    def _shut(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


def header(seed: int, tapestry: Path | None = None, options: dict[str, Any] | None = None) -> dict[str, Any]:
    """What is run, for `SessionLog.begin`: by a program of Python's, or the tapestry in that file with `options`.

    Raises `OSError` if the file cannot be read.
    """
    import weaves  # which imports this file

    return {
        "weave": weaves.__version__,
        "python": ".".join(map(str, sys.version_info[:2])),
        "compiled": weaves.COMPILED,
        "hash_seed": os.environ.get("PYTHONHASHSEED", "random"),
        "seed": seed,
        "tapestry": None if tapestry is None else os.path.abspath(tapestry),
        "sha256": None if tapestry is None else content_hash(tapestry),
        "options": options or {},
    }


def content_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file. Raises `OSError`."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
