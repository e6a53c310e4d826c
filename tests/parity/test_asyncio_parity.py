"""The same asyncio programs on the machine's own loopback and between two virtual hosts: they must see the same.

A program is a pair of coroutine functions. `server(stage)` prepares and returns when the client may begin; it may leave
a task in `stage.serving`, which is awaited at the end. `client(stage)` is the rest. Both write what they observe into
`stage.log[...]`: results, classes and errnos of exceptions, the order of callbacks. Addresses and ephemeral ports are
not written down, nor are times, of which the machine's would differ from run to run.
"""

from __future__ import annotations

import asyncio
import errno
import io
import itertools
import socket
import struct
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from lunar.network import Network

LINGER_ZERO = struct.pack("ii", 1, 0)
# Long enough for what is on its way to arrive, on the machine as between the virtual hosts.
PAUSE = 0.05


class Stage:
    """Where a program runs: the server's address and port, and what both sides have seen."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.port = 0
        self.log: dict[str, list[Any]] = {"server": [], "client": []}
        self.serving: Awaitable[Any] | None = None
        self.kept: list[Any] = []  # what the collector shall not close

    @property
    def peer(self) -> tuple[str, int]:
        return self.address, self.port

    async def settle(self) -> None:
        if self.serving is not None:
            await asyncio.wait_for(self.serving, 10)


class Program:
    def __init__(self, server: Any, client: Any) -> None:
        self.server = server
        self.client = client


PROGRAMS: dict[str, Program] = {}


def program(server: Callable[[Stage], Awaitable[None]]) -> Callable[[Any], Any]:
    """Decorates a client: with `server` it is a program, named after the client."""

    def register(client: Any) -> Any:
        PROGRAMS[client.__name__] = Program(server, client)
        return client

    return register


def on_the_machine(played: Program) -> dict[str, list[Any]]:
    async def both() -> dict[str, list[Any]]:
        stage = Stage("127.0.0.1")
        await played.server(stage)
        await played.client(stage)
        await stage.settle()
        return stage.log

    return asyncio.run(both())


def on_virtual_hosts(played: Program) -> dict[str, list[Any]]:
    with Network(seed=1) as net:
        stage = Stage("10.0.0.2")
        server, client = net.host("server", "10.0.0.2/24"), net.host("client", "10.0.0.3/24")
        net.link(server, client, delay="1ms")
        net.run(played.server, stage, on=server)
        net.run(played.client, stage, on=client)
        net.run(stage.settle, on=server)
        return stage.log


async def seen(call: Any) -> Any:
    """What a call or an awaitable gives: its result, or the class and errno of its exception."""
    try:
        return await call if asyncio.iscoroutine(call) or asyncio.isfuture(call) else call()
    except OSError as error:
        return type(error).__name__, error.errno and errno.errorcode.get(error.errno, error.errno)
    except Exception as error:  # noqa: BLE001 what a program sees of any other kind is its class
        return type(error).__name__


def non_blocking(kind: int = socket.SOCK_STREAM) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    sock.setblocking(False)
    return sock


async def connected(stage: Stage) -> socket.socket:
    sock = non_blocking()
    await asyncio.get_running_loop().sock_connect(sock, stage.peer)
    return sock


class Noting(asyncio.Protocol):
    """Notes its callbacks; data that came in pieces is one note, since pieces depend on the network."""

    def __init__(self, log: list[Any], keep_open: bool = False) -> None:
        self.log = log
        self.keep_open = keep_open
        self.transport: Any = None
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.log.append("made")

    def data_received(self, data: bytes) -> None:
        if self.log and isinstance(self.log[-1], bytes):
            self.log[-1] += data
        else:
            self.log.append(data)

    def eof_received(self) -> bool:
        self.log.append("eof")
        return self.keep_open

    def pause_writing(self) -> None:
        self.log.append("pause")

    def resume_writing(self) -> None:
        self.log.append("resume")

    def connection_lost(self, exc: BaseException | None) -> None:
        number = getattr(exc, "errno", None)
        self.log.append(("lost", type(exc).__name__ if exc else None, number and errno.errorcode[number]))
        if not self.over.done():
            self.over.set_result(None)


# Servers


async def nobody(stage: Stage) -> None:
    """A port at which nobody listens, because its socket is closed again."""
    with socket.socket() as sock:
        sock.bind((stage.address, 0))
        stage.port = sock.getsockname()[1]


def accepting(handle: Callable[[Stage, socket.socket], Awaitable[None]], backlog: int = 10) -> Any:
    """A listening socket, one connection of which goes to `handle`."""

    async def server(stage: Stage) -> None:
        loop = asyncio.get_running_loop()
        listener = socket.create_server((stage.address, 0), backlog=backlog)
        listener.setblocking(False)
        stage.port = listener.getsockname()[1]

        async def one() -> None:
            sock, _address = await loop.sock_accept(listener)
            listener.close()
            stage.kept.append(sock)
            await handle(stage, sock)

        stage.serving = asyncio.ensure_future(one())

    return server


async def close_at_once(stage: Stage, sock: socket.socket) -> None:
    sock.close()


async def reset_after_a_byte(stage: Stage, sock: socket.socket) -> None:
    await asyncio.get_running_loop().sock_recv(sock, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
    sock.close()


async def echo(stage: Stage, sock: socket.socket) -> None:
    stage.log["server"].append((sock.family, sock.type, sock.proto))
    loop = asyncio.get_running_loop()
    while True:
        data = await seen(loop.sock_recv(sock, 65536))
        if not isinstance(data, bytes) or not data:
            stage.log["server"].append(data)
            break
        await loop.sock_sendall(sock, data)
    sock.close()


async def hold(stage: Stage, sock: socket.socket) -> None:
    """Keep it open, and read nothing."""


async def collect(stage: Stage, sock: socket.socket) -> None:
    """Note what comes, until the end."""
    total = b""
    while True:
        data = await seen(asyncio.get_running_loop().sock_recv(sock, 65536))
        if not isinstance(data, bytes) or not data:
            stage.log["server"] += [total, data]
            sock.close()
            return
        total += data


def with_protocol(act: Callable[[Noting], None] | None = None, **kwargs: Any) -> Any:
    """A server of one `Noting` protocol, on which `act` is called when it is connected."""

    async def server(stage: Stage) -> None:
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()

        class Server(Noting):
            def connection_made(self, transport: Any) -> None:
                super().connection_made(transport)
                if act is not None:
                    act(self)

            def connection_lost(self, exc: BaseException | None) -> None:
                super().connection_lost(exc)
                over.set_result(None)

        listening = await loop.create_server(lambda: Server(stage.log["server"], **kwargs), stage.address, 0)
        stage.port = listening.sockets[0].getsockname()[1]
        stage.kept.append(listening)
        stage.serving = over

    return server


async def dial(stage: Stage, factory: Any = Noting, **kwargs: Any) -> tuple[Any, Any]:
    return await asyncio.get_running_loop().create_connection(
        lambda: factory(stage.log["client"], **kwargs), *stage.peer
    )


def reset(protocol: Noting) -> None:
    protocol.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
    protocol.transport.abort()


# Connecting


@program(nobody)
async def refused_by_every_face(stage: Stage) -> None:
    loop = asyncio.get_running_loop()
    log = stage.log["client"]
    log.append(await seen(asyncio.open_connection(*stage.peer)))
    log.append(await seen(loop.create_connection(asyncio.Protocol, *stage.peer)))
    with non_blocking() as sock:
        log.append(await seen(loop.sock_connect(sock, stage.peer)))
        log.append(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        log.append(await seen(sock.getpeername))
        log.append(await seen(loop.sock_recv(sock, 1)))
        log.append(await seen(loop.sock_sendall(sock, b"x")))
    log.append(await seen(asyncio.to_thread(socket.create_connection, stage.peer)))


@program(accepting(echo))
async def connecting_twice(stage: Stage) -> None:
    loop = asyncio.get_running_loop()
    sock = await connected(stage)
    stage.log["client"] += [
        await seen(loop.sock_connect(sock, stage.peer)), await seen(lambda: sock.connect_ex(stage.peer)),
        await seen(sock.listen), await seen(lambda: sock.bind(("", 0))), await seen(sock.accept),
    ]  # fmt: skip
    sock.close()


@program(accepting(echo))
async def connecting_after_a_refusal(stage: Stage) -> None:
    loop = asyncio.get_running_loop()
    unused = Stage(stage.address)
    with socket.socket() as probe:
        probe.bind(("", 0))
        unused.port = probe.getsockname()[1]
    sock = non_blocking()
    # The second attempt is told that the first was given up; the third begins anew.
    stage.log["client"].append(await seen(loop.sock_connect(sock, unused.peer)))
    stage.log["client"].append(await seen(loop.sock_connect(sock, stage.peer)))
    stage.log["client"].append(await seen(loop.sock_connect(sock, stage.peer)))
    await loop.sock_sendall(sock, b"at last")
    stage.log["client"].append(await loop.sock_recv(sock, 100))
    sock.close()


@program(nobody)
async def connecting_a_closed_socket(stage: Stage) -> None:
    sock = non_blocking()
    sock.close()
    loop = asyncio.get_running_loop()
    stage.log["client"] += [
        sock.fileno(), await seen(loop.sock_connect(sock, stage.peer)), await seen(lambda: sock.connect(stage.peer)),
        await seen(sock.close), await seen(lambda: loop.add_reader(sock, print)),
    ]  # fmt: skip


@program(nobody)
async def arguments_of_bind(stage: Stage) -> None:
    log = stage.log["client"]
    with socket.socket() as sock:
        for address in (
            stage.address, (stage.address,), (stage.address, 1, 2), (stage.address, "1"), (5, 1), (None, 1),
            [stage.address, 1], (stage.address, -1), (stage.address, 65536), (stage.address, 1.5),
        ):  # fmt: skip
            log.append(await seen(partial(sock.bind, address)))


# Ends


@program(accepting(close_at_once))
async def the_end_of_a_stream(stage: Stage) -> None:
    reader, writer = await asyncio.open_connection(*stage.peer)
    stage.log["client"] += [await reader.read(), await reader.read(), reader.at_eof(), await reader.readline()]
    stage.log["client"].append(await seen(reader.readexactly(1)))
    writer.close()
    stage.log["client"].append(await seen(writer.wait_closed()))


@program(accepting(reset_after_a_byte))
async def a_reset_seen_by_a_stream(stage: Stage) -> None:
    reader, writer = await asyncio.open_connection(*stage.peer)
    writer.write(b"x")
    stage.log["client"] += [await seen(reader.read()), await seen(reader.read()), writer.is_closing()]
    writer.write(b"y")
    stage.log["client"] += [await seen(writer.drain()), writer.transport.get_write_buffer_size()]
    stage.log["client"].append(await seen(writer.wait_closed()))


@program(accepting(reset_after_a_byte))
async def a_reset_seen_by_a_socket(stage: Stage) -> None:
    loop = asyncio.get_running_loop()
    sock = await connected(stage)
    await loop.sock_sendall(sock, b"x")
    stage.log["client"] += [
        await seen(loop.sock_recv(sock, 1)), await seen(loop.sock_recv(sock, 1)),
        await seen(loop.sock_sendall(sock, b"y")),
        await seen(sock.getpeername), await seen(lambda: sock.shutdown(socket.SHUT_RDWR)),
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
    ]  # fmt: skip
    sock.close()


@program(accepting(reset_after_a_byte))
async def a_reset_seen_by_the_writer_first(stage: Stage) -> None:
    loop = asyncio.get_running_loop()
    sock = await connected(stage)
    await loop.sock_sendall(sock, b"x")
    await asyncio.sleep(PAUSE)
    stage.log["client"] += [
        await seen(loop.sock_sendall(sock, b"y")), await seen(loop.sock_sendall(sock, b"z")),
        await seen(loop.sock_recv(sock, 1)),
    ]  # fmt: skip
    sock.close()


@program(accepting(hold))
async def closing_with_unread_data(stage: Stage) -> None:
    sock = await connected(stage)
    await asyncio.get_running_loop().sock_sendall(sock, b"x")
    await asyncio.sleep(PAUSE)
    stage.kept[0].close()
    await asyncio.sleep(PAUSE)
    stage.log["client"].append(await seen(lambda: sock.recv(1)))
    sock.close()


@program(accepting(close_at_once))
async def writing_to_a_peer_that_is_gone(stage: Stage) -> None:
    sock = await connected(stage)
    await asyncio.sleep(PAUSE)
    first = await seen(lambda: sock.send(b"x"))  # taken, and answered by a RST
    await asyncio.sleep(PAUSE)
    stage.log["client"] += [
        first, await seen(lambda: sock.send(b"y")), await seen(lambda: sock.recv(1)),
        await seen(lambda: sock.send(b"z"))
    ]  # fmt: skip
    sock.close()


@program(accepting(collect))
async def half_close_of_a_stream(stage: Stage) -> None:
    reader, writer = await asyncio.open_connection(*stage.peer)
    writer.write(b"all")
    writer.write_eof()
    writer.write_eof()
    stage.log["client"] += [await seen(lambda: writer.write(b"more")), await reader.read(), writer.can_write_eof()]
    writer.close()
    await writer.wait_closed()


@program(accepting(echo))
async def closing_twice(stage: Stage) -> None:
    _reader, writer = await asyncio.open_connection(*stage.peer)
    sock = writer.get_extra_info("socket")
    writer.close()
    writer.close()
    await writer.wait_closed()
    stage.log["client"] += [
        await seen(writer.wait_closed()), writer.is_closing(), sock.fileno(), await seen(sock.getpeername),
        await seen(lambda: writer.write(b"late")), await seen(writer.drain()), await seen(writer.write_eof),
        await seen(writer.transport.abort), await seen(writer.transport.pause_reading),
    ]  # fmt: skip


@program(accepting(collect))
async def everything_on_a_closed_socket(stage: Stage) -> None:
    loop = asyncio.get_running_loop()
    sock = await connected(stage)
    sock.close()
    log = stage.log["client"]
    for call in (
        loop.sock_recv(sock, 1), loop.sock_recv_into(sock, bytearray(1)), loop.sock_sendall(sock, b"x"),
        loop.sock_accept(sock), loop.sock_connect(sock, stage.peer), loop.sock_recvfrom(sock, 1),
        loop.sock_sendto(sock, b"x", stage.peer),
    ):  # fmt: skip
        log.append(await seen(call))
    for function in (
        lambda: sock.recv(1), lambda: sock.send(b"x"), sock.getsockname, sock.getpeername, sock.listen, sock.accept,
        lambda: sock.bind(("", 0)), lambda: sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),
        lambda: sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), lambda: sock.shutdown(socket.SHUT_RD),
        lambda: sock.setblocking(True), lambda: sock.settimeout(1), sock.fileno, sock.detach, sock.close,
    ):  # fmt: skip
        log.append(await seen(function))


# shutdown(2)


def shutting(how: int) -> Any:
    async def handle(stage: Stage, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        log = stage.log["server"]
        await loop.sock_sendall(sock, b"first")
        log.append(await seen(lambda: sock.shutdown(how)))
        log.append(await seen(lambda: sock.shutdown(how)))
        log.append(await seen(lambda: sock.send(b"second")))
        await asyncio.sleep(3 * PAUSE)
        log.append(await seen(lambda: sock.recv(100)))
        log.append(await seen(lambda: sock.recv(100)))

    return handle


async def talk_to_who_shuts(stage: Stage) -> None:
    sock = await connected(stage)
    await asyncio.sleep(PAUSE)
    log = stage.log["client"]
    log.append(await seen(lambda: sock.recv(100)))
    log.append(await seen(lambda: sock.recv(100)))
    log.append(await seen(lambda: sock.send(b"answer")))
    await asyncio.sleep(PAUSE)
    log.append(await seen(lambda: sock.send(b"again")))
    stage.kept.append(sock)


for _name, _how in (("RD", socket.SHUT_RD), ("WR", socket.SHUT_WR), ("RDWR", socket.SHUT_RDWR)):
    PROGRAMS[f"shutdown_{_name}"] = Program(accepting(shutting(_how)), talk_to_who_shuts)


@program(nobody)
async def shutdown_without_a_connection(stage: Stage) -> None:
    log = stage.log["client"]
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        for how in (0, 1, 2, 3):
            with socket.socket(type=kind) as sock:
                log.append(await seen(partial(sock.shutdown, how)))


@program(nobody)
async def shutdown_of_a_listening_socket(stage: Stage) -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("", 0)) as listener:
        listener.setblocking(False)
        waiting = asyncio.ensure_future(seen(loop.sock_accept(listener)))
        await asyncio.sleep(PAUSE)
        stage.log["client"].append(await seen(lambda: listener.shutdown(socket.SHUT_RDWR)))
        stage.log["client"].append(await asyncio.wait_for(waiting, 5))
        stage.log["client"].append(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


# Sockets in states that forbid it


@program(nobody)
async def what_a_new_stream_socket_refuses(stage: Stage) -> None:
    log = stage.log["client"]
    with non_blocking() as sock:
        for call in (
            lambda: sock.recv(1), lambda: sock.recv(0), lambda: sock.send(b"x"), lambda: sock.send(b""), sock.accept,
            sock.getpeername, sock.getsockname, lambda: sock.recvfrom(1), lambda: sock.recv(-1),
            lambda: sock.recv_into(bytearray(2), 5), lambda: sock.sendto(b"x", stage.peer),
        ):  # fmt: skip
            log.append(await seen(call))


@program(nobody)
async def what_a_listening_socket_refuses(stage: Stage) -> None:
    log = stage.log["client"]
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        own = sock.getsockname()
        for call in (
            sock.accept, lambda: sock.recv(1), lambda: sock.send(b"x"), sock.getpeername, lambda: sock.connect(own),
            lambda: sock.bind(("127.0.0.1", 0)), sock.listen,
            lambda: sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN),
        ):  # fmt: skip
            log.append(await seen(call))


@program(nobody)
async def what_a_datagram_socket_refuses(stage: Stage) -> None:
    log = stage.log["client"]
    with non_blocking(socket.SOCK_DGRAM) as sock:
        for call in (
            lambda: sock.recv(1), sock.getpeername, sock.getsockname, lambda: sock.send(b"x"), sock.listen, sock.accept,
            lambda: sock.getsockname()[1] > 0, lambda: sock.sendto(bytes(65508), stage.peer),
            lambda: sock.sendto(b"x", (stage.address, 0)),
            lambda: sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
        ):  # fmt: skip
            log.append(await seen(call))


@program(nobody)
async def kinds_of_sockets(stage: Stage) -> None:
    for family, kind, protocol in (
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP),
        (socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP),
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_UDP),
        (socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_TCP),
        (socket.AF_INET, socket.SOCK_STREAM, 0), (socket.AF_INET, socket.SOCK_DGRAM, 0),
        (socket.AF_INET, socket.SOCK_SEQPACKET, 0), (999, socket.SOCK_STREAM, 0), (socket.AF_INET, 99, 0),
    ):  # fmt: skip

        def make(family: int = family, kind: int = kind, protocol: int = protocol) -> Any:
            with socket.socket(family, kind, protocol) as sock:
                return sock.family, sock.type, sock.proto

        stage.log["client"].append(await seen(make))


# Names of sockets


@program(nobody)
async def binding(stage: Stage) -> None:
    log = stage.log["client"]
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(type=kind) as first:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            log.append(await seen(partial(first.bind, ("127.0.0.1", 0))))
            for reuse_first, reuse_second, address in (
                (0, 0, "127.0.0.1"), (0, 0, ""), (0, 0, "127.0.0.2"), (1, 0, "127.0.0.1"), (0, 1, "127.0.0.1"),
                (1, 1, "127.0.0.1"),
            ):  # fmt: skip
                first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse_first)
                with socket.socket(type=kind) as second:
                    second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse_second)
                    log.append(await seen(partial(second.bind, (address, port))))
            log.append(await seen(lambda: socket.socket().bind(("192.0.2.1", 0))))


@program(nobody)
async def listening_on_a_used_port(stage: Stage) -> None:
    log = stage.log["client"]
    with socket.socket() as first, socket.socket() as second, socket.socket() as third:
        for sock in (first, second):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        first.bind(("127.0.0.1", 0))
        port = first.getsockname()[1]
        second.bind(("127.0.0.1", port))
        log += [await seen(first.listen), await seen(second.listen)]
        third.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        log.append(await seen(lambda: third.bind(("127.0.0.1", port))))
        log.append(await seen(asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", port)))


@program(nobody)
async def a_port_is_free_again_after_close(stage: Stage) -> None:
    log = stage.log["client"]
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    log.append(await reader.read())
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    await asyncio.sleep(PAUSE)
    # A connection of that port is in TIME-WAIT: free with SO_REUSEADDR, which start_server sets, and not without.
    with socket.socket() as plain:
        log.append(await seen(lambda: plain.bind(("127.0.0.1", port))))
    again = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", port)
    log.append(again.is_serving())
    again.close()


# Options


@program(nobody)
async def options_of_a_stream_socket(stage: Stage) -> None:
    log = stage.log["client"]
    s, ip, tcp = socket.SOL_SOCKET, socket.IPPROTO_IP, socket.IPPROTO_TCP
    for level, name, values in (
        (s, socket.SO_REUSEADDR, (1, 2, 0, -1)), (s, socket.SO_REUSEPORT, (1, 0)), (s, socket.SO_KEEPALIVE, (1, 7, 0)),
        (s, socket.SO_BROADCAST, (1, 0)), (s, socket.SO_RCVBUF, (1, 5000, 60_000)),
        (s, socket.SO_SNDBUF, (1, 5000, 60_000)),
        (s, socket.SO_TYPE, (1,)), (s, socket.SO_ERROR, (1,)), (s, socket.SO_ACCEPTCONN, (1,)),
        (s, socket.SO_DOMAIN, (1,)),
        (s, socket.SO_PROTOCOL, (1,)), (s, 9999, (1,)), (ip, socket.IP_TTL, (1, 255, 0, 256, -1, -2)),
        (ip, socket.IP_TOS, (0x10, 0xFF, 0)), (tcp, socket.TCP_NODELAY, (1, 2, 0)), (tcp, socket.TCP_CORK, (1, 0)),
        (tcp, socket.TCP_MAXSEG, (0, 87, 88, 536, 32767, 32768)), (tcp, socket.TCP_KEEPIDLE, (1, 0, 32767, 32768)),
        (tcp, socket.TCP_KEEPINTVL, (1, 0, 32767, 32768)), (tcp, socket.TCP_KEEPCNT, (1, 0, 127, 128)),
        (tcp, 9999, (1,)),
    ):  # fmt: skip
        with socket.socket() as sock:
            if name not in (socket.SO_RCVBUF, socket.SO_SNDBUF):  # whose defaults are the machine's sysctls
                log.append((name, await seen(partial(sock.getsockopt, level, name))))
            for value in values:
                log.append((name, value, await seen(partial(sock.setsockopt, level, name, value))))
                log.append(await seen(partial(sock.getsockopt, level, name)))


@program(nobody)
async def options_as_bytes(stage: Stage) -> None:
    log = stage.log["client"]
    s = socket.SOL_SOCKET
    with socket.socket() as sock:
        for call in (
            lambda: sock.setsockopt(s, socket.SO_REUSEADDR, struct.pack("i", 1)),
            lambda: sock.getsockopt(s, socket.SO_REUSEADDR, 4),
            lambda: sock.getsockopt(s, socket.SO_REUSEADDR, 2), lambda: sock.getsockopt(s, socket.SO_REUSEADDR, 100),
            lambda: sock.setsockopt(s, socket.SO_REUSEADDR, b"\0"),
            lambda: sock.setsockopt(s, socket.SO_REUSEADDR, b""),
            lambda: sock.getsockopt(s, socket.SO_LINGER, 8), lambda: sock.getsockopt(s, socket.SO_LINGER),
            lambda: sock.setsockopt(s, socket.SO_LINGER, struct.pack("ii", 1, 30)),
            lambda: sock.getsockopt(s, socket.SO_LINGER, 8),
            lambda: sock.setsockopt(s, socket.SO_LINGER, 1), lambda: sock.setsockopt(s, socket.SO_LINGER, b"\1\0\0\0"),
            lambda: sock.getsockopt(s, socket.SO_LINGER, 4),
            lambda: sock.setsockopt(s, socket.SO_LINGER, struct.pack("ii", 0, 9)),
            lambda: sock.getsockopt(s, socket.SO_LINGER, 8), lambda: sock.setsockopt(s, socket.SO_REUSEADDR, "text"),
        ):  # fmt: skip
            log.append(await seen(call))


@program(nobody)
async def options_of_a_datagram_socket(stage: Stage) -> None:
    log = stage.log["client"]
    s, ip = socket.SOL_SOCKET, socket.IPPROTO_IP
    for level, name, values in (
        (s, socket.SO_REUSEADDR, (1, 0)), (s, socket.SO_BROADCAST, (1, 0)), (s, socket.SO_TYPE, ()),
        (s, socket.SO_ERROR, ()),
        (s, socket.SO_RCVBUF, (1, 5000)), (s, socket.SO_SNDBUF, (1, 5000)), (s, socket.SO_ACCEPTCONN, ()),
        (s, socket.SO_PROTOCOL, ()), (s, socket.SO_DOMAIN, ()), (ip, socket.IP_TTL, (1, 300)),
        (ip, socket.IP_TOS, (0xFF, 0x10)),
    ):  # fmt: skip
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            for value in values:
                log.append((name, value, await seen(partial(sock.setsockopt, level, name, value))))
            log.append((name, await seen(partial(sock.getsockopt, level, name))))


async def note_inherited(stage: Stage, sock: socket.socket) -> None:
    for level, name in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE), (socket.SOL_SOCKET, socket.SO_REUSEADDR),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY),
        (socket.IPPROTO_IP, socket.IP_TTL), (socket.SOL_SOCKET, socket.SO_ACCEPTCONN),
        (socket.SOL_SOCKET, socket.SO_RCVBUF),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    ):  # fmt: skip
        stage.log["server"].append(sock.getsockopt(level, name))
    stage.log["server"].append(sock.gettimeout())


async def a_listener_with_options(stage: Stage) -> None:
    listener = socket.socket()
    for level, name, value in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.IPPROTO_IP, socket.IP_TTL, 33),
        (socket.SOL_SOCKET, socket.SO_RCVBUF, 30_000), (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 77),
    ):  # fmt: skip
        listener.setsockopt(level, name, value)
    listener.bind((stage.address, 0))
    listener.listen()
    listener.setblocking(False)
    stage.port = listener.getsockname()[1]

    async def one() -> None:
        sock, _address = await asyncio.get_running_loop().sock_accept(listener)
        await note_inherited(stage, sock)
        stage.kept.append(sock)
        listener.close()

    stage.serving = asyncio.ensure_future(one())


@program(a_listener_with_options)
async def options_that_are_inherited(stage: Stage) -> None:
    stage.kept.append(await connected(stage))


# Data


@program(accepting(echo))
async def ways_to_receive(stage: Stage) -> None:
    sock = await connected(stage)
    sock.send(b"abcdefghijkl")
    await asyncio.sleep(PAUSE)
    buffer = bytearray(3)
    stage.log["client"] += [
        sock.recv(2, socket.MSG_PEEK), sock.recv(2), sock.recv(0), sock.recvfrom(2), sock.recv_into(buffer),
        bytes(buffer),
        sock.recvfrom_into(buffer, 2), bytes(buffer), sock.recvmsg(1)[:3], sock.recv(100, socket.MSG_DONTWAIT),
        await seen(lambda: sock.recv(1)), await seen(lambda: sock.recv(1, socket.MSG_PEEK)),
    ]  # fmt: skip
    loop = asyncio.get_running_loop()
    sock.send(b"xyz")
    stage.log["client"].append(await loop.sock_recvfrom(sock, 100))
    sock.close()


@program(accepting(echo))
async def ways_to_send(stage: Stage) -> None:
    loop = asyncio.get_running_loop()
    sock = await connected(stage)
    stage.log["client"] += [
        sock.send(b""), sock.send(bytearray(b"ab")), sock.send(memoryview(b"cd")), sock.sendto(b"ef", stage.peer),
        sock.sendmsg([b"gh", b"ij"]), sock.sendall(b"kl"), await loop.sock_sendall(sock, b"mn"),
        await loop.sock_sendfile(sock, io.BytesIO(b"_op_"), 1, 2), await seen(lambda: sock.send("text")),
         # type: ignore[arg-type]
        await seen(loop.sock_sendall(sock, "text")),  # type: ignore[arg-type]
    ]  # fmt: skip
    got = b""
    while len(got) < 16:
        got += await loop.sock_recv(sock, 100)
    stage.log["client"].append(got)
    sock.close()


async def sum_up(stage: Stage, sock: socket.socket) -> None:
    await asyncio.sleep(3 * PAUSE)
    loop = asyncio.get_running_loop()
    count = 0
    while data := await loop.sock_recv(sock, 1 << 20):
        count += len(data)
    stage.log["server"].append(count)
    sock.close()


@program(accepting(sum_up))
async def a_large_write_with_a_slow_reader(stage: Stage) -> None:
    transport, protocol = await dial(stage)
    transport.write(bytes(20_000_000))
    stage.log["client"].append(transport.get_write_buffer_limits())
    transport.write(b"x")
    stage.log["client"].append(transport.get_write_buffer_size() > 0)
    transport.close()
    await protocol.over


@program(accepting(sum_up))
async def limits_of_the_write_buffer(stage: Stage) -> None:
    transport, protocol = await dial(stage)
    log = stage.log["client"]
    for high, low in ((4000, None), (None, 3), (0, None), (10, 10), (1, 2), (-1, None), (None, None)):
        log.append((high, low, await seen(partial(transport.set_write_buffer_limits, high, low))))
        log.append(transport.get_write_buffer_limits())
    transport.close()
    await protocol.over


@program(accepting(echo))
async def wrong_writes(stage: Stage) -> None:
    transport, protocol = await dial(stage)
    stage.log["client"] += [
        await seen(lambda: transport.write("text")), await seen(lambda: transport.write(None)),
        await seen(lambda: transport.write(b"")),
        await seen(lambda: transport.writelines(["text"])), await seen(lambda: transport.writelines([])),
        await seen(lambda: transport.writelines([b"a", bytearray(b"b"), memoryview(b"c")])),
    ]  # fmt: skip
    transport.write_eof()
    stage.log["client"] += [await seen(lambda: transport.write(b"x")), await seen(lambda: transport.writelines([b"x"]))]
    await protocol.over


# Protocols


def greet(protocol: Noting) -> None:
    protocol.transport.write(b"hello")
    protocol.transport.write_eof()


def greet_and_close(protocol: Noting) -> None:
    protocol.transport.write(b"hello")
    protocol.transport.close()


@program(with_protocol(greet))
async def callbacks_of_a_greeting(stage: Stage) -> None:
    _transport, protocol = await dial(stage)
    await protocol.over


@program(with_protocol(greet, keep_open=True))
async def callbacks_of_a_half_open_connection(stage: Stage) -> None:
    transport, protocol = await dial(stage, keep_open=True)
    await asyncio.sleep(PAUSE)
    transport.write(b"still there")
    transport.write_eof()
    await asyncio.sleep(PAUSE)
    stage.log["client"].append(transport.is_closing())
    transport.close()
    await protocol.over
    stage.kept[0].close()
    # The server's eof_received keeps its side open; it must be closed by hand.
    assert stage.serving is not None
    stage.serving = None


@program(with_protocol(reset))
async def callbacks_of_a_reset(stage: Stage) -> None:
    _transport, protocol = await dial(stage)
    await protocol.over


@program(with_protocol(greet_and_close))
async def callbacks_while_reading_is_paused(stage: Stage) -> None:
    class Paused(Noting):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.pause_reading()
            self.log.append(transport.is_reading())

    transport, protocol = await dial(stage, Paused)
    await asyncio.sleep(PAUSE)
    stage.log["client"].append("resuming")
    transport.resume_reading()
    await protocol.over


@program(with_protocol())
async def callbacks_of_an_abort(stage: Stage) -> None:
    transport, protocol = await dial(stage)
    transport.write(b"hello")
    transport.abort()
    transport.abort()
    stage.log["client"] += [transport.is_closing(), transport.is_reading()]
    await protocol.over


def failing(where: str) -> type[Noting]:
    def fail(self: Noting, *args: Any) -> Any:
        getattr(Noting, where)(self, *args)
        raise LookupError(where)

    return type("Failing", (Noting,), {where: fail})


async def with_a_failing_callback(stage: Stage, where: str) -> None:
    loop = asyncio.get_running_loop()
    reported: list[Any] = []
    loop.set_exception_handler(
        lambda _loop, context: reported.append((context["message"], str(context.get("exception"))))
    )
    _transport, protocol = await dial(stage, failing(where))
    await protocol.over
    await asyncio.sleep(PAUSE)
    # The message for a plain callback ends with its name, which is the transport's own.
    stage.log["client"].append([(message.split(" in callback ")[0], text) for message, text in reported])
    loop.set_exception_handler(None)


for _where in ("connection_made", "data_received", "eof_received", "connection_lost"):

    async def _client(stage: Stage, where: str = _where) -> None:
        await with_a_failing_callback(stage, where)

    PROGRAMS[f"failing_in_{_where}"] = Program(with_protocol(greet_and_close), _client)


@program(with_protocol(greet_and_close))
async def a_buffered_protocol(stage: Stage) -> None:
    log = stage.log["client"]
    over = asyncio.get_running_loop().create_future()

    class Buffered(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.buffer = bytearray(2)

        def get_buffer(self, sizehint: int) -> Any:
            log.append(("get", sizehint))
            return self.buffer

        def buffer_updated(self, nbytes: int) -> None:
            log.append(bytes(self.buffer[:nbytes]))

        def eof_received(self) -> None:
            log.append("eof")

        def connection_lost(self, exc: BaseException | None) -> None:
            over.set_result(log.append(("lost", exc)))

    await asyncio.get_running_loop().create_connection(Buffered, *stage.peer)
    await over


@program(accepting(echo))
async def a_readers_and_a_writers_callback(stage: Stage) -> None:
    loop = asyncio.get_running_loop()
    log = stage.log["client"]
    sock = await connected(stage)
    written = loop.create_future()

    def writable() -> None:
        log.append("writable")
        log.append(loop.remove_writer(sock))
        written.set_result(None)

    loop.add_writer(sock, writable)
    await written
    read = loop.create_future()

    def readable(*args: Any) -> None:
        log.append((sock.recv(2), args))
        if log[-1][0] == b"ef":
            log.append(loop.remove_reader(sock))
            read.set_result(None)

    loop.add_reader(sock, log.append, "replaced")
    loop.add_reader(sock.fileno(), readable, 1, 2)
    sock.send(b"abcdef")
    await read
    log += [loop.remove_reader(sock), loop.remove_writer(sock.fileno())]
    sock.close()


@program(accepting(close_at_once))
async def what_a_reader_hears_of_the_end(stage: Stage) -> None:
    loop = asyncio.get_running_loop()
    sock = await connected(stage)
    readable = loop.create_future()
    loop.add_reader(sock, lambda: readable.done() or readable.set_result(None))
    await asyncio.wait_for(readable, 5)
    loop.remove_reader(sock)
    stage.log["client"].append(sock.recv(1))
    sock.close()


# Servers and arguments


@program(nobody)
async def the_life_of_a_server(stage: Stage) -> None:
    loop = asyncio.get_running_loop()
    log = stage.log["client"]
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, start_serving=False)
    peer = server.sockets[0].getsockname()
    log += [server.is_serving(), await seen(asyncio.open_connection(*peer))]
    await server.start_serving()
    log += [server.is_serving(), len(server.sockets), server.get_loop() is loop]
    forever = asyncio.ensure_future(server.serve_forever())
    await asyncio.sleep(0)
    log.append(await seen(server.serve_forever()))
    forever.cancel()
    log.append(type((await asyncio.gather(forever, return_exceptions=True))[0]).__name__)
    log += [server.is_serving(), server.sockets, await seen(asyncio.open_connection(*peer))]
    log.append(await seen(server.serve_forever()))


@program(nobody)
async def contradicting_arguments(stage: Stage) -> None:
    loop = asyncio.get_running_loop()
    log = stage.log["client"]
    with non_blocking() as sock, non_blocking(socket.SOCK_DGRAM) as datagram:
        for call in (
            loop.create_connection(asyncio.Protocol), loop.create_connection(asyncio.Protocol, *stage.peer, sock=sock),
            loop.create_connection(asyncio.Protocol, sock=datagram),
            loop.create_connection(asyncio.Protocol, sock=sock, ssl=True),
            loop.create_connection(asyncio.Protocol, *stage.peer, server_hostname="x"),
            loop.create_server(asyncio.Protocol), loop.create_server(asyncio.Protocol, "", 0, sock=sock),
            loop.create_server(asyncio.Protocol, sock=datagram), loop.create_server(asyncio.Protocol, "", 0, ssl=True),
            loop.connect_accepted_socket(asyncio.Protocol, datagram),
            loop.create_datagram_endpoint(asyncio.DatagramProtocol),
            loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=sock),
            loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("x",)),
            loop.sock_sendfile(sock, io.StringIO()), loop.sock_sendfile(sock, io.BytesIO(), offset=-1),
        ):  # fmt: skip
            log.append(await seen(call))


@program(nobody)
async def names_and_numbers(stage: Stage) -> None:
    loop = asyncio.get_running_loop()
    log = stage.log["client"]
    for args, kwargs in (
        (("127.0.0.1", 80), {"type": socket.SOCK_STREAM}), (("127.0.0.1", "80"), {}),
        (("localhost", 0), {"family": socket.AF_INET}),
        (("127.1", None), {"type": socket.SOCK_DGRAM}),
        ((None, 80), {"type": socket.SOCK_STREAM, "flags": socket.AI_PASSIVE, "family": socket.AF_INET}),
        (("127.0.0.1", "no such service"), {}), ((None, None), {}), (("127.0.0.1", 80), {"family": 999}),
        (("256.256.256.256", 80), {"flags": socket.AI_NUMERICHOST}), (("127.0.0.1", 80), {"type": 99}),
    ):  # fmt: skip
        try:
            log.append(await loop.getaddrinfo(*args, **kwargs))
        except socket.gaierror as error:
            log.append((type(error).__name__, error.errno))
    flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    log += [await loop.getnameinfo(("127.0.0.1", 80), flags), await seen(loop.getnameinfo(("not a number", 80), flags))]


# Datagrams


async def datagram_echo(stage: Stage) -> None:
    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            stage.log["server"].append(data)
            self.transport.sendto(data.upper() or b"empty", addr)

    loop = asyncio.get_running_loop()
    transport, _protocol = await loop.create_datagram_endpoint(Echo, local_addr=(stage.address, 0))
    stage.port = transport.get_extra_info("sockname")[1]
    stage.kept.append(transport)


class NotingDatagrams(asyncio.DatagramProtocol):
    def __init__(self, log: list[Any]) -> None:
        self.log = log
        self.heard = asyncio.Event()
        self.over = asyncio.get_running_loop().create_future()

    def note(self, what: Any) -> None:
        self.log.append(what)
        self.heard.set()

    def connection_made(self, transport: Any) -> None:
        self.log.append("made")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.note(data)

    def error_received(self, exc: OSError) -> None:  # type: ignore[override]
        self.note((type(exc).__name__, errno.errorcode[exc.errno or 0]))

    def connection_lost(self, exc: BaseException | None) -> None:
        self.over.set_result(self.log.append(("lost", exc)))


@program(datagram_echo)
async def a_connected_endpoint(stage: Stage) -> None:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: NotingDatagrams(stage.log["client"]), remote_addr=stage.peer
    )
    pairs = ((b"one", None), (b"two", stage.peer), (bytearray(b"three"), None), (memoryview(b"four"), None))
    for data, address in pairs:
        transport.sendto(data, address)
        await protocol.heard.wait()
        protocol.heard.clear()
    stage.log["client"] += [
        await seen(lambda: transport.sendto("text")), await seen(lambda: transport.sendto(b"x", (stage.address, 1))),
        transport.get_extra_info("peername") == stage.peer, transport.get_write_buffer_size(),
    ]  # fmt: skip
    transport.close()
    transport.close()
    stage.log["client"] += [transport.is_closing(), await seen(lambda: transport.sendto(b"late"))]
    await protocol.over


@program(nobody)
async def a_connected_endpoint_without_a_peer(stage: Stage) -> None:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: NotingDatagrams(stage.log["client"]), remote_addr=stage.peer
    )
    for _ in range(2):
        transport.sendto(b"hello?")
        await asyncio.wait_for(protocol.heard.wait(), 5)
        protocol.heard.clear()
    stage.log["client"].append(transport.is_closing())
    transport.abort()
    await protocol.over


@program(nobody)
async def an_endpoint_that_sends_too_much(stage: Stage) -> None:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: NotingDatagrams(stage.log["client"]), local_addr=("0.0.0.0", 0)
    )
    transport.sendto(bytes(65508), stage.peer)
    transport.sendto(b"x", (stage.address, 0))
    await asyncio.sleep(PAUSE)
    transport.close()
    await protocol.over


@program(datagram_echo)
async def what_an_endpoint_does_with_odd_datagrams(stage: Stage) -> None:
    loop = asyncio.get_running_loop()
    log = stage.log["client"]
    told: list[Any] = []
    loop.set_exception_handler(lambda _loop, told_of: told.append(type(told_of["exception"])))

    class Raises(NotingDatagrams):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            raise LookupError(data)

        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(None)
            self.log.append(repr(exc))

    sock = non_blocking(socket.SOCK_DGRAM)
    for data in (b"a", b"b", b"c"):
        await loop.sock_sendto(sock, data, stage.peer)
    await asyncio.sleep(PAUSE)  # all answers are there before the first is read, and each of them raises
    transport, protocol = await loop.create_datagram_endpoint(lambda: Raises(log), sock=sock)
    await asyncio.sleep(PAUSE)
    log += told
    told.clear()
    log.append(await seen(lambda: transport.sendto(b"x", (stage.address, 70_000))))
    await protocol.over
    log += [told, transport.is_closing()]
    loop.set_exception_handler(None)
    with non_blocking(socket.SOCK_DGRAM) as other:
        for call in (
            lambda: other.bind("x"), lambda: other.bind(("", 1, 2)), lambda: other.connect(("", -1)),
            lambda: other.sendto(b"x", None), lambda: other.connect(None),
        ):  # fmt: skip
            try:
                call()  # type: ignore[no-untyped-call]
            except (TypeError, OverflowError) as error:
                log.append(repr(error))


@program(datagram_echo)
async def an_endpoint_of_a_socket_that_is_connected(stage: Stage) -> None:
    loop = asyncio.get_running_loop()
    sock = non_blocking(socket.SOCK_DGRAM)
    sock.connect(stage.peer)
    transport, protocol = await loop.create_datagram_endpoint(lambda: NotingDatagrams(stage.log["client"]), sock=sock)
    transport.sendto(b"to the peer", (stage.address, 1))  # whatever the address says
    await asyncio.wait_for(protocol.heard.wait(), 5)
    transport.close()
    await protocol.over


@program(datagram_echo)
async def ways_to_receive_datagrams(stage: Stage) -> None:
    loop = asyncio.get_running_loop()
    sock = non_blocking(socket.SOCK_DGRAM)
    log = stage.log["client"]
    log.append(await loop.sock_sendto(sock, b"abcdef", stage.peer))
    data, address = await loop.sock_recvfrom(sock, 3)  # the rest is lost
    log += [data, address == stage.peer, await seen(lambda: sock.recv(100))]
    sock.connect(stage.peer)
    sock.send(b"second")
    await asyncio.sleep(PAUSE)
    log += [sock.recv(100, socket.MSG_PEEK), sock.recv(3, socket.MSG_PEEK), await loop.sock_recv(sock, 100)]
    sock.send(b"")
    log.append(await loop.sock_recv(sock, 100))
    buffer = bytearray(4)
    sock.send(b"third one")
    count, address = await loop.sock_recvfrom_into(sock, buffer)
    log += [count, bytes(buffer), address == stage.peer]
    log += [await seen(lambda: sock.shutdown(socket.SHUT_WR)), await seen(lambda: sock.send(b"x"))]
    log.append(await seen(lambda: sock.shutdown(socket.SHUT_RD)))
    sock.close()


@program(nobody)
async def a_datagram_socket_hears_of_a_closed_port_once(stage: Stage) -> None:
    loop = asyncio.get_running_loop()
    log = stage.log["client"]
    sock = non_blocking(socket.SOCK_DGRAM)
    sock.connect(stage.peer)
    sock.send(b"x")
    log += [await seen(asyncio.wait_for(loop.sock_recv(sock, 1), 5)), await seen(lambda: sock.recv(1))]
    sock.send(b"x")
    await asyncio.sleep(PAUSE)
    log += [await seen(lambda: sock.send(b"x")), sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)]
    await asyncio.sleep(PAUSE)
    log += [sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED, await seen(lambda: sock.recv(1))]
    sock.close()


# Blocking sockets, in threads and in what stands for threads


@program(accepting(echo))
async def a_blocking_client(stage: Stage) -> None:
    log = stage.log["client"]

    def talk() -> None:
        sock = socket.create_connection(stage.peer, timeout=5)
        log.append((sock.gettimeout(), sock.getblocking()))
        with sock.makefile("rwb") as file:
            file.write(b"line one\nline two\n")
            file.flush()
            log.append((file.readline(), file.readline()))
        sock.settimeout(PAUSE)
        try:
            sock.recv(1)
        except TimeoutError as error:
            log.append((str(error), error.errno))
        sock.settimeout(None)
        sock.shutdown(socket.SHUT_WR)
        log.append((sock.recv(10), sock.recv(10)))
        sock.close()

    await asyncio.to_thread(talk)


@program(nobody)
async def timeouts_and_modes(stage: Stage) -> None:
    log = stage.log["client"]
    with socket.socket() as sock:
        for value in (5, 0, 0.5, None, True):
            sock.settimeout(value)
            log.append((sock.gettimeout(), sock.getblocking()))
        log += [await seen(lambda: sock.settimeout(-1)), await seen(lambda: sock.settimeout("x"))]  # type: ignore[arg-type]
        sock.setblocking(False)
        log.append(sock.gettimeout())
    with socket.socket(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        log.append((sock.gettimeout(), sock.type))


# AF_INET6 sockets, which reach IPv4 by mapped addresses. A machine may have no such sockets (ipv6.disable=1).


def shape(address: Any) -> Any:
    """A socket address without its port."""
    return (address[0], *address[2:])


def six(kind: int = socket.SOCK_STREAM, only: int | None = None) -> socket.socket:
    sock = socket.socket(socket.AF_INET6, kind)
    sock.setblocking(False)
    if only is not None:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
    return sock


if socket.has_dualstack_ipv6():

    @program(nobody)
    async def mapped_streams(stage: Stage) -> None:
        """One listener for both families, and callers of either."""
        loop = asyncio.get_running_loop()
        log = stage.log["client"]
        with six() as listener, non_blocking() as four, six() as mapped:
            listener.bind(("::", 0))
            listener.listen()
            port = listener.getsockname()[1]
            log += [shape(listener.getsockname()), listener.family]
            await loop.sock_connect(four, ("127.0.0.1", port))
            await loop.sock_connect(mapped, ("::ffff:127.0.0.1", port, 0, 0))
            log += [shape(mapped.getsockname()), shape(mapped.getpeername())]
            for caller in (four, mapped):
                sock, address = await loop.sock_accept(listener)
                log += [sock.family, shape(address), shape(sock.getsockname()), shape(sock.getpeername())]
                await loop.sock_sendall(sock, b"hello")
                log.append(await loop.sock_recv(caller, 100))
                sock.close()
        with six() as sock:
            log.append(await seen(loop.sock_connect(sock, ("::ffff:127.0.0.1", port))))  # refused: it is closed

    @program(nobody)
    async def mapped_datagrams(stage: Stage) -> None:
        loop = asyncio.get_running_loop()
        log = stage.log["client"]
        datagram = socket.SOCK_DGRAM
        with six(datagram) as both, non_blocking(datagram) as four, six(datagram) as mapped:
            both.bind(("::", 0))
            four.bind(("127.0.0.1", 0))
            port = both.getsockname()[1]
            await loop.sock_sendto(four, b"a", ("127.0.0.1", port))
            data, address = await loop.sock_recvfrom(both, 100)
            log += [data, shape(address), address[1] == four.getsockname()[1]]
            await loop.sock_sendto(both, b"b", address)
            log.append(shape((await loop.sock_recvfrom(four, 100))[1]))
            mapped.connect(("::ffff:127.0.0.1", port, 0, 0))
            log += [shape(mapped.getsockname()), shape(mapped.getpeername())]
            await loop.sock_sendall(mapped, b"c")
            log.append(shape((await loop.sock_recvfrom(both, 100))[1]))

    @program(nobody)
    async def ports_of_both_families(stage: Stage) -> None:
        """Which binding forbids which."""
        log = stage.log["client"]
        ways: list[tuple[int, str, int | None]] = [
            (socket.AF_INET, "0.0.0.0", None), (socket.AF_INET, "127.0.0.1", None), (socket.AF_INET6, "::", 0),
            (socket.AF_INET6, "::", 1), (socket.AF_INET6, "::ffff:127.0.0.1", 0),
            (socket.AF_INET6, "::ffff:0.0.0.0", 0), (socket.AF_INET6, "::ffff:127.0.0.1", 1),
        ]  # fmt: skip

        def made(kind: int, way: tuple[int, str, int | None], port: int) -> socket.socket:
            family, address, only = way
            sock = non_blocking(kind) if family == socket.AF_INET else six(kind, only)
            try:
                sock.bind((address, port))
            except OSError:
                sock.close()
                raise
            return sock

        async def second(kind: int, first: socket.socket, way: tuple[int, str, int | None]) -> Any:
            sock = await seen(lambda: made(kind, way, first.getsockname()[1]))
            if not isinstance(sock, socket.socket):
                return sock
            name = shape(sock.getsockname())
            sock.close()
            return name

        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            for way in ways[:-1]:
                with made(kind, way, 0) as first:
                    log += [(way, other, await second(kind, first, other)) for other in ways]

    @program(nobody)
    async def a_listener_of_ipv6_alone_hears_no_ipv4(stage: Stage) -> None:
        loop = asyncio.get_running_loop()
        log = stage.log["client"]
        for only in (1, 0):
            with six(only=only) as listener, non_blocking() as four:
                listener.bind(("::", 0))
                listener.listen()
                log.append(await seen(loop.sock_connect(four, ("127.0.0.1", listener.getsockname()[1]))))
        with six(only=1) as sock:
            log.append(await seen(loop.sock_connect(sock, ("::ffff:127.0.0.1", 9))))
            log.append(await seen(lambda: sock.bind(("::ffff:127.0.0.1", 0))))

    @program(nobody)
    async def what_an_ipv6_socket_refuses(stage: Stage) -> None:
        log = stage.log["client"]
        level, only = socket.IPPROTO_IPV6, socket.IPV6_V6ONLY
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with six(kind) as sock:
                log += [sock.family, sock.getsockopt(level, only), sock.getsockname()]
                log.append(sock.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN))
                for address in (
                    "::", ("::",), ("::", 0, 0, 0, 0), ("::", 70_000), ("::", "x"), ("::", 0, 1 << 20), (1, 0),
                    ("127.0.0.1", 0), ("<broadcast>", 0), ("::ffff:203.0.113.9", 0), ("2001:db8::1", 0), ("fd00::", 0),
                ):  # fmt: skip
                    log.append((address, await seen(lambda: sock.bind(address))))  # noqa: B023
                sock.bind(("", 0))
                log.append(shape(sock.getsockname()))
                for value in (0, 1):
                    log.append(await seen(lambda: sock.setsockopt(level, only, value)))  # noqa: B023
            with non_blocking(kind) as sock:
                log.append(await seen(lambda: sock.setsockopt(level, only, 1)))
                log.append(await seen(lambda: sock.getsockopt(level, only)))
        log.append(await seen(lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_UDP)))
        log.append(await seen(lambda: socket.socket(socket.AF_INET6, socket.SOCK_SEQPACKET)))

    @program(nobody)
    async def an_asyncio_server_for_both_families(stage: Stage) -> None:
        log = stage.log["client"]
        loop = asyncio.get_running_loop()
        listening = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        port = listening.getsockname()[1]

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(repr([shape(writer.get_extra_info(name)) for name in ("peername", "sockname")]).encode())
            writer.close()

        async with await asyncio.start_server(answer, sock=listening):
            for host in ("127.0.0.1", "::ffff:127.0.0.1"):
                reader, writer = await asyncio.open_connection(host, port)
                log += [await reader.read(), shape(writer.get_extra_info("peername"))]
                writer.close()
        transport, _protocol = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("::", 0))
        log.append(shape(transport.get_extra_info("sockname")))
        transport.close()


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_same_is_seen_on_the_machine_and_between_virtual_hosts(name: str) -> None:
    played = PROGRAMS[name]
    real = on_the_machine(played)
    assert real["server"] or real["client"], "a program that observes nothing compares nothing"
    virtual = on_virtual_hosts(played)
    differences = [
        f"{side} {place}: {there!r}, on the machine {here!r}"
        for side in real
        for place, (there, here) in enumerate(itertools.zip_longest(virtual[side], real[side], fillvalue="nothing"))
        if there != here
    ]
    assert differences == []
