"""What all tests rely on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings

from weaves import simple_queue

# A shell starts background jobs with SIGINT ignored, nohup ignores SIGHUP, and a CI may do either. Children inherit
# what is ignored, while several tests interrupt a run as a person would. What has a handler is not inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda signum, frame: None)

# No test asserts on the machine's time, so neither does hypothesis: a loaded machine must not fail an example.
settings.register_profile("lunar", deadline=None)
settings.load_profile("lunar")


@pytest.fixture(scope="session")
def outside() -> Iterator[Callable[[Callable[[], Any]], Any]]:
    """Call a function in a thread of the machine and wait for it: called inside a weave, the turn waits as well.

    By queues of the machine, also inside a weave: those that a program gets there park its string.
    """
    wanted: Any = simple_queue.MachineQueue()
    found: Any = simple_queue.MachineQueue()

    def work() -> None:
        while (function := wanted.get()) is not None:
            try:
                found.put((function(), None))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is raised where the function was given
                found.put((None, error))

    thread = threading.Thread(target=work)
    thread.start()

    def call(function: Callable[[], Any]) -> Any:
        wanted.put(function)
        result, error = found.get()
        if error is not None:
            raise error
        return result

    yield call
    wanted.put(None)
    thread.join()
