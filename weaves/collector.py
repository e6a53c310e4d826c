"""Whose turn it is while the garbage collector runs: that of a weave on no host.

What the collector finds may be of any host, or of several. What a finalizer or a weak reference's callback asks for
(the time, a random number) must not come from the machine; so they see the clock of the run, and numbers that its seed
makes. There is no network here: whoever opens a socket in a finalizer is told that the network is down.
"""

from __future__ import annotations

import errno
import os
from typing import Any, NoReturn

from weaves.loop import WeaveLoop
from weaves.scheduler import Lane
from weaves.seeds import LazyGenerator
from weaves.supervisor import Supervisor
from weaves.weave import NoFiles, Weave

NAME = "collector"


class _Nowhere:
    """A host without a network. Its lane makes no events that count in the digest."""

    def __init__(self, lane: Lane) -> None:
        self.name = self.node_name = NAME
        self.lane = lane
        self.files = self.paths = NoFiles()

    def new_loop(self, weave: Weave, direct: bool = False) -> WeaveLoop:
        return WeaveLoop(weave, direct)

    def new_plain_socket(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
        raise _network_down()

    def new_socket(self, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
        raise _network_down()

    def close_descriptors(self, descriptors: list[int]) -> None:
        """It has none."""

    def getaddrinfo(self, host: Any, port: Any, family: int, type: int, proto: int, flags: int) -> NoReturn:
        raise _network_down()

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> NoReturn:
        raise _network_down()

    @property
    def lookups(self) -> NoReturn:
        raise _network_down()


def _network_down() -> OSError:
    return OSError(errno.ENETDOWN, os.strerror(errno.ENETDOWN))


def collector_weave(supervisor: Supervisor, epoch_ns: int) -> Weave:
    """The weave in which a run's garbage is collected; for `Scheduler.collector`."""
    stack: Any = _Nowhere(supervisor.outside)
    rng = LazyGenerator(supervisor.seed, "weave", NAME)
    return Weave(NAME, stack, supervisor, rng, epoch_ns=epoch_ns)
