"""`socket` for blocking code on the machine's loopback and on a virtual host's: the same programs must see the same.

A program writes what it observes: results, types, texts of exceptions that Python makes. Numbers of descriptors and
ports are not written down.
"""

from __future__ import annotations

import _socket
import copy
import errno
import gc
import io
import math
import os
import pickle
import re
import socket
import struct
import tempfile
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from side_by_side import check_the_same

from lunar.network import Network

Log = list[Any]
PROGRAMS: dict[str, Callable[[Log], None]] = {}
HERE = ("127.0.0.1", 0)


def program(function: Callable[[Log], None]) -> Callable[[Log], None]:
    PROGRAMS[function.__name__] = function
    return function


def attempt(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The result, or of an exception its class and errno; and its text, if there is no errno."""
    try:
        return function(*args, **kwargs)
    except Exception as failed:  # noqa: BLE001 - whatever it is, it is compared
        number = failed.errno if isinstance(failed, OSError) else None
        return type(failed).__name__, errno.errorcode.get(number, number) if number else str(failed)


def pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection."""
    with socket.create_server(HERE) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _address = listener.accept()
    return one, other


def closed(*socks: socket.socket) -> None:
    for sock in socks:
        sock.close()


# The object


@program
def what_it_shows(log: Log) -> None:
    def shown(sock: socket.socket) -> str:
        numbers = re.sub(r"fd=\d+", "fd=N", repr(sock))
        return re.sub(r"\('127.0.0.1', [1-9]\d*\)", "HERE", numbers)

    class Mine(socket.socket):
        pass

    for sock in (socket.socket(), Mine(type=socket.SOCK_DGRAM), *socket.socketpair(), *pair()):
        log.append(shown(sock))
        log += [sock.family, sock.type, sock.proto, sock.timeout, sock.gettimeout(), sock.getblocking()]
        log += [isinstance(sock, socket.socket), isinstance(sock, socket.SocketType)]
        sock.close()
        log += [shown(sock), sock.fileno(), sock.family, sock.type]
    with socket.socket() as sock:
        sock.bind(HERE)
        log.append(shown(sock))
        log += [attempt(setattr, sock, "anything", 1), attempt(setattr, sock, "family", 1)]
        log += [attempt(pickle.dumps, sock)[0], attempt(copy.copy, sock)[0]]
        kept = weakref.ref(sock)
        log.append(kept() is sock)
    del sock
    log.append(kept())


@program
def classes_of_a_program(log: Log) -> None:
    class Named(socket.socket):
        def __init__(self, name: str) -> None:
            socket.socket.__init__(self, socket.AF_INET, socket.SOCK_DGRAM)
            self.name = name

        def recv(self, size: int, flags: int = 0) -> bytes:  # type: ignore[override]
            return super().recv(size, flags) + self.name.encode()

        def close(self) -> None:
            log.append("close")
            super().close()

    class Loud(Named):
        def sendto(self, *arguments: Any) -> int:
            log.append(len(arguments))
            return super().sendto(*arguments)

    with Named(" for one") as one, Loud("loud") as loud:
        one.bind(HERE)
        log += [loud.sendto(b"data", one.getsockname()), one.recv(100), one.name, type(one).__name__]
        log += [isinstance(loud, Named), isinstance(one, Loud), issubclass(type(loud), socket.socket)]
        log.append(attempt(one.sendto, b"x"))
    del one, loud

    class Slotted(socket.socket):
        __slots__ = ("more",)

    with Slotted(socket.AF_UNIX) as slotted:
        slotted.more = 3
        log += [slotted.more, attempt(setattr, slotted, "other", 1)[0], slotted.dup().__class__ is type(slotted)]


@program
def the_class_below(log: Log) -> None:
    below: Any = _socket
    log += [socket.SocketType is below.socket, issubclass(socket.socket, below.socket), below.socket.__name__]
    sock = below.socket(socket.AF_INET, socket.SOCK_DGRAM)
    log += [isinstance(sock, below.socket), isinstance(3, below.socket)]
    log += [sock.family, type(sock.family), type(sock.type)]
    log.append(repr(sock) == f"<socket object, fd={sock.fileno()}, family=2, type=2, proto=0>")
    sock.bind(HERE)
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.sendto(b"data", sock.getsockname())
    log += [sock.recv(10), sock.fileno() >= 2**30 or sock.fileno() < 100_000, sock.close(), repr(sock)]
    log += [attempt(sock.recv, 1), sock.close(), attempt(below.socket, 77, 77)]

    class Mine(below.socket):  # type: ignore[misc]
        pass

    log += [issubclass(Mine, below.socket), issubclass(int, below.socket)]


@program
def made_from_a_number(log: Log) -> None:
    for made in (socket.socket(), socket.socket(type=socket.SOCK_DGRAM), socket.socket(socket.AF_UNIX)):
        with socket.socket(fileno=made.detach()) as found:
            log += [made.fileno(), found.family, found.type, found.proto]
            with socket.fromfd(found.fileno(), found.family, found.type) as copied, found.dup() as again:
                log += [copied.proto, copied.fileno() != found.fileno(), again.type, again.get_inheritable()]
                found.settimeout(3)
                log += [copied.gettimeout(), found.dup().gettimeout()]
    with socket.socket() as sock:
        with socket.socket(99, 88, 77, fileno=sock.detach()) as found:
            log += [found.family, found.type, found.proto]
        for number in (-1, -42, 42.5, "foo", 2**40, sock.fileno()):
            log.append(attempt(socket.socket, fileno=number))
    for family, kind in ((2**40, 1), ("x", 1), (2, 2.5), (12345, 1), (2, 77)):
        log.append(attempt(socket.socket, family, kind))
    log.append(attempt(socket.socket, 2, 1, 17))
    reading, writing = os.pipe()
    log.append(attempt(socket.socket, fileno=reading))
    os.close(reading)
    os.close(writing)
    log.append(attempt(socket.socket, fileno=writing))


@program
def a_number_that_others_close(log: Log) -> None:
    sock = socket.socket()
    socket.close(sock.fileno())
    log += [attempt(sock.listen), attempt(sock.settimeout, 1), attempt(sock.getsockname), attempt(sock.close)]
    log += [sock.fileno(), attempt(sock.close)]
    first = socket.socket()
    second = socket.socket(fileno=first.fileno())
    first.close()
    log += [attempt(second.setblocking, False), attempt(second.recv, 1), attempt(second.send, b"x")]
    second.detach()
    for number in (None, -1, "x"):
        log.append(attempt(socket.close, number))


@program
def what_is_left_open_warns(log: Log) -> None:
    gc.collect()  # what other tests have left
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sock = socket.socket()
        expected = f"unclosed {sock!r}"
        del sock
        gc.collect()
        log += [(one.category, str(one.message) == expected) for one in caught]
        caught.clear()
        with socket.socket() as sock:
            file = sock.makefile("rb")
        log.append(file.closed)
        file.close()
        number = socket.socket().detach()
        gc.collect()
        log.append(len(caught))
        os.close(number)


@program
def an_end_while_files_are_open(log: Log) -> None:
    a, b = pair()
    file = a.makefile("rb")
    a.close()
    log += [a.fileno() >= 0, attempt(b.sendall, b"line\n"), file.readline()]
    file.close()
    log += [a.fileno(), b.recv(10), attempt(a.recv, 1)]
    b.close()


@program
def inheritable_flags(log: Log) -> None:
    with socket.socket(type=socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        log += [sock.type, sock.get_inheritable(), sock.set_inheritable(True), sock.get_inheritable()]
        log += [os.get_inheritable(sock.fileno()), os.set_inheritable(sock.fileno(), False), sock.get_inheritable()]
    a, b = socket.socketpair()
    log += [a.get_inheritable(), b.get_inheritable()]
    closed(a, b)


# Timeouts


@program
def timeouts_that_are_none(log: Log) -> None:
    with socket.socket() as sock:
        for value in (
            0, 0.0, 1, 2.5, None, True, 1e-12, 3_000_000, -1, -0.5, math.nan, math.inf, 1 << 80, "1", b"1", [], 1j,
        ):  # fmt: skip
            found = attempt(sock.settimeout, value)
            # Python 3.13 has another name for the type that a time does not fit.
            log.append(found[0] if isinstance(found, tuple) and found[0] == "OverflowError" else found)
            log += [sock.gettimeout(), sock.getblocking(), os.get_blocking(sock.fileno())]
        for flag in (True, False, 1, 0, 2**40):
            log += [attempt(sock.setblocking, flag), sock.gettimeout()]


@program
def the_timeout_of_new_sockets(log: Log) -> None:
    log.append(socket.getdefaulttimeout())
    for value in (-1, "spam", math.nan):
        log.append(attempt(socket.setdefaulttimeout, value))
    try:
        for value in (10, 0.0, 2.5, None):
            socket.setdefaulttimeout(value)
            a, b = socket.socketpair()
            with socket.socket() as sock, socket.socket(fileno=sock.dup().detach()) as again:
                for one in (sock, again, a, b):
                    log += [one.gettimeout(), os.get_blocking(one.fileno())]
            closed(a, b)
            with socket.socket(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
                log.append(sock.gettimeout())
        with socket.create_server(HERE) as listener:
            for default, own in ((None, 5), (20, 5), (None, None)):
                socket.setdefaulttimeout(default)
                listener.settimeout(own)
                with socket.create_connection(listener.getsockname(), timeout=7) as caller:
                    accepted, _address = listener.accept()
                    log += [accepted.gettimeout(), caller.gettimeout()]
                    accepted.close()
    finally:
        socket.setdefaulttimeout(None)


@program
def time_that_is_over(log: Log) -> None:
    a, b = pair()
    with socket.create_server(HERE) as listener:
        for sock in (a, listener):
            sock.settimeout(0.02)
        log += [attempt(listener.accept), attempt(a.recv, 1), attempt(a.recv_into, bytearray(1)), attempt(a.recvmsg, 1)]
        log += [attempt(a.recvfrom, 1), attempt(a.sendall, bytes(30_000_000)), attempt(a.recv, 1, socket.MSG_DONTWAIT)]
        file = a.makefile("rb")
        log += [attempt(file.read, 1), attempt(file.read, 1)]
        file.close()
    closed(a, b)
    a, b = socket.socketpair()
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        a.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", 0, 20_000))
        log.append(struct.unpack("ll", a.getsockopt(socket.SOL_SOCKET, option, 16)))
    log += [attempt(a.recv, 1), attempt(a.sendall, bytes(3_000_000))]
    closed(a, b)


@program
def nothing_to_wait_for(log: Log) -> None:
    a, b = pair()
    with socket.create_server(HERE) as listener:
        for sock in (a, listener):
            sock.setblocking(False)
        log += [attempt(listener.accept), attempt(a.recv, 1), attempt(a.recvmsg, 1)]
        log.append(attempt(a.sendall, bytes(30_000_000)))
        with socket.socket() as caller:
            caller.setblocking(False)
            log.append(caller.connect_ex(listener.getsockname()) in (0, errno.EINPROGRESS))
            log.append(attempt(caller.connect, ("127.0.0.1", 70000)))
    os.set_blocking(b.fileno(), False)  # behind the object's back
    while not isinstance(attempt(b.recv, 1 << 20), tuple):
        pass
    log += [b.gettimeout(), attempt(b.recv, 1)]
    closed(a, b)


# Arguments


@program
def wrong_arguments(log: Log) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(HERE)
        name = sock.getsockname()
        for arguments in (
            ("text", name), (5j, name), (b"x", None), ("text", 0, name), (b"x", 0, None), (b"x", "0", name),
            (b"x", None, None), (b"x",), (b"x", 0, name, 4), (), (b"x", 0, ("127.0.0.1",)), (b"x", ("127.0.0.1", "a")),
            (b"x", ("127.0.0.1", 70000)), (b"x", 2**40, name), (b"x", ("127.0.0.1", -1)),
        ):  # fmt: skip
            found = attempt(sock.sendto, *arguments)
            log.append(found[0] if found[0] == "OverflowError" else found)
    a, b = socket.socketpair()
    wrong: Any = a
    for call in (
        lambda: wrong.send("x"), lambda: wrong.send(b"x", 2**40), lambda: wrong.send(b"x", None), wrong.send,
        lambda: wrong.sendall(3), lambda: wrong.recv("x"), lambda: wrong.recv(-1), lambda: wrong.recv(1, 2**40),
        lambda: wrong.recvfrom(-1), lambda: wrong.recv_into(b"x"), lambda: wrong.recv_into(bytearray(3), -1),
        lambda: wrong.recv_into(bytearray(3), 4), lambda: wrong.recvfrom_into(bytearray(3), 4),
        lambda: wrong.recvfrom_into(bytearray(3), -4), lambda: wrong.recv_into("x"), lambda: wrong.shutdown(2**40),
        lambda: wrong.shutdown(7), lambda: wrong.shutdown("x"), lambda: wrong.recv(0), lambda: wrong.recv_into(b""),
        lambda: wrong.getsockopt(1, 2, 5000), lambda: wrong.getsockopt(1, 2, -1), lambda: wrong.sendmsg_afalg([b"x"]),
        lambda: wrong.recv_into(bytearray()), lambda: wrong.makefile("rt"), lambda: wrong.makefile("x"),
    ):  # fmt: skip
        found = attempt(call)
        # The words of Python's own parser of arguments for C are not ours.
        log.append(found[0] if isinstance(found, tuple) and found[0] in ("TypeError", "OverflowError") else found)
    closed(a, b)
    with socket.socket() as sock:
        for port in (-1, 65536, 2**40, "80", None):
            log.append(attempt(sock.bind, ("127.0.0.1", port)))
        for backlog in (2**31, -(2**31) - 1, "x"):
            log.append(attempt(sock.listen, backlog)[0])
        log += [attempt(sock.bind, "x"), attempt(sock.bind, ("127.0.0.1",)), attempt(sock.bind, HERE)]
        log += [attempt(sock.listen, -1), attempt(sock.listen, 0)]
    log += [attempt(sock.recv, 1), attempt(sock.send, b"x"), attempt(sock.sendmsg, [b"x"]), attempt(sock.accept)]


# Data


@program
def all_that_was_asked_for(log: Log) -> None:
    a, b = pair()
    a.sendall(b"abcdef")
    a.shutdown(socket.SHUT_WR)
    log += [b.recv(4, socket.MSG_WAITALL), b.recv(4, socket.MSG_PEEK), b.recv(10, socket.MSG_WAITALL), b.recv(1)]
    closed(a, b)
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind(HERE)
        one.connect(other.getsockname())
        for _ in range(4):
            one.send(b"a datagram")
        log += [other.recv(4), len(other.recv(4, socket.MSG_TRUNC | socket.MSG_PEEK))]
        log += [other.recv_into(bytearray(4), 0, socket.MSG_TRUNC), other.recvmsg(4)[::2], other.recvfrom(100)[0]]


@program
def files_of_a_socket(log: Log) -> None:
    for mode, buffering in (("rb", -1), ("rb", 0), ("r", -1), ("rwb", -1), ("rwb", 0), ("rw", 1), ("r", 10)):
        a, b = socket.socketpair()
        a.sendall(b"first line\r\nsecond line\nrest")
        a.shutdown(socket.SHUT_WR)
        with b.makefile(mode, buffering, encoding=None if "b" in mode else "utf-8") as file:
            log += [type(file).__name__, file.mode if hasattr(file, "mode") else None, file.readable(), file.writable()]
            log += [file.seekable(), file.readline(), file.read()]
            if "w" in mode:
                log += [file.write(b"back" if "b" in mode else "back"), file.flush(), a.recv(10)]
        log.append(b.fileno() >= 0)
        closed(a, b)
    log.append(attempt(socket.socket().makefile, "r", 0))


@program
def a_descriptor_as_a_file(log: Log) -> None:
    a, b = socket.socketpair()
    with os.fdopen(a.detach(), "wb") as file:
        log += [file.write(b"through a file"), file.flush(), os.read(b.fileno(), 100)]
    log += [os.read(b.fileno(), 100), attempt(os.write, b.fileno(), b"x")]
    b.close()


@program
def a_file_that_is_sent(log: Log) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"0123456789" * 1000)
        for offset, count in ((0, None), (10, 15), (9_995, None), (20_000, None)):
            a, b = pair()
            for sock in (a, b):
                sock.settimeout(5)
            log += [a.sendfile(file, offset, count), file.tell()]
            a.shutdown(socket.SHUT_WR)
            received = b"".join(iter(lambda sock=b: sock.recv(100_000), b""))  # type: ignore[misc]
            log += [len(received), received[:5]]
            closed(a, b)
    a, b = pair()
    log += [a.sendfile(io.BytesIO(b"no descriptor"), 3), b.recv(100)]
    log.append(attempt(a.sendfile, io.StringIO("text")))
    closed(a, b)
    with socket.socket(type=socket.SOCK_DGRAM) as sock, tempfile.TemporaryFile() as file:
        log.append(attempt(sock.sendfile, file))


# What the module does in Python


@program
def servers_and_connections(log: Log) -> None:
    with socket.create_server(("localhost", 0)) as one:
        log += [one.family, one.type, one.getsockname()[0], one.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) != 0]
        log.append(attempt(socket.create_server, one.getsockname()))
        with socket.create_connection(("localhost", one.getsockname()[1]), 3, ("127.0.0.1", 0)) as caller:
            log += [caller.gettimeout(), caller.getsockname()[0], caller.getpeername() == one.getsockname()]
        gone = one.getsockname()
    log.append(attempt(socket.create_connection, gone))
    try:
        socket.create_connection(gone, all_errors=True)
    except ExceptionGroup as group:
        log.append([type(one) for one in group.exceptions])
    log.append(attempt(socket.create_server, HERE, family=socket.AF_INET, dualstack_ipv6=True))
    with socket.create_server(HERE, reuse_port=True) as one:
        log.append(one.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_virtual_host_is_as_the_machine(name: str) -> None:
    check_the_same(PROGRAMS[name])


# Functions that look something up: in words and errors as the machine's, where the tables have the same.


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        (name, arguments)
        for name, cases in {
            "getservbyname": [("nosuch",), ("nosuch", "tcp"), ("domain",), ("domain", "udp"), ("http", "udp")],
            "getservbyport": [(-1,), (65536,), (53,), (53, "udp"), (80, "udp"), (60_999,)],
            "getprotobyname": [("tcp",), ("TCP",), ("udp",), ("icmp",), ("ipv6",), ("nosuch",)],
            "if_nametoindex": [("nosuch",), ("lo",), (b"lo",)],
            "if_indextoname": [(0,), (1,), (99_999,), (-1,)],
            "gethostbyname": [("",), ("<broadcast>",), (b"127.0.0.1",), ("1.2.3",), ("::1",), ("localhost",)],
            "gethostbyname_ex": [("127.0.0.1",), ("localhost",)],
            "gethostbyaddr": [("127.0.0.1",), ("localhost",)],
            "getnameinfo": [
                (("127.0.0.1", 80), 0), (("127.0.0.1", 80, 0, 0), 0), (("127.0.0.1", 514), socket.NI_DGRAM),
                (("127.0.0.1", 514), 0), ((1, 0), 0), (("127.0.0.1",), 0), ("a", 0),
                (("::1", 0, 0xFFFFFFFF), socket.NI_NUMERICHOST),
            ],
            "getaddrinfo": [("127.0.0.1", name) for name in ("http", "ntp", "domain", "nosuch", "\ud800")],
        }.items()
        for arguments in cases
    ],
)  # fmt: skip
def test_a_look_up_is_as_the_machines(name: str, arguments: tuple[Any, ...]) -> None:
    if not os.path.exists("/etc/services"):
        pytest.skip("the machine has no tables to compare with")
    expected = attempt(getattr(socket, name), *arguments)
    with Network(seed=1) as net:
        host = net.host("alpha", "10.0.0.1/24")
        assert net.run(lambda: attempt(getattr(socket, name), *arguments), on=host) == expected
