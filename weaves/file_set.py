"""Many files in one directory that grow during a run: captures of devices, logs of weaves.

A run may write thousands of them, more than it has descriptors: none stays open. What is appended gathers in memory; a
file is opened, appended to and closed when it has gathered enough, and at `close`. An append is written as a whole or
not at all, so what is on disk is valid at any moment, behind by what is still gathered.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final
from urllib.parse import quote

# A file's data is written at the first size, everybody's at the second.
FILE_BUFFER_BYTES: Final = 64 * 1024
TOTAL_BUFFER_BYTES: Final = 64 * 1024 * 1024


class FileSet:
    """The files of one directory, which is made if it is missing. `what` they are is for error messages.

    Raises `OSError`, saying what the directory is wanted for, if it cannot be made or written to.
    """

    def __init__(self, directory: str | os.PathLike[str], what: str) -> None:
        self.directory: Final = os.fspath(directory)
        # A program that runs while its line is written may have another working directory.
        self._folder: Final = os.path.abspath(self.directory)
        self._gathered: dict[str, bytearray] = {}
        self._gathered_bytes = 0
        try:
            os.makedirs(self.directory, exist_ok=True)
            _try_to_write(self.directory)
        except OSError as error:
            reason = f"cannot write {what} to this directory: {error.strerror}"
            raise OSError(error.errno, reason, self.directory) from error

    def __contains__(self, name: str) -> bool:
        """Whether `name` was begun."""
        return name in self._gathered

    def begin(self, name: str, data: bytes = b"") -> None:
        """Make the file `name` anew, with `data` at its start. Raises `OSError`."""
        self._write(name, "wb", data)
        self._gathered[name] = bytearray()

    def append(self, name: str, data: bytes) -> None:
        """Add `data` at the end of a file that was begun. Raises `OSError`, if it is time to write."""
        gathered = self._gathered[name]
        gathered += data
        self._gathered_bytes += len(data)
        if len(gathered) > FILE_BUFFER_BYTES:
            self._write_out(name)
        elif self._gathered_bytes > TOTAL_BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Bring all files up to date. Raises the first `OSError`, after having tried every file."""
        first: OSError | None = None
        for name in self._gathered:
            try:
                self._write_out(name)
            except OSError as error:
                first = first or error
        if first is not None:
            raise first

    def _write_out(self, name: str) -> None:
        gathered = self._gathered[name]
        if gathered:
            self._write(name, "ab", bytes(gathered))
            self._gathered_bytes -= len(gathered)
            gathered.clear()

    def _write(self, name: str, mode: str, data: bytes) -> None:
        try:
            _write_whole(os.path.join(self._folder, name), mode, data)
        except OSError as error:
            error.filename = os.path.join(self.directory, name)
            raise


def file_name(host: str, part: str, suffix: str) -> str:
    """The name of the file of a part (a device, a weave) of a host: `<host>-<part>.<suffix>`.

    What is not an ASCII letter, digit, "_", ".", "-" or "~" is percent-encoded, as is a "-" in the part's name: the
    last "-" then separates the two, and different parts never share a file.
    """
    return f"{_quoted(host)}-{_quoted(part).replace('-', '%2D')}.{suffix}"


def _quoted(name: str) -> str:
    return quote(name, safe="", errors="surrogatepass")


def _write_whole(path: str, mode: str, data: bytes) -> None:
    """Write all of `data`, or nothing: a disk that fills up must not leave half a record behind."""
    with open(path, mode, buffering=0) as file:
        descriptor = file.fileno()
        start = os.fstat(descriptor).st_size
        rest = data
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except BaseException:
            with suppress(OSError):  # the first error is the one to tell
                os.ftruncate(descriptor, start)
            raise


def _try_to_write(directory: str) -> None:
    # os.access() would answer for the real user, and not for a file system that is full or read-only.
    path = os.path.join(directory, f".lunar-{os.getpid()}.tmp")
    with open(path, "wb"):
        pass
    os.unlink(path)
