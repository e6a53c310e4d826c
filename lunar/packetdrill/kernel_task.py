"""What the program under test does on the machine's kernel: functions that may block, each in a thread.

A thread that blocks waits in a system call, which /proc tells (proc(5), /proc/PID/task/TID/syscall). One that has ended
its function takes the next.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

# The number of futex(2), where a thread waits for Python's lock and not for the kernel, on x86-64, on arm64 and its
# kind, and of futex_time64.
_FUTEX: Final = ("202", "98", "422")
# How long a call may take that does not block, before we look whether it does.
_LOOK_AFTER_S: Final = 0.0005


class KernelTask:
    """A function that was started: `lunar.packetdrill.backend.Task`."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._ended = threading.Event()
        self._ended_ns = 0
        self._value: Any = None
        self._error: BaseException | None = None

    @property
    def done(self) -> bool:
        return self._ended.is_set()

    @property
    def ended_ns(self) -> int:
        return self._ended_ns

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value

    def wait(self, seconds: float) -> bool:
        """Wait for its end, so long at most. Whether it has ended."""
        return self._ended.wait(max(seconds, 0))

    def run(self) -> None:
        """Call the function; in the thread that is to block."""
        try:
            self._value = self._function()
        except BaseException as error:  # noqa: BLE001 - whatever it is, `result` raises it where it is asked for
            self._error = error
        self._ended_ns = time.monotonic_ns()
        self._ended.set()


class Worker:
    """A thread for tasks, one after the other."""

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[KernelTask | None] = queue.SimpleQueue()
        self._task: KernelTask | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def free(self) -> bool:
        return self._task is None or self._task.done

    def give(self, task: KernelTask) -> None:
        """Run `task`; returns when it has ended or blocks."""
        self._task = task
        self._tasks.put(task)
        while not task.wait(_LOOK_AFTER_S):
            if self._is_blocked():
                return

    def _is_blocked(self) -> bool:
        try:
            number = Path(f"/proc/self/task/{self._thread.native_id}/syscall").read_text().partition(" ")[0].strip()
        except OSError:
            return False  # the thread has just ended
        return number not in _FUTEX and number not in ("running", "-1")

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            task.run()

    def end(self) -> None:
        """Let the thread end, when its task has."""
        self._tasks.put(None)


class Workers:
    """As many threads as tasks block at once."""

    def __init__(self) -> None:
        self._workers: list[Worker] = []

    def start(self, function: Callable[[], Any]) -> KernelTask:
        """A task that has run until it ended or blocked."""
        task = KernelTask(function)
        worker = next((worker for worker in self._workers if worker.free), None)
        if worker is None:
            worker = Worker()
            self._workers.append(worker)
        worker.give(task)
        return task

    def end(self) -> None:
        """Let all threads end. One that is blocked in the kernel ends with the process."""
        for worker in self._workers:
            worker.end()
