"""select, poll and epoll inside a weave: how long they wait, in which order they answer, and who is woken.

That results and errors are the machine's is shown in tests/parity/test_poll_parity.py.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lunar.network import Network


@pytest.fixture
def net() -> Iterator[Network]:
    with Network(seed=1) as made:
        made.host("alpha", "10.0.0.1/24")
        yield made


def on_alpha(net: Network, function: Any, *args: Any) -> Any:
    return net.run(function, *args, on=net.hosts["alpha"])


def beside(main: Callable[[], Any], *others: Callable[[], Any]) -> Callable[[], Any]:
    """A string's function that runs `others` and `main` at once, each in a flow of its own."""

    async def together() -> Any:
        helpers = [asyncio.create_task(asyncio.to_thread(other)) for other in others]
        result = await asyncio.to_thread(main)
        await asyncio.gather(*helpers)
        return result

    return together


def at(seconds: float, call: Callable[..., Any], *args: Any) -> Callable[[], None]:
    def later() -> None:
        time.sleep(seconds)
        call(*args)

    return later


# How long


def test_select_waits_in_virtual_time_and_returns_what_became_ready(net: Network) -> None:
    async def main() -> Any:
        reading, writing = os.pipe()
        quiet, _other = os.pipe()

        def wait() -> Any:
            return select.select([quiet, reading], [], []), time.monotonic()

        return (await beside(wait, at(2.5, os.write, writing, b"x"))())[0] == ([reading], [], []), time.monotonic()

    assert on_alpha(net, main) == (True, 2.5)


@pytest.mark.parametrize(
    ("wait", "until"),
    [
        (lambda fd: select.select([fd], [], [], 1.5), 1.5),
        (lambda fd: select.select([fd], [], [], 0.0000001), 0.000001),  # select(2) counts microseconds
        (lambda fd: polling(fd).poll(1500), 1.5),
        (lambda fd: polling(fd).poll(0.2), 0.001),  # poll(2) counts milliseconds
        (lambda fd: watching(fd).poll(1.5), 1.5),
        (lambda fd: watching(fd).poll(0.0002), 0.001),
        (lambda fd: select.select([], [], [], 3), 3.0),
        (lambda fd: select.select([fd], [], [], 0), 0.0),
        (lambda fd: polling(fd).poll(0), 0.0),
        (lambda fd: watching(fd).poll(0), 0.0),
    ],
)
def test_a_wait_in_vain_takes_the_timeout_rounded_up(net: Network, wait: Callable[[int], Any], until: float) -> None:
    def main() -> tuple[Any, float]:
        reading, _writing = os.pipe()
        return wait(reading), time.monotonic()

    found, now = on_alpha(net, main)
    assert found in ([], ([], [], []))
    assert now == until


def polling(fd: int, events: int = select.POLLIN) -> Any:
    poll = select.poll()
    poll.register(fd, events)
    return poll


def watching(fd: int, events: int = select.EPOLLIN) -> select.epoll:
    epoll = select.epoll()
    epoll.register(fd, events)
    return epoll


def test_who_goes_round_in_a_loop_without_waiting_sees_the_time_go_by(net: Network) -> None:
    # As socketserver and telnetlib do, which wait again as long as `deadline - now` is not below 0.
    def a_deadline() -> float:
        begin = time.monotonic()
        left = 1.0
        while left >= 0:
            assert select.select([], [], [], left) == ([], [], [])
            left = begin + 1 - time.monotonic()
        return time.monotonic() - begin

    def a_flag() -> float:
        first, second = socket.socketpair()
        with first, second:
            while not flags:
                assert select.select([first], [first], []) == ([], [first], [])
        return time.monotonic()

    def a_clock() -> float:
        begin = time.monotonic()
        for _ in range(500):
            assert select.select([], [], [], 0) == ([], [], [])
            time.sleep(0.5)
        return time.monotonic() - begin

    flags: list[str] = []
    assert 1.0 < on_alpha(net, a_deadline) < 1.001
    assert on_alpha(net, a_clock) == 250  # who waits in between loses no time
    begin = net.now
    assert begin + 0.02 <= on_alpha(net, beside(a_flag, at(0.02, flags.append, "set"))) < begin + 0.021


def test_a_negative_time_is_for_ever(net: Network) -> None:
    async def main() -> Any:
        reading, writing = os.pipe()

        def wait() -> Any:
            return polling(reading).poll(-1), watching(reading).poll(-1.0), time.monotonic()

        return await beside(wait, at(7, os.write, writing, b"x"))()

    found, watched, now = on_alpha(net, main)
    assert [events for _fd, events in found] == [select.POLLIN]
    assert [events for _fd, events in watched] == [select.EPOLLIN]
    assert now == 7.0


