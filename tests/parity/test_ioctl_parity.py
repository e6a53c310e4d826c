"""ioctl(2) on every kind of descriptor: the machine's answer and a virtual host's are the same.

What Linux charges a Unix socket beyond its bytes depends on the kernel's build, so of TIOCOUTQ there only whether
something is queued is compared.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from lunar.network import Network

REQUESTS = {
    "FIONREAD": 0x541B, "TIOCOUTQ": 0x5411, "SIOCATMARK": 0x8905, "SIOCOUTQNSD": 0x894B, "FIONBIO": 0x5421,
    "FIOCLEX": 0x5451, "FIONCLEX": 0x5450, "TCGETS": 0x5401, "unknown": 0x1234,
}  # fmt: skip


def answers(descriptor: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, request in REQUESTS.items():
        buffer = bytearray(4)
        try:
            result = fcntl.ioctl(descriptor, request, buffer, True)
            found[name] = result, struct.unpack("i", buffer)[0]
        except OSError as failed:
            found[name] = errno.errorcode[failed.errno or 0]
    return found


def program(settle: Callable[[Any], None]) -> dict[str, Any]:
    log: dict[str, Any] = {}

    def note(what: str, descriptor: Any) -> None:
        log[what] = answers(descriptor)

    closed = socket.socket()
    note("new stream", closed)
    closed.close()
    listener = socket.create_server(("127.0.0.1", 0))
    note("listening stream", listener)
    near = socket.create_connection(listener.getsockname())
    far, _ = listener.accept()
    note("connected stream", near)
    near.send(b"abcde")
    settle(near)
    note("stream with data", far)
    near.close()
    note("stream with data", far)
    far.recv(3)
    note("stream with less data", far)
    far.recv(3)
    note("stream at its end", far)
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        note("new datagram", datagrams)
        datagrams.bind(("127.0.0.1", 0))
        datagrams.connect(datagrams.getsockname())
        for payload in (b"abc", b"z", b""):
            datagrams.send(payload)
        settle(None)
        for number in range(3):
            note(f"datagram {number}", datagrams)
            datagrams.recv(100)
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        first, second = socket.socketpair(socket.AF_UNIX, kind)
        first.send(b"xyz")
        first.send(b"q")
        note(f"unix {kind}", second)
        note(f"unix {kind}, sender", first)
        state = log[f"unix {kind}, sender"]
        state["TIOCOUTQ"] = state["TIOCOUTQ"][0], state["TIOCOUTQ"][1] > 0
        second.recv(1)
        note(f"unix {kind}, read", second)
        first.close()
        second.close()
    reading, writing = os.pipe()
    os.write(writing, b"hello")
    os.read(reading, 2)
    note("pipe, reading", reading)
    note("pipe, writing", writing)
    os.set_blocking(reading, True)
    log["FIONBIO"] = [fcntl.ioctl(reading, 0x5421, struct.pack("i", 1)), os.get_blocking(reading)]
    log["bytes"] = fcntl.ioctl(reading, 0x541B, b"\0\0\0\0..")
    log["kept"] = fcntl.ioctl(reading, 0x541B, bytearray(6), False)
    os.close(reading)
    try:
        fcntl.ioctl(reading, 0x541B, b"\0\0\0\0")
    except OSError as failed:
        log["closed"] = failed.errno
    os.close(writing)
    for sock in (listener, far):
        sock.close()
    return log


def test_all_kinds_of_descriptors_answer_as_the_machines() -> None:
    def acknowledged(sock: Any) -> None:
        while sock is not None and struct.unpack("i", fcntl.ioctl(sock, 0x5411, b"\0" * 4))[0]:
            os.sched_yield()

    network = Network(seed=1)
    host = network.host("host", "10.0.0.1/24")
    seen: list[dict[str, Any]] = []
    network.start(host, lambda: seen.append(program(lambda _sock: time.sleep(1))))
    network.run()
    machine = program(acknowledged)
    for what, answer in machine.items():
        assert seen[0][what] == answer, what
