"""The same programs on the machine's named Unix sockets and on a virtual host's: they must see the same.

As test_descriptor_parity.py. Each program gets a folder of its own for its sockets' files; paths are written down
within it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lunar.network import Network

PROGRAMS: dict[str, Callable[[list[Any], Path], Any]] = {}


def program(function: Callable[[list[Any], Path], Any]) -> Callable[[list[Any], Path], Any]:
    PROGRAMS[function.__name__] = function
    return function


def attempt(function: Callable[..., Any], *args: Any) -> Any:
    """The result, or the class of the exception with the errno by its name, or with the text where there is none."""
    try:
        return function(*args)
    except OSError as failed:
        return type(failed).__name__, errno.errorcode.get(failed.errno or 0) or str(failed)
    except (TypeError, ValueError) as failed:
        return type(failed).__name__, str(failed)


def unix(kind: int = socket.SOCK_STREAM) -> socket.socket:
    return socket.socket(socket.AF_UNIX, kind)


# streams


@program
def a_stream_connects_to_a_name(log: list[Any], folder: Path) -> None:
    path = str(folder / "s")
    listener, client = unix(), unix()
    log.append([listener.getsockname(), listener.proto, listener.family, listener.type])
    listener.bind(path)
    log.append([stat.S_ISSOCK(os.stat(path).st_mode), listener.getsockname() == path])
    log.append(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    log.append(attempt(client.connect, path))
    listener.listen()
    log.append(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    client.connect(path)
    client.sendall(b"sent before anybody accepted")
    server, address = listener.accept()
    log.append([address, server.getsockname() == path, server.getpeername(), client.getpeername() == path])
    log.append(client.getsockname())
    log.append(server.recvfrom(100))
    server.sendall(b"back")
    log.append(client.recv(100))
    client.close()
    log.append(server.recv(100))
    log.append(attempt(server.send, b"x"))
    log.append(server.getpeername())
    server.close()
    listener.close()
    log.append(os.path.exists(path))
    log.append(attempt(unix().connect, path))


@program
def a_client_may_have_a_name_too(log: list[Any], folder: Path) -> None:
    listener, client = unix(), unix()
    listener.bind(str(folder / "s"))
    listener.listen()
    client.bind(str(folder / "c"))
    client.connect(str(folder / "s"))
    server, address = listener.accept()
    log.append([Path(str(address)).name, Path(server.getpeername()).name])
    for sock in (server, client, listener):
        sock.close()


@program
def names_that_cannot_be_taken(log: list[Any], folder: Path) -> None:
    path = str(folder / "s")
    sock, other = unix(), unix()
    log.append(attempt(sock.bind, str(folder / "no" / "s")))
    log.append(attempt(sock.bind, "/" + "x" * 107))
    log.append(attempt(sock.bind, b"\0" + b"x" * 108))
    log.append(attempt(sock.bind, ("127.0.0.1", 80)))
    log.append(attempt(sock.bind, 5))
    sock.bind(path)
    log.append(attempt(sock.bind, str(folder / "t")))
    log.append(attempt(other.bind, path))
    sock.close()
    log.append(attempt(other.bind, path))
    (folder / "file").write_text("")
    log.append(attempt(other.bind, str(folder / "file")))
    log.append(attempt(other.connect, str(folder / "file")))
    log.append(attempt(other.connect, str(folder / "nobody")))
    log.append(attempt(other.connect, str(folder / "file" / "below")))
    log.append(attempt(other.connect, ""))
    log.append(other.connect_ex(str(folder / "nobody")))
    os.unlink(path)
    log.append(attempt(other.bind, path.encode()))
    log.append(other.getsockname() == path)
    other.close()


@program
def a_file_is_only_a_name(log: list[Any], folder: Path) -> None:
    listener = unix()
    listener.bind(str(folder / "old"))
    listener.listen()
    os.rename(folder / "old", folder / "new")
    client = unix()
    log.append(attempt(client.connect, str(folder / "old")))
    client.connect(str(folder / "new"))
    server, _ = listener.accept()
    log.append(Path(client.getpeername()).name)
    os.unlink(folder / "new")
    second = unix()
    second.bind(str(folder / "new"))
    log.append(attempt(unix().connect, str(folder / "new")))
    server.sendall(b"goes on")
    log.append(client.recv(100))
    for sock in (server, client, listener, second):
        sock.close()


@program
def abstract_names(log: list[Any], folder: Path) -> None:
    name = f"\0lunar {folder}"
    listener, other, client = unix(), unix(), unix()
    listener.bind(name)
    log.append(listener.getsockname() == name.encode())
    log.append(attempt(other.bind, name.encode()))
    listener.listen()
    client.connect(name)
    server, address = listener.accept()
    log.append([address, type(client.getpeername())])
    wrong, same = unix(socket.SOCK_SEQPACKET), unix(socket.SOCK_SEQPACKET)
    log.append(attempt(wrong.connect, name))  # another type has names of its own
    log.append([attempt(same.bind, name), same.getsockname() == name.encode()])
    for sock in (server, client, listener, wrong, same):
        sock.close()
    log.append(attempt(unix().connect, name))
    other.bind("")
    automatic = other.getsockname()
    log.append([len(automatic), automatic[:1]])
    other.close()


@program
def what_is_not_connected(log: list[Any], folder: Path) -> None:
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM):
        sock = unix(kind)
        sock.setblocking(False)
        log.append(attempt(sock.send, b"x"))
        log.append(attempt(sock.recv, 1))
        log.append(attempt(sock.getpeername))
        log.append(attempt(sock.listen))
        log.append(attempt(sock.accept))
        log.append(attempt(sock.shutdown, socket.SHUT_WR))
        log.append(attempt(sock.send, b"x"))
        sock.close()


@program
def what_does_not_go_together(log: list[Any], folder: Path) -> None:
    stream, datagram = unix(), unix(socket.SOCK_DGRAM)
    stream.bind(str(folder / "s"))
    stream.listen(5)
    datagram.bind(str(folder / "d"))
    log.append(attempt(unix().connect, str(folder / "d")))
    log.append(attempt(unix(socket.SOCK_DGRAM).connect, str(folder / "s")))
    log.append(attempt(unix(socket.SOCK_SEQPACKET).connect, str(folder / "s")))
    log.append(attempt(unix(socket.SOCK_DGRAM).sendto, b"x", str(folder / "s")))
    log.append(attempt(unix().sendto, b"x", str(folder / "s")))
    client = unix()
    client.connect(str(folder / "s"))
    log.append(attempt(client.connect, str(folder / "s")))
    log.append(attempt(client.sendto, b"x", str(folder / "s")))
    log.append(attempt(client.listen))
    log.append(attempt(stream.connect, str(folder / "s")))
    log.append(attempt(socket.socket, socket.AF_UNIX, socket.SOCK_RAW + 10))
    log.append(attempt(socket.socket, socket.AF_UNIX, socket.SOCK_STREAM, 6))
    for sock in (stream, datagram, client):
        sock.close()


@program
def a_full_queue_of_connections(log: list[Any], folder: Path) -> None:
    path = str(folder / "s")
    listener = unix()
    listener.bind(path)
    listener.listen(1)
    clients = [unix() for _ in range(3)]
    for client in clients:
        client.setblocking(False)
        log.append(attempt(client.connect, path))
    listener.accept()[0].close()
    log.append(attempt(clients[2].connect, path))
    listener.close()
    log.append(attempt(clients[1].recv, 1))
    for client in clients:
        client.close()


@program
def messages_over_a_connection_keep_their_bounds(log: list[Any], folder: Path) -> None:
    listener, client = unix(socket.SOCK_SEQPACKET), unix(socket.SOCK_SEQPACKET)
    listener.bind(str(folder / "s"))
    listener.listen()
    client.connect(str(folder / "s"))
    server, _ = listener.accept()
    for message in (b"one", b"three"):
        client.send(message)
    log.append([server.recv(100), server.recv(2)])
    client.close()
    log.append(server.recv(100))
    server.close()
    listener.close()


# datagrams


@program
def datagrams_between_names(log: list[Any], folder: Path) -> None:
    first, second, nameless = (unix(socket.SOCK_DGRAM) for _ in range(3))
    first.bind(str(folder / "first"))
    second.bind(str(folder / "second"))
    log.append(second.sendto(b"from second", str(folder / "first")))
    log.append(nameless.sendto(b"from nobody", str(folder / "first")))
    data, address = first.recvfrom(100)
    log.append([data, Path(address).name])
    log.append(first.recvfrom(4))
    log.append(attempt(first.sendto, b"x", str(folder / "nobody")))
    nameless.connect(str(folder / "first"))
    log.append([nameless.getpeername() == str(folder / "first"), nameless.send(b"connected")])
    log.append(first.recv(100))
    # Who has a peer hears nobody else.
    second.connect(str(folder / "first"))
    log.append(attempt(first.sendto, b"to second", str(folder / "second")))
    log.append(attempt(nameless.sendto, b"to second", str(folder / "second")))
    log.append(second.recv(100))
    first.close()
    log.append(attempt(second.send, b"x"))
    log.append(attempt(second.send, b"x"))
    log.append(attempt(second.sendto, b"x", str(folder / "first")))
    for sock in (second, nameless):
        sock.close()


@program
def datagrams_are_bounded_by_their_number(log: list[Any], folder: Path) -> None:
    reader, writer = unix(socket.SOCK_DGRAM), unix(socket.SOCK_DGRAM)
    reader.bind(str(folder / "r"))
    writer.connect(str(folder / "r"))
    writer.setblocking(False)
    sent = 0
    while attempt(writer.send, b"x") == 1:
        sent += 1
    log.append([sent, attempt(writer.send, b"x")])
    reader.recv(1)
    log.append(attempt(writer.send, b"x"))
    log.append(attempt(writer.sendto, bytes(1_000_000), str(folder / "r")))
    reader.close()
    writer.close()


# under asyncio


@program
async def an_asyncio_server_at_a_path(log: list[Any], folder: Path) -> None:
    path = folder / "s"

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        log.append([writer.get_extra_info("peername"), writer.get_extra_info("sockname") == str(path)])
        writer.write(await reader.read(100))
        writer.close()

    server = await asyncio.start_unix_server(echo, path)
    log.append([server.is_serving(), [sock.getsockname() == str(path) for sock in server.sockets]])
    reader, writer = await asyncio.open_unix_connection(path)
    log.append([writer.get_extra_info("peername") == str(path), writer.get_extra_info("sockname")])
    writer.write(b"hello")
    log.append(await reader.read())
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    try:
        await asyncio.open_unix_connection(path)
    except OSError as failed:
        # From Python 3.13 on the server has removed its file.
        log.append([type(failed).__name__, path.exists()])
    # A socket's file that is in the way is removed; another file is not.
    (await asyncio.start_unix_server(echo, path)).close()
    (folder / "file").write_text("")
    try:
        await asyncio.start_unix_server(echo, folder / "file")
    except OSError as failed:
        log.append([errno.errorcode[failed.errno or 0], str(failed).replace(str(folder), "")])


@program
async def a_large_transfer_at_a_path(log: list[Any], folder: Path) -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        count = 0
        while data := await reader.read(10_000):
            count += len(data)
        writer.write(str(count).encode())
        writer.close()

    server = await asyncio.start_unix_server(swallow, folder / "s")
    reader, writer = await asyncio.open_unix_connection(folder / "s")
    writer.write(bytes(2_000_000))
    await writer.drain()
    writer.write_eof()
    log.append(await reader.read())
    writer.close()
    server.close()
    await server.wait_closed()


@program
async def what_asyncio_refuses(log: list[Any], folder: Path) -> None:
    loop = asyncio.get_running_loop()
    tcp = socket.socket()

    async def fails(awaitable: Any) -> None:
        try:
            await awaitable
        except (OSError, TypeError, ValueError) as failed:
            log.append([type(failed).__name__, str(failed).split(", got ")[0].replace(str(folder), "")])

    for arguments in (
        {}, {"sock": tcp}, {"path": "s", "sock": tcp}, {"path": "s", "ssl": True},
        {"path": "s", "server_hostname": "x"}, {"path": "s", "ssl_handshake_timeout": 1.0},
        {"path": "s", "ssl_shutdown_timeout": 1.0}, {"path": str(folder / "nobody")},
    ):  # fmt: skip
        await fails(loop.create_unix_connection(asyncio.Protocol, **arguments))
    for arguments in ({}, {"sock": tcp}, {"path": "s", "sock": tcp}, {"path": "s", "ssl": True},
                      {"path": "s", "ssl_handshake_timeout": 1.0}, {"path": str(folder / "no" / "s")}):
        await fails(loop.create_unix_server(asyncio.Protocol, **arguments))
    tcp.close()


@program
async def the_sock_methods_at_a_path(log: list[Any], folder: Path) -> None:
    loop = asyncio.get_running_loop()
    listener, client = unix(), unix()
    listener.setblocking(False)
    client.setblocking(False)
    listener.bind(str(folder / "s"))
    listener.listen()
    accepting = asyncio.create_task(loop.sock_accept(listener))
    await asyncio.sleep(0)
    await loop.sock_connect(client, str(folder / "s"))
    server, address = await accepting
    log.append([address, server.getblocking()])
    await loop.sock_sendall(client, b"hello")
    log.append(await loop.sock_recv(server, 100))
    for sock in (server, client, listener):
        sock.close()


class Collector(asyncio.DatagramProtocol):
    """Writes down what it is told, and ends after `count` datagrams."""

    def __init__(self, log: list[Any], count: int) -> None:
        self.log = log
        self.left = count
        self.done = asyncio.get_running_loop().create_future()
        self.lost = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.log.append([data[:20], len(data), addr and Path(addr).name])
        self.left -= 1
        if self.left == 0:
            self.done.set_result(None)

    def error_received(self, exc: Exception) -> None:
        self.log.append(type(exc).__name__)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


@program
async def asyncio_datagrams_at_a_path(log: list[Any], folder: Path) -> None:
    loop = asyncio.get_running_loop()
    here, there = str(folder / "here"), str(folder / "there")
    _, reading = await loop.create_datagram_endpoint(
        lambda: Collector(log, 52), local_addr=here, family=socket.AF_UNIX
    )
    named, _ = await loop.create_datagram_endpoint(
        lambda: Collector(log, 1), local_addr=there, family=socket.AF_UNIX
    )
    log.append([Path(named.get_extra_info("sockname")).name, named.get_extra_info("peername")])
    named.sendto(b"with a name", here)
    nameless, writing = await loop.create_datagram_endpoint(
        lambda: Collector(log, 1), remote_addr=here, family=socket.AF_UNIX
    )
    log.append(Path(nameless.get_extra_info("peername")).name)
    nameless.sendto(b"without")
    # More than wait at the reader: the others are kept, also by a transport that is closing.
    for number in range(50):
        nameless.sendto(b"%d" % number)
    nameless.close()
    await reading.done
    log.append(await writing.lost)
    named.sendto(b"x", str(folder / "nobody"))
    log.append(attempt(nameless.sendto, "text"))
    named.abort()
    await asyncio.sleep(0)


@program
async def a_socket_that_is_closed_while_it_is_watched(log: list[Any], folder: Path) -> None:
    loop = asyncio.get_running_loop()
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        first, second = socket.socketpair(socket.AF_UNIX, kind)
        loop.add_reader(first, log.append, "readable")
        first.close()
        second.close()
        for _ in range(5):
            await asyncio.sleep(0)
        log.append(loop.remove_reader(first))


@pytest.mark.parametrize("name", PROGRAMS)
def test_both_see_the_same(name: str, tmp_path: Path) -> None:
    function = PROGRAMS[name]
    folders = [tmp_path / "m", tmp_path / "v"]  # short: a socket's path has 108 bytes at most
    for folder in folders:
        folder.mkdir()
    machine: list[Any] = []
    virtual: list[Any] = []

    def run(log: list[Any], folder: Path) -> None:
        if asyncio.iscoroutinefunction(function):
            asyncio.run(function(log, folder))
        else:
            function(log, folder)

    run(machine, folders[0])
    with Network() as net:
        net.run(run, virtual, folders[1], on=net.host("host"))
    assert machine
    assert virtual == machine


# What no machine is asked about: two hosts, and who waits


def test_a_name_is_known_to_its_host_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "s")

    def listen() -> None:
        listener = unix()
        listener.bind(path)
        listener.listen()
        abstract = unix()
        abstract.bind("\0here")
        abstract.listen()
        kept.extend([listener, abstract])

    def connect() -> None:
        log.append(attempt(unix().connect, path))
        log.append(attempt(unix().connect, "\0here"))

    kept: list[socket.socket] = []
    log: list[Any] = []
    with Network() as net:
        here, there = net.host("here"), net.host("there")
        net.run(listen, on=here)
        net.run(connect, on=there)
        net.run(connect, on=here)
    assert log == [("ConnectionRefusedError", "ECONNREFUSED")] * 2 + [None] * 2


def test_who_finds_a_full_queue_waits_for_the_listener(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    log: list[Any] = []

    def serve() -> None:
        listener = unix()
        listener.bind(path)
        listener.listen(0)
        time.sleep(5)
        while len(log) < 3:
            server, _ = listener.accept()
            log.append(server.recv(100))

    def visit(number: int) -> None:
        client = unix()
        client.connect(path)
        client.sendall(b"%d" % number)

    with Network() as net:
        host = net.host("host")
        net.start(host, serve)
        for number in range(3):
            net.start(host, visit, number, at=1)
        net.run()
        assert net.now == 5
    assert log == [b"0", b"1", b"2"]
