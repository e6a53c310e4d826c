"""Processes that talk to each other: programs on the machine's own sockets, and tapestries joined by UDP links.

What a process prints is read as it comes, so that one can be started, interrupted or killed when another has come to a
point. Nothing here waits for a time: all waiting is for a line or an end, and the bounds only guard against a hang.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import weaves

SOURCES: Final = Path(__file__).parents[2] / "tapestries" / "verification"
HANG_S: Final = 120
# Where `weaves` comes from here; a process in another folder must find the same.
ENVIRONMENT: Final = {**os.environ, "PYTHONPATH": str(Path(weaves.__file__).parent.parent), "PYTHONUNBUFFERED": "1"}
PYTHON: Final = [sys.executable, *(["-P"] if sys.flags.safe_path else [])]


class WentWrong(Exception):
    """A process did not do what a check expects; says what it printed."""


class Process:
    """A command and what it prints. Leaving it as a context ends it, however it stands."""

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        self.name = name
        self._printed: list[str] = []
        self._news = threading.Condition()
        self._open = 2
        self._child = subprocess.Popen(
            command, cwd=folder, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._readers = [
            threading.Thread(target=self._read, args=(stream,)) for stream in (self._child.stdout, self._child.stderr)
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait()
        for reader in self._readers:
            reader.join()

    def _read(self, stream: Any) -> None:
        for line in stream:
            with self._news:
                self._printed.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._open -= 1
            self._news.notify_all()

    @property
    def printed(self) -> list[str]:
        """The lines so far, of output and errors as they came."""
        with self._news:
            return list(self._printed)

    def line_with(self, text: str) -> str:
        """The first line that has `text` in it, once there is one."""

        def found() -> str | None:
            return next((line for line in self._printed if text in line), None)

        with self._news:
            self._news.wait_for(lambda: found() is not None or self._open == 0, HANG_S)
            line = found()
        if line is None:
            raise WentWrong(f'{self.name} does not say "{text}":\n{self.told()}')
        return line

    def ends(self, code: int = 0) -> list[str]:
        """What it has printed, when it has ended with this exit code."""
        try:
            found = self._child.wait(HANG_S)
        except subprocess.TimeoutExpired:
            raise WentWrong(f"{self.name} does not end:\n{self.told()}") from None
        for reader in self._readers:
            reader.join()
        if found != code:
            raise WentWrong(f"{self.name} ends with {found}, not with {code}:\n{self.told()}")
        return self.printed

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._child.send_signal(signal.SIGINT)

    def kill(self) -> None:
        self._child.kill()

    def told(self) -> str:
        return "\n".join(f"  {self.name}: {line}" for line in self.printed)


class Tapestries:
    """A copy of tapestries/verification in `folder`, with ports that are free on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(SOURCES, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        texts = {path: path.read_text("utf-8") for path in sorted(folder.glob("*.toml"))}
        named = sorted({port for text in texts.values() for port in re.findall(r"\b8[12]\d\d\b", text)})
        ports = dict(zip(named, free_ports(len(named), socket.SOCK_DGRAM), strict=True))
        for path, text in texts.items():
            path.write_text(re.sub(r"\b8[12]\d\d\b", lambda port: str(ports[port[0]]), text), "utf-8")

    def change(self, name: str, old: str, new: str) -> None:
        """Put `new` in the place of `old` in the tapestry of this name."""
        path = self.folder / f"{name}.toml"
        text = path.read_text("utf-8")
        assert text.count(old) == 1, f'"{old}" is there {text.count(old)} times in {name}.toml'
        path.write_text(text.replace(old, new), "utf-8")

    def program(self, *words: str) -> Process:
        """One of the programs as an ordinary process, on the machine's own sockets."""
        return Process(" ".join(words[:2]), [sys.executable, *words], self.folder)

    def run(self, name: str) -> Process:
        """`weave run` of it, in a process of its own."""
        command = [*PYTHON, "-m", "weaves.cli", "run", f"{name}.toml", "--json", f"{name}.json"]
        return Process(name, command, self.folder)

    def figures(self, name: str) -> dict[str, Any]:
        """What `--json` of the run that has ended says."""
        return dict(json.loads((self.folder / f"{name}.json").read_text("utf-8")))


def free_ports(count: int, kind: socket.SocketKind) -> list[int]:
    """Ports of 127.0.0.1 that nobody has now. Nothing keeps another program from taking one before it is used."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket(socket.AF_INET, kind)) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in sockets]


@contextmanager
def all_of(*processes: Process) -> Iterator[ExitStack]:
    """Ends the processes at the end, and those that enter it later."""
    with ExitStack() as held:
        for process in processes:
            held.enter_context(process)
        yield held
