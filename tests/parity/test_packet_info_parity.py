"""What recvmsg(2) tells of a packet's header, ip(7): the same calls on the machine's loopback and on a virtual host."""

from __future__ import annotations

import itertools
import os
import socket
import struct
from typing import Any

import pytest

from lunar.network import Network

# ip(7); CPython 3.11's socket has not all of them.
IP_PKTINFO, IP_RECVTTL, IP_RECVTOS = 8, 12, 13
OPTIONS = (IP_PKTINFO, IP_RECVTTL, IP_RECVTOS)


def own(role: int) -> str:
    """An address of 127/8 that is this process's: others may run the same test at the same time."""
    return f"127.{role}.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"


HERE, THERE, ELSEWHERE = own(74), own(75), own(80)


def datagrams() -> tuple[socket.socket, socket.socket]:
    near, far = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
    near.bind((HERE, 0))
    far.bind(("", 0))
    return near, far


def send(near: socket.socket, far: socket.socket) -> None:
    near.sendto(b"data", (THERE, far.getsockname()[1]))


def what_datagrams_tell() -> list[Any]:
    log: list[Any] = []
    near, far = datagrams()
    near.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 7)
    near.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x28)
    for count in range(len(OPTIONS) + 1):
        for chosen in itertools.combinations(OPTIONS, count):
            for option in OPTIONS:
                far.setsockopt(socket.IPPROTO_IP, option, option in chosen)
            log.append([far.getsockopt(socket.IPPROTO_IP, option) for option in OPTIONS])
            send(near, far)
            log.append(far.recvmsg(100, 200)[:3])
    near.close()
    far.close()
    return log


def how_much_room_it_takes() -> list[Any]:
    log: list[Any] = []
    near, far = datagrams()
    for option in OPTIONS:
        far.setsockopt(socket.IPPROTO_IP, option, 1)
    for room in (0, 8, 15, 16, 20, 28, 31, 32, 47, 48, 52, 55, 56, 71, 72, 73, 79, 80, 100):
        send(near, far)
        log.append((room, far.recvmsg(2, room)[:3]))
    send(near, far)
    log.append(far.recv(100))  # without any
    near.close()
    far.close()
    return log


def what_raw_sockets_tell() -> list[Any]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, 200)
    sock.bind((HERE, 0))
    for option in OPTIONS:
        sock.setsockopt(socket.IPPROTO_IP, option, 1)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 9)
    sock.sendto(b"data", (HERE, 0))
    told = sock.recvmsg(100, 200)[1:3]
    sock.close()
    return list(told)


def what_a_datagram_is_sent_with() -> list[Any]:
    log: list[Any] = []
    near, far = datagrams()
    name = (THERE, far.getsockname()[1])
    for option in OPTIONS:
        far.setsockopt(socket.IPPROTO_IP, option, 1)
    wanted = [
        (IP_PKTINFO, pktinfo(0, ELSEWHERE)), (IP_PKTINFO, pktinfo(1, ELSEWHERE)), (IP_PKTINFO, pktinfo(0, "0.0.0.0")),
        (IP_PKTINFO, pktinfo(999_999, ELSEWHERE)), (IP_PKTINFO, pktinfo(0, "10.255.254.253")), (IP_PKTINFO, b"short"),
        (socket.IP_TTL, struct.pack("i", 3)), (socket.IP_TTL, struct.pack("i", 0)), (socket.IP_TTL, b"\3"),
        (socket.IP_TTL, struct.pack("i", 256)), (socket.IP_TOS, struct.pack("i", 8)), (socket.IP_TOS, b"\x10"),
        (socket.IP_TOS, struct.pack("i", 256)), (99, b""),
    ]  # fmt: skip
    for kind, data in wanted:
        try:
            log.append((kind, data, near.sendmsg([b"x"], [(socket.IPPROTO_IP, kind, data)], 0, name)))
        except OSError as failed:
            log.append((kind, data, failed.errno))
            continue
        got = far.recvmsg(10, 200)
        log.append((got[1], got[3][0]))
    both = [(socket.IPPROTO_IP, IP_PKTINFO, pktinfo(0, ELSEWHERE)), (socket.IPPROTO_IP, socket.IP_TTL, b"\x09\0\0\0")]
    near.sendmsg([b"x"], both, 0, name)
    log.append(far.recvmsg(10, 200)[1])
    near.sendto(b"as ever", name)
    got = far.recvmsg(10, 200)
    log.append((got[1], got[3][0]))
    near.close()
    far.close()
    return log


def pktinfo(index: int, source: str) -> bytes:
    return struct.pack("i4s4s", index, socket.inet_aton(source), bytes(4))


def on_a_host(program: Any) -> list[Any]:
    network = Network(seed=1)
    seen: list[list[Any]] = []
    network.start(network.host("host", "10.0.0.1/24"), lambda: seen.append(program()))
    network.run()
    return seen[0]


@pytest.mark.parametrize("program", [what_datagrams_tell, how_much_room_it_takes, what_a_datagram_is_sent_with])
def test_datagram_sockets_tell_what_the_machines_do(program: Any) -> None:
    assert on_a_host(program) == program()


@pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets of the machine are root's")
def test_raw_sockets_tell_what_the_machines_do() -> None:
    assert on_a_host(what_raw_sockets_tell) == what_raw_sockets_tell()


def test_a_broadcast_is_answered_from_an_address_of_the_devices() -> None:
    network = Network(seed=1)
    near, far = network.host("near", "10.0.0.1/24"), network.host("far", "10.0.0.2/24")
    network.link(near, far)
    told: list[Any] = []

    def listen() -> None:
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.bind(("", 99))
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        told.append(sock.recvmsg(100, 100)[1])

    def call() -> None:
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.sendto(b"anybody?", ("10.0.0.255", 99))

    network.start(far, listen)
    network.start(near, call)
    network.run()
    index, answer_from, sent_to = struct.unpack("i4s4s", told[0][0][2])
    assert (index, socket.inet_ntoa(answer_from), socket.inet_ntoa(sent_to)) == (2, "10.0.0.2", "10.0.0.255")
