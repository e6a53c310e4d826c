"""`lunar.asyncio`: asyncio with awaited sockets, inside a weave and outside."""

from __future__ import annotations

import asyncio as standard
import errno
import importlib
import re
import socket as standard_socket
import ssl
import types
from typing import Any

import pytest
from two_hosts import CLIENT, DELAY, ROUND_TRIP, SERVER, TwoHosts

from lunar import asyncio
from lunar.host_socket import LunarSocket


async def echo_server() -> None:
    listener = asyncio.socket(asyncio.AF_INET, asyncio.SOCK_STREAM)
    listener.bind(("", 80))
    listener.listen()
    tasks = set()
    while True:
        sock, _address = await listener.accept()
        tasks.add(asyncio.create_task(echo(sock)))


async def echo(sock: asyncio.socket) -> None:
    with sock:
        while data := await sock.recv(4096):
            await sock.sendall(data)


async def connected() -> asyncio.socket:
    sock = asyncio.socket(asyncio.AF_INET, asyncio.SOCK_STREAM)
    await sock.connect((SERVER, 80))
    return sock


def test_it_is_asyncio_and_more() -> None:
    for name in {*standard.__all__, *dir(standard)}:
        if not name.startswith("__"):
            assert getattr(asyncio, name) is getattr(standard, name), name
    assert asyncio.AF_INET is standard_socket.AF_INET and asyncio.SOCK_DGRAM is standard_socket.SOCK_DGRAM
    assert {"socket", "create_task", "TaskGroup", "SO_REUSEADDR"} <= set(asyncio.__all__)
    assert all(hasattr(asyncio, name) for name in asyncio.__all__)
    with pytest.raises(AttributeError):
        _ = asyncio.no_such_name


def test_the_modules_of_asyncio_are_its_own() -> None:
    importlib.import_module("lunar.asyncio.loop")  # our own modules do not get in the way
    for name, value in vars(standard).items():
        if isinstance(value, types.ModuleType) and value.__name__.startswith("asyncio."):
            assert getattr(asyncio, name) is value, name
            assert importlib.import_module(f"lunar.{value.__name__}") is value
    assert asyncio._get_running_loop is standard._get_running_loop


def test_the_constants_of_sockets_are_the_standard_librarys() -> None:
    for name, value in vars(standard_socket).items():
        if re.match(r"(AF|SOCK|IPPROTO|SOL|SO|TCP|MSG|SHUT|AI|NI|EAI|IP|IPV6|INADDR)_|SOMAXCONN", name):
            assert getattr(asyncio, name) is value, name
    assert asyncio.gaierror is standard_socket.gaierror


