"""The working directory of the process, which is lent to the program whose turn it is.

The names of files are resolved by the kernel, which knows one directory for the whole process. So a turn of a program
with a directory of its own changes to it, unless the process is there already; where all programs of a tapestry share
one, that is once a slice. The end of the slice gives the process its own back. Meanwhile the other threads of the
process are in the program's directory, too.
"""

from __future__ import annotations

import contextlib
import os

real_chdir = os.chdir
real_fchdir = os.fchdir


class _Directory:
    """`now` is the directory of a program in which the process is, None when it is in its own."""

    def __init__(self) -> None:
        self.now: str | None = None
        # Its own, open, while it is in another: it may have been renamed or removed when it comes back.
        self._own = -1

    def enter(self, path: str | None) -> None:
        """Change to `path`, None for the process's own. Raises nothing."""
        if path is None:
            if self._own >= 0:
                real_fchdir(self._own)
                os.close(self._own)
                self._own = -1
        else:
            if self._own < 0:
                self._own = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                real_chdir(path)
            except OSError:
                # The program, or somebody else, has removed it. In Linux nothing can be found or made in such a
                # directory; in this one nothing can be made, and no program would look for what is in it.
                with contextlib.suppress(OSError):
                    real_chdir("/proc/self/fdinfo")
        self.now = path


directory = _Directory()
