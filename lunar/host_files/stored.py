"""Files with a text of their own: /etc/hosts, /etc/resolv.conf, and those that a tapestry gives a host (`files`).

They are the host's disk: they last over crashes and boots.
"""

from __future__ import annotations

from collections.abc import Callable

from lunar.parameters.parameter import READ_WRITE
from lunar.sockets.host_file import Content


class Stored(Content):
    """A text, or what stands there until something is written."""

    def __init__(self, text: str | None = None, at_first: Callable[[], str] | None = None) -> None:
        super().__init__(made=False)
        self._data = None if text is None else text.encode()
        self._at_first = at_first
        self.mode = READ_WRITE
        self.times_ns: tuple[int, int] | None = None  # of the last access and change, if somebody has set them
        self.version = 0  # counts the changes: who has read it asks whether it is the same

    @property
    def is_written(self) -> bool:
        """Whether somebody has said what is in it."""
        return self._data is not None

    def read(self) -> bytes:
        if self._data is None:
            return b"" if self._at_first is None else self._at_first().encode()
        return self._data

    def write(self, data: bytes, at: int) -> int:
        known = self.read()
        self._data = known[:at].ljust(at, b"\0") + data + known[at + len(data) :]
        self.version += 1
        self.times_ns = None
        return len(data)

    def truncate(self, size: int) -> int:
        self._data = self.read()[:size].ljust(size, b"\0")
        self.version += 1
        self.times_ns = None
        return 0