def test_in_a_coroutine_it_waits_too_and_holds_up_its_own_loop(net: Network) -> None:
    async def main() -> Any:
        reading, writing = os.pipe()
        task = asyncio.create_task(asyncio.sleep(0.5, "slept"))
        await asyncio.sleep(0)
        found = select.select([reading], [writing], [], 0) == ([], [writing], []), select.select([reading], [], [], 1)
        return found, time.monotonic(), task.done(), await task, time.monotonic()

    assert on_alpha(net, main) == ((True, ([], [], [])), 1.0, False, "slept", 1.0)


def test_what_was_sent_over_lo_is_there_when_a_wait_of_no_time_looks(net: Network) -> None:
    def main() -> Any:
        listener = socket.create_server(("127.0.0.1", 0))
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        both = select.select([listener], [client], [], 0)
        server, _address = listener.accept()
        client.send(b"x")
        return both == ([listener], [client], []), select.select([server], [], [], 0) == ([server], [], [])

    assert on_alpha(net, main) == (True, True)


# In which order, and who


def test_epoll_answers_in_the_order_in_which_descriptors_became_ready(net: Network) -> None:
    def main() -> Any:
        pipes = [os.pipe() for _ in range(5)]
        epoll = select.epoll()
        for reading, _writing in pipes:
            epoll.register(reading, select.EPOLLIN)
        number = {reading: index for index, (reading, _writing) in enumerate(pipes)}
        for index in (3, 0, 4):
            os.write(pipes[index][1], b"x")
        # Two at a time: what was reported and is still ready goes to the end.
        found = [[number[fd] for fd, _events in epoll.poll(0, 2)] for _ in range(3)]
        os.write(pipes[1][1], b"x")
        found.append([number[fd] for fd, _events in epoll.poll(0)])
        return found

    assert on_alpha(net, main) == [[3, 0], [4, 3], [0, 4], [3, 0, 4, 1]]


def test_poll_answers_in_the_order_of_register_and_select_in_that_of_its_lists(net: Network) -> None:
    def main() -> Any:
        pipes = [os.pipe() for _ in range(3)]
        poll = select.poll()
        for index in (2, 0, 1):
            poll.register(pipes[index][0], select.POLLIN)
        for _reading, writing in pipes:
            os.write(writing, b"x")
        number = {reading: index for index, (reading, _writing) in enumerate(pipes)}
        polled = [number[fd] for fd, _events in poll.poll()]
        selected = [number[fd] for fd in select.select([pipes[1][0], pipes[2][0], pipes[1][0]], [], [])[0]]
        return polled, selected

    assert on_alpha(net, main) == ([2, 0, 1], [1, 2, 1])


def test_of_several_who_wait_at_one_set_the_first_is_woken(net: Network) -> None:
    async def main() -> Any:
        reading, writing = os.pipe()
        epoll = watching(reading, select.EPOLLIN | select.EPOLLET)
        woken: list[tuple[str, float]] = []

        def wait(name: str) -> Callable[[], None]:
            def waits() -> None:
                assert epoll.poll(10)
                woken.append((name, time.monotonic()))

            return waits

        def write() -> None:
            for _ in range(3):
                time.sleep(1)
                os.write(writing, b"x")

        await beside(write, *(wait(name) for name in "abc"))()
        return woken

    assert on_alpha(net, main) == [("a", 1.0), ("b", 2.0), ("c", 3.0)]


def test_exclusive_sets_are_woken_one_at_a_time(net: Network) -> None:
    async def main() -> Any:
        reading, writing = os.pipe()
        woken: list[str] = []

        def wait(name: str, events: int) -> Callable[[], None]:
            def waits() -> None:
                if watching(reading, events).poll(5):
                    woken.append(name)

            return waits

        exclusive = select.EPOLLIN | select.EPOLLEXCLUSIVE
        await beside(
            at(1, os.write, writing, b"x"),
            wait("first", exclusive), wait("plain", select.EPOLLIN), wait("second", exclusive),
        )()  # fmt: skip
        return sorted(woken)

    assert on_alpha(net, main) == ["first", "plain"]


def test_a_wait_that_is_killed_gives_its_wake_to_another(net: Network) -> None:
    def main() -> Any:
        reading, writing = os.pipe()
        epoll = watching(reading)
        host = net.hosts["alpha"]
        ended: list[float] = []

        def waits() -> None:
            epoll.poll(50)
            ended.append(time.monotonic())

        first = net.start(host, lambda: epoll.poll(50))
        net.start(host, waits)
        time.sleep(1)
        os.write(writing, b"x")  # wakes the first
        first.kill()
        time.sleep(1)
        return ended

    assert on_alpha(net, main) == [1.0]


