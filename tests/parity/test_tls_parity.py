"""The same TLS programs on the machine's socket pairs and on a virtual host's, not to block: they must see the same.

One program plays both ends by turns. How much a socket takes before it is full differs, so it is not written down.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lunar.network import Network

TLS = Path(__file__).parents[2] / "tapestries" / "apps" / "tls"
PROGRAMS: dict[str, Callable[[list[Any]], Any]] = {}


def program(function: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    PROGRAMS[function.__name__] = function
    return function


def wrapped() -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """A client's and a server's end, without a handshake yet."""
    first, second = socket.socketpair()
    first.setblocking(False)
    second.setblocking(False)
    accepting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    accepting.load_cert_chain(TLS / "server.pem")
    connecting = ssl.create_default_context(cafile=TLS / "authority.pem")
    return (
        connecting.wrap_socket(first, server_hostname="server", do_handshake_on_connect=False),
        accepting.wrap_socket(second, server_side=True, do_handshake_on_connect=False),
    )


def attempt(function: Callable[..., Any], *args: Any) -> Any:
    """The result, or the name of the exception."""
    try:
        return function(*args)
    except (OSError, ValueError, NotImplementedError) as failed:
        return type(failed).__name__


def shaken() -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    client, server = wrapped()
    while "SSLWantReadError" in (attempt(client.do_handshake), attempt(server.do_handshake)):
        pass
    attempt(client.recv, 1)  # the server's tickets
    return client, server


@program
def a_handshake_step_by_step(log: list[Any]) -> None:
    client, server = wrapped()
    log.append([client.version(), attempt(server.do_handshake)])
    for _ in range(3):
        log.append([attempt(client.do_handshake), attempt(server.do_handshake)])
    log.append([client.version(), server.version(), client.cipher() == server.cipher()])
    log.append([attempt(client.recv, 100), client.pending()])
    client.close()
    server.close()


@program
def data_both_ways(log: list[Any]) -> None:
    client, server = shaken()
    log.append(client.send(b"hello"))
    log.append([server.recv(2), server.pending(), server.recv(100), server.pending()])
    log.append(attempt(server.recv, 100))
    log.append(server.write(b"x" * 20_000))
    log.append([len(client.recv(100_000)), client.pending(), len(client.recv(100_000)), attempt(client.recv, 1)])
    buffer = bytearray(10)
    server.send(b"into a buffer")
    log.append([client.recv_into(buffer, 4), bytes(buffer), client.read(100)])
    log.append([attempt(client.recvfrom, 1), attempt(client.sendto, b"x", "nobody"), attempt(client.dup)])
    client.close()
    server.close()


@program
def a_write_that_is_called_again(log: list[Any]) -> None:
    client, server = shaken()
    data = bytes(range(256)) * 8000
    received = b""
    stopped = 0
    while (count := attempt(client.send, data)) == "SSLWantWriteError":
        stopped += 1
        while isinstance(part := attempt(server.recv, 100_000), bytes):
            received += part
    while isinstance(part := attempt(server.recv, 100_000), bytes):
        received += part
    log.append([count, stopped > 0, received == data])
    client.close()
    server.close()


@program
def a_goodbye(log: list[Any]) -> None:
    client, server = shaken()
    log.append(attempt(client.unwrap))
    log.append([server.recv(100), attempt(server.send, b"half open")])
    log.append(type(server.unwrap()).__name__ != "")
    log.append(attempt(client.recv, 100))
    client.close()
    server.close()


@program
def an_end_without_a_goodbye(log: list[Any]) -> None:
    client, server = shaken()
    client.send(b"and away")
    client.close()
    log.append([server.recv(100), server.recv(100)])
    server.suppress_ragged_eofs = False
    log.append(attempt(server.recv, 100))
    server.close()
    log.append([attempt(server.recv, 100), attempt(client.send, b"x")])


@program
def what_is_no_tls(log: list[Any]) -> None:
    first, second = socket.socketpair()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "server.pem")
    first.sendall(b"GET / HTTP/1.0\r\n\r\n")
    log.append(attempt(lambda: context.wrap_socket(second, server_side=True)))
    log.append(second.fileno())
    first.close()


@program
async def readers_and_writers(log: list[Any]) -> None:
    loop = asyncio.get_running_loop()
    client, server = shaken()
    got = bytearray()
    done = asyncio.Event()

    def read() -> None:
        try:
            got.extend(server.recv(1000))
        except ssl.SSLWantReadError:
            return
        if len(got) == 500_000:
            done.set()

    loop.add_reader(server, read)
    writing = bytes(500_000)

    def write() -> None:
        try:
            client.send(writing)
        except ssl.SSLWantWriteError:
            return
        loop.remove_writer(client)

    loop.add_writer(client, write)
    # One callback reads less than a record, so for some of it nothing more comes from the socket: it is pending.
    while not done.is_set():
        await asyncio.sleep(0)
        while server.pending():
            read()
    log.append(len(got))
    loop.remove_reader(server)
    client.close()
    server.close()


def play(function: Callable[[list[Any]], Any]) -> list[Any]:
    log: list[Any] = []
    if asyncio.iscoroutinefunction(function):
        asyncio.run(function(log))
    else:
        function(log)
    return log


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_virtual_host_is_as_the_machine(name: str) -> None:
    function = PROGRAMS[name]
    expected = play(function)
    assert expected
    with Network(seed=1) as net:
        host = net.host("alpha", "10.0.0.1/24")
        assert net.run(play, function, on=host) == expected
        assert host.descriptors.all() == []
