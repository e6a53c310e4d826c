"""Captures: what each device saw, in files that tcpdump and Wireshark open.

One classic pcap file (draft-ietf-opsawg-pcap) for each device, `<host>-<device>.pcap`, with Ethernet frames and
nanoseconds. The headers are dpkt's, always little-endian, so that the same run gives the same file on every machine.

The files are a `weaves.file_set.FileSet`: none stays open, and what is on disk is a valid capture at any moment, behind
by what is still gathered in memory.

A device gets its file with its first frame. One that saw none has no file: thousands of idle hosts would leave as many
empty ones. What an earlier run left for such a device stays where it is; a fresh directory for each run avoids doubt.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import Final, Self

from dpkt.pcap import DLT_EN10MB, TCPDUMP_MAGIC_NANO, LEFileHdr, LEPktHdr

from lunar.packet import Frame
from lunar.wire import ethernet
from weaves.clock import EPOCH_NS, NS_PER_S
from weaves.file_set import FileSet, file_name

# The longest record that readers must expect, in bytes: libpcap's MAXIMUM_SNAPLEN. No IPv4 packet is cut by it.
SNAPLEN_BYTES: Final = 262_144


class CaptureDirectory:
    """A directory of captures, one for each device that sees a frame. A context manager.

    Time stamps are `epoch_ns`, nanoseconds since 1970, plus the virtual time. The directory is made if it is missing.
    Raises `OSError`, saying what the directory is wanted for, if it cannot be made or written to, and `ValueError` for
    a negative epoch, which the format cannot express.
    """

    def __init__(self, directory: str | os.PathLike[str], epoch_ns: int = EPOCH_NS) -> None:
        if epoch_ns < 0:
            raise ValueError(f"{epoch_ns} is no epoch for a capture; expected nanoseconds since 1970")
        self.epoch_ns: Final = epoch_ns
        self._files: Final = FileSet(directory, "captures")
        self.directory: Final = self._files.directory
        self._names: dict[tuple[str, str], str] = {}
        self._closed = False
        # Why the recording ended before its time, if it did.
        self.error: OSError | None = None
        # Filled in anew for each record: to make one costs more than the rest of `record` without the encoding.
        self._record_header = LEPktHdr()

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
        name = self._names.get(key)
        if name is None:
            name = file_name(host, device, "pcap")
            begin = LEFileHdr(magic=TCPDUMP_MAGIC_NANO, snaplen=SNAPLEN_BYTES, linktype=DLT_EN10MB)
            self._files.begin(name, begin.pack_hdr())
            self._names[key] = name
        data = ethernet.encode(frame)
        seconds, nanoseconds = divmod(self.epoch_ns + time_ns, NS_PER_S)
        # The field has 32 bits and comes round in 2106. A run may go on longer; its order stays visible.
        header = self._record_header
        header.tv_sec = seconds & 0xFFFF_FFFF
        header.tv_usec = nanoseconds  # so the field is called, but the file's magic number says nanoseconds
        header.caplen = header.len = len(data)
        self._files.append(name, header.pack_hdr() + data)

    def flush(self) -> None:
        """Bring all files up to date. Raises the first `OSError`, after having tried every file."""
        self._files.flush()

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
