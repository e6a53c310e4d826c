"""Random programs of a dozen calls on two sockets, on the machine's loopback and on a virtual host: answers compared.

Streams: how a connection ends, by shutdowns, closes, resets, SO_LINGER of 0 s, with data unread, urgent or not.
Listeners: queues that are full, that end with connections in them, sockets that listen, connect, and do both.
Datagrams: peers that are there and are not, errors that ICMP brings, shutdowns, empty ones, too long ones, broadcasts.
After each call the program notes what poll(2) says of both sockets. test_urgent_parity.py does so for urgent data.
"""

from __future__ import annotations

import errno
import os
import random
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lunar.network import Network

Op = tuple[str, int, int]
Player = Callable[[list[Op], Callable[[], None], Callable[[Any], int]], list[Any]]

STREAM_CALLS = [
    "send", "send", "recv", "recv one", "look", "shutdown", "close", "linger", "error", "urgent send", "urgent recv",
    "names", "connect",
]  # fmt: skip
DATAGRAM_CALLS = [
    "send", "send", "send to", "send to", "send to nobody", "send to nobody", "recv", "recv", "recv nothing", "look",
    "recv into", "shutdown", "error", "connect", "connect to nobody", "names", "send empty", "send long", "broadcast",
    "allow broadcast", "bind", "urgent send", "port 0", "send to itself", "close",
]  # fmt: skip
LISTENER_CALLS = [
    "dial", "dial", "dial", "accept", "listen", "close listener", "shutdown listener", "send", "recv", "error", "close",
    "connect", "connect listener", "names", "bind",
]  # fmt: skip
EVENTS = select.POLLIN | select.POLLPRI | select.POLLOUT | select.POLLRDHUP


def script(seed: int, calls: list[str]) -> list[Op]:
    rng = random.Random(seed)
    return [(rng.choice(calls), rng.randrange(2), rng.randrange(3)) for _ in range(12)]


