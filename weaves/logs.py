"""What each weave prints, in a file of its own: `weave run --logs DIR`.

`DIR/HOST-WEAVE.log` has a line for each line that the weave wrote, with the virtual time in seconds and which stream it
went to. A weave that prints nothing has no file. The lines of a host that crashed and booted again go on in its file.
"""

from __future__ import annotations

import os

from weaves.file_set import FileSet, file_name
from weaves.weave import Weave


class LogDirectory:
    """A directory of logs. Raises `OSError` if it cannot be written to.

    `error` is why the logging ended before its time; `write` raises nothing, because a program may be the one who
    prints. `close` tries once more, and raises.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._files = FileSet(directory, "logs")
        self.error: OSError | None = None

    def write(self, weave: Weave, time_ns: int, stream: str, text: str) -> None:
        """Note that `weave` wrote the line `text` to `stream`, "out" or "err"."""
        if self.error is not None:
            return
        name = file_name(weave.host.name, weave.name, "log")
        try:
            if name not in self._files:
                self._files.begin(name)
            line = f"[{time_ns / 1e9:11.6f} {stream}] {text}\n"
            self._files.append(name, line.encode("utf-8", "backslashreplace"))
        except OSError as error:
            self.error = error

    def close(self) -> None:
        """Write what is left. Raises `OSError`."""
        self._files.flush()
