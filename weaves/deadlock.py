"""Who waits for what: of a weave whose threads all wait for each other, and of a run in which nothing can happen.

A flow that parks says what it waits for, if that is something that another thread of the program has or does: a lock,
an item of a queue, the end of a thread. When all flows of a program wait so, and nothing else can wake one (no handler
of a signal, no task of a loop, no string that is to start), then none ever goes on: its strings fail with `Deadlock`,
while the rest of the run goes on as `on_error` says. Functions that a test starts may share their locks with others,
and with the test itself, and so may programs whose modules share names; of them a deadlock is told when the whole run
stalls. So it is where this file only cannot tell: a task of a loop may wait for what never comes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from weaves.hang import own_spot, spots_of
from weaves.threads import ThreadState

if TYPE_CHECKING:
    from weaves.bridge import Flow
    from weaves.strings import String
    from weaves.weave import Weave

# So many threads are told of.
_TOLD: Final = 10


class Deadlock(RuntimeError):
    """Each thread of a program waits for another one; the message has a line for each."""


class DeadlockCheck:
    """A turn of the scheduler's, behind all that were ready: is `weave` dead?"""

    def __init__(self, weave: Weave) -> None:
        self._weave = weave

    def turn(self) -> None:
        """Let its strings fail, if it is."""
        weave = self._weave
        weave.deadlock_check_waits = False
        if not is_dead(weave):
            return
        text = "no thread of the program can go on: each waits for another\n" + "\n".join(waits_of(weave))
        for string in list(weave.strings):
            if string.running:
                string.fail(Deadlock(text))


def is_dead(weave: Weave) -> bool:
    """Whether nothing can wake any thread of `weave`, which is a program's."""
    flows = list(weave.flows)
    if not flows or any(flow.waits_for is None or flow.queued for flow in flows):
        return False
    if weave.signals.has_handlers or weave.signals.has_timer:
        return False
    if any(not string.running and not string.over for string in weave.strings):
        return False
    if any(string.has_stop for string in weave.strings):
        return False  # to wait for ever is what some programs do until they are stopped
    if weave.modules is not None and weave.modules.shared:
        return False  # what the program waits for may be shared with another
    if len(weave.strings) > 1 and weave.descriptors:
        return False  # a string that has ended may have left a server in the loop
    for loop in weave.loops:
        if loop.is_blocked or not loop.is_running():
            continue  # one of the flows stands in one of its callbacks; or nobody runs it, and nobody can
        if loop.timers or loop.has_ready:
            return False
        waiting_for_flows = {string.task for string in weave.strings if string.flow in weave.flows}
        if any(not task.done() and task not in waiting_for_flows for task in loop.tasks):
            return False
    return True


def waits_of(weave: Weave) -> list[str]:
    """A line for each flow of `weave` that waits: who it is, for what it waits, and where."""
    lines = [f"  {_who(flow)} {_waits(flow)}" for flow in list(weave.flows)[:_TOLD]]
    if len(weave.flows) > _TOLD:
        lines.append(f"  and {len(weave.flows) - _TOLD} more")
    return lines


def told(weaves: Iterable[Weave]) -> str:
    """The same of several weaves, each with its host in front; empty if no flow of theirs waits."""
    text = ""
    for weave in list(dict.fromkeys(weaves))[:_TOLD]:
        lines = waits_of(weave)
        if lines:
            text += f"\non host {weave.host.name}, in weave {weave.name}:\n" + "\n".join(lines)
    return text


def named(strings: list[String]) -> str:
    """The first few of `strings`, by name and host."""
    some = ", ".join(f"{string.name} on {string.weave.host.name}" for string in strings[:5])
    return some + (f" and {len(strings) - 5} more" if len(strings) > 5 else "")


def _who(flow: Flow) -> str:
    state = flow.thread or flow.weave.threads.state_of(flow)
    return f"thread {state}"


def _waits(flow: Flow) -> str:
    what = "waits" if flow.waits_for is None else f"waits for {flow.waits_for}"
    if isinstance(flow.thread, ThreadState) and getattr(flow.waits_for, "holder", None) is flow.thread:
        # Condition.wait takes a lock of its own and waits for it; who notifies it releases that.
        what = "waits to be notified, or for a lock that it holds itself"
    spot = own_spot(spots_of(flow.frame, ()))
    return what if spot is None else f"{what}, at {spot}"
