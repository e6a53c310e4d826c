"""Ancillary data on the machine's Unix sockets and on a virtual host's: the same programs must see the same.

A program writes what it observes: data, levels, types and sizes of ancillary data, flags, errnos. Numbers of
descriptors and of processes are not written down.
"""

from __future__ import annotations

import array
import errno
import os
import random
import socket
import struct
import tempfile
from collections.abc import Callable
from typing import Any

import pytest
from side_by_side import check_the_same

from lunar.network import Network

Log = list[Any]
PROGRAMS: dict[str, Callable[[Log], None]] = {}

RIGHTS = (socket.SOL_SOCKET, socket.SCM_RIGHTS)
CREDENTIALS = (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)


def program(function: Callable[[Log], None]) -> Callable[[Log], None]:
    PROGRAMS[function.__name__] = function
    return function


def attempt(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except (OSError, TypeError, ValueError, OverflowError) as failed:
        number = getattr(failed, "errno", None)
        return type(failed).__name__, errno.errorcode.get(number or 0)


def rights(*descriptors: int) -> tuple[int, int, bytes]:
    return *RIGHTS, array.array("i", descriptors).tobytes()


def taken(ancdata: list[tuple[int, int, bytes]]) -> list[int]:
    """The descriptors in `ancdata`."""
    found = array.array("i")
    for level, kind, data in ancdata:
        if (level, kind) == RIGHTS:
            found.frombytes(data[: len(data) - len(data) % 4])
    return list(found)


def seen(message: tuple[bytes, list[tuple[int, int, bytes]], int, Any]) -> list[Any]:
    """What can be compared of recvmsg's answer, whose descriptors are closed."""
    data, ancdata, flags, _address = message
    for descriptor in taken(ancdata):
        os.close(descriptor)
    return [data, [(level, kind, len(item)) for level, kind, item in ancdata], flags]


@program
def a_pipe_is_passed_and_works(log: Log) -> None:
    a, b = socket.socketpair()
    reading, writing = os.pipe()
    log.append(a.sendmsg([b"pi", b"pe"], [rights(writing)]))
    os.close(writing)
    data, ancdata, flags, address = b.recvmsg(100, socket.CMSG_SPACE(4))
    (passed,) = taken(ancdata)
    log += [data, len(ancdata), flags, address, os.get_inheritable(passed)]
    log += [os.write(passed, b"through"), os.read(reading, 100)]
    os.close(passed)
    log.append(os.read(reading, 100))  # that was the last writer
    os.close(reading)
    a.close()
    b.close()


@program
def a_socket_is_passed_and_is_the_same(log: Log) -> None:
    a, b = socket.socketpair()
    one, other = socket.socketpair()
    socket.send_fds(a, [b"x"], [one.fileno()])
    one.close()
    other.settimeout(5)
    other.sendall(b"while it flies")
    data, descriptors, flags, _address = socket.recv_fds(b, 10, 4)
    log += [data, len(descriptors), flags]
    with socket.socket(fileno=descriptors[0]) as found:
        log += [found.family, found.type, found.recv(100), found.sendall(b"back"), other.recv(100)]
    log.append(other.recv(100))
    for sock in (a, b, other):
        sock.close()


@program
def a_file_of_the_machine_is_passed(log: Log) -> None:
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with tempfile.TemporaryFile() as file:
        file.write(b"content")
        file.flush()
        socket.send_fds(a, [b"file"], [file.fileno()])
    _data, descriptors, _flags, _address = socket.recv_fds(b, 10, 1)
    log += [os.lseek(descriptors[0], 0, os.SEEK_SET), os.read(descriptors[0], 100)]
    os.close(descriptors[0])
    a.close()
    b.close()


@program
def what_nobody_takes_is_closed(log: Log) -> None:
    for how in ("a plain recv", "no room", "the receiver's end", "a read that was too short"):
        a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reading, writing = os.pipe()
        a.sendmsg([b"data"], [rights(writing)])
        os.close(writing)
        if how == "a plain recv":
            log.append(b.recv(100))
        elif how == "no room":
            log.append(seen(b.recvmsg(100)))
        elif how == "a read that was too short":
            log.append(seen(b.recvmsg(2, 3)))
        b.close()
        log.append(os.read(reading, 1))
        os.close(reading)
        a.close()


@program
def room_for_some_of_them(log: Log) -> None:
    reading, writing = os.pipe()
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        a, b = socket.socketpair(socket.AF_UNIX, kind)
        for size in (0, 1, 15, 16, 17, 19, 20, 21, 23, 24, 27, 28, 32, 100):
            a.sendmsg([b"m"], [rights(reading, writing, reading)])
            log.append((size, seen(b.recvmsg(10, size))))
        a.close()
        b.close()
    os.close(reading)
    os.close(writing)


@program
def what_can_be_sent(log: Log) -> None:
    a, b = socket.socketpair()
    reading, writing = os.pipe()
    for items in (
        [rights()], [rights(reading), rights(writing)], [(*RIGHTS, b"abc")], [(*RIGHTS, rights(reading)[2] + b"a")],
        [rights(-1)], [rights(-77, reading)], [(socket.SOL_SOCKET, 99, b"")], [(77, 99, b"whatever")],
        [rights(*[reading] * 253)], [rights(*[reading] * 254)], [(*CREDENTIALS, b"short")],
    ):  # fmt: skip
        log.append(attempt(a.sendmsg, [b"m"], items))
        if isinstance(log[-1], int):
            log.append(seen(b.recvmsg(10, 4000)))
    for buffers, ancdata in (
        (3, []), ([3], []), ([b"m"], 3), ([b"m"], [3]), ([b"m"], [(1, 1)]), ([b"m"], [("x", 1, b"")]),
        ([b"m"], [(1, 1, "text")]), (["text"], []),
    ):  # fmt: skip
        log.append(attempt(a.sendmsg, buffers, ancdata))
    for arguments in ((-1,), (1, -1), ("x",), (1, "x"), (1, 1, "x")):
        log.append(attempt(b.recvmsg, *arguments))
    log.append(attempt(b.recvmsg, 10, 100, socket.MSG_DONTWAIT))
    a.close()
    b.close()
    log.append(attempt(a.sendmsg, [b"m"], [rights(reading)]))
    os.close(reading)
    log.append(attempt(os.read, writing, 1))
    os.close(writing)


@program
def a_stream_stops_where_files_came(log: Log) -> None:
    reading, writing = os.pipe()
    a, b = socket.socketpair()
    a.sendall(b"before ")
    a.sendmsg([b"with one "], [rights(reading)])
    a.sendmsg([b"with two "], [rights(reading, writing)])
    a.sendall(b"after")
    for _ in range(3):
        log.append(seen(b.recvmsg(100, 100)))
    a.sendmsg([b"with one"], [rights(reading)])
    log.append(seen(b.recvmsg(4, 100)))  # the files go with the first of the bytes
    log.append(seen(b.recvmsg(100, 100)))
    a.sendmsg([b""], [rights(reading)])
    log.append(attempt(b.recvmsg, 10, 100, socket.MSG_DONTWAIT))
    os.close(reading)
    os.close(writing)
    a.close()
    b.close()


@program
def looking_at_files_opens_them_each_time(log: Log) -> None:
    reading, writing = os.pipe()
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        a, b = socket.socketpair(socket.AF_UNIX, kind)
        a.sendmsg([b"peek"], [rights(writing)])
        log.append(seen(b.recvmsg(2, 100, socket.MSG_PEEK)))
        log.append(seen(b.recvmsg(10, 100, socket.MSG_PEEK)))
        log.append(b.recv(10, socket.MSG_PEEK))
        log.append(seen(b.recvmsg(10, 100)))
        a.close()
        b.close()
    os.close(writing)
    log.append(os.read(reading, 1))
    os.close(reading)


@program
def into_several_buffers(log: Log) -> None:
    reading, writing = os.pipe()
    a, b = socket.socketpair()
    a.sendmsg([b"Mary had a ", b"little lamb"], [rights(reading)])
    buffers = [bytearray(4), bytearray(7), bytearray(20)]
    count, ancdata, flags, _address = b.recvmsg_into(buffers, 100)
    log += [count, buffers, len(taken(ancdata)), flags]
    os.close(taken(ancdata)[0])
    for wrong in (3, bytearray(3), [b"x"], [bytearray(1), "x"]):
        log.append(attempt(b.recvmsg_into, wrong))
    log.append(attempt(b.recvmsg_into, [bytearray(1)], -1))
    os.close(reading)
    os.close(writing)
    a.close()
    b.close()


@program
def flags_of_what_is_received(log: Log) -> None:
    reading, writing = os.pipe()
    a, b = socket.socketpair()
    cloexec = 0x40000000
    socket.send_fds(a, [b"x"], [reading])
    data, ancdata, flags, _address = b.recvmsg(10, 100, cloexec)
    log += [data, flags == cloexec, os.get_inheritable(taken(ancdata)[0])]
    os.close(taken(ancdata)[0])
    a.close()
    b.close()
    os.close(reading)
    os.close(writing)


@program
def who_sends(log: Log) -> None:
    own = struct.pack("iII", os.getpid(), os.getuid(), os.getgid())
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        a, b = socket.socketpair(socket.AF_UNIX, kind)
        log.append(b.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12) == own)
        log.append([a.getsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED)])
        a.sendall(b"unsigned")
        b.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        log.append([b.getsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED)])
        log.append(b.recvmsg(100, 100)[:3])
        a.sendall(b"signed")
        data, ancdata, flags, _address = b.recvmsg(100, 100)
        log += [data, ancdata == [(*CREDENTIALS, own)], flags]
        log.append(a.sendmsg([b"by name"], [(*CREDENTIALS, own)]))
        log.append(b.recvmsg(100, 100)[1] == [(*CREDENTIALS, own)])
        reading, writing = os.pipe()
        for size in (0, 10, 16, 20, 28, 31, 32, 47, 48, 52, 100):
            a.sendmsg([b"both"], [rights(reading, writing)])
            message = b.recvmsg(100, size)
            log.append((size, [item == own[: len(item)] for level, kind, item in message[1][:1]], seen(message)))
        os.close(reading)
        os.close(writing)
        a.close()
        b.close()