def test_the_readmes_lines(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        sock = asyncio.socket(asyncio.AF_INET, asyncio.SOCK_STREAM)
        await sock.connect(("server", 80))
        at = loop.time()
        await sock.sendall(b"...")
        data = await sock.recv(4096)
        return at, data, loop.time()

    assert hosts.run(main) == (ROUND_TRIP, b"...", 2 * ROUND_TRIP)


def test_accept_gives_an_awaited_socket_and_an_address(hosts: TwoHosts) -> None:
    async def serve() -> Any:
        listener = asyncio.socket()
        listener.bind((SERVER, 80))
        listener.listen(5)
        sock, address = await listener.accept()
        assert type(sock) is asyncio.socket
        assert sock.getpeername() == address and sock.getsockname() == (SERVER, 80)
        return address, asyncio.get_running_loop().time()

    string = hosts.net.start(hosts.server, serve)

    async def main() -> Any:
        return (await connected()).getsockname()

    own = hosts.run(main)
    hosts.net.run()
    assert own[0] == CLIENT and string.result == (own, 3 * DELAY)


def test_what_it_wraps_is_a_non_blocking_socket_of_the_host(hosts: TwoHosts) -> None:
    async def main() -> None:
        with asyncio.socket(asyncio.AF_INET, asyncio.SOCK_DGRAM) as sock:
            assert isinstance(sock._sock, LunarSocket) and sock._sock.gettimeout() == 0.0
            assert (sock.family, sock.type) == (asyncio.AF_INET, asyncio.SOCK_DGRAM)
            assert sock.proto == 0
            assert sock.fileno() == sock._sock.fileno() >= 0
        assert sock.fileno() == -1

    hosts.run(main)


def test_recv_into_and_options(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    async def main() -> Any:
        sock = await connected()
        sock.setsockopt(standard_socket.IPPROTO_TCP, standard_socket.TCP_NODELAY, 1)
        assert sock.getsockopt(standard_socket.IPPROTO_TCP, standard_socket.TCP_NODELAY) == 1
        assert sock.getsockopt(standard_socket.SOL_SOCKET, standard_socket.SO_ERROR, 4) == bytes(4)
        await sock.sendall(b"abc")
        buffer = bytearray(5)
        return await sock.recv_into(buffer), bytes(buffer)

    assert hosts.run(main) == (3, b"abc\0\0")


def test_datagrams(hosts: TwoHosts) -> None:
    async def answer() -> None:
        sock = asyncio.socket(asyncio.AF_INET, asyncio.SOCK_DGRAM)
        sock.bind(("", 53))
        while True:
            data, address = await sock.recvfrom(1000)
            await sock.sendto(data.upper(), address)

    hosts.serve(answer)

    async def main() -> Any:
        sock = asyncio.socket(asyncio.AF_INET, asyncio.SOCK_DGRAM)
        assert await sock.sendto(b"abc", ("server", 53)) == 3
        return await sock.recvfrom(1000)

    assert hosts.run(main) == (b"ABC", (SERVER, 53))


def test_send_takes_what_fits_and_waits_for_room(hosts: TwoHosts) -> None:
    async def late() -> None:
        listener = asyncio.socket()
        listener.bind(("", 80))
        listener.listen()
        sock, _address = await listener.accept()
        await asyncio.sleep(100)
        while await sock.recv(1 << 20):
            pass

    hosts.serve(late)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        sock = await connected()
        total, waited = 0, 0.0
        while total < 20_000_000:
            start = loop.time()
            count = await sock.send(bytes(20_000_000 - total))
            assert count > 0
            total += count
            waited = max(waited, loop.time() - start)
        return total, waited > 99

    assert hosts.run(main) == (20_000_000, True)


def test_half_close_and_the_end_of_the_stream(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    async def main() -> Any:
        sock = await connected()
        await sock.sendall(b"half")
        await sock.shutdown(standard_socket.SHUT_WR)
        return await sock.recv(10), await sock.recv(10), await sock.recv(10)

    assert hosts.run(main) == (b"half", b"", b"")


def test_errors_are_those_of_the_standard_socket(hosts: TwoHosts) -> None:
    async def main() -> Any:
        loop = asyncio.get_running_loop()
        with pytest.raises(ConnectionRefusedError):
            await connected()
        refused = loop.time()
        sock = asyncio.socket()
        with pytest.raises(BrokenPipeError):
            await sock.send(b"x")
        with pytest.raises(OSError) as caught:
            await sock.recv(1)
        assert caught.value.errno == errno.ENOTCONN
        sock.close()
        with pytest.raises(OSError) as caught:
            await sock.recv(1)
        return refused, caught.value.errno

    assert hosts.run(main) == (ROUND_TRIP, errno.EBADF)


@pytest.mark.parametrize("what", ["recv", "recv_into", "accept", "send", "connect"])
def test_cancelling_leaves_the_socket_usable(hosts: TwoHosts, what: str) -> None:
    hosts.serve(echo_server)

    async def main() -> bytes:
        sock = await connected()
        if what == "send":
            while True:
                try:
                    await asyncio.wait_for(sock.send(bytes(1_000_000)), 60)
                except TimeoutError:
                    break
            # The echo has filled both directions; reading makes room again.
            while True:
                try:
                    await asyncio.wait_for(sock.recv(1 << 20), 60)
                except TimeoutError:
                    break
        else:
            listener = asyncio.socket()
            listener.listen()
            attempt = {
                "recv": lambda: sock.recv(10),
                "recv_into": lambda: sock.recv_into(bytearray(10)),
                "accept": listener.accept,
                "connect": lambda: asyncio.socket().connect(("10.0.0.2", 80)),
            }[what]()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(attempt, ROUND_TRIP / 2)
        await sock.sendall(b"usable")
        return await sock.recv(10)

    assert hosts.run(main) == b"usable"


def test_a_cancelled_connect_goes_on_and_the_next_one_waits_for_its_end(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        sock = asyncio.socket()
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(ROUND_TRIP / 4):
                    await sock.connect((SERVER, 80))
        await sock.connect((SERVER, 80))
        at = loop.time()  # the SYN of the first call was answered after one round trip
        await sock.sendall(b"hello")
        return at, await sock.recv(10)

    assert hosts.run(main) == (ROUND_TRIP, b"hello")


def test_a_cancelled_connect_that_fails_meanwhile_tells_the_next_one(hosts: TwoHosts) -> None:
    async def main() -> Any:
        sock = asyncio.socket()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(ROUND_TRIP / 4):
                await sock.connect((SERVER, 80))
        await asyncio.sleep(ROUND_TRIP)
        start = asyncio.get_running_loop().time()
        for wait in (0.0, ROUND_TRIP):  # the old attempt's end is known at once; then a new attempt is made
            with pytest.raises(ConnectionRefusedError):
                await sock.connect((SERVER, 80))
            assert round(asyncio.get_running_loop().time() - start, 9) == wait

    hosts.run(main)


def test_a_timeout_lands_on_its_deadline(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        sock = await connected()
        start = loop.time()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):
                await sock.recv(1)
        return loop.time() - start

    assert hosts.run(main) == 2.5


def test_shutdown_waits_for_the_sends_before_it_and_not_for_their_acknowledgment(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        sock = await connected()
        await sock.sendall(bytes(10_000))  # fits the send buffer
        start = loop.time()
        await sock.shutdown(asyncio.SHUT_WR)
        done = loop.time() - start
        size = 0
        while data := await sock.recv(1 << 16):
            size += len(data)
        return done, size

    assert hosts.run(main) == (0.0, 10_000)


def test_names_are_looked_up(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    async def main() -> Any:
        async with await asyncio.create_connection(("server", 80)) as sock:
            assert sock.getpeername() == (SERVER, 80)
        assert asyncio.gethostname() == "client"
        assert await asyncio.getnameinfo((SERVER, 80)) == ("server", "http")
        with asyncio.socket() as stream, asyncio.socket(type=asyncio.SOCK_DGRAM) as datagram:
            for call in (
                stream.connect(("nobody", 80)), datagram.sendto(b"x", ("nobody", 80)),
                datagram.sendmsg([b"x"], (), 0, ("nobody", 80)), asyncio.create_connection(("nobody", 80)),
            ):  # fmt: skip
                with pytest.raises(asyncio.gaierror):
                    await call

    hosts.run(main)


def test_a_tls_socket_is_refused() -> None:
    with standard_socket.socket() as plain:
        tls = ssl.create_default_context().wrap_socket(plain, server_hostname="server")
        with tls, pytest.raises(TypeError, match="SSLSocket"):
            asyncio.socket(sock=tls)


def test_outside_a_weave_it_is_a_socket_of_the_machine() -> None:
    async def serve(listener: asyncio.socket) -> None:
        sock, _address = await listener.accept()
        await echo(sock)

    async def main() -> Any:
        listener = asyncio.socket(asyncio.AF_INET, asyncio.SOCK_STREAM)
        assert type(listener._sock) is standard_socket.socket
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        serving = asyncio.create_task(serve(listener))
        with asyncio.socket() as sock:
            await sock.connect(listener.getsockname())
            assert await sock.send(b"re") == 2
            await sock.sendall(b"al")
            await sock.shutdown(standard_socket.SHUT_WR)
            got = b""
            while data := await sock.recv(10):
                got += data
        await serving
        listener.close()
        return got

    assert standard.run(main()) == b"real"
