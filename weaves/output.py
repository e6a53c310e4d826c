"""What strings print: each line with the virtual time and the host's name, whole lines only.

Installed for a run of the command line. Outside any weave the streams are what they were.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import TextIO

from weaves.here import here
from weaves.strings import Weave


class WeaveStream(io.TextIOBase):
    """Stands in for sys.stdout or sys.stderr. `emit` takes each line that a weave has finished."""

    def __init__(self, outer: TextIO, emit: Callable[[Weave, str], None]) -> None:
        super().__init__()
        self._outer = outer
        self._emit = emit
        self._partial: dict[Weave, str] = {}

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._outer.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._outer.errors

    def write(self, text: str, /) -> int:
        weave = here.weave
        if weave is None:
            return self._outer.write(text)
        lines = (self._partial.pop(weave, "") + text).split("\n")
        if lines[-1]:
            self._partial[weave] = lines[-1]
        for line in lines[:-1]:
            self._emit(weave, line)
        return len(text)

    def flush(self) -> None:
        if here.weave is None:
            self._outer.flush()

    def isatty(self) -> bool:
        return here.weave is None and self._outer.isatty()

    def fileno(self) -> int:
        if here.weave is None:
            return self._outer.fileno()
        raise io.UnsupportedOperation("fileno")

    def writable(self) -> bool:
        return True

    def finish(self) -> None:
        """Emit what has no newline at its end."""
        for weave, text in self._partial.items():
            self._emit(weave, text)
        self._partial.clear()


class Streams:
    """A context in which sys.stdout and sys.stderr are WeaveStreams."""

    def __init__(self, emit: Callable[[Weave, str], None]) -> None:
        self._emit = emit
        self._outer: tuple[TextIO, TextIO] | None = None
        self._inner: list[WeaveStream] = []

    def __enter__(self) -> Streams:
        self._outer = (sys.stdout, sys.stderr)
        self._inner = [WeaveStream(stream, self._emit) for stream in self._outer]
        sys.stdout, sys.stderr = self._inner
        return self

    def __exit__(self, *_exc: object) -> None:
        assert self._outer is not None
        sys.stdout, sys.stderr = self._outer
        for stream in self._inner:
            stream.finish()
