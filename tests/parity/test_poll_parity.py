"""The same programs on the machine's select, poll and epoll and on a virtual host's: they must see the same.

First programs that each show one rule, then random sequences of operations by hypothesis. What is compared are events,
results, classes and errnos of exceptions; numbers of descriptors are not.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import select
import signal
import socket
import stat
import struct
import termios
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lunar.network import Network

PROGRAMS: dict[str, Callable[[list[Any]], Any]] = {}

IN, PRI, OUT, ERR, HUP, RDHUP = 1, 2, 4, 8, 16, 0x2000
ET, ONESHOT, EXCLUSIVE = select.EPOLLET, select.EPOLLONESHOT, select.EPOLLEXCLUSIVE
EVERYTHING = 0x23FF & ~0x20  # all of poll(2)'s but POLLNVAL, and POLLRDHUP


def program(function: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    PROGRAMS[function.__name__] = function
    return function


def attempt(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The result, or the exception: its class with its errno or its text."""
    try:
        return function(*args, **kwargs)
    except OSError as failed:
        return type(failed).__name__, errno.errorcode.get(failed.errno or 0)
    except (TypeError, ValueError, KeyError, OverflowError, RuntimeError) as failed:
        return type(failed).__name__, "" if isinstance(failed, KeyError) else str(failed)


def on_the_machine(function: Callable[[list[Any]], Any]) -> list[Any]:
    log: list[Any] = []
    function(log)
    return log


def on_a_host(function: Callable[[list[Any]], Any]) -> list[Any]:
    log: list[Any] = []
    with Network(seed=1) as net:
        host = net.host("machine", "10.0.0.1/24")
        net.run(lambda: function(log), on=host)
    return log


def close_all(*descriptors: int) -> None:
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def conditions(*files: Any) -> list[int]:
    """All that poll(2) says of each."""
    found = []
    for file in files:
        poll = select.poll()
        poll.register(file, EVERYTHING)
        found.append(sum(events for _fd, events in poll.poll(0)))
    return found


# What holds


@program
def conditions_of_a_pipe(log: list[Any]) -> None:
    reading, writing = os.pipe()
    log.append(conditions(reading, writing))
    os.write(writing, b"x")
    log.append(conditions(reading, writing))
    os.close(writing)
    log.append(conditions(reading))
    os.read(reading, 5)
    log.append(conditions(reading))
    os.close(reading)
    reading, writing = os.pipe()
    os.close(reading)
    log.append(conditions(writing))
    os.close(writing)


@program
def conditions_of_pairs(log: list[Any]) -> None:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        one, other = socket.socketpair(socket.AF_UNIX, kind)
        log.append(conditions(one, other))
        one.send(b"x")
        log.append(conditions(one, other))
        one.shutdown(socket.SHUT_WR)
        log.append(conditions(one, other))
        other.recv(5)
        log.append(conditions(one, other))
        one.close()
        log.append(conditions(other))
        other.close()


@program
def conditions_of_unconnected_sockets(log: list[Any]) -> None:
    for family, kind in (
        (socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM),
        (socket.AF_UNIX, socket.SOCK_STREAM), (socket.AF_UNIX, socket.SOCK_DGRAM),
    ):  # fmt: skip
        with socket.socket(family, kind) as sock:
            log.append(conditions(sock))
            if kind == socket.SOCK_STREAM and family == socket.AF_INET:
                sock.bind(("127.0.0.1", 0))
                log.append(conditions(sock))
                sock.listen()
                log.append(conditions(sock))


@program
def conditions_of_a_connection(log: list[Any]) -> None:
    one, other = connection()
    log.append(conditions(one, other))
    one.sendall(b"abc")
    wait_for(other, IN)
    log.append(conditions(one, other))
    one.shutdown(socket.SHUT_WR)
    wait_for(other, RDHUP)
    log.append(conditions(one, other))
    other.recv(3)
    log.append(conditions(one, other))
    other.shutdown(socket.SHUT_WR)
    wait_for(one, IN)
    log.append(conditions(one, other))
    one.close()
    other.close()