# Changes while somebody waits


def test_a_descriptor_that_is_added_during_a_wait_counts(net: Network) -> None:
    async def main() -> Any:
        reading, writing = os.pipe()
        os.write(writing, b"x")
        epoll = select.epoll()

        def wait() -> Any:
            return [events for _fd, events in epoll.poll(10)], time.monotonic()

        return await beside(wait, at(2, epoll.register, reading, select.EPOLLIN))()

    assert on_alpha(net, main) == ([select.EPOLLIN], 2.0)


def test_a_set_that_is_closed_during_a_wait_lives_until_its_end(net: Network) -> None:
    async def main() -> Any:
        reading, writing = os.pipe()
        epoll = watching(reading)

        def change() -> None:
            time.sleep(1)
            epoll.close()
            time.sleep(1)
            os.write(writing, b"x")

        def wait() -> Any:
            return [events for _fd, events in epoll.poll(10)], time.monotonic(), epoll.closed

        return await beside(wait, change)()

    assert on_alpha(net, main) == ([select.EPOLLIN], 2.0, True)


def test_a_descriptor_that_is_closed_is_in_no_set(net: Network) -> None:
    def main() -> Any:
        reading, writing = os.pipe()
        epoll = watching(reading)
        os.write(writing, b"x")
        os.close(reading)
        with pytest.raises(OSError) as failed:
            epoll.unregister(reading)
        assert failed.value.errno == errno.EBADF
        # Its number names something else now.
        again, _writing = os.pipe()
        assert again == reading
        with pytest.raises(FileNotFoundError):
            epoll.unregister(again)
        return epoll.poll(1)

    assert on_alpha(net, main) == []


# Besides


def test_a_file_of_the_machine_stands_beside_virtual_descriptors(net: Network, tmp_path: Path) -> None:
    def main() -> Any:
        reading, writing = os.pipe()
        with (tmp_path / "file").open("w") as file:
            assert select.select([reading], [file], [], 5) == ([], [file], [])
            poll = polling(reading)
            poll.register(file, select.POLLOUT)
            assert poll.poll(5000) == [(file.fileno(), select.POLLOUT)]
            os.write(writing, b"x")
            assert poll.poll(5000) == [(reading, select.POLLIN), (file.fileno(), select.POLLOUT)]
            with pytest.raises(PermissionError):
                select.epoll().register(file)
        return time.monotonic()

    assert on_alpha(net, main) == 0.0


def test_a_pipe_of_the_machine_in_a_set(net: Network) -> None:
    machine = os.pipe()

    def main() -> Any:
        epoll = watching(machine[0])
        reading, writing = os.pipe()
        epoll.register(reading, select.EPOLLIN)
        with pytest.raises(FileExistsError):
            epoll.register(machine[0])
        found = [epoll.poll(1)]
        os.write(machine[1], b"x")
        os.write(writing, b"x")
        found.append(epoll.poll(1))
        return found == [[], [(reading, select.EPOLLIN), (machine[0], select.EPOLLIN)]]

    try:
        assert on_alpha(net, main)
    finally:
        os.close(machine[0])
        os.close(machine[1])


def test_the_selectors_of_the_standard_library(net: Network) -> None:
    kinds = [selectors.DefaultSelector, selectors.EpollSelector, selectors.PollSelector, selectors.SelectSelector]

    def main() -> Any:
        found = []
        for kind in kinds:
            one, other = socket.socketpair()
            with kind() as selector:
                selector.register(one, selectors.EVENT_READ, "data")
                assert selector.select(0.5) == []
                other.send(b"x")
                found.append([(key.data, events) for key, events in selector.select()])
        return found, time.monotonic()

    assert on_alpha(net, main) == ([[("data", selectors.EVENT_READ)]] * 4, 2.0)


def test_an_epoll_object_is_an_instance_of_the_class_inside_and_outside(net: Network) -> None:
    def main() -> Any:
        with select.epoll() as made:
            return isinstance(made, select.epoll), made.fileno() >= 2**30, isinstance(3, select.epoll)

    assert on_alpha(net, main) == (True, True, False)
    with select.epoll() as made:
        assert isinstance(made, select.epoll)
        assert made.fileno() < 2**30


def test_what_a_program_leaves_open_its_end_closes(net: Network) -> None:
    host = net.hosts["alpha"]
    kept: list[Any] = []

    def main() -> None:
        kept.append(select.epoll())

    weave = host.new_weave("program", ["program"])
    from weaves.strings import String

    net.supervisor.start(String(weave, "main", main), 0)
    net.run()
    assert host.descriptors.all() == []
    assert not kept[0].closed
    kept.clear()  # which finds its descriptor closed
