"""epoll(7): a set of descriptors that is told of what happens, and keeps a list of those that may be ready.

A wait looks at that list alone, however many descriptors are in the set. It is in the order in which they became ready;
what is still ready after it was reported goes to its end, so that none is passed over when a wait takes few of many.
An entry belongs to a descriptor and what it named when it was added: when the last descriptor of that is closed, the
entry goes; while another one of it is open, the entry stays, as on Linux.

An `Epoll` is a descriptor too: it can be polled, and be in the set of another. Who waits parks in lunar/poll_calls.py.
"""

from __future__ import annotations

import errno
from collections import deque
from typing import Any, Final, final

from mypy_extensions import i64

from lunar.net.sock import POLLERR, POLLHUP, POLLIN, POLLOUT, Sock
from lunar.sockets.poll import conditions, wake_mask

EPOLL_CTL_ADD: Final = 1
EPOLL_CTL_DEL: Final = 2
EPOLL_CTL_MOD: Final = 3

EPOLLEXCLUSIVE: Final = 1 << 28
EPOLLWAKEUP: Final = 1 << 29
EPOLLONESHOT: Final = 1 << 30
EPOLLET: Final = 1 << 31
# How an entry behaves, beside what it waits for.
_MANNER: Final = EPOLLEXCLUSIVE | EPOLLWAKEUP | EPOLLONESHOT | EPOLLET
# epoll_ctl(2): what may stand beside EPOLLEXCLUSIVE.
_BESIDE_EXCLUSIVE: Final = POLLIN | POLLOUT | POLLERR | POLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE
# epoll_ctl(2): a chain of sets has five at most, hence four steps.
_MAX_STEPS: Final = 4


@final
class Entry:
    """A descriptor in the set of `epoll`. It is a waiter of its socket."""

    def __init__(self, epoll: Epoll, fd: int, sock: Sock, events: i64) -> None:
        self.epoll: Epoll = epoll
        self.fd: int = fd
        self.sock: Sock = sock
        self.events: i64 = events
        self.wanted: i64 = 0  # the masks that concern it; none after EPOLLONESHOT was reported
        self.listed: bool = False  # in the list of those that may be ready
        self.gone: bool = False

    def __call__(self, happened: i64) -> None:
        if happened & self.wanted:
            self.epoll.tell(self)

    def ask(self, events: i64) -> None:
        """Wait for `events` from now on; what holds already counts."""
        self.events = events | POLLERR | POLLHUP
        self.wanted = wake_mask(self.events & ~_MANNER)
        if conditions(self.sock) & self.events:
            self.epoll.tell(self)

    def rest(self) -> None:
        """Wait for nothing until `ask`: EPOLLONESHOT."""
        self.events &= _MANNER
        self.wanted = 0