@program
def conditions_after_a_reset(log: list[Any]) -> None:
    one, other = connection()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    one.close()
    wait_for(other, ERR)
    log.append(conditions(other))
    log.append(attempt(other.recv, 1))
    log.append(conditions(other))
    other.close()


@program
def conditions_of_refused_and_pending_connections(log: list[Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address):
            wait_for(listener, IN)
            log.append(conditions(listener))
    with socket.socket() as refused:
        refused.setblocking(False)
        log.append(attempt(refused.connect, address))
        wait_for(refused, OUT)
        log.append(conditions(refused))
        log.append(refused.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        log.append(conditions(refused))


@program
def conditions_of_datagrams(log: list[Any]) -> None:
    one, two = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with one, two:
        one.bind(("127.0.0.1", 0))
        two.connect(one.getsockname())
        two.send(b"x")
        wait_for(one, IN)
        log.append(conditions(one, two))
        one.close()
        two.send(b"x")
        wait_for(two, ERR)
        log.append(conditions(two))


def connection() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        return one, listener.accept()[0]


def wait_for(sock: Any, events: int) -> None:
    """Until one of `events` holds, because the machine may take a moment."""
    poll = select.poll()
    poll.register(sock, events)
    assert poll.poll(5000), "nothing came"


@program
def conditions_of_sets_and_event_counters(log: list[Any]) -> None:
    epoll = select.epoll()
    log.append(conditions(epoll))
    reading, writing = os.pipe()
    epoll.register(reading, IN)
    os.write(writing, b"x")
    log.append(conditions(epoll))
    log.append(attempt(os.read, epoll.fileno(), 8))
    log.append(attempt(os.write, epoll.fileno(), b"x" * 8))
    close_all(reading, writing)
    log.append(conditions(epoll))
    epoll.close()
    log.append([epoll.closed, attempt(epoll.fileno), attempt(epoll.poll), attempt(epoll.register, 0), epoll.close()])


# select


@program
def select_takes_files_and_numbers(log: list[Any]) -> None:
    one, other = socket.socketpair()
    fd = one.fileno()
    log.append(select.select([one, fd], [fd], [one], 0) == ([], [fd], []))
    other.send(b"x")
    log.append(select.select((one, fd, one), [], [], 0) == ([one, fd, one], [], []))
    log.append(select.select(iter([one]), [], [], 0) == ([one], [], []))
    log.append(select.select([], [], [], 0))
    for wrong in (None, 3, "x", [object()], [1.5], [-1], [2**40]):
        log.append(attempt(select.select, wrong, [], [], 0))
    for wrong in ("x", -1, -0.5, float("nan"), float("inf"), 2**80, [1]):
        log.append(attempt(select.select, [], [], [], wrong)[0])
    one.close()
    log.append(attempt(select.select, [fd], [], [], 0))
    log.append(attempt(select.select, [], [fd], [], 0))
    log.append(attempt(select.select, [one], [], [], 0))
    other.close()


@program
def select_takes_hang_ups_and_errors_for_readable(log: list[Any]) -> None:
    reading, writing = os.pipe()
    os.close(writing)
    log.append(select.select([reading], [], [reading], 0) == ([reading], [], []))
    os.close(reading)
    reading, writing = os.pipe()
    os.close(reading)
    log.append(select.select([writing], [writing], [writing], 0) == ([writing], [writing], []))
    os.close(writing)
    one, other = connection()
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    other.close()
    wait_for(one, ERR)
    log.append(select.select([one], [one], [one], 0) == ([one], [one], []))
    one.close()


# poll


@program
def poll_registers(log: list[Any]) -> None:
    reading, writing = os.pipe()
    poll = select.poll()
    log.append(attempt(poll.unregister, reading))
    log.append(attempt(poll.modify, reading, IN))
    poll.register(reading)
    poll.register(writing, OUT)
    log.append([events for _fd, events in poll.poll(0)])
    poll.modify(writing, 0)
    log.append(poll.poll(0))
    poll.register(writing, OUT | 0x100)
    log.append([events for _fd, events in poll.poll(0)])
    for wrong in (-1, 2**16, 2**80, "x", 1.5):
        log.append(attempt(poll.register, reading, wrong))
        log.append(attempt(poll.modify, reading, wrong))
    for wrong in (-1, "x", 2**40, object()):
        log.append(attempt(poll.register, wrong)[0])
    for wrong in (2**31, 2**64, "x", float("nan")):
        log.append(attempt(poll.poll, wrong)[0])
    close_all(reading, writing)
    log.append([events for _fd, events in poll.poll(0)])
    log.append(attempt(type(poll)))


# epoll


@program
def epoll_refuses(log: list[Any]) -> None:
    reading, writing = os.pipe()
    for wrong in ((-2,), (0,), (1, 4), ("x",)):
        log.append(attempt(select.epoll, *wrong))
    with select.epoll(5, select.EPOLL_CLOEXEC) as epoll:
        log.append(attempt(epoll.modify, reading, IN))
        log.append(attempt(epoll.unregister, reading))
        epoll.register(reading, IN)
        log.append(attempt(epoll.register, reading, IN))
        log.append(attempt(epoll.register, epoll.fileno()))
        log.append(attempt(epoll.register, -1))
        log.append(attempt(epoll.register, "x"))
        log.append(attempt(epoll.register, reading, "x"))
        log.append(attempt(epoll.register, reading, -1))
        log.append(attempt(epoll.poll, 0, 0))
        log.append(attempt(epoll.poll, 0, -2))
        log.append(attempt(epoll.poll, "x"))
        log.append(attempt(epoll.poll, 2**40))
        log.append(attempt(epoll.modify, reading, IN | EXCLUSIVE))
        log.append(attempt(epoll.register, writing, OUT | EXCLUSIVE | ONESHOT))
        log.append(attempt(epoll.register, writing, OUT | EXCLUSIVE))
        log.append(attempt(epoll.modify, writing, OUT))
        log.append([events for _fd, events in epoll.poll(0)])
        with select.epoll() as other:
            log.append(attempt(other.register, epoll, IN | EXCLUSIVE))
        log.append(attempt(select.epoll.fromfd(os.dup(reading)).register, writing, OUT))
        close_all(reading, writing)
        log.append(attempt(epoll.modify, reading, IN))
        log.append(attempt(epoll.unregister, reading))
    log.append(attempt(epoll.__enter__))


@program
def epoll_in_epoll(log: list[Any]) -> None:
    reading, writing = os.pipe()
    sets = [select.epoll() for _ in range(7)]
    sets[0].register(reading, IN)
    for inner, outer in itertools.pairwise(sets):
        log.append(attempt(outer.register, inner, IN))
    log.append(attempt(sets[0].register, sets[3], IN))
    log.append(sets[4].poll(0))
    os.write(writing, b"x")
    log.append([events for _fd, events in sets[4].poll(0)])
    log.append([events for _fd, events in sets[0].poll(0)])
    os.read(reading, 1)
    log.append([events for _fd, events in sets[4].poll(0)])
    for epoll in sets:
        epoll.close()
    close_all(reading, writing)


@program
def a_dup_keeps_an_entry(log: list[Any]) -> None:
    reading, writing = os.pipe()
    epoll = select.epoll()
    epoll.register(reading, IN)
    other = os.dup(reading)
    log.append(attempt(epoll.register, other, IN))
    os.write(writing, b"x")
    log.append(len(epoll.poll(0)))
    os.close(reading)
    log.append(len(epoll.poll(0)))
    log.append(attempt(epoll.unregister, reading))
    os.close(other)
    log.append(epoll.poll(0))
    os.close(writing)
    epoll.close()


@program
def edges_of_a_pipe(log: list[Any]) -> None:
    reading, writing = os.pipe()
    epoll = select.epoll()
    epoll.register(reading, IN | ET)
    os.write(writing, b"abc")
    log.append([events for _fd, events in epoll.poll(0)])
    log.append(epoll.poll(0))
    os.read(reading, 1)
    log.append(epoll.poll(0))
    os.write(writing, b"d")
    log.append([events for _fd, events in epoll.poll(0)])
    epoll.modify(reading, IN | ET)  # arms it anew
    log.append([events for _fd, events in epoll.poll(0)])
    os.close(writing)
    log.append([events for _fd, events in epoll.poll(0)])
    log.append(epoll.poll(0))
    os.close(reading)
    epoll.close()


@program
def edges_of_a_connection(log: list[Any]) -> None:
    one, other = connection()
    epoll = select.epoll()
    epoll.register(other, IN | OUT | RDHUP | ET)
    log.append([events for _fd, events in epoll.poll(5)])
    log.append(epoll.poll(0))
    for step in (lambda: one.send(b"x"), lambda: one.send(b"y"), lambda: one.shutdown(socket.SHUT_WR)):
        step()
        log.append([events for _fd, events in epoll.poll(5)])
    log.append(epoll.poll(0))
    one.close()
    other.close()
    epoll.close()


@program
def one_shot(log: list[Any]) -> None:
    reading, writing = os.pipe()
    epoll = select.epoll()
    epoll.register(reading, IN | ONESHOT)
    os.write(writing, b"x")
    log.append([events for _fd, events in epoll.poll(0)])
    log.append(epoll.poll(0))
    os.write(writing, b"x")
    os.close(writing)
    log.append(epoll.poll(0))
    epoll.modify(reading, IN | ONESHOT)
    log.append([events for _fd, events in epoll.poll(0)])
    log.append(epoll.poll(0))
    os.close(reading)
    epoll.close()


@program
def few_at_a_time(log: list[Any]) -> None:
    pipes = [os.pipe() for _ in range(6)]
    number = {reading: index for index, (reading, _writing) in enumerate(pipes)}
    epoll = select.epoll()
    for reading, _writing in pipes:
        epoll.register(reading, IN)
    for index in (5, 1, 3, 0):
        os.write(pipes[index][1], b"x")
    for _ in range(4):
        log.append([number[fd] for fd, _events in epoll.poll(0, 3)])
    os.read(pipes[1][0], 1)
    os.write(pipes[2][1], b"x")
    for _ in range(4):
        log.append([number[fd] for fd, _events in epoll.poll(0, 2)])
    for pair in pipes:
        close_all(*pair)
    epoll.close()


# Closing while somebody waits


@program
def a_descriptor_that_is_closed_while_somebody_waits(log: list[Any]) -> None:
    def waits(wait: Callable[[int], Any], change: Callable[[socket.socket, socket.socket], Any]) -> None:
        one, other = socket.socketpair()
        other.setblocking(False)
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(wait(one.fileno())))
        thread.start()
        time.sleep(0.1)
        change(one, other)
        if one.fileno() < 0 and change is not closed_and_woken:
            log.append(attempt(other.recv, 1))  # the wait holds it
        thread.join()
        log.append([found, attempt(other.recv, 1)])
        one.close()
        other.close()

    def closed_and_woken(one: socket.socket, other: socket.socket) -> None:
        # Whoever waits lets go of it now, sooner or later.
        one.close()
        other.send(b"x")

    def polled(fd: int) -> Any:
        poll = select.poll()
        poll.register(fd, IN)
        return [events for _fd, events in poll.poll(2000)]  # long, for a machine that is busy

    def selected(fd: int) -> Any:
        return [len(ready) for ready in select.select([fd], [], [fd], 2)]

    for wait in (polled, selected):
        waits(wait, lambda one, other: one.close())
        waits(wait, closed_and_woken)
        waits(wait, lambda one, other: other.send(b"x"))


# eventfd


@program
def an_event_counter(log: list[Any]) -> None:
    counter = os.eventfd(3, os.EFD_NONBLOCK)
    log.append([conditions(counter), os.get_blocking(counter), os.get_inheritable(counter)])
    log.append([os.eventfd_read(counter), attempt(os.eventfd_read, counter), conditions(counter)])
    for value in (1, 2**64 - 3, 1, 2**64 - 1, 0):
        log.append([attempt(os.eventfd_write, counter, value), conditions(counter)])
    log.append(os.read(counter, 8))
    for data in (b"", b"x" * 7, b"x" * 9, b"\1" + bytes(7)):
        log.append(attempt(os.write, counter, data))
    for size in (0, 7, 100):
        log.append(attempt(os.read, counter, size))
    log.append(stat.S_IFMT(os.fstat(counter).st_mode))
    log.append([fcntl.fcntl(counter, fcntl.F_GETFL) & os.O_ACCMODE, os.isatty(counter)])
    log.append(attempt(socket.socket, -1, -1, -1, counter))
    os.close(counter)
    log.append(attempt(os.eventfd_read, counter))
    for wrong in ((-1,), (2**32,), (1, 2), ("x",)):
        log.append(attempt(os.eventfd, *wrong)[0])


@program
def an_event_semaphore_in_a_set(log: list[Any]) -> None:
    counter = os.eventfd(2, os.EFD_SEMAPHORE | os.EFD_CLOEXEC)
    with select.epoll() as epoll:
        epoll.register(counter, IN | OUT | ET)
        log.append([events for _fd, events in epoll.poll(0)])
        log.append([os.eventfd_read(counter), os.eventfd_read(counter)])
        log.append([events for _fd, events in epoll.poll(0)])
        log.append(epoll.poll(0))
        os.eventfd_write(counter, 1)
        log.append([events for _fd, events in epoll.poll(0)])
    os.close(counter)


# Signals


class Signals:
    """Counts signals while it is entered."""

    def __enter__(self) -> Signals:
        self.counts = {signal.SIGIO: 0, signal.SIGURG: 0, signal.SIGRTMIN: 0}
        self._before = {signum: signal.signal(signum, self._count) for signum in self.counts}
        return self

    def _count(self, signum: int, _frame: object) -> None:
        self.counts[signal.Signals(signum)] += 1

    def __exit__(self, *_exception: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def take(self) -> dict[str, int]:
        """What came, by name."""
        time.sleep(0.01)
        taken = {signum.name: count for signum, count in self.counts.items() if count}
        self.counts = dict.fromkeys(self.counts, 0)
        return taken


@program
def signals_of_readiness(log: list[Any]) -> None:
    with Signals() as signals:
        for one, other in (socket.socketpair(), socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM), connection()):
            fcntl.fcntl(one, fcntl.F_SETOWN, os.getpid())
            other.send(b"x")
            log.append(signals.take())  # not without O_ASYNC
            flags = fcntl.fcntl(one, fcntl.F_GETFL)
            fcntl.fcntl(one, fcntl.F_SETFL, flags | os.O_ASYNC)
            log.append(fcntl.fcntl(one, fcntl.F_GETFL) & os.O_ASYNC)
            log.append(signals.take())  # of what is new only
            other.send(b"y")
            log.append(signals.take())
            one.recv(10)
            log.append(signals.take())
            fcntl.fcntl(one, fcntl.F_SETSIG, signal.SIGRTMIN)
            other.send(b"z")
            log.append([signals.take(), fcntl.fcntl(one, fcntl.F_GETSIG) == signal.SIGRTMIN])
            fcntl.fcntl(one, fcntl.F_SETSIG, 0)
            fcntl.ioctl(one, termios.FIOASYNC, struct.pack("i", 0))
            other.send(b"z")
            log.append([signals.take(), fcntl.fcntl(one, fcntl.F_GETFL) & os.O_ASYNC])
            fcntl.ioctl(one, termios.FIOASYNC, struct.pack("i", 1))
            other.close()
            log.append(signals.take())
            one.close()
            log.append(signals.take())


@program
def signals_of_a_pipe_and_a_listener(log: list[Any]) -> None:
    with Signals() as signals:
        reading, writing = os.pipe()
        fcntl.fcntl(reading, fcntl.F_SETFL, os.O_ASYNC)
        os.write(writing, b"x")
        log.append(signals.take())  # nobody is the owner
        fcntl.fcntl(reading, fcntl.F_SETOWN, os.getpid())
        os.write(writing, b"x")
        log.append(signals.take())
        close_all(reading, writing)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            fcntl.fcntl(listener, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(listener, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
            with socket.create_connection(listener.getsockname()):
                log.append(signals.take())


@program
def a_signal_of_urgent_data(log: list[Any]) -> None:
    with Signals() as signals:
        one, other = connection()
        other.send(b"a", socket.MSG_OOB)
        log.append(signals.take())
        fcntl.fcntl(one, fcntl.F_SETOWN, os.getpid())
        other.send(b"b", socket.MSG_OOB)
        log.append(signals.take())
        other.send(b"c")
        log.append(signals.take())
        log.append(select.select([], [], [one], 5) == ([], [], [one]))
        one.close()
        other.close()


@program
def what_is_said_of_an_owner(log: list[Any]) -> None:
    one, other = socket.socketpair()
    pid = os.getpid()
    kinds = {(1, pid): "process", (2, pid): "group", (1, 0): "nobody"}

    def owner() -> Any:
        found = struct.unpack("ii", fcntl.fcntl(one, 16, bytes(8)))
        return kinds.get(found), fcntl.fcntl(one, fcntl.F_GETOWN) == pid

    log.append([owner(), fcntl.fcntl(one, fcntl.F_GETSIG)])
    fcntl.fcntl(one, fcntl.F_SETOWN, pid)
    log.append(owner())
    for wrong in (2**22 + 1, -(2**22) - 1):
        log.append(attempt(fcntl.fcntl, one, fcntl.F_SETOWN, wrong))
    for wrong in (-1, 65, 1000):
        log.append(attempt(fcntl.fcntl, one, fcntl.F_SETSIG, wrong))
    log.append(attempt(fcntl.fcntl, one, 15, struct.pack("ii", 3, pid)))
    log.append(fcntl.fcntl(one, 15, struct.pack("ii", 1, pid)) == struct.pack("ii", 1, pid))
    log.append(owner())
    fcntl.fcntl(one, fcntl.F_SETOWN, 0)
    log.append(owner())
    fcntl.ioctl(one, 0x8902, struct.pack("i", pid))  # SIOCSPGRP
    log.append([owner(), struct.unpack("i", fcntl.ioctl(one, 0x8904, bytes(4))) == (pid,)])
    one.close()
    other.close()
    counter = os.eventfd(0)
    log.append(attempt(fcntl.ioctl, counter, termios.FIOASYNC, struct.pack("i", 1)))
    os.close(counter)
    reading, writing = os.pipe()
    log.append(attempt(fcntl.ioctl, reading, 0x8904, bytes(4)))
    close_all(reading, writing)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_sees_the_same(name: str) -> None:
    assert on_a_host(PROGRAMS[name]) == on_the_machine(PROGRAMS[name])


# Random sequences

SLOTS = 3
# Functions that look the name up: what a list holds of the machine's before there is a network stays the machine's.
PIPES: list[Callable[[], Any]] = [
    lambda: os.pipe2(os.O_CLOEXEC),
    lambda: os.pipe2(os.O_NONBLOCK),
    lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM),
    lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET),
    lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM),
]
INTERESTS = [IN, OUT, IN | OUT, IN | RDHUP, PRI, 0, 0x40, 0x100 | IN]
MANNERS = [0, 0, 0, ONESHOT, ET]

