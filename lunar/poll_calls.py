"""`select` on the descriptors of a virtual host: select(2), poll(2) and epoll(7), which park the string that waits.

What they mean to code inside a weave (weaves/interpose/select_names.py). The first half is calls on numbers, with times
in nanoseconds; the classes below are what Python's module has, with its conversions and errors. What holds and what has
happened is known in lunar/sockets/poll.py and epoll.py.

Descriptors of the machine may stand beside virtual ones. The machine is asked how they are when the call begins and
whenever something wakes it, but not waited for: its time is not the run's.
"""

from __future__ import annotations

import errno
import math
import operator
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from lunar.arguments import TIME_TYPE
from lunar.errors import error
from lunar.net.sock import POLLNVAL
from lunar.sockets import syscalls
from lunar.sockets.epoll import EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, Epoll
from lunar.sockets.fdtable import is_virtual
from lunar.sockets.poll import SELECT_EXCEPT, SELECT_READ, SELECT_WRITE, ready, watch
from weaves.bridge import Flow, current_flow
from weaves.here import here
from weaves.interpose import select_names

if TYPE_CHECKING:
    from lunar.host import Host

# How many descriptors of the machine select(2) can name; virtual ones have no bits that could run out.
_FD_SETSIZE: Final = 1024
_INT_MAX: Final = 2**31 - 1
_TIME_MAX_NS: Final = 2**63 - 1
_US: Final = 1_000
_MS: Final = 1_000_000
_S: Final = 1_000_000_000
# What select.poll and select.epoll ask for by default: POLLIN | POLLPRI | POLLOUT.
_BY_DEFAULT: Final = 0x7
# What the kernel's loopback device is given arrives within the call that sends it. Here it arrives in events of the
# same instant; a wait lets so many go by, one after another as SYN, answer and ACK, before it looks what there is.
_LOOPBACK_EVENTS: Final = 4
# Who has found so many times in a row that it need not wait goes round in a loop, perhaps until a time has come: its
# own, another string's, or that of a delayed acknowledgement. From then on each call takes a moment, as on Linux.
_HURRIED_CALLS: Final = 100
_HURRIED_NS: Final = 10_000


