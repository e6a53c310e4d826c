"""Captures: what each device saw, in files that tcpdump and Wireshark open.

One classic pcap file (draft-ietf-opsawg-pcap) for each device, `<host>-<device>.pcap`, with Ethernet frames and
nanoseconds. The headers are dpkt's, always little-endian, so that the same run gives the same file on every machine.

A run may have thousands of devices, more than descriptors: nothing stays open. Whole records gather in memory; a file
is opened, appended to and closed when its device has gathered enough, and at `close`. So what is on disk is a valid
capture at any moment, behind by what is still gathered.

A device gets its file with its first frame. One that saw none has no file: thousands of idle hosts would leave as many
empty ones. What an earlier run left for such a device stays where it is; a fresh directory for each run avoids doubt.
"""

from __future__ import annotations

import os
from contextlib import suppress
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from dpkt.pcap import DLT_EN10MB, TCPDUMP_MAGIC_NANO, LEFileHdr, LEPktHdr

from lunar.packet import Frame
from lunar.wire import ethernet
from weaves.clock import EPOCH_NS, NS_PER_S

# The longest record that readers must expect, in bytes: libpcap's MAXIMUM_SNAPLEN. No IPv4 packet is cut by it.
SNAPLEN_BYTES: Final = 262_144

# A device's records go to its file at the first size, everybody's at the second.
DEVICE_BUFFER_BYTES: Final = 64 * 1024
TOTAL_BUFFER_BYTES: Final = 64 * 1024 * 1024


class CaptureDirectory:
    """A directory of captures, one for each device that sees a frame. A context manager.

    Time stamps are `epoch_ns`, nanoseconds since 1970, plus the virtual time. The directory is made if it is missing.
    Raises `OSError`, saying what the directory is wanted for, if it cannot be made or written to, and `ValueError` for
    a negative epoch, which the format cannot express.
    """

    def __init__(self, directory: str | os.PathLike[str], epoch_ns: int = EPOCH_NS) -> None:
        if epoch_ns < 0:
            raise ValueError(f"{epoch_ns} is no epoch for a capture; expected nanoseconds since 1970")
        self.directory: Final = os.fspath(directory)
        self.epoch_ns: Final = epoch_ns
        self._captures: dict[tuple[str, str], _Capture] = {}
        self._buffered_bytes = 0
        self._closed = False
        # Why the recording ended before its time, if it did.
        self.error: OSError | None = None
        # Filled in anew for each record: to make one costs more than the rest of `record` without the encoding.
        self._record_header = LEPktHdr()
        try:
            os.makedirs(self.directory, exist_ok=True)
            _try_to_write(self.directory)
        except OSError as error:
            reason = f"cannot write captures to this directory: {error.strerror}"
            raise OSError(error.errno, reason, self.directory) from error

    def record(self, host: str, device: str, time_ns: int, frame: Frame) -> None:
        """Note that `device` of `host` sent or received `frame` at the virtual time `time_ns`.

        The frame is turned into bytes at once; it may change hands afterwards. Raises `ValueError` after `close`. A
        file that cannot be written raises nothing here, where a program may be sending: it ends the recording, `error`
        says why, and `close` tries once more.
        """
        if self._closed:
            raise ValueError("a frame was recorded after the capture was closed")
        if self.error is None:
            try:
                self._record(host, device, time_ns, frame)
            except OSError as error:
                self.error = error

    def _record(self, host: str, device: str, time_ns: int, frame: Frame) -> None:
        key = (host, device)
        capture = self._captures.get(key)
        if capture is None:
            capture = _Capture(os.path.join(self.directory, file_name(host, device)))
            self._captures[key] = capture
        data = ethernet.encode(frame)
        seconds, nanoseconds = divmod(self.epoch_ns + time_ns, NS_PER_S)
        # The field has 32 bits and comes round in 2106. A run may go on longer; its order stays visible.
        header = self._record_header
        header.tv_sec = seconds & 0xFFFF_FFFF
        header.tv_usec = nanoseconds  # so the field is called, but the file's magic number says nanoseconds
        header.caplen = header.len = len(data)
        buffer = capture.buffer
        before = len(buffer)
        buffer += header.pack_hdr()
        buffer += data
        self._buffered_bytes += len(buffer) - before
        if len(buffer) > DEVICE_BUFFER_BYTES:
            self._write_out(capture)
        elif self._buffered_bytes > TOTAL_BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Bring all files up to date. Raises the first `OSError`, after having tried every file."""
        first: OSError | None = None
        for capture in self._captures.values():
            try:
                self._write_out(capture)
            except OSError as error:
                first = first or error
        if first is not None:
            raise first

    def close(self) -> None:
        """Write what is left. Closing again does nothing. Raises the first `OSError`, after having tried every file."""
        if not self._closed:
            self._closed = True
            self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _write_out(self, capture: _Capture) -> None:
        size = len(capture.buffer)
        capture.write_out()
        self._buffered_bytes -= size


class _Capture:
    """One file, which exists from here on with at least its header, and the records that are not in it yet."""

    def __init__(self, path: str) -> None:
        self.path: Final = path
        self.buffer: Final = bytearray()
        header = LEFileHdr(magic=TCPDUMP_MAGIC_NANO, snaplen=SNAPLEN_BYTES, linktype=DLT_EN10MB)
        _write_whole(path, "wb", header.pack_hdr())

    def write_out(self) -> None:
        if self.buffer:
            _write_whole(self.path, "ab", bytes(self.buffer))
            self.buffer.clear()


def file_name(host: str, device: str) -> str:
    """The name of a device's file: `<host>-<device>.pcap`.

    What is not an ASCII letter, digit, "_", ".", "-" or "~" is percent-encoded, as is a "-" in the device's name: the
    last "-" then separates the two, and different devices never share a file.
    """
    return f"{_quoted(host)}-{_quoted(device).replace('-', '%2D')}.pcap"


def _quoted(name: str) -> str:
    return quote(name, safe="", errors="surrogatepass")


def _write_whole(path: str, mode: str, data: bytes) -> None:
    """Write all of `data`, or nothing: a disk that fills up must not leave half a record behind."""
    try:
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
    except OSError as error:
        if error.filename is None:  # as of a full disk
            error.filename = path
        raise


def _try_to_write(directory: str) -> None:
    # os.access() would answer for the real user, and not for a file system that is full or read-only.
    path = os.path.join(directory, f".lunar-{os.getpid()}.tmp")
    with open(path, "wb"):
        pass
    os.unlink(path)
