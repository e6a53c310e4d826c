"""The same programs on the machine's select, poll and epoll and on a virtual host's: they must see the same.

First programs that each show one rule, then random sequences of operations by hypothesis. What is compared are events,
results, classes and errnos of exceptions; numbers of descriptors are not.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import select
import socket
from collections.abc import Callable
from typing import Any

import pytest

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


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_sees_the_same(name: str) -> None:
    assert on_a_host(PROGRAMS[name]) == on_the_machine(PROGRAMS[name])
