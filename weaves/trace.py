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
HostSubscriber = Callable[[int, str, str], None]


class Trace:
    """Who listens to the run."""

    def __init__(self) -> None:
        self._string_subscribers: list[StringSubscriber] = []
        self._host_subscribers: list[HostSubscriber] = []

    def subscribe_strings(self, subscriber: StringSubscriber) -> None:
        """Call `subscriber(time_ns, string, what)` when a string starts or ends."""
        self._string_subscribers.append(subscriber)

    def string_event(self, time_ns: int, string: String, what: str) -> None:
        """A string started or ended."""
        for subscriber in self._string_subscribers:
            subscriber(time_ns, string, what)

    def subscribe_hosts(self, subscriber: HostSubscriber) -> None:
        """Call `subscriber(time_ns, host, what)` when a host crashes, boots, is paused or goes on."""
        self._host_subscribers.append(subscriber)

    def host_event(self, time_ns: int, host: str, what: str) -> None:
        """Something happened to a host."""
        for subscriber in self._host_subscribers:
            subscriber(time_ns, host, what)


def digest(lanes: Iterable[Lane]) -> str:
    """One hexadecimal digest (32 digits) of all lanes; lanes without events do not count."""
    total = hashlib.sha256()
    for lane in sorted(lanes, key=lambda lane: lane.id):
        if lane.folded:
            total.update(f"{lane.id}:{lane.folded}:{lane.digest_a:08x}{lane.digest_b:08x};".encode())
    return total.hexdigest()[:32]