@program
def peers_by_name(log: Log) -> None:
    own = struct.pack("iII", os.getpid(), os.getuid(), os.getgid())
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        nobody = listener.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        log.append(struct.unpack("iii", nobody))
        listener.bind(os.path.join(folder, "s"))
        listener.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(listener.getsockname())
            accepted, _address = listener.accept()
            with accepted:
                for sock in (client, accepted):
                    log.append(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12) == own)
    with socket.socket() as tcp:
        log.append(struct.unpack("iii", tcp.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)))


@program
def over_tcp_and_udp(log: Log) -> None:
    reading, writing = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as a:
        b, _address = listener.accept()
        with b:
            log.append(attempt(a.sendmsg, [b"tcp"], [rights(reading)]))
            log.append(b.recvmsg(100, 100))
            log.append(attempt(a.sendmsg, [b"tcp"], [(socket.SOL_SOCKET, 99, b"")]))
            log.append(attempt(a.sendmsg, [b"tcp"], [(99, 99, b"")]))
            log.append(b.recvmsg(100, 100))
    with socket.socket(type=socket.SOCK_DGRAM) as a, socket.socket(type=socket.SOCK_DGRAM) as b:
        b.bind(("127.0.0.1", 0))
        a.bind(("127.0.0.1", 0))
        log.append(attempt(a.sendmsg, [b"u", b"dp"], [], 0, b.getsockname()))
        data, ancdata, flags, address = b.recvmsg(2, 100)
        log += [data, ancdata, flags, address == a.getsockname()]
        log.append(attempt(a.sendmsg, [b"udp"], [(socket.SOL_SOCKET, 99, b"")], 0, b.getsockname()))
        log.append(attempt(a.sendmsg, [b"udp"], [(socket.IPPROTO_IP, 99, b"")], 0, b.getsockname()))
        log.append(attempt(a.sendmsg, [b"udp"]))
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_virtual_host_is_as_the_machine(name: str) -> None:
    check_the_same(PROGRAMS[name])