class Select:
    """The calls of `select` on the descriptors of `host`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        # How often a flow has called in a row without waiting, and when it did so last.
        self._hurried: WeakKeyDictionary[Flow, tuple[int, int]] = WeakKeyDictionary()

    # On numbers

    def wait(self, asked: dict[int, int], timeout_ns: int | None) -> list[tuple[int, int]]:
        """poll(2): (descriptor, conditions) of those of `asked`, {descriptor: conditions}, that have some.

        Waits until there is one, `timeout_ns` at most.
        """
        if not any(map(is_virtual, asked)):
            return self._wait(lambda: _of_machine(asked), lambda _told: [], timeout_ns)
        virtual = {fd: events for fd, events in asked.items() if is_virtual(fd)}
        machine = {fd: events for fd, events in asked.items() if fd not in virtual}

        def look() -> list[tuple[int, int]]:
            found = ready(self._host.descriptors, virtual)
            if not machine:
                return found
            both = dict(found + _of_machine(machine))
            return [(fd, both[fd]) for fd in asked if fd in both]

        return self._wait(look, lambda told: watch(self._host.descriptors, virtual, told), timeout_ns)

    def _wait(
        self,
        look: Callable[[], list[tuple[int, int]]],
        watched: Callable[[Callable[[], None]], list[Any]],
        timeout_ns: int | None,
    ) -> list[tuple[int, int]]:
        found = self._look_first(look, timeout_ns)
        if found or timeout_ns == 0:
            return found
        watches = watched(current_flow().wake)
        try:
            return self._sleep(look, timeout_ns)
        finally:
            for one in watches:
                one.end()
                syscalls.close_unused(one.sock)

    def _look_first(self, look: Callable[[], list[tuple[int, int]]], timeout_ns: int | None) -> list[tuple[int, int]]:
        """What there is without waiting."""
        flow = here.flow
        if flow is None:
            return look()
        loopback = self._host.devices["lo"]
        for _event in range(_LOOPBACK_EVENTS):
            if loopback.tx_packets == loopback.rx_packets + loopback.rx_dropped:
                break
            flow.park_for(0)
        scheduler = self._host.scheduler
        hurried, last_ns = self._hurried.get(flow, (0, 0))
        if last_ns != scheduler.now_ns:
            hurried = 0  # it has waited for something else
        if hurried > _HURRIED_CALLS:
            flow.park_for(_HURRIED_NS)
        found = look()
        if found or timeout_ns == 0:
            self._hurried[flow] = hurried + 1, int(scheduler.now_ns)
        if not found and timeout_ns == 0:
            # Let the other strings of the host have their turn: who asks again and again may wait for what they do.
            flow.wake()
            flow.park()
            found = look()
        return found

    def _sleep(self, look: Callable[[], list[tuple[int, int]]], timeout_ns: int | None) -> list[tuple[int, int]]:
        """Park, and look again whenever woken, until something is found or the time is up."""
        flow = current_flow()
        self._hurried.pop(flow, None)
        if timeout_ns is None:
            while True:
                flow.park()
                if found := look():
                    return found
        scheduler = self._host.scheduler
        end_ns = int(scheduler.now_ns) + timeout_ns
        while True:
            flow.park_for(end_ns - int(scheduler.now_ns))
            found = look()
            if found or scheduler.now_ns >= end_ns:
                return found

    def epoll_create(self) -> int:
        """epoll_create1(2): the descriptor of an empty set."""
        return self._host.files.install(Epoll())

    def _epoll(self, epfd: int) -> Epoll:
        found = self._host.descriptors.get(epfd)
        if found is None:
            raise error(errno.EBADF)
        if not isinstance(found, Epoll):
            raise error(errno.EINVAL)
        return found

    def epoll_ctl(self, epfd: int, operation: int, fd: int, events: int) -> None:
        """epoll_ctl(2). EBADF, EEXIST, EINVAL, ELOOP, ENOENT; EPERM for a file of the machine's."""
        if is_virtual(fd):
            sock = self._host.descriptors.get(fd)
            if sock is None:
                raise error(errno.EBADF)
            result = self._epoll(epfd).control(operation, fd, sock, events)
            if result < 0:
                raise error(int(result))
            return
        epoll = self._epoll(epfd)
        if epoll.machine is None:
            epoll.machine = select_names.machine_epoll()
        if operation == EPOLL_CTL_ADD:
            epoll.machine.register(fd, events)
        elif operation == EPOLL_CTL_MOD:
            epoll.machine.modify(fd, events)
        elif operation == EPOLL_CTL_DEL:
            epoll.machine.unregister(fd)
        else:
            raise error(errno.EINVAL)

    def epoll_wait(self, epfd: int, most: int, timeout_ns: int | None) -> list[tuple[int, int]]:
        """epoll_wait(2): (descriptor, conditions) of `most` that are ready at most. EBADF, EINVAL."""
        epoll = self._epoll(epfd)
        if most <= 0:
            raise error(errno.EINVAL)

        def look() -> list[tuple[int, int]]:
            found = epoll.take(most)
            if epoll.machine is not None and len(found) < most:
                found += epoll.machine.poll(0, most - len(found))
            return found

        found = self._look_first(look, timeout_ns)
        if found or timeout_ns == 0:
            return found
        wake = current_flow().wake

        def look_again() -> list[tuple[int, int]]:
            # It may have been woken by something else, and still stand in the queue.
            found = look()
            if not found and wake not in epoll.sleepers:
                epoll.sleepers.append(wake)
            return found

        epoll.begin_wait()
        epoll.sleepers.append(wake)
        try:
            return self._sleep(look_again, timeout_ns)
        finally:
            epoll.end_wait(wake)

    # As Python's module has them

    def select(
        self, rlist: Any, wlist: Any, xlist: Any, timeout: Any = None
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """select.select."""
        timeout_ns: int | None = None
        if timeout is not None:
            try:
                timeout_ns = _nanoseconds(timeout, _S)
            except TypeError:
                raise TypeError("timeout must be a float or None") from None
            if timeout_ns < 0:
                raise ValueError("timeout must be non-negative")
            timeout_ns = _rounded_up(timeout_ns, _US)
        asked: dict[int, int] = {}
        masks = (SELECT_READ, SELECT_WRITE, SELECT_EXCEPT)
        lists = [_asked(files, mask, asked) for files, mask in zip((rlist, wlist, xlist), masks, strict=True)]
        descriptors = self._host.descriptors
        if any(is_virtual(fd) and descriptors.get(fd) is None for fd in asked):
            raise error(errno.EBADF)
        found = dict(self.wait(asked, timeout_ns))
        if any(events & POLLNVAL and not is_virtual(fd) for fd, events in found.items()):
            raise error(errno.EBADF)
        # One that was closed while the call waited is ready for everything.
        readable, writable, exceptional = (
            [file for file, fd in files if found.get(fd, 0) & (mask | POLLNVAL)]
            for files, mask in zip(lists, masks, strict=True)
        )
        return readable, writable, exceptional

    def poll(self) -> PollObject:
        """select.poll."""
        return PollObject._of(self)

    def epoll(self, sizehint: int = -1, flags: int = 0) -> EpollObject:
        """select.epoll."""
        sizehint, flags = operator.index(sizehint), operator.index(flags)
        if sizehint != -1 and sizehint <= 0:
            raise ValueError("negative sizehint")
        if flags and flags != os.O_CLOEXEC:  # EPOLL_CLOEXEC
            raise OSError("invalid flags")
        return EpollObject(self, self.epoll_create())

    def epoll_fromfd(self, fd: int) -> EpollObject:
        """select.epoll.fromfd of a virtual descriptor."""
        return EpollObject(self, fd)

    def close(self, fd: int) -> None:
        """Close the descriptor of a set."""
        self._host.files.close(fd)

    def is_set(self, fd: int) -> bool:
        """Whether `fd` is the descriptor of a set."""
        return isinstance(self._host.descriptors.get(fd), Epoll)


class PollObject:
    """What `select.poll()` gives: descriptors and what is asked of them, in the order of `register`."""

    _calls: Select
    _asked: dict[int, int]
    _waits: bool

    def __new__(cls, *_args: Any, **_kwargs: Any) -> PollObject:
        raise TypeError("cannot create 'select.poll' instances")

    @classmethod
    def _of(cls, calls: Select) -> PollObject:
        made = object.__new__(cls)
        made._calls = calls
        made._asked = {}
        made._waits = False
        return made

    def register(self, fd: Any, eventmask: int = _BY_DEFAULT, /) -> None:
        """Ask for `eventmask` of `fd`, in place of what was asked of it."""
        self._asked[_descriptor(fd)] = _unsigned_short(eventmask)

    def modify(self, fd: Any, eventmask: int, /) -> None:
        """As `register`; ENOENT if it is not registered."""
        descriptor = _descriptor(fd)
        events = _unsigned_short(eventmask)
        if descriptor not in self._asked:
            raise error(errno.ENOENT)
        self._asked[descriptor] = events

    def unregister(self, fd: Any, /) -> None:
        """Ask no more of `fd`. KeyError if it is not registered."""
        del self._asked[_descriptor(fd)]

    def poll(self, timeout: Any = None, /) -> list[tuple[int, int]]:
        """(descriptor, conditions) of those that have some, after `timeout` ms at most, for ever if negative."""
        timeout_ns: int | None = None
        if timeout is not None:
            timeout_ns = _waiting_ns(timeout, _MS)
        if self._waits:
            raise RuntimeError("concurrent poll() invocation")
        self._waits = True
        try:
            return self._calls.wait(self._asked.copy(), timeout_ns)
        finally:
            self._waits = False


class EpollObject:
    """What `select.epoll()` gives: a descriptor of a set."""

    def __init__(self, calls: Select, fd: int) -> None:
        self._calls = calls
        self._fd = fd

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        # `isinstance` asks an object for it besides its type.
        return select_names.Epoll

    def _open(self) -> int:
        if self._fd < 0:
            raise ValueError("I/O operation on closed epoll object")
        return self._fd

    def fileno(self) -> int:
        """The descriptor."""
        return self._open()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._fd < 0

    def close(self) -> None:
        """Close the descriptor."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._calls.close(fd)

    def register(self, fd: Any, eventmask: int = _BY_DEFAULT) -> None:
        """Add a descriptor to the set."""
        self._calls.epoll_ctl(self._open(), EPOLL_CTL_ADD, _descriptor(fd), _unsigned_int(eventmask))

    def modify(self, fd: Any, eventmask: int) -> None:
        """Wait for other conditions of a descriptor."""
        self._calls.epoll_ctl(self._open(), EPOLL_CTL_MOD, _descriptor(fd), _unsigned_int(eventmask))

    def unregister(self, fd: Any) -> None:
        """Take a descriptor out of the set."""
        self._calls.epoll_ctl(self._open(), EPOLL_CTL_DEL, _descriptor(fd), 0)

    def poll(self, timeout: Any = None, maxevents: int = -1) -> list[tuple[int, int]]:
        """(descriptor, conditions) of up to `maxevents`; waits up to `timeout` seconds, for ever if negative."""
        epfd = self._open()
        timeout_ns: int | None = None
        if timeout is not None:
            timeout_ns = _waiting_ns(timeout, _S)
        if maxevents == -1:
            maxevents = _FD_SETSIZE - 1
        elif maxevents < 1:
            raise ValueError(f"maxevents must be greater than 0, got {maxevents}")
        return self._calls.epoll_wait(epfd, maxevents, timeout_ns)

    def __enter__(self) -> EpollObject:
        self._open()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        # As CPython's own; the program's end, or that of its host, may have closed it before.
        fd = getattr(self, "_fd", -1)
        if fd >= 0 and self._calls.is_set(fd):
            self.close()


# Programs see these names in `repr`.
PollObject.__name__ = PollObject.__qualname__ = "poll"
EpollObject.__name__ = EpollObject.__qualname__ = "epoll"
PollObject.__module__ = EpollObject.__module__ = "select"


def _of_machine(asked: dict[int, int]) -> list[tuple[int, int]]:
    """How descriptors of the machine are at this moment."""
    if not asked:
        return []
    poll = select_names.machine_poll()
    for fd, events in asked.items():
        poll.register(fd, events)
    return poll.poll(0)


def _asked(files: Any, mask: int, asked: dict[int, int]) -> list[tuple[Any, int]]:
    """The files of one list with their descriptors; adds to `asked` what is asked of each."""
    try:
        given = files if isinstance(files, (list, tuple)) else list(files)
    except TypeError:
        raise TypeError("arguments 1-3 must be sequences") from None
    found: list[tuple[Any, int]] = []
    at = 0
    while at < len(given):  # `fileno` may take some away
        file = given[at]
        fd = _descriptor(file)
        if not is_virtual(fd) and fd >= _FD_SETSIZE:
            raise ValueError("filedescriptor out of range in select()")
        if len(found) >= _FD_SETSIZE and not is_virtual(fd):
            raise ValueError("too many file descriptors in select()")
        found.append((file, fd))
        asked[fd] = asked.get(fd, 0) | mask
        at += 1
    return found


def _descriptor(file: Any) -> int:
    """The descriptor of `file`, a number or something with `fileno`. Raises what CPython raises."""
    if isinstance(file, int):
        number = int(file)
    else:
        fileno = getattr(file, "fileno", None)
        if fileno is None:
            raise TypeError("argument must be an int, or have a fileno() method.")
        number = fileno()
        if not isinstance(number, int):
            raise TypeError("fileno() returned a non-integer")
    if not -_INT_MAX <= number <= _INT_MAX:
        raise OverflowError("Python int too large to convert to C int")
    if number < 0:
        raise ValueError(f"file descriptor cannot be a negative integer ({number})")
    return number


def _unsigned_short(value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError("an integer is required") from None
    if number < 0:
        raise ValueError("value must be positive")
    if number > 2**64 - 1:
        raise OverflowError("Python int too large to convert to C unsigned long")
    if number > 0xFFFF:
        raise OverflowError("Python int too large for C unsigned short")
    return number


def _unsigned_int(value: Any) -> int:
    return operator.index(value) & 0xFFFF_FFFF


def _nanoseconds(value: Any, unit_ns: int) -> int:
    """`value`, in units of `unit_ns`, rounded away from zero."""
    if isinstance(value, float):
        if math.isnan(value):
            raise ValueError("Invalid value NaN (not a number)")
        exact = value * unit_ns
        if not -_TIME_MAX_NS <= exact < _TIME_MAX_NS:
            raise OverflowError("timestamp out of range for platform time_t")
        return math.ceil(exact) if exact >= 0 else math.floor(exact)
    number = operator.index(value) * unit_ns
    if not -_TIME_MAX_NS <= number <= _TIME_MAX_NS:
        raise OverflowError(f"timestamp too large to convert to C {TIME_TYPE}")
    return number


def _rounded_up(time_ns: int, step_ns: int) -> int:
    return -(-time_ns // step_ns) * step_ns


def _waiting_ns(timeout: Any, unit_ns: int) -> int | None:
    """A time to wait, in whole milliseconds as poll(2) and epoll_wait(2) take it; None, for ever, if it is negative."""
    try:
        time_ns = _nanoseconds(timeout, unit_ns)
    except TypeError:
        raise TypeError("timeout must be an integer or None") from None
    whole_ns = _rounded_up(time_ns, _MS)
    if not -_INT_MAX <= whole_ns // _MS <= _INT_MAX:
        raise OverflowError("timeout is too large")
    return None if time_ns < 0 else whole_ns
