"""A host that another stack serves: the programs on it, blocking and asyncio, notice nothing."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest

import lunar
from lunar.net.ip_output import send
from lunar.packet import AF_INET, IcmpMessage
from tests.lunar.tiny_stack import TinyStack

MS = 0.001


def pair(**options: Any) -> tuple[lunar.Network, Any, Any]:
    net = lunar.Network(seed=1, **options)
    tiny = net.host("tiny", "10.0.0.1/24", stack=TinyStack)
    full = net.host("full", "10.0.0.2/24")
    net.link(tiny, full, delay="5ms")
    return net, tiny, full


def echo_blocking(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", port))
        while True:
            data, peer = sock.recvfrom(2000)
            sock.sendto(data.upper(), peer)


async def ask(name: str, port: int, words: list[bytes]) -> list[tuple[bytes, float]]:
    loop = asyncio.get_running_loop()
    got: list[tuple[bytes, float]] = []
    over = loop.create_future()

    class Asker(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            got.append((data, loop.time()))
            if len(got) == len(words):
                over.set_result(None)

    transport, _ = await loop.create_datagram_endpoint(Asker, remote_addr=(name, port))
    for word in words:
        transport.sendto(word)
    await over
    transport.close()
    return got


def test_its_programs_serve_lunars() -> None:
    net, tiny, full = pair()
    net.start(tiny, echo_blocking, 7, background=True)
    got = net.run(ask("tiny", 7, [b"one", b"two"]), on=full)
    assert [data for data, _ in got] == [b"ONE", b"TWO"]
    # 5 ms there and 5 back; the second answer a millisecond later, as the tiny stack's timer has it.
    assert [round(at, 6) for _, at in got] == [0.010, 0.011]


def test_lunars_programs_serve_its() -> None:
    net, tiny, full = pair()
    net.start(full, echo_blocking, 7, background=True)
    got = net.run(ask("full", 7, [b"one", b"two"]), on=tiny)
    assert [data for data, _ in got] == [b"ONE", b"TWO"]


def test_it_answers_an_echo() -> None:
    net, _tiny, full = pair()
    answers: list[Any] = []
    full.icmp.echo_waiter = answers.append
    echo = IcmpMessage(AF_INET, 0, 0x0A00_0001, 8, 0, 0x0001_0002, b"abcd")
    echo.size_bytes = 32
    send(full.ip, echo, None)
    net.run(until="1s")
    assert [(answer.type, answer.rest, answer.payload) for answer in answers] == [(0, 0x0001_0002, b"abcd")]


def test_what_it_refuses_programs_see() -> None:
    net, tiny, _full = pair()

    def refused() -> list[int | None]:
        numbers: list[int | None] = []
        for family, kind in ((socket.AF_INET6, socket.SOCK_DGRAM), (socket.AF_INET, socket.SOCK_STREAM)):
            with pytest.raises(OSError) as caught:
                socket.socket(family, kind)
            numbers.append(caught.value.errno)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            with pytest.raises(OSError) as caught:
                sock.bind(("10.0.0.9", 7))
            numbers.append(caught.value.errno)
            with pytest.raises(OSError) as caught:
                sock.sendto(b"x", ("10.0.0.77", 7))
            numbers.append(caught.value.errno)
            sock.connect(("10.0.0.2", 9))
            assert sock.getpeername() == ("10.0.0.2", 9)
            with pytest.raises(OSError) as caught:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 3)
            numbers.append(caught.value.errno)
            sock.settimeout(0.5)
            with pytest.raises(TimeoutError):
                sock.recv(10)
        return numbers

    assert net.run(refused, on=tiny) == [
        errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EADDRNOTAVAIL, errno.EHOSTUNREACH, errno.ENOPROTOOPT,
    ]  # fmt: skip


def test_what_is_bad_is_dropped() -> None:
    net, tiny, full = pair()

    def send_raw() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.settimeout(0.5)
            with pytest.raises(TimeoutError):  # there is no TCP that would refuse it
                sock.connect(("10.0.0.1", 80))

    net.run(send_raw, on=full)
    assert tiny.boundary.stack.ports == {}


def test_a_boot_makes_another() -> None:
    _net, tiny, _full = pair()
    first = tiny.boundary.stack
    assert first.changes > 0  # it has been told of its address
    tiny.crash()
    tiny.boot()
    assert tiny.boundary.stack is not first
    assert tiny.boundary.stack.address() == first.address()


def test_frames_and_timers_have_rules() -> None:
    net, tiny, _full = pair()
    with pytest.raises(ValueError, match="a frame of 3 bytes"):
        tiny.boundary.write_msg(0, b"abc")
    with pytest.raises(IndexError):
        tiny.boundary.write_msg(1, bytes(60))
    tiny.boundary.set_timer(5)
    tiny.boundary.set_timer(None)
    net.run(until="1s")  # an empty queue would have made the timer fail


def test_only_a_stack_will_do() -> None:
    net = lunar.Network()
    with pytest.raises(TypeError, match=r"expected a lunar\.stack\.Stack"):
        net.host("x", stack=lambda boundary: 3)  # type: ignore[arg-type,return-value]
    with pytest.raises(ValueError, match='there is no stack "plan9"'):
        net.host("y", stack="plan9")
