"""splice(2), SO_RCVLOWAT and the flags of recv(2) on the machine and on a virtual host: the same program, one log."""

from __future__ import annotations

import errno
import os
import select
import socket
import tempfile
from collections.abc import Callable
from typing import Any

import pytest
from side_by_side import Settle, on_a_host, on_the_machine

SO_RCVLOWAT, SO_MARK, SO_PEEK_OFF = 18, 36, 42
PEEK = socket.MSG_PEEK
IP_FREEBIND = 15
SPLICE_F_NONBLOCK = 2


def outcome(call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except OSError as failed:
        return errno.errorcode.get(failed.errno or 0, str(failed))


def conditions(sock: socket.socket) -> int:
    poll = select.poll()
    poll.register(sock, 0x7FFF)
    found = poll.poll(0)
    return found[0][1] if found else 0


def connection() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    return near, far


def splices(settle: Settle) -> list[Any]:
    log: list[Any] = []
    near, far = connection()
    reading, writing = os.pipe()

    def splice(source: Any, target: Any, count: int, *rest: Any) -> None:
        fds = [end if isinstance(end, int) else end.fileno() for end in (source, target)]
        log.append(outcome(os.splice, *fds, count, *rest))

    splice(near, far, 10)  # no pipe
    splice(near, writing, 0)
    splice(near, reading, 10)
    splice(writing, near, 10)
    splice(reading, near, 10, 0)
    splice(near, writing, 10, 0)
    splice(reading, near, 10, None, 0)
    splice(near, writing, 10, None, 0)
    splice(far, writing, 10, None, None, 16)
    splice(99_999, writing, 10)
    splice(far, 99_999, 10)
    splice(reading, writing, 10)
    far.setblocking(False)
    os.set_blocking(reading, False)
    splice(far, writing, 10)
    splice(reading, near, 10)
    os.set_blocking(reading, True)
    splice(reading, near, 10, None, None, SPLICE_F_NONBLOCK)
    near.send(b"x" * 100)
    settle()
    splice(far, writing, 60)
    splice(far, writing, 1000)
    log.append(len(os.read(reading, 1000)))
    os.write(writing, b"hello")
    splice(reading, far, 100)
    log.append(near.recv(10))
    # Urgent data is a mark.
    near.send(b"y" * 9)
    near.send(b"!", socket.MSG_OOB)
    settle()
    splice(far, writing, 9)
    splice(far, writing, 1)
    far.setblocking(True)
    splice(far, writing, 1)
    log.append(os.read(reading, 100))
    near.close()
    os.write(writing, b"into nothing")
    settle()
    splice(reading, far, 4)
    settle()
    splice(reading, far, 4)
    far.close()
    os.read(reading, 100)

    near, far = connection()
    near.shutdown(socket.SHUT_WR)
    settle()
    os.write(writing, b"q")
    splice(far, writing, 10)
    splice(reading, near, 10)
    near.close()
    far.close()
    os.read(reading, 1)
    with socket.socket() as fresh, socket.create_server(("127.0.0.1", 0)) as listener:
        os.write(writing, b"q")
        for sock in (fresh, listener):
            splice(sock, writing, 10)
            splice(reading, sock, 10)
        os.read(reading, 1)
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", 0))
        datagrams.connect(datagrams.getsockname())
        datagrams.send(b"datagram")
        settle()
        splice(datagrams, writing, 3)
        log.append(os.read(reading, 100))
        os.write(writing, b"abc")
        splice(reading, datagrams, 100)
        settle()
        log.append(datagrams.recv(100))
    first, second = socket.socketpair()
    first.send(b"unix")
    splice(second, writing, 2)
    splice(second, writing, 20)
    splice(reading, second, 3)
    log += [first.recv(10), os.read(reading, 10)]
    first.close()
    second.close()
    further, end = os.pipe()
    os.write(writing, b"pipes")
    splice(reading, end, 3)
    log += [os.read(further, 10), os.read(reading, 10)]
    with tempfile.TemporaryFile() as file:
        file.write(b"0123456789")
        file.flush()
        splice(file, writing, 4, 2)
        log.append(os.read(reading, 10))
        os.write(writing, b"WW")
        splice(reading, file, 10, None, 0)
        log.append(os.pread(file.fileno(), 10, 0))
    os.close(further)
    os.write(writing, b"deaf")
    splice(reading, end, 10)
    for fd in (reading, writing, end):
        os.close(fd)
    return log


def low_water(settle: Settle) -> list[Any]:
    log: list[Any] = []
    for make in (socket.socket, lambda: socket.socket(type=socket.SOCK_DGRAM)):
        with make() as sock:
            for value in (0, 1, 5, 1 << 20):
                log.append(outcome(sock.setsockopt, socket.SOL_SOCKET, SO_RCVLOWAT, value))
                log.append(sock.getsockopt(socket.SOL_SOCKET, SO_RCVLOWAT))
    near, far = connection()
    far.setsockopt(socket.SOL_SOCKET, SO_RCVLOWAT, 10)
    epoll = select.epoll()
    epoll.register(far, select.EPOLLIN | select.EPOLLET)
    for _ in range(3):
        near.send(b"x" * 5)
        settle()
        log += [conditions(far), len(epoll.poll(0))]
    log += [far.recv(4), conditions(far), far.recv(100, socket.MSG_DONTWAIT), conditions(far)]
    near.send(b"y" * 3)
    settle()
    log.append(far.recv(3))  # all that was asked for
    near.send(b"z" * 3)
    near.shutdown(socket.SHUT_WR)
    settle()
    log += [conditions(far), far.recv(100), far.recv(100)]
    epoll.close()
    near.close()
    far.close()
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVLOWAT, 100)
        sock.sendto(b"x", sock.getsockname())
        settle()
        log += [conditions(sock), sock.recv(10)]
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, SO_RCVLOWAT, 7)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as sock:
            log.append(sock.getsockopt(socket.SOL_SOCKET, SO_RCVLOWAT))
    return log


