"""Descriptors by their numbers inside a weave: what blocks and for how long, whose a number is, what the end closes.

That results and errors are the machine's is shown in tests/parity/test_descriptor_parity.py.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lunar.net.sock import Sock
from lunar.network import Network
from lunar.sockets.fdtable import FD_BASE, FD_LIMIT


@pytest.fixture
def net() -> Iterator[Network]:
    with Network(seed=1) as made:
        made.host("alpha", "10.0.0.1/24")
        yield made


def on_alpha(net: Network, function: Any, *args: Any) -> Any:
    return net.run(function, *args, on=net.hosts["alpha"])


def test_a_read_waits_for_the_writer_in_virtual_time(net: Network) -> None:
    def write_later(writing: int) -> None:
        for piece in (b"one", b"two"):
            time.sleep(1)
            os.write(writing, piece)
        time.sleep(1)
        os.close(writing)

    async def main() -> list[tuple[bytes, float]]:
        reading, writing = os.pipe()
        helper = asyncio.create_task(asyncio.to_thread(write_later, writing))

        def read() -> list[tuple[bytes, float]]:
            return [(os.read(reading, 100), time.monotonic()) for _ in range(3)]

        got = await asyncio.to_thread(read)
        await helper
        os.close(reading)
        return got

    assert on_alpha(net, main) == [(b"one", 1.0), (b"two", 2.0), (b"", 3.0)]


def test_a_recv_that_waits_holds_its_socket(net: Network) -> None:
    def main() -> list[bytes]:
        with socket.create_server(("127.0.0.1", 80)) as listener:
            client = socket.create_connection(("127.0.0.1", 80))
            server, _ = listener.accept()
        got: list[bytes] = []
        reading = threading.Thread(target=lambda: got.append(server.recv(100)))
        reading.start()
        time.sleep(1)
        os.close(server.detach())  # the call goes on with the file that it has found
        time.sleep(1)
        client.shutdown(socket.SHUT_WR)
        reading.join()
        client.close()
        return got

    assert on_alpha(net, main) == [b""]


def test_a_write_waits_for_room_and_writes_all(net: Network) -> None:
    async def main() -> tuple[int, float]:
        reading, writing = os.pipe()
        written = asyncio.create_task(asyncio.to_thread(os.write, writing, bytes(200_000)))
        got = 0
        while got < 200_000:
            await asyncio.sleep(1)
            got += len(os.read(reading, 65536))
        os.close(reading)
        os.close(writing)
        # 65536 at each of three seconds, the rest at the fourth.
        return await written, asyncio.get_running_loop().time()

    assert on_alpha(net, main) == (200_000, 4.0)


def test_a_write_that_waits_breaks_when_the_reader_goes(net: Network) -> None:
    async def main() -> Any:
        reading, writing = os.pipe()
        full = asyncio.create_task(asyncio.to_thread(os.write, writing, bytes(100_000)))
        exact = bytes(65536)
        await asyncio.sleep(1)
        os.close(reading)
        # A part was taken: that is told first.
        first = await full
        with pytest.raises(BrokenPipeError):
            os.write(writing, exact)
        os.close(writing)
        return first

    assert on_alpha(net, main) == 65536


def test_who_reads_has_the_pipe_though_its_descriptor_is_closed(net: Network) -> None:
    # As on Linux, where a call holds the file that it found.
    async def main() -> Any:
        reading, writing = os.pipe()
        waiting = asyncio.create_task(asyncio.to_thread(os.read, reading, 1))
        await asyncio.sleep(1)
        os.close(reading)
        os.write(writing, b"x")
        got = await waiting
        with pytest.raises(BrokenPipeError):
            os.write(writing, b"y")
        os.close(writing)
        return got

    assert on_alpha(net, main) == b"x"


def test_a_blocking_read_in_a_coroutine_waits_too(net: Network) -> None:
    async def main() -> tuple[bytes, float]:
        reading, writing = os.pipe()
        threading.Timer(2, os.write, (writing, b"x")).start()
        try:
            return os.read(reading, 1), time.monotonic()
        finally:
            os.close(reading)
            os.close(writing)

    assert on_alpha(net, main) == (b"x", 2.0)


def test_a_number_tells_whose_it_is(net: Network, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"of the machine")

    def main() -> bytes:
        reading, writing = os.pipe()
        assert min(reading, writing) >= FD_BASE
        machine = os.open(file, os.O_RDONLY)
        assert machine < FD_BASE
        content = os.read(machine, 100)
        os.close(machine)
        os.close(reading)
        os.close(writing)
        return content

    assert on_alpha(net, main) == b"of the machine"
    reading, writing = os.pipe()
    assert max(reading, writing) < FD_BASE
    os.close(reading)
    os.close(writing)


def test_outside_a_hosts_number_is_nobodys(net: Network) -> None:
    reading, writing = on_alpha(net, os.pipe)
    with pytest.raises(OSError) as caught:
        os.read(reading, 1)
    assert caught.value.errno == errno.EBADF
    on_alpha(net, lambda: [os.close(fd) for fd in (reading, writing)])


def test_a_full_table_makes_no_half_a_pipe(net: Network) -> None:
    def main() -> list[Any]:
        with pytest.raises(OSError) as pipe:
            os.pipe()
        with pytest.raises(OSError) as pair:
            socket.socketpair()
        one = socket.socket()  # its number is free again
        with pytest.raises(OSError) as dup:
            one.dup()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # and it is open still
        one.close()
        return [pipe.value.errno, pair.value.errno, dup.value.errno]

    table, filler = net.hosts["alpha"].descriptors, Sock(2, 2, 17)
    for _ in range(FD_LIMIT - 1):
        table.install(filler)
    assert on_alpha(net, main) == [errno.EMFILE] * 3
    assert table.all() == [filler] * (FD_LIMIT - 1)


def test_the_last_of_two_descriptors_ends_a_connection(net: Network) -> None:
    def main() -> list[Any]:
        listener = socket.create_server(("127.0.0.1", 80))
        client = socket.create_connection(("127.0.0.1", 80))
        accepted, _ = listener.accept()
        copy = client.dup()
        assert copy.getpeername() == ("127.0.0.1", 80)
        client.close()
        accepted.settimeout(1)
        with pytest.raises(TimeoutError):
            accepted.recv(1)
        copy.sendall(b"still here")
        seen = [accepted.recv(100)]
        copy.close()
        seen.append(accepted.recv(100))
        accepted.close()
        listener.close()
        return seen

    assert on_alpha(net, main) == [b"still here", b""]


def test_descriptor_files_know_their_mode(net: Network) -> None:
    def main() -> list[Any]:
        reading, writing = os.pipe2(os.O_NONBLOCK)
        seen: list[Any] = []
        with os.fdopen(reading, "rb", 0) as into, os.fdopen(writing, "wb", 0) as out:
            seen += [into.mode, out.mode, into.name == reading]
            seen.append(into.read(1))  # nothing yet, as None says
            while out.write(bytes(4096)) is not None:
                pass
            with pytest.raises(OSError, match="not writable"):
                into.write(b"x")
            with pytest.raises(OSError, match="not readable"):
                out.read(1)
        with pytest.raises(ValueError, match="closed file"):
            into.fileno()
        first, second = os.pipe()
        for mode in ("rw", "rbt", "x"):
            with pytest.raises(ValueError, match="mode"):
                os.fdopen(first, mode)
        with pytest.raises(ValueError, match="unbuffered"):
            os.fdopen(os.dup(first), "r", 0)  # which closes it
        with os.fdopen(second, "w", 1, closefd=False) as lines:
            lines.write("a line\n")
            seen.append(os.read(first, 100))
        os.close(second)
        os.close(first)
        return seen

    assert on_alpha(net, main) == ["rb", "wb", True, None, b"a line\n"]


# Timers (the interpreter's `os` has them from Python 3.13 on, so that this goes by what it calls)


def test_a_timer_expires_in_virtual_time_and_counts_when_it_is_read(net: Network) -> None:
    files = net.hosts["alpha"].files

    def main() -> None:
        timer = files.timerfd_create(time.CLOCK_MONOTONIC)
        assert files.timerfd_settime(timer, initial=2.0, interval=0.5) == (0.0, 0.0)
        assert files.timerfd_gettime(timer) == (2.0, 0.5)
        assert select.select([timer], [], [], 1) == ([], [], [])
        assert (int.from_bytes(os.read(timer, 8), "little"), time.monotonic()) == (1, 2.0)  # it waits
        assert (int.from_bytes(os.read(timer, 8), "little"), time.monotonic()) == (1, 2.5)
        time.sleep(1.7)
        assert select.select([timer], [timer], [], 1) == ([timer], [], [])
        assert int.from_bytes(os.read(timer, 8), "little") == 3  # at 3.0, 3.5 and 4.0
        assert files.timerfd_gettime_ns(timer) == (300_000_000, 500_000_000)
        assert files.timerfd_settime_ns(timer) == (300_000_000, 500_000_000)  # disarmed
        assert select.select([timer], [], [], 5) == ([], [], [])
        os.close(timer)

    on_alpha(net, main)


def test_a_timer_at_a_time_of_the_wall_clock(net: Network) -> None:
    files = net.hosts["alpha"].files

    def main() -> None:
        timer = files.timerfd_create(time.CLOCK_REALTIME, flags=os.O_NONBLOCK)
        files.timerfd_settime_ns(timer, flags=1, initial=time.time_ns() + 3_000_000_000)
        assert select.select([timer], [], [], 5) == ([timer], [], [])
        assert time.monotonic() == 3.0
        assert files.timerfd_gettime_ns(timer) == (0, 0)
        files.timerfd_settime_ns(timer, flags=1, initial=1)  # long ago
        assert select.select([timer], [], [], 5) == ([timer], [], [])
        assert time.monotonic() == 3.0

    on_alpha(net, main)


@pytest.mark.parametrize(
    ("call", "number"),
    [
        (lambda files, fd: files.timerfd_create(99), errno.EINVAL),
        (lambda files, fd: files.timerfd_create(time.CLOCK_MONOTONIC, flags=1), errno.EINVAL),
        (lambda files, fd: files.timerfd_settime(fd, flags=4, initial=1), errno.EINVAL),
        (lambda files, fd: files.timerfd_settime(fd, initial=-1), errno.EINVAL),
        (lambda files, fd: files.timerfd_gettime(os.pipe()[0]), errno.EINVAL),
        (lambda files, fd: files.timerfd_gettime(2**30 + 99), errno.EBADF),
        (lambda files, fd: os.read(fd, 8), errno.EAGAIN),
        (lambda files, fd: os.read(fd, 7), errno.EINVAL),
        (lambda files, fd: os.write(fd, b"12345678"), errno.EINVAL),
    ],
)
def test_what_a_timer_refuses(net: Network, call: Any, number: int) -> None:
    files = net.hosts["alpha"].files

    def main() -> int | None:
        timer = files.timerfd_create(time.CLOCK_BOOTTIME, flags=os.O_NONBLOCK | os.O_CLOEXEC)
        with pytest.raises(OSError) as failed:
            call(files, timer)
        return failed.value.errno

    assert on_alpha(net, main) == number
