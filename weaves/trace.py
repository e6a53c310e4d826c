"""The stream of events of a run, and its digest.

Hot events (a frame on a wire) are not sent here one by one: each wire folds them into its lane's digest, and a device
calls its tap. What is rare (strings that start and end, hosts that crash and boot) goes to the subscribers. The digest
of a run is made of the lanes' digests in the order of the lanes, which does not depend on how hosts are spread over
processes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from weaves.scheduler import Lane

if TYPE_CHECKING:
    from weaves.strings import String

StringSubscriber = Callable[[int, "String", str], None]
ChangeSubscriber = Callable[[int, str, str], None]


class Trace:
    """Who listens to the run."""

    def __init__(self) -> None:
        self._string_subscribers: list[StringSubscriber] = []
        self._change_subscribers: list[ChangeSubscriber] = []

    def subscribe_strings(self, subscriber: StringSubscriber) -> None:
        """Call `subscriber(time_ns, string, what)` when a string starts or ends."""
        self._string_subscribers.append(subscriber)

    def string_event(self, time_ns: int, string: String, what: str) -> None:
        """A string started or ended."""
        for subscriber in self._string_subscribers:
            subscriber(time_ns, string, what)

    def subscribe_changes(self, subscriber: ChangeSubscriber) -> None:
        """Call `subscriber(time_ns, name, what)` when something befalls a host or a link, which has that name."""
        self._change_subscribers.append(subscriber)

    def change(self, time_ns: int, name: str, what: str) -> None:
        """A host crashed, booted, was paused or went on, got a signal; a link was unplugged."""
        for subscriber in self._change_subscribers:
            subscriber(time_ns, name, what)


def digest(lanes: Iterable[Lane]) -> str:
    """One hexadecimal digest (32 digits) of all lanes; lanes without events do not count."""
    total = hashlib.sha256()
    for lane in sorted(lanes, key=lambda lane: lane.id):
        if lane.folded:
            total.update(f"{lane.id}:{lane.folded}:{lane.digest_a:08x}{lane.digest_b:08x};".encode())
    return total.hexdigest()[:32]
