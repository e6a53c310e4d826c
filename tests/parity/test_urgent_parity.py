"""Urgent data: the same calls on the machine's loopback and on a virtual host's, and every answer compared.

Random programs of a few calls each: sends, urgent sends, reads and looks of both kinds, SO_OOBINLINE switched between.
After each call the program notes what poll(2), FIONREAD and SIOCATMARK say.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest

from lunar.network import Network

Op = tuple[str, int, bool]

FIONREAD, TIOCOUTQ, SIOCATMARK = 0x541B, 0x5411, 0x8905
KINDS = ["send", "urgent send", "recv", "recv", "recv few", "look", "urgent recv", "urgent look", "inline", "shutdown"]


def script(seed: int) -> list[Op]:
    rng = random.Random(seed)
    ops = [(rng.choice(KINDS[:-1]), rng.randrange(1, 6), rng.random() < 0.3) for _ in range(14)]
    if rng.random() < 0.3:
        ops.insert(rng.randrange(7, 14), ("shutdown", 0, False))
    return ops


def attempt(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except OSError as failed:
        return errno.errorcode[failed.errno or 0]


def ask(sock: socket.socket, request: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(sock, request, b"\0" * 4))[0])


def play(ops: list[Op], settle: Callable[[Any], None], poll: Callable[[Any], int]) -> list[Any]:
    """What one program sees. `settle` waits until all that was sent has arrived."""
    log: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    written = 0
    for kind, count, flag in ops:
        if kind in ("send", "urgent send"):
            data = bytes(97 + (written + at) % 26 for at in range(count))
            written += count
            result = attempt(near.send, data, socket.MSG_OOB if kind == "urgent send" else 0)
            settle(near)
        elif kind == "shutdown":
            result = attempt(near.shutdown, socket.SHUT_WR)
            settle(near)
        elif kind == "inline":
            result = far.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, count & 1)
        elif kind == "recv":
            result = attempt(far.recv, 100, socket.MSG_DONTWAIT)
        elif kind == "recv few":
            result = attempt(far.recv, count, socket.MSG_DONTWAIT)
        elif kind == "look":
            result = attempt(far.recv, 100 if flag else count, socket.MSG_DONTWAIT | socket.MSG_PEEK)
        elif kind == "urgent recv":
            result = attempt(far.recv, count, socket.MSG_OOB)
        else:
            result = attempt(far.recv, count, socket.MSG_OOB | socket.MSG_PEEK)
        log.append((kind, count, result, poll(far), ask(far, FIONREAD), ask(far, SIOCATMARK)))
    near.close()
    far.close()
    return log


def waiting_for_all(settle: Callable[[Any], None], inline: int) -> list[Any]:
    """MSG_WAITALL ends at the mark, too."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    far.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, inline)
    for data, flags in ((b"abc", 0), (b"!", socket.MSG_OOB), (b"def", 0)):
        near.send(data, flags)
    settle(near)
    log = [far.recv(6, socket.MSG_WAITALL), far.recv(3, socket.MSG_WAITALL)]
    near.close()
    far.close()
    return log


def reset_behind_the_mark(settle: Callable[[Any], None]) -> list[Any]:
    """Nothing is to be read but an urgent byte when the connection is reset: a plain read is told, once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    near.send(b"!", socket.MSG_OOB)
    settle(near)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    near.close()
    poller = select.poll()
    poller.register(far, select.POLLRDHUP)
    poller.poll()
    log = [attempt(far.recv, 100), attempt(far.recv, 100)]
    far.close()
    return log


def acknowledged(sock: socket.socket) -> None:
    while ask(sock, TIOCOUTQ):
        os.sched_yield()


def on_the_machine(ops: list[Op]) -> list[Any]:
    def poll(sock: socket.socket) -> int:
        poller = select.poll()
        poller.register(sock, select.POLLIN | select.POLLPRI | select.POLLRDHUP)
        found = poller.poll(0)
        return found[0][1] if found else 0

    return play(ops, acknowledged, poll)


def on_a_host(ops: list[Op]) -> list[Any]:
    def settle(_sock: Any) -> None:
        time.sleep(1)

    def poll(sock: Any) -> int:
        return int(sock.sock.poll()) & ~select.POLLOUT

    network = Network(seed=1)
    host = network.host("host", "10.0.0.1/24")
    seen: list[list[Any]] = []
    network.start(host, lambda: seen.append(play(ops, settle, poll)))
    network.run()
    return seen[0]


@pytest.mark.parametrize("first", range(0, 200, 25))
def test_random_programs_see_the_same(first: int) -> None:
    for seed in range(first, first + 25):
        ops = script(seed)
        machine, host = on_the_machine(ops), on_a_host(ops)
        assert host == machine, f"program {seed}"


@pytest.mark.parametrize("inline", [0, 1])
def test_waiting_for_all_ends_at_the_mark(inline: int) -> None:
    network = Network(seed=1)
    seen: list[list[Any]] = []
    host = network.host("host", "10.0.0.1/24")
    network.start(host, lambda: seen.append(waiting_for_all(lambda _: time.sleep(1), inline)))
    network.run()
    assert seen[0] == waiting_for_all(acknowledged, inline)


def test_a_reset_behind_the_mark_is_told_once() -> None:
    network = Network(seed=1)
    host = network.host("host", "10.0.0.1/24")
    seen: list[list[Any]] = []
    network.start(host, lambda: seen.append(reset_behind_the_mark(lambda _: time.sleep(1))))
    network.run()
    assert seen[0] == reset_behind_the_mark(acknowledged) == ["ECONNRESET", b""]


def test_the_programs_are_worth_it() -> None:
    # What the random programs must have met for the comparison to say something.
    seen = [entry for seed in range(200) for entry in on_a_host(script(seed))]
    results = {(entry[0], entry[2]) for entry in seen}
    assert {("urgent recv", "EINVAL"), ("recv", "EAGAIN"), ("recv", b"")} <= results
    assert any(kind == "urgent recv" and isinstance(result, bytes) for kind, result in results)
    assert {entry[3] & select.POLLPRI for entry in seen} == {0, select.POLLPRI}
    assert {entry[5] for entry in seen} == {0, 1}
