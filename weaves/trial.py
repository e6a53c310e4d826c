"""A trial: does the module of a `call` import, and does it have the function? Asked when a tapestry is loaded.

The module is executed once in a weave that belongs to no host and is thrown away: with a clock of its own, which jumps
over what it sleeps, with nothing that it prints shown, and without a network. What the trial cannot know (the module
speaks to the network, or waits for what does not come) is left for the string's start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn

from weaves.bridge import Flow
from weaves.clock import NS_PER_S
from weaves.interpose.sys_module import unheard
from weaves.library import Library, Policy
from weaves.loop import WeaveLoop
from weaves.modules import Modules
from weaves.scheduler import Lane
from weaves.seeds import LazyGenerator
from weaves.supervisor import Supervisor
from weaves.weave import NoFiles, Weave

# How long a module may take to be executed: of virtual time, and in events and turns.
_LIMIT_NS: Final = 3600 * NS_PER_S
_BUDGET: Final = 1_000_000


class Untold(Exception):
    """The trial cannot tell."""


class _NoFiles(NoFiles):
    """The calls that make descriptors, where nothing can be tried."""

    def pipe(self) -> NoReturn:
        raise Untold

    def pipe2(self, flags: int) -> NoReturn:
        raise Untold


class _NoStack:
    """A host without a network."""

    def __init__(self, name: str) -> None:
        self.name = self.node_name = name
        self.lane = Lane(0)
        self.files = self.paths = _NoFiles()

    def new_loop(self, weave: Weave, direct: bool = False) -> WeaveLoop:
        return WeaveLoop(weave, direct)

    def new_plain_socket(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
        raise Untold

    def new_socket(self, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
        raise Untold

    def new_socketpair(self, family: int, type: int, proto: int) -> NoReturn:
        raise Untold

    def close_descriptors(self, descriptors: list[int]) -> None:
        """It has none."""

    def getaddrinfo(self, host: Any, port: Any, family: int, type: int, proto: int, flags: int) -> NoReturn:
        raise Untold

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> NoReturn:
        raise Untold

    @property
    def lookups(self) -> NoReturn:
        raise Untold


def attempt(function: Callable[[Modules], Any], host: str, seed: int, library: Library, policy: Policy) -> Any:
    """What `function` returns or raises in a trial weave, which thinks that it is on `host`. Raises `Untold`, too."""
    supervisor = Supervisor(seed)
    stack: Any = _NoStack(host)
    rng = LazyGenerator(seed, "trial", host)
    weave = Weave("trial", stack, supervisor, rng, is_program=True)
    weave.modules = modules = Modules(weave, library, policy, shared={})
    outcome: list[tuple[Any, BaseException | None]] = []
    with unheard(weave):
        flow = Flow(weave, lambda: function(modules), lambda result, error: outcome.append((result, error)))
        flow.start()
        scheduler = supervisor.scheduler
        budget = _BUDGET
        while not outcome and (scheduler.turns or scheduler.pending()) and scheduler.now_ns < _LIMIT_NS and budget > 0:
            scheduler.run(_LIMIT_NS, 1)
            budget -= 1
        in_time = bool(outcome)
        flow.kill()
        weave.exit()
    if not in_time:
        raise Untold
    result, error = outcome[0]
    cause = error
    while cause is not None:
        if isinstance(cause, Untold):
            raise Untold
        cause = cause.__cause__ or cause.__context__
    if error is not None:
        raise error
    return result
