"""What a kernel and an interpreter keep for each process: the state of a program that is not in its modules.

A weave makes its `Process` when something first asks for it, and forgets it when its program has ended, so that a
program that is started again finds what it found the first time. The files of interpose/ read and write it.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import traceback
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn

import greenlet

from weaves.hang import Hang

if TYPE_CHECKING:
    from weaves.weave import Weave

# As in a fresh Debian or Ubuntu.
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Process:
    """The state of the program of `weave`, or of the functions that share it."""

    def __init__(self, weave: Weave) -> None:
        # None: that of the machine.
        self.environ: dict[bytes, bytes] | None = None
        if weave.environ is not None:
            self.environ = program_environ(weave.host.name, weave.cwd, weave.environ)
        # atexit's, in the order of their registration.
        self.exit_functions: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []
        # What gc.isenabled says. The run's collector goes its own way.
        self.collector_enabled = True
        # The generator of the names of temporary files.
        self.temporary_names: Any = None
        # uuid1: its node if the host has no device, its clock sequence, and the last time it gave.
        self.uuid_node: int | None = None
        self.uuid_sequence: int | None = None
        self.uuid_last = 0
        # logging: what the loggers of a program have that differs from what they were when it began.
        self.loggers: dict[Any, Any] = {}
        self.log_manager: dict[str, Any] = {}
        self.log_handlers: list[weakref.ref[logging.Handler]] = []
        self.log_handlers_by_name: weakref.WeakValueDictionary[str, logging.Handler] = weakref.WeakValueDictionary()
        self.warnings_logged = False

    @property
    def has_exit_work(self) -> bool:
        """Whether there is something for `end` to do."""
        return bool(self.exit_functions or self.log_handlers)

    def end(self) -> None:
        """What an interpreter does at the end of its program: atexit's functions, then logging's own."""
        self.run_exit_functions()
        if self.log_handlers:
            logging.shutdown()

    def run_exit_functions(self) -> None:
        """Run what atexit has, the last registered first. What one raises is told, and the others run."""
        while self.exit_functions:
            function, args, kwargs = self.exit_functions.pop()
            try:
                function(*args, **kwargs)
            except (greenlet.GreenletExit, Hang):
                raise  # the program was killed
            except BaseException as error:  # noqa: BLE001 - even SystemExit: so does the interpreter
                print(f"Exception ignored in atexit callback: {function!r}", file=sys.stderr)
                if error.__traceback__ is not None:  # without this function's frame
                    error.__traceback__ = error.__traceback__.tb_next
                traceback.print_exception(error)

    def forget_exit_work(self) -> None:
        """The program ends at once, as by a signal that kills it."""
        self.exit_functions.clear()
        self.log_handlers.clear()


def program_environ(host: str, cwd: str | None, own: Mapping[str, str]) -> dict[bytes, bytes]:
    """The environment of a program: little, the same on every machine, and what the tapestry says besides (`own`).

    Nothing of the machine's: its proxies, its language or its PYTHON... variables would make runs differ.
    """
    home = os.getcwd() if cwd is None else cwd
    base = {
        "PATH": _PATH,
        "HOME": home,
        "USER": "root",
        "LANG": "C.UTF-8",
        "HOSTNAME": host,
        "PWD": home,
        "TZ": "UTC",
    }
    return {os.fsencode(name): os.fsencode(text) for name, text in {**base, **own}.items()}


def refuse_process() -> NoReturn:
    """Raises the `OSError` of a program that wants to start another one.

    ENOSYS is what fork(2) gives on a system that cannot do it at all; EAGAIN, the other candidate, says "try again".
    """
    raise OSError(errno.ENOSYS, "not on a virtual host: it has no child processes and runs no other program")