def thrown_away(settle: Settle) -> list[Any]:
    """MSG_TRUNC of a stream, with and without MSG_PEEK."""
    near, far = connection()
    near.send(b"abcdefghij")
    settle()
    buffer = bytearray(5)
    log: list[Any] = [
        far.recv_into(buffer, 5, socket.MSG_TRUNC | socket.MSG_PEEK), bytes(buffer),
        far.recv_into(buffer, 5, socket.MSG_TRUNC), bytes(buffer), far.recv(10),
    ]  # fmt: skip
    near.close()
    far.close()
    return log


def peeks(settle: Settle) -> list[Any]:
    """SO_PEEK_OFF of a stream, which Linux has since 6.9."""
    log: list[Any] = []
    near, far = connection()
    near.send(b"abcdefghij")
    settle()
    try:
        far.setsockopt(socket.SOL_SOCKET, SO_PEEK_OFF, 0)
        log.append(far.getsockopt(socket.SOL_SOCKET, SO_PEEK_OFF))
    except OSError:
        pytest.skip("the machine's kernel is older than 6.9")

    def read(size: int, flags: int = 0) -> None:
        log.append(outcome(far.recv, size, flags | socket.MSG_DONTWAIT))
        log.append(far.getsockopt(socket.SOL_SOCKET, SO_PEEK_OFF))

    for size, flags in ((3, PEEK), (3, PEEK), (2, 0), (100, PEEK), (10, PEEK), (3, 0)):
        read(size, flags)
    near.send(b"KLM")
    settle()
    read(100, PEEK)
    read(100)
    far.setsockopt(socket.SOL_SOCKET, SO_PEEK_OFF, -7)
    near.send(b"xyz")
    settle()
    read(2, PEEK)
    read(3, PEEK)
    near.close()
    far.close()
    return log


def marks(settle: Settle) -> list[Any]:
    log: list[Any] = []
    for make in (socket.socket, lambda: socket.socket(type=socket.SOCK_DGRAM)):
        with make() as sock:
            log.append(outcome(sock.bind, ("10.77.7.7", 0)))
            sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
            log += [sock.getsockopt(socket.IPPROTO_IP, IP_FREEBIND), outcome(sock.bind, ("10.77.7.7", 0))]
            if os.geteuid() == 0:
                for value in (666, -1):
                    sock.setsockopt(socket.SOL_SOCKET, SO_MARK, value)
                    log.append(sock.getsockopt(socket.SOL_SOCKET, SO_MARK))
    return log


@pytest.mark.parametrize("program", [splices, low_water, thrown_away, peeks, marks])
def test_what_a_program_finds_is_what_it_finds_on_the_machine(program: Callable[[Settle], list[Any]]) -> None:
    host, machine = on_a_host(program), on_the_machine(program)
    assert len(host) == len(machine)
    for place, (ours, theirs) in enumerate(zip(host, machine, strict=True)):
        assert (place, ours) == (place, theirs)
