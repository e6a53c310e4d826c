"""The same programs on the machine's pipes and socket pairs and on a virtual host's: they must see the same.

A program writes what it observes: results, classes and errnos of exceptions. Numbers of descriptors are not written
down, nor how much a buffer takes before it is full.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from side_by_side import check_the_same

PROGRAMS: dict[str, Callable[[list[Any]], Any]] = {}


def program(function: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    PROGRAMS[function.__name__] = function
    return function


def attempt(function: Callable[..., Any], *args: Any) -> Any:
    """The result, or the errno by its name."""
    try:
        return function(*args)
    except OSError as failed:
        return type(failed).__name__, errno.errorcode.get(failed.errno or 0)


# pipes


@program
def a_pipe_carries_bytes_to_its_end(log: list[Any]) -> None:
    reading, writing = os.pipe()
    log.append(os.write(writing, b"abcdef"))
    log.append(os.read(reading, 4))
    log.append(os.read(reading, 100))
    log.append(os.writev(writing, [b"gh", b"", b"i"]))
    buffers = [bytearray(2), bytearray(5)]
    log.append(os.readv(reading, buffers))
    log.append(buffers)
    os.close(writing)
    log.append(os.read(reading, 100))
    os.close(reading)
    log.append(attempt(os.read, reading, 1))
    log.append(attempt(os.close, reading))


@program
def a_pipe_without_a_reader_is_broken(log: list[Any]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    log.append(attempt(os.write, writing, b"x"))
    os.close(writing)


@program
def an_end_has_one_direction(log: list[Any]) -> None:
    reading, writing = os.pipe()
    log.append(attempt(os.read, writing, 1))
    log.append(attempt(os.write, reading, b"x"))
    log.append(fcntl.fcntl(reading, fcntl.F_GETFL) & os.O_ACCMODE)
    log.append(fcntl.fcntl(writing, fcntl.F_GETFL) & os.O_ACCMODE)
    os.close(reading)
    os.close(writing)


@program
def a_pipe_that_is_not_to_block(log: list[Any]) -> None:
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    log.append([os.get_blocking(reading), os.get_blocking(writing)])
    log.append(attempt(os.read, reading, 1))
    taken = 0
    while isinstance(count := attempt(os.write, writing, b"x" * 4096), int):
        taken += count
    log.append([count, taken])
    log.append(attempt(os.write, writing, b"x"))
    log.append(len(os.read(reading, 4095)))
    log.append(attempt(os.write, writing, b"x" * 4096))  # not at once, hence not at all
    log.append(len(os.read(reading, 1)))
    log.append(attempt(os.write, writing, b"y" * 4096))
    log.append(len(os.read(reading, 1_000_000)))
    log.append(attempt(os.write, writing, b"z" * 100_000))  # a long one in part
    os.set_blocking(reading, True)
    log.append([os.get_blocking(reading), os.get_blocking(writing)])
    os.close(reading)
    os.close(writing)


@program
def what_fcntl_and_fstat_say(log: list[Any]) -> None:
    reading, writing = os.pipe()
    first, second = socket.socketpair()
    for descriptor in (reading, first.fileno()):
        mode = os.fstat(descriptor).st_mode
        log.append([stat.S_ISFIFO(mode), stat.S_ISSOCK(mode), stat.S_IMODE(mode), os.isatty(descriptor)])
        log.append([fcntl.fcntl(descriptor, fcntl.F_GETFD), os.get_inheritable(descriptor)])
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        log.append([bool(flags & os.O_NONBLOCK), flags & os.O_ACCMODE])
        log.append(fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_NONBLOCK))
        log.append(os.get_blocking(descriptor))
        log.append(fcntl.fcntl(descriptor, fcntl.F_SETFD, fcntl.FD_CLOEXEC))
    log.append(attempt(os.read, reading, 1))
    log.append(attempt(first.recv, 1))
    log.append(attempt(socket.socket, -1, -1, -1, writing))
    os.close(reading)
    log.append(attempt(os.fstat, reading))
    log.append(attempt(os.set_blocking, reading, True))
    os.close(writing)
    first.close()
    second.close()


@program
def a_pipe_as_file_objects(log: list[Any]) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", encoding="utf-8") as out, os.fdopen(reading, encoding="utf-8") as into:
        log.append([out.fileno() == writing, out.writable(), into.readable(), into.writable()])
        out.write("first\nsecond")
        out.close()
        log.append(into.readlines())
    log.append(attempt(os.close, reading))
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb", 0) as raw, os.fdopen(reading, "rb") as buffered:
        log.append(raw.write(b"0123456789"))
        log.append(buffered.peek(2)[:2])
        log.append(buffered.read(5))
        raw.close()
        log.append(buffered.read())
        log.append(attempt_value(raw.write, b"x"))


def attempt_value(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except ValueError as failed:
        return str(failed).rstrip(".")


# dup


@program
def a_descriptor_twice(log: list[Any]) -> None:
    reading, writing = os.pipe()
    other = os.dup(writing)
    os.close(writing)
    log.append(os.write(other, b"still open"))
    os.close(other)
    log.append([os.read(reading, 100), os.read(reading, 100)])
    os.close(reading)
    first, second = socket.socketpair()
    copy = first.dup()
    log.append([copy.family, copy.type, copy.proto, copy.gettimeout()])
    first.close()
    copy.sendall(b"from the copy")
    log.append(second.recv(100))
    third = socket.fromfd(copy.fileno(), socket.AF_UNIX, socket.SOCK_STREAM)
    copy.close()
    third.sendall(b"from the number")
    log.append(second.recv(100))
    third.close()
    log.append(second.recv(100))
    second.close()


# pairs of sockets


@program
def a_pair_is_connected(log: list[Any]) -> None:
    first, second = socket.socketpair()
    log.append([first.family, first.type, first.proto, first.getsockname(), first.getpeername()])
    first.sendall(b"hello")
    log.append(second.recv(3, socket.MSG_PEEK))
    log.append(second.recvfrom(3))
    log.append(second.recv(100))
    log.append(second.send(b""))
    log.append(os.write(second.fileno(), b"by number"))
    log.append(os.read(first.fileno(), 100))
    first.close()
    log.append(second.recv(100))
    log.append(attempt(second.send, b"x"))
    second.close()


@program
def a_peer_that_did_not_read_all(log: list[Any]) -> None:
    first, second = socket.socketpair()
    first.sendall(b"unread")
    second.sendall(b"read")
    second.close()
    log.append(first.recv(100))
    log.append(attempt(first.recv, 100))
    log.append(attempt(first.recv, 100))
    log.append(attempt(first.send, b"x"))
    first.close()


@program
def one_direction_is_shut_down(log: list[Any]) -> None:
    first, second = socket.socketpair()
    first.sendall(b"last words")
    first.shutdown(socket.SHUT_WR)
    log.append(attempt(first.send, b"x"))
    log.append([second.recv(100), second.recv(100)])
    second.sendall(b"the other direction")
    log.append(first.recv(100))
    second.shutdown(socket.SHUT_RD)
    first.shutdown(socket.SHUT_RD)
    log.append(attempt(second.send, b"x"))
    log.append(first.recv(100))
    first.close()
    second.close()


@program
def datagrams_and_packets_keep_their_bounds(log: list[Any]) -> None:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        first, second = socket.socketpair(socket.AF_UNIX, kind)
        first.settimeout(0)
        for message in (b"one", b"", b"three"):
            log.append(first.send(message))
        log.append([second.recv(100), second.recv(100), second.recv(2)])
        log.append(attempt(first.recv, 100))
        log.append(attempt(first.send, bytes(1_000_000)))
        second.close()
        log.append(attempt(first.recv, 100))
        log.append(attempt(first.send, b"x"))
        first.close()


@program
def what_a_pair_refuses(log: list[Any]) -> None:
    log.append(attempt(socket.socketpair, socket.AF_INET))
    log.append(attempt(socket.socketpair, socket.AF_UNIX, socket.SOCK_RDM))
    log.append(attempt(socket.socketpair, socket.AF_UNIX, socket.SOCK_STREAM, 6))
    first, second = socket.socketpair()
    log.append(attempt(first.setsockopt, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1))
    log.append(attempt(first.getsockopt, socket.IPPROTO_IP, socket.IP_TTL))
    log.append(first.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE))
    log.append(first.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN))
    log.append(attempt(first.accept))
    log.append(attempt(first.connect, "/tmp/nobody"))
    log.append(attempt(first.sendto, b"x", "/tmp/nobody"))
    first.close()
    second.close()


# Unix sockets by name


def in_a_folder(function: Callable[[list[Any], Path], Any]) -> Any:
    """A program that gets a folder for its names; what it logs of them has no folder."""
    if asyncio.iscoroutinefunction(function):

        async def awaited(log: list[Any]) -> None:
            with tempfile.TemporaryDirectory() as folder:
                await function(log, Path(folder))

        awaited.__name__ = function.__name__
        return awaited

    def called(log: list[Any]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            function(log, Path(folder))

    called.__name__ = function.__name__
    return called


@program
@in_a_folder
def a_name_is_a_file(log: list[Any], folder: Path) -> None:
    path = folder / "name"
    listener = socket.socket(socket.AF_UNIX)
    log.append([listener.getsockname(), attempt(listener.listen), attempt(listener.accept)])
    listener.bind(str(path))
    log.append([listener.getsockname() == str(path), stat.S_ISSOCK(path.stat().st_mode)])
    log.append(attempt(listener.bind, str(folder / "other")))
    other = socket.socket(socket.AF_UNIX)
    log.append(attempt(other.bind, str(path)))
    log.append(attempt(other.bind, str(folder / "no" / "folder")))
    log.append(attempt(other.connect, str(path)))  # nobody listens yet
    listener.listen()
    log.append(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    other.connect(str(folder / "." / "name"))  # the same file
    listener.close()
    log.append([path.exists(), attempt(other.recv, 1), attempt(other.recv, 1)])  # it was never accepted
    other.close()
    late = socket.socket(socket.AF_UNIX)
    log.append(attempt(late.connect, str(path)))
    path.unlink()
    log.append(attempt(late.connect, str(path)))
    path.write_text("no socket")
    log.append(attempt(late.connect, str(path)))
    log.append(attempt(late.connect, "x" * 200))
    log.append([attempt(late.send, b"x"), attempt(late.recv, 1), attempt(late.getpeername)])
    late.close()


@program
@in_a_folder
def a_connection_by_name(log: list[Any], folder: Path) -> None:
    for name in (str(folder / "name"), b"\0lunar-parity-" + str(os.getpid()).encode()):
        for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
            listener = socket.socket(socket.AF_UNIX, kind)
            listener.bind(name)
            listener.listen(1)
            client = socket.socket(socket.AF_UNIX, kind)
            client.connect(name)
            log.append([client.getsockname(), client.getpeername() == name, attempt(client.connect, name)])
            client.sendall(b"before it is accepted")
            accepted, address = listener.accept()
            log.append([address, accepted.getsockname() == name, accepted.getpeername(), accepted.family])
            log.append([accepted.recv(100), accepted.send(b"an answer"), client.recvfrom(100)[0]])
            wrong = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM + socket.SOCK_SEQPACKET - kind)
            log.append(attempt(wrong.connect, name))
            more = [socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK) for _ in range(3)]
            log.append([attempt(sock.connect, name) for sock in more])  # one more than the backlog
            listener.setblocking(False)
            ends = [listener.accept()[0] for _ in range(2)]
            log.append(attempt(listener.accept))
            log.append(attempt(more[2].connect, name))
            for sock in (listener, client, accepted, wrong, *more, *ends):
                sock.close()
            if isinstance(name, str):
                os.unlink(name)


@program
@in_a_folder
def datagrams_have_no_connection(log: list[Any], folder: Path) -> None:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.append([attempt(sock.listen), attempt(sock.accept), attempt(sock.send, b"x")])
    log.append(attempt(sock.sendto, b"x", str(folder / "nobody")))
    (folder / "file").touch()
    log.append(attempt(sock.sendto, b"x", str(folder / "file")))
    sock.close()


@program
@in_a_folder
async def a_server_and_a_client_by_name(log: list[Any], folder: Path) -> None:
    path = folder / "name"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        log.append([writer.get_extra_info("peername"), writer.get_extra_info("sockname") == str(path)])
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()

    for _ in range(2):  # the second finds the first's file, where Python leaves it
        server = await asyncio.start_unix_server(answer, path)
        reader, writer = await asyncio.open_unix_connection(path)
        log.append([writer.get_extra_info("peername") == str(path), writer.get_extra_info("sockname")])
        writer.write(b"x" * 60_000 + b"\nshort\n")
        log.append([len(await reader.readline()), await reader.readline()])
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.01)
        server.close()
        await server.wait_closed()
        log.append(path.exists())
    try:
        await asyncio.open_unix_connection(path)
    except OSError as failed:
        log.append(type(failed).__name__)


# under asyncio


@program
async def streams_over_a_pair(log: list[Any]) -> None:
    first, second = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=first)
    other_reader, other_writer = await asyncio.open_connection(sock=second)
    log.append([writer.get_extra_info("peername"), writer.get_extra_info("sockname")])
    writer.write(bytes(300_000) + b"end")
    received = await other_reader.readexactly(300_003)
    log.append([len(received), received[-3:]])
    other_writer.write(b"a line\n")
    log.append(await reader.readline())
    writer.write_eof()
    log.append(await other_reader.read())
    other_writer.close()
    log.append(await reader.read())
    writer.close()
    await writer.wait_closed()
    await other_writer.wait_closed()


@program
async def the_sock_methods_on_a_pair(log: list[Any]) -> None:
    loop = asyncio.get_running_loop()
    first, second = socket.socketpair()
    first.setblocking(False)
    second.setblocking(False)
    task = asyncio.create_task(loop.sock_recv(second, 100))
    await loop.sock_sendall(first, b"hello")
    log.append(await task)
    sending = asyncio.create_task(loop.sock_sendall(first, bytes(1_000_000)))
    count = 0
    while count < 1_000_000:
        count += len(await loop.sock_recv(second, 65536))
    await sending
    log.append(count)
    first.close()
    log.append(await loop.sock_recv(second, 100))
    second.close()


@program
async def a_reader_watches_a_pipe(log: list[Any]) -> None:
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe2(os.O_NONBLOCK)
    got: asyncio.Queue[bytes] = asyncio.Queue()
    loop.add_reader(reading, lambda: got.put_nowait(os.read(reading, 100)))
    os.write(writing, b"one")
    log.append(await got.get())
    writable = asyncio.Event()
    loop.add_writer(writing, writable.set)
    await writable.wait()
    log.append(loop.remove_writer(writing))
    os.close(writing)
    log.append(await got.get())
    log.append([loop.remove_reader(reading), loop.remove_reader(reading)])
    os.close(reading)


@program
async def transports_of_a_pipe(log: list[Any]) -> None:
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe()
    reader = asyncio.StreamReader(limit=300_000)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", 0)
    )

    class Writing(asyncio.Protocol):
        def __init__(self) -> None:
            self.ended = loop.create_future()

        def connection_lost(self, exception: Exception | None) -> None:
            self.ended.set_result(exception)

    out, protocol = await loop.connect_write_pipe(Writing, os.fdopen(writing, "wb", 0))
    out.write(bytes(200_000) + b"\n")
    line = await reader.readline()
    log.append(len(line))
    out.close()
    log.append(await protocol.ended)
    log.append(await reader.read())
    transport.close()
    await asyncio.sleep(0)
    reading, writing = os.pipe()
    out, protocol = await loop.connect_write_pipe(Writing, os.fdopen(writing, "wb", 0))
    await asyncio.sleep(0)
    os.close(reading)
    log.append(type(await protocol.ended).__name__)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_virtual_host_is_as_the_machine(name: str) -> None:
    check_the_same(PROGRAMS[name])
