"""What strings print and read: whole lines with the weave that wrote them, and an input that is at its end.

Installed for a run of the command line, or by a test (`Output`). Outside any weave the streams are what they were.
"""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Self, TextIO

from weaves.here import here
from weaves.weave import Weave

Emit = Callable[[Weave, str], None]


class WeaveStream(io.TextIOBase):
    """Stands in for sys.stdout or sys.stderr. `emit` takes each line that a weave has finished, without its end.

    `number` is its descriptor, 1 or 2: what is written to that inside a weave comes here (interpose/descriptors.py).
    """

    def __init__(self, outer: TextIO, emit: Emit, number: int = 1) -> None:
        super().__init__()
        self._number = number
        self._outer = outer
        self._emit = emit
        self._partial: dict[Weave, str] = {}
        self._buffers: dict[Weave, _Bytes] = {}
        self.name = getattr(outer, "name", "<stdout>")
        # As of a file or a pipe, which is what a program's output is.
        self.mode = "w"
        self.line_buffering = self.write_through = False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._outer.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._outer.errors

    @property
    def buffer(self) -> Any:
        """For programs that write bytes."""
        weave = here.weave
        if weave is None:
            return self._outer.buffer
        if weave not in self._buffers:
            self._buffers[weave] = _Bytes(self)
        return self._buffers[weave]

    def write(self, text: str, /) -> int:
        weave = here.weave
        if weave is None:
            return self._outer.write(text)
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        *lines, rest = (self._partial.pop(weave, "") + text).split("\n")
        if rest:
            self._partial[weave] = rest
        for line in lines:
            self._emit(weave, _shown(line))
        return len(text)

    def flush(self) -> None:
        if here.weave is None:
            self._outer.flush()

    def reconfigure(self, **_settings: Any) -> None:
        """Accepted and unused: the encoding is that of whoever reads the run's output."""

    def close(self) -> None:
        """Nothing: a program closes its own output, and this object is everybody's."""

    def isatty(self) -> bool:
        return here.weave is None and self._outer.isatty()

    def fileno(self) -> int:
        return self._outer.fileno() if here.weave is None else self._number

    def writable(self) -> bool:
        return True

    def finish(self, weave: Weave) -> None:
        """Emit what `weave` has written without a newline at its end."""
        self._buffers.pop(weave, None)
        rest = self._partial.pop(weave, None)
        if rest is not None:
            self._emit(weave, _shown(rest))

    def finish_all(self) -> None:
        """The same for all weaves."""
        for weave in list(self._partial):
            self.finish(weave)


def _shown(line: str) -> str:
    # As on a terminal: what stands after a carriage return covers what stood before.
    return line.rstrip("\r").rpartition("\r")[2]


class _Bytes(io.BufferedIOBase):
    """The `buffer` of a WeaveStream inside a weave."""

    def __init__(self, text: WeaveStream) -> None:
        super().__init__()
        self._text = text
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, data: Any, /) -> int:
        self._text.write(self._decoder.decode(bytes(data)))
        return len(data)

    def writable(self) -> bool:
        return True


class WeaveInput(io.TextIOBase):
    """Stands in for sys.stdin. A virtual host has no keyboard: inside a weave it is at its end."""

    def __init__(self, outer: TextIO) -> None:
        super().__init__()
        self._outer = outer
        self.name = getattr(outer, "name", "<stdin>")
        self.mode = "r"
        self.line_buffering = self.write_through = False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._outer.encoding

    @property
    def buffer(self) -> Any:
        """For programs that read bytes."""
        return self._outer.buffer if here.weave is None else io.BytesIO()

    def read(self, size: int | None = -1, /) -> str:
        return self._outer.read(-1 if size is None else size) if here.weave is None else ""

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]
        return self._outer.readline(size) if here.weave is None else ""

    def readable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return here.weave is None and self._outer.isatty()

    def fileno(self) -> int:
        if here.weave is None:
            return self._outer.fileno()
        raise io.UnsupportedOperation("fileno")

    def close(self) -> None:
        """Nothing: `exit()` closes the input, and this object is everybody's."""


class Streams:
    """A context in which sys.stdout and sys.stderr are WeaveStreams, and sys.stdin a WeaveInput."""

    def __init__(self, emit: Emit, emit_error: Emit) -> None:
        self._emits = (emit, emit_error)
        self._outer: tuple[TextIO, TextIO, TextIO] | None = None
        self._inner: list[WeaveStream] = []

    def __enter__(self) -> Self:
        self._outer = (sys.stdin, sys.stdout, sys.stderr)
        self._inner = [WeaveStream(self._outer[fd], self._emits[fd - 1], fd) for fd in (1, 2)]
        sys.stdin = WeaveInput(sys.stdin)
        sys.stdout, sys.stderr = self._inner
        _entered.append(self)
        return self

    def __exit__(self, *_exc: object) -> None:
        assert self._outer is not None, "the context was left before it was entered"
        sys.stdin, sys.stdout, sys.stderr = self._outer
        _entered.remove(self)
        for stream in self._inner:
            stream.finish_all()

    def write(self, fd: int, data: Any) -> int:
        """What `os.write` inside a weave does to the descriptors 1 and 2; the count of bytes."""
        return int(self._inner[fd - 1].buffer.write(data))

    def finish(self, weave: Weave) -> None:
        """Emit what `weave` has written without a newline at its end; it has ended."""
        for stream in self._inner:
            stream.finish(weave)


_entered: list[Streams] = []


def active() -> Streams | None:
    """The streams that what weaves print goes to now, if there are any."""
    return _entered[-1] if _entered else None


class Output(Streams):
    """A context that keeps what weaves print, for tests; nothing of it reaches the machine's streams.

        with weaves.Output() as output:
            tapestry.run_blocking()
        assert output.text("client-0") == "hello\\n"
    """

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str, str], list[str]] = {}
        super().__init__(partial(self._keep, "out"), partial(self._keep, "err"))

    def _keep(self, stream: str, weave: Weave, line: str) -> None:
        self._lines.setdefault((weave.host.name, weave.name, stream), []).append(line)

    def text(self, host: str, weave: str | None = None, stream: str = "out") -> str:
        """What `weave` of `host` has written to `stream`, "out" or "err"; of all its weaves for None, one by one."""
        return "".join(
            f"{line}\n"
            for (of_host, of_weave, of_stream), lines in self._lines.items()
            if of_host == host and weave in (None, of_weave) and of_stream == stream
            for line in lines
        )