operations = st.one_of(
    st.tuples(st.just("open"), st.integers(0, SLOTS - 1), st.integers(0, len(PIPES) - 1)),
    st.tuples(st.sampled_from(["close", "write", "read", "shut"]), st.integers(0, SLOTS - 1), st.integers(0, 1)),
    *[st.tuples(st.sampled_from(["write", "write", "read"]), st.integers(0, SLOTS - 1), st.integers(0, 1))] * 3,
    st.tuples(st.just("dup"), st.integers(0, SLOTS - 1), st.integers(0, 1)),
    st.tuples(
        st.sampled_from(["add", "add", "modify"]), st.integers(0, SLOTS - 1), st.integers(0, 1),
        st.sampled_from(INTERESTS), st.sampled_from(MANNERS),
    ),
    st.tuples(st.just("delete"), st.integers(0, SLOTS - 1), st.integers(0, 1)),
    *[st.tuples(st.just("wait"), st.integers(1, 4))] * 4,
    st.tuples(st.just("look")),
)  # fmt: skip


class Machine:
    """Carries out operations on descriptors, which are named by a slot and an end, and logs what it sees."""

    def __init__(self, log: list[Any]) -> None:
        self.log = log
        self.epoll = select.epoll()
        self.poll = select.poll()
        self.ends: dict[tuple[int, int], int] = {}
        self.dups: list[int] = []
        self.number: dict[int, tuple[int, int]] = {}

    def run(self, kinds: list[int], steps: list[tuple[Any, ...]]) -> None:
        for slot, kind in enumerate(kinds):
            self.do_open(slot, kind)
            self.do_add(slot, 0, IN, 0)
        for name, *arguments in steps:
            getattr(self, f"do_{name}")(*arguments)
        self.do_look()
        self.do_wait(100)
        self.do_wait(100)
        for descriptor in [*self.ends.values(), *self.dups]:
            os.close(descriptor)
        self.log.append(self.epoll.poll(0))
        self.epoll.close()

    def named(self, found: list[tuple[int, int]]) -> list[Any]:
        return [(self.number[descriptor], events) for descriptor, events in found]

    def do_open(self, slot: int, kind: int) -> None:
        if (slot, 0) in self.ends or (slot, 1) in self.ends:
            return
        for end, file in enumerate(PIPES[kind]()):
            descriptor = file if isinstance(file, int) else file.detach()
            os.set_blocking(descriptor, False)
            self.ends[slot, end] = descriptor
            self.number[descriptor] = slot, end

    def do_close(self, slot: int, end: int) -> None:
        descriptor = self.ends.pop((slot, end), None)
        if descriptor is not None:
            with contextlib.suppress(KeyError):
                self.poll.unregister(descriptor)
            os.close(descriptor)

    def do_dup(self, slot: int, end: int) -> None:
        if (slot, end) in self.ends:
            self.dups.append(os.dup(self.ends[slot, end]))

    def do_write(self, slot: int, end: int) -> None:
        self.attempt(slot, end, lambda descriptor: os.write(descriptor, b"x" * 10))

    def do_read(self, slot: int, end: int) -> None:
        self.attempt(slot, end, lambda descriptor: os.read(descriptor, 6))

    def do_shut(self, slot: int, end: int) -> None:
        if (slot, end) in self.ends and stat.S_ISSOCK(os.fstat(self.ends[slot, end]).st_mode):
            with socket.socket(fileno=os.dup(self.ends[slot, end])) as sock:
                sock.shutdown(socket.SHUT_WR)

    def do_add(self, slot: int, end: int, events: int, manner: int) -> None:
        self.attempt(slot, end, lambda descriptor: self.epoll.register(descriptor, events | manner))
        if (slot, end) in self.ends:
            self.poll.register(self.ends[slot, end], events & 0xFFFF)

    def do_modify(self, slot: int, end: int, events: int, manner: int) -> None:
        self.attempt(slot, end, lambda descriptor: self.epoll.modify(descriptor, events | manner))
        self.attempt(slot, end, lambda descriptor: self.poll.modify(descriptor, events & 0xFFFF))

    def do_delete(self, slot: int, end: int) -> None:
        self.attempt(slot, end, self.epoll.unregister)

    def attempt(self, slot: int, end: int, call: Callable[[int], Any]) -> None:
        if (slot, end) in self.ends:
            self.log.append(attempt(call, self.ends[slot, end]))

    def do_wait(self, most: int) -> None:
        self.log.append(self.named(self.epoll.poll(0, most)))

    def do_look(self) -> None:
        self.log.append(self.named(self.poll.poll(0)))
        descriptors = list(self.ends.values())
        found = select.select(descriptors, descriptors, descriptors, 0)
        self.log.append([[self.number[descriptor] for descriptor in kind] for kind in found])


@given(
    st.lists(st.integers(0, len(PIPES) - 1), min_size=SLOTS, max_size=SLOTS),
    st.lists(operations, min_size=5, max_size=40),
)
@example(
    # A descriptor that is closed, while another of its file is open, has not become ready by that.
    [0, 0, 0], [("close", 0, 1), ("dup", 1, 1), ("add", 1, 1, IN, 0), ("close", 1, 1), ("wait", 1), ("close", 1, 0)]
)
@settings(max_examples=300)
def test_a_random_sequence_sees_the_same(kinds: list[int], steps: list[tuple[Any, ...]]) -> None:
    def run(log: list[Any]) -> None:
        Machine(log).run(kinds, steps)

    assert on_a_host(run) == on_the_machine(run)