def attempt(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except OSError as failed:
        return errno.errorcode[failed.errno or 0]


def address_of(found: Any) -> Any:
    return found if isinstance(found, str) else found[0]


def play_streams(ops: list[Op], settle: Callable[[], None], poll: Callable[[Any], int]) -> list[Any]:
    log: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener_name = listener.getsockname()
        near = socket.create_connection(listener_name)
        far, _ = listener.accept()
        for sock in (near, far):
            # Otherwise Nagle and delayed ACKs decide, by time, what has arrived.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
        for number, (call, who, how) in enumerate(ops):
            sock = (near, far)[who]
            result: Any = None
            if call == "send":
                result = attempt(sock.send, b"%d" % number * (how + 1))
            elif call == "urgent send":
                result = attempt(sock.send, b"!", socket.MSG_OOB)
            elif call == "recv":
                result = attempt(sock.recv, 100)
            elif call == "recv one":
                result = attempt(sock.recv, 1)
            elif call == "look":
                result = attempt(sock.recv, 100, socket.MSG_PEEK)
            elif call == "urgent recv":
                result = attempt(sock.recv, 1, socket.MSG_OOB)
            elif call == "shutdown":
                result = attempt(sock.shutdown, how)
            elif call == "linger" and how:
                result = attempt(sock.setsockopt, socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", how & 1, 0))
            elif call == "error":
                result = attempt(sock.getsockopt, socket.SOL_SOCKET, socket.SO_ERROR)
            elif call == "names":
                result = [address_of(attempt(name)) for name in (sock.getsockname, sock.getpeername)]
            elif call == "connect":
                result = attempt(sock.connect, listener_name)
            elif call == "close" and how == 0:
                sock.close()
            settle()
            log.append((call, who, how, result, [poll(sock) if sock.fileno() >= 0 else None for sock in (near, far)]))
        near.close()
        far.close()
    return log


def play_listeners(ops: list[Op], settle: Callable[[], None], poll: Callable[[Any], int]) -> list[Any]:
    log: list[Any] = []
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.setblocking(False)
    name = listener.getsockname()
    dialled: list[socket.socket] = []
    accepted: list[socket.socket] = []
    listens = False
    for call, which, how in ops:
        sock = dialled[which % len(dialled)] if dialled else None
        result: Any = None
        if call == "dial":
            dialled.append(socket.socket())
            dialled[-1].setblocking(False)
            result = attempt(dialled[-1].connect, name)
        elif call == "accept":
            result = attempt(listener.accept)
            if not isinstance(result, str):
                accepted.append(result[0])
                result = "accepted"
        elif call == "listen":
            result = attempt(listener.listen, how)
            listens = result is None
        elif call == "close listener" and which == how == 0:
            listener.close()
        elif call == "shutdown listener" and which == 0 and listens:
            result = attempt(listener.shutdown, how)
            listens = how == 1
        elif call == "connect listener" and which == 0:
            result = attempt(listener.connect, name)
        elif call == "bind":
            result = attempt(listener.bind, name)
        elif call == "names":
            result = [address_of(attempt(ask)) for ask in (listener.getsockname, listener.getpeername)]
        elif sock is None:
            continue
        elif call == "send":
            result = attempt(sock.send, b"x")
        elif call == "recv":
            result = attempt(sock.recv, 10)
        elif call == "error":
            result = attempt(sock.getsockopt, socket.SOL_SOCKET, socket.SO_ERROR)
        elif call == "connect":
            result = attempt(sock.connect, name)
        elif call == "close" and how == 0:
            sock.close()
        settle()
        socks = [listener, *dialled, *accepted]
        log.append((call, which, how, result, [poll(sock) if sock.fileno() >= 0 else None for sock in socks]))
    for sock in (listener, *dialled, *accepted):
        sock.close()
    return log


def play_datagrams(ops: list[Op], settle: Callable[[], None], poll: Callable[[Any], int]) -> list[Any]:
    log: list[Any] = []
    socks = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(2)]
    for sock in socks:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
    with socket.socket(type=socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        closed = nobody.getsockname()
    names = [sock.getsockname() for sock in socks]
    known = {names[0]: "first", names[1]: "second", closed: "nobody"}

    def received(got: Any) -> Any:
        return got if isinstance(got, str) else (got[0], known[got[1]])

    def into(sock: socket.socket) -> Any:
        buffer = bytearray(2)
        return sock.recv_into(buffer, 2, socket.MSG_TRUNC), bytes(buffer)

    for call, who, how in ops:
        sock, other = socks[who], names[1 - who]
        result: Any = None
        if call == "send":
            result = attempt(sock.send, b"0123456789"[: how * 2 + 1])
        elif call == "send to":
            result = attempt(sock.sendto, b"abcdefghij"[: how * 2 + 1], other)
        elif call == "send to nobody":
            result = attempt(sock.sendto, b"n", closed)
        elif call == "send to itself":
            result = attempt(sock.sendto, b"s", names[who])
        elif call == "send empty":
            result = attempt(sock.sendto, b"", other) if how else attempt(sock.send, b"")
        elif call == "send long" and how != 1:
            result = attempt(sock.sendto, bytes(65507 + (how > 0)), other)
        elif call == "broadcast" and how:
            result = attempt(sock.sendto, b"all", ("127.255.255.255", other[1]))
        elif call == "allow broadcast":
            result = attempt(sock.setsockopt, socket.SOL_SOCKET, socket.SO_BROADCAST, how & 1)
        elif call == "port 0":
            result = attempt(sock.sendto, b"p", ("127.0.0.1", 0))
        elif call == "urgent send":
            result = attempt(sock.send, b"o", socket.MSG_OOB)
        elif call == "recv":
            result = received(attempt(sock.recvfrom, 100))
        elif call == "recv nothing":
            result = received(attempt(sock.recvfrom, 0))
        elif call == "look":
            result = received(attempt(sock.recvfrom, 3, socket.MSG_PEEK))
        elif call == "recv into":
            result = attempt(into, sock)
        elif call == "shutdown":
            result = attempt(sock.shutdown, how)
        elif call == "error":
            result = attempt(sock.getsockopt, socket.SOL_SOCKET, socket.SO_ERROR)
        elif call == "connect":
            result = attempt(sock.connect, other)
        elif call == "connect to nobody":
            result = attempt(sock.connect, closed)
        elif call == "bind":
            result = attempt(sock.bind, ("127.0.0.1", 0))
        elif call == "names":
            found = [attempt(name) for name in (sock.getsockname, sock.getpeername)]
            result = [known.get(name, address_of(name)) for name in found]
        elif call == "close" and how == 0:
            sock.close()
        settle()
        log.append((call, who, how, result, [poll(sock) if sock.fileno() >= 0 else None for sock in socks]))
    for sock in socks:
        sock.close()
    return log


@contextmanager
def one_processor() -> Iterator[None]:
    """On one processor the loopback is a queue: what was sent before has arrived when what was sent after it has."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def on_the_machine(play: Player, ops: list[Op]) -> list[Any]:
    def poll(sock: socket.socket) -> int:
        poller = select.poll()
        poller.register(sock, EVENTS)
        found = poller.poll(0)
        return found[0][1] if found else 0

    with one_processor(), socket.socket(type=socket.SOCK_DGRAM) as last:
        last.bind(("127.0.0.1", 0))
        last.connect(last.getsockname())

        def settle() -> None:
            for _ in range(2):  # what arrives may be answered
                last.send(b"x")
                last.recv(1)

        return play(ops, settle, poll)


def on_a_host(play: Player, ops: list[Op]) -> list[Any]:
    network = Network(seed=1)
    seen: list[list[Any]] = []
    network.start(
        network.host("host", "10.0.0.1/24"),
        # Long enough for what is on its way, too short for retransmissions.
        lambda: seen.append(play(ops, lambda: time.sleep(0.001), lambda sock: int(sock.sock.poll()))),
    )
    network.run()
    return seen[0]


KINDS: dict[str, tuple[Player, list[str]]] = {
    "streams": (play_streams, STREAM_CALLS),
    "listeners": (play_listeners, LISTENER_CALLS),
    "datagrams": (play_datagrams, DATAGRAM_CALLS),
}


@pytest.mark.parametrize("first", range(0, 200, 50))
@pytest.mark.parametrize("kind", KINDS)
def test_random_programs_see_the_same(kind: str, first: int) -> None:
    play, calls = KINDS[kind]
    for seed in range(first, first + 50):
        ops = script(seed, calls)
        assert on_a_host(play, ops) == on_the_machine(play, ops), f"program {seed}"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("streams", {"EAGAIN", "EPIPE", "ECONNRESET", "ENOTCONN", "EINVAL", "EBADF", b""}),
        ("listeners", {"EAGAIN", "EINVAL", "EINPROGRESS", "EISCONN", "ECONNREFUSED", "ECONNRESET", "accepted"}),
        ("datagrams", {"EAGAIN", "EPIPE", "ECONNREFUSED", "EDESTADDRREQ", "EACCES", "EMSGSIZE", "EOPNOTSUPP", "EBADF"}),
    ],
)
def test_the_programs_are_worth_it(kind: str, expected: set[Any]) -> None:
    # What they must have met for the comparison to say something.
    play, calls = KINDS[kind]
    seen = [entry[3] for seed in range(200) for entry in on_a_host(play, script(seed, calls))]
    met = {"EOPNOTSUPP" if found == "ENOTSUP" else found for found in seen if isinstance(found, (str, bytes))}
    assert expected <= met
