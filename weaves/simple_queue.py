"""`_queue.SimpleQueue`, on which executors hand out their work: a queue that parks the flow that waits for an item.

As a lock (locks.py) it works on both sides, and the first that waits has the next item.
"""

from __future__ import annotations

import _queue
import math
from collections import deque
from types import GenericAlias
from typing import Any, Final

from weaves.bridge import Flow, current_flow
from weaves.here import here

_NS: Final = 1_000_000_000

MachineQueue: Final = _queue.SimpleQueue


class SimpleQueue:
    """`_queue.SimpleQueue`. Reentrant as that is: what a destructor puts finds no lock held."""

    __slots__ = ("__weakref__", "_items", "_waiters")

    def __init__(self) -> None:
        self._items = MachineQueue()  # type: ignore[var-annotated]
        self._waiters: deque[Flow] = deque()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put `item` on the queue, which has no limit."""
        self._items.put(item)
        self._wake_next()

    def put_nowait(self, item: Any) -> None:
        """As `put`."""
        self.put(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the oldest item. Raises `queue.Empty` if there is none at once, or after `timeout` seconds."""
        if here.weave is None or not block:
            return self._items.get(block, timeout)
        if timeout is not None and timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        deadline_ns = None
        if timeout is not None:
            deadline_ns = here.weave.scheduler.now_ns + math.ceil(timeout * _NS)
        while True:
            if not self._items.empty():
                return self._items.get_nowait()
            flow = current_flow()
            self._waiters.append(flow)
            outer, flow.waits_in = flow.waits_in, self
            try:
                if deadline_ns is None:
                    flow.park("an item of a queue")
                elif not flow.park_for(deadline_ns - flow.weave.scheduler.now_ns) and self._items.empty():
                    return self._items.get_nowait()  # raises Empty
            except BaseException:
                # It was killed; what woke it, if anything did, is for the next.
                if flow not in self._waiters:
                    self._wake_next()
                raise
            finally:
                flow.waits_in = outer
                if flow in self._waiters:
                    self._waiters.remove(flow)

    def _flow_is_gone(self, flow: Flow) -> None:
        if flow in self._waiters:
            self._waiters.remove(flow)
        else:
            self._wake_next()  # it was woken for an item that it has not taken

    def get_nowait(self) -> Any:
        """Take the oldest item. Raises `queue.Empty` if there is none."""
        return self._items.get_nowait()

    def empty(self) -> bool:
        """Whether there is no item now."""
        return self._items.empty()

    def qsize(self) -> int:
        """How many items there are now."""
        return self._items.qsize()

    def _wake_next(self) -> None:
        while self._waiters:
            flow = self._waiters.popleft()
            if not flow.ended:
                flow.wake()
                return

    __class_getitem__: Any = classmethod(GenericAlias)


SimpleQueue.__module__ = "_queue"