def random_program(seed: int) -> Log:
    """Sends, with files or without, and receives of all sizes, in an order that `seed` gives."""
    chance = random.Random(seed)
    log: Log = []
    kind = chance.choice((socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET))
    ends = socket.socketpair(socket.AF_UNIX, kind)
    reading, writing = os.pipe()
    own = struct.pack("iII", os.getpid(), os.getuid(), os.getgid())
    for _ in range(40):
        a, b = ends if chance.random() < 0.7 else ends[::-1]
        turn = chance.randrange(8)
        size = chance.choice((1, 2, 3, 5, 8, 13, 100))
        flags = socket.MSG_DONTWAIT | (socket.MSG_PEEK if chance.random() < 0.2 else 0)
        if turn <= 1:
            log.append(attempt(a.send, bytes(chance.randrange(256) for _ in range(size)), socket.MSG_DONTWAIT))
        elif turn <= 3:
            items = [rights(*chance.choices((reading, writing), k=chance.randrange(1, 4)))]
            if chance.random() < 0.3:
                items.append((*CREDENTIALS, own))
            log.append(attempt(a.sendmsg, [b"m" * size], items, socket.MSG_DONTWAIT))
        elif turn == 4:
            log.append(attempt(b.recv, size, flags))
        elif turn <= 6:
            got = attempt(b.recvmsg, size, chance.choice((0, 16, 20, 24, 28, 32, 48, 56, 200)), flags)
            log.append(seen(got) if len(got) == 4 else got)
        else:
            b.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, chance.randrange(2))
    closed_ends = chance.random() < 0.5
    for sock in ends if closed_ends else ends[::-1]:
        sock.close()
    os.close(writing)
    log.append(os.read(reading, 1))  # nobody has the other end any more
    os.close(reading)
    return log


@pytest.mark.parametrize("seed", range(60))
def test_random_programs_see_the_same(seed: int) -> None:
    expected = random_program(seed)
    with Network(seed=1) as net:
        host = net.host("alpha", "10.0.0.1/24")
        assert net.run(random_program, seed, on=host) == expected
        assert host.descriptors.all() == []
