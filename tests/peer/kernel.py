"""The kernel's side of a bed: a network namespace, and a process in it that plays programs (player.py), many at once.

What it answers is read by a thread, so that it is there whenever somebody looks: a program on a virtual host that waits
for a mark of the other side looks every few milliseconds of its own time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from lunar.kernel.namespace import Namespace

_PATIENCE_S = 120  # for what must come; nothing is measured by it


class KernelPlayers:
    """The process. `marks` and `logs` are by the program's name."""

    def __init__(self, namespace: Namespace) -> None:
        self.marks: dict[str, set[str]] = {}
        self.logs: dict[str, list[str]] = {}
        self._changed = threading.Condition()
        with namespace:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(__file__).with_name("player.py"))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def begin(self, name: str, program: str, own: tuple[str, int], peer: tuple[str, int], seed: int) -> None:
        self.marks.setdefault(name, set())
        self._write(name=name, program=program, own=own, peer=peer, seed=seed)

    def tell(self, name: str, mark: str) -> None:
        self._write(name=name, mark=mark)

    def wait_for_mark(self, name: str, mark: str) -> None:
        self._wait(lambda: mark in self.marks[name] or name in self.logs, f"{name} has not told {mark}")

    def log(self, name: str) -> list[str]:
        """The log of a program that has ended."""
        return self.logs.get(name, ["has not ended"])

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _wait(self, done: Any, otherwise: str) -> None:
        with self._changed:
            if not self._changed.wait_for(done, _PATIENCE_S):
                raise TimeoutError(otherwise)

    def _write(self, **what: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            with self._changed:
                if "mark" in said:
                    self.marks[said["name"]].add(said["mark"])
                else:
                    self.logs[said["name"]] = said["log"]
                self._changed.notify_all()