@final
class Exclusive:
    """The entries of one socket that have EPOLLEXCLUSIVE: one waiter. It stops at the first set whose wait it ends."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def __call__(self, happened: i64) -> None:
        for entry in self.entries.copy():
            if not happened & entry.wanted:
                continue
            woke = len(entry.epoll.sleepers) > 0
            entry.epoll.tell(entry)
            both: i64 = happened & (POLLIN | POLLOUT)
            if woke and both != POLLIN | POLLOUT and (both == 0 or entry.events & both):
                return


@final
class Epoll(Sock):
    """One set. It is no socket: the calls that are for sockets fail with ENOTSOCK."""

    def __init__(self) -> None:
        super().__init__(0, 0, 0)
        self.entries: dict[int, list[Entry]] = {}  # by descriptor: several, when it has named several things
        self.list: deque[Entry] = deque()  # those that may be ready
        # Who waits, as functions to call; one is called for each change, the one that waits longest first.
        self.sleepers: deque[Any] = deque()
        self.waits: i64 = 0  # waits that have begun and not ended
        self.let_go: bool = False  # closed while somebody waited
        # What the face keeps here of descriptors that are the machine's.
        self.machine: Any = None

    # The set

    def control(self, operation: int, fd: int, sock: Sock, events: i64) -> i64:
        """epoll_ctl(2). EEXIST, EINVAL, ELOOP, ENOENT."""
        if sock is self:
            return -errno.EINVAL
        if events & EPOLLEXCLUSIVE:
            if operation == EPOLL_CTL_MOD:
                return -errno.EINVAL
            if operation == EPOLL_CTL_ADD and (isinstance(sock, Epoll) or events & ~_BESIDE_EXCLUSIVE):
                return -errno.EINVAL
        if operation == EPOLL_CTL_ADD and isinstance(sock, Epoll):
            below = steps_below(sock, self)
            if below > _MAX_STEPS or below + 1 + steps_above(self) > _MAX_STEPS:
                return -errno.ELOOP
        entry = self._entry(fd, sock)
        if operation == EPOLL_CTL_ADD:
            if entry is not None:
                return -errno.EEXIST
            self._add(Entry(self, fd, sock, events))
            return 0
        if operation == EPOLL_CTL_DEL:
            if entry is None:
                return -errno.ENOENT
            self.remove(entry)
            _stop_waiting(entry)
            return 0
        if operation != EPOLL_CTL_MOD:
            return -errno.EINVAL
        if entry is None:
            return -errno.ENOENT
        if entry.events & EPOLLEXCLUSIVE:
            return -errno.EINVAL
        entry.ask(events)
        return 0

    def _entry(self, fd: int, sock: Sock) -> Entry | None:
        known = self.entries.get(fd)
        if known is not None:
            for entry in known:
                if entry.sock is sock:
                    return entry
        return None

    def _add(self, entry: Entry) -> None:
        known = self.entries.get(entry.fd)
        if known is None:
            self.entries[entry.fd] = [entry]
        else:
            known.append(entry)
        _start_waiting(entry)
        entry.ask(entry.events)

    def remove(self, entry: Entry) -> None:
        """Take it out of the set; the caller sees to the socket's waiters."""
        entry.gone = True
        known = self.entries[entry.fd]
        known.remove(entry)
        if not known:
            del self.entries[entry.fd]

    # What happens, and what is ready

    def tell(self, entry: Entry) -> None:
        """Something has happened to `entry`."""
        if not entry.listed:
            entry.listed = True
            self.list.append(entry)
        self._wake_one()
        self.wake(POLLIN)

    def _wake_one(self) -> None:
        if self.sleepers:
            self.sleepers.popleft()()

    def take(self, most: i64) -> list[tuple[int, int]]:
        """(descriptor, what holds) of up to `most` entries that are ready, in the order in which they became so."""
        found: list[tuple[int, int]] = []
        again: list[Entry] = []
        waiting = self.list
        while waiting and len(found) < most:
            entry = waiting.popleft()
            entry.listed = False
            if entry.gone:
                continue
            now: i64 = conditions(entry.sock) & entry.events
            if not now:
                continue
            found.append((entry.fd, int(now)))
            if entry.events & EPOLLONESHOT:
                entry.rest()
            elif not entry.events & EPOLLET:
                again.append(entry)
        for entry in again:
            entry.listed = True
            waiting.append(entry)
        if waiting:
            self._wake_one()
        return found

    def poll(self) -> int:
        """POLLIN if a wait would find something. Entries that are not ready leave the list."""
        waiting = self.list
        while waiting:
            entry = waiting[0]
            if not entry.gone and conditions(entry.sock) & entry.events:
                return POLLIN
            waiting.popleft()
            entry.listed = False
        return 0

    # Waiting, and the end

    def begin_wait(self) -> None:
        """Somebody waits: until `end_wait` the set lives on, closed or not."""
        self.waits += 1

    def end_wait(self, sleeper: Any) -> None:
        """The wait is over; what woke `sleeper` and was not taken wakes another."""
        self.waits -= 1
        if sleeper in self.sleepers:
            self.sleepers.remove(sleeper)
        elif self.list:
            self._wake_one()
        if self.let_go and self.waits == 0:
            self._release()

    def close(self) -> None:
        """The last descriptor is closed."""
        self.let_go = True
        if self.waits == 0:
            self._release()

    def _release(self) -> None:
        for known in self.entries.values():
            for entry in known:
                entry.gone = True
                _stop_waiting(entry)
        self.entries.clear()
        self.list.clear()
        if self.machine is not None:
            self.machine.close()
            self.machine = None


def forget(sock: Sock) -> None:
    """Take a socket that is closed out of all sets."""
    for waiter in sock.waiters:
        if isinstance(waiter, Entry):
            waiter.epoll.remove(waiter)
        elif isinstance(waiter, Exclusive):
            for entry in waiter.entries:
                entry.epoll.remove(entry)


def _start_waiting(entry: Entry) -> None:
    waiters = entry.sock.waiters
    if not entry.events & EPOLLEXCLUSIVE:
        waiters.append(entry)
        return
    for waiter in waiters:
        if isinstance(waiter, Exclusive):
            waiter.entries.append(entry)
            return
    group = Exclusive()
    group.entries.append(entry)
    waiters.append(group)


def _stop_waiting(entry: Entry) -> None:
    waiters = entry.sock.waiters
    if entry in waiters:
        waiters.remove(entry)
        return
    for waiter in waiters:
        if isinstance(waiter, Exclusive) and entry in waiter.entries:
            waiter.entries.remove(entry)
            if not waiter.entries:
                waiters.remove(waiter)
            return


def steps_below(epoll: Epoll, into: Epoll) -> i64:
    """How many sets lie one in another below `epoll`; too many if `into` is among them."""
    deepest: i64 = 0
    for known in epoll.entries.values():
        for entry in known:
            inner = entry.sock
            if isinstance(inner, Epoll):
                if inner is into:
                    return _MAX_STEPS + 1
                deepest = max(deepest, steps_below(inner, into) + 1)
    return deepest


def steps_above(epoll: Epoll) -> i64:
    """How many sets `epoll` is in, one in another."""
    highest: i64 = 0
    for waiter in epoll.waiters:
        if isinstance(waiter, Entry):
            highest = max(highest, steps_above(waiter.epoll) + 1)
    return highest
