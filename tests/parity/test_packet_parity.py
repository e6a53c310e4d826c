"""Packet sockets: the same program in a namespace of the machine's kernel and on a virtual host, and what each saw.

Both have lo and an eth0 with the same addresses, at whose other end nobody answers. What a kernel chooses (ports,
identifications and the checksums over them) is left out of the comparison.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest
from in_namespace import attempt, check_the_same

PROGRAMS: dict[str, Callable[[list[Any]], None]] = {}

PACKET, RAW, DGRAM = socket.AF_PACKET, socket.SOCK_RAW, socket.SOCK_DGRAM
SOL_PACKET, SOL = 263, socket.SOL_SOCKET
ADD_MEMBERSHIP, DROP_MEMBERSHIP, STATISTICS, AUXDATA, IGNORE_OUTGOING = 1, 2, 6, 8, 23
ATTACH, DETACH, LOCK = 26, 27, 44
ALL, IPV4 = socket.htons(3), socket.htons(0x800)
OWN, OTHER = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")


def program(function: Callable[[list[Any]], None]) -> Callable[[list[Any]], None]:
    PROGRAMS[function.__name__] = function
    return function


def opened(kind: int, protocol: int, device: str | None = "eth0") -> socket.socket:
    sock = socket.socket(PACKET, kind, protocol)
    sock.settimeout(5)
    if device is not None:
        sock.bind((device, 0))
    return sock


def frame(data: bytes, kind: int = 0x9000, to: bytes = OTHER, source: bytes = OWN) -> bytes:
    return to + source + struct.pack(">H", kind) + data


def nothing(sock: socket.socket) -> Any:
    sock.setblocking(False)
    return attempt(sock.recv, 2000)


def index(sock: socket.socket, name: str = "eth0") -> int:
    return socket.if_nametoindex(name)


@program
def what_a_new_socket_is(log: list[Any]) -> None:
    for kind in [(PACKET, RAW), (PACKET, RAW, ALL), (PACKET, DGRAM, IPV4), (PACKET, RAW, 70_000)]:
        sock = socket.socket(*kind)
        log.append([kind, sock.getsockname(), attempt(sock.getpeername), sock.proto])
        log.append([attempt(sock.getsockopt, SOL, name) for name in (3, 38, 39, 4, 6, 30)])
        log.append([attempt(sock.connect, ("eth0", 0)), attempt(sock.listen), attempt(sock.shutdown, 2)])
        sock.setblocking(False)
        log.append([attempt(sock.recv, 10), attempt(sock.accept)])
        sock.close()
    for kind in [(PACKET, 1, 0), (PACKET, 4, 0), (PACKET, 11, 0)]:
        log.append(attempt(socket.socket, *kind))


@program
def names(log: list[Any]) -> None:
    sock = socket.socket(PACKET, RAW, ALL)
    log.append([attempt(sock.bind, ("nope", 0)), sock.getsockname()])
    log.append([attempt(sock.bind, ("eth0", 0)), sock.getsockname()])
    log.append([attempt(sock.bind, ("lo", 0x800)), sock.getsockname()])
    sock.close()


@program
def what_a_send_may_be(log: list[Any]) -> None:
    for kind in (RAW, DGRAM):
        sock = socket.socket(PACKET, kind, socket.htons(0x9000))
        log.append([attempt(sock.send, bytes(20)), attempt(sock.sendto, bytes(20), ("nope", 0))])
        for size in (0, 13, 14, 1500, 1501, 1514, 1515):
            log.append((size, attempt(sock.sendto, bytes(size), ("eth0", 0x9000, 0, 0, OTHER))))
        sock.bind(("eth0", 0x9000))
        log.append([attempt(sock.send, bytes(20)), attempt(sock.sendto, b"x" * 20, ("eth0", 0x9000, 0, 0, OTHER))])
        sock.close()


@program
def frames_that_go_out_are_seen_by_others(log: list[Any]) -> None:
    watcher, headless = opened(RAW, ALL), opened(DGRAM, ALL)
    one_kind, sender = opened(RAW, socket.htons(0x9000)), opened(RAW, ALL)
    log.append(sender.send(frame(b"hello")))
    log.append([watcher.recvfrom(100), headless.recvfrom(100)])
    log.append([nothing(one_kind), nothing(sender)])  # only who wants all sees what goes out, and not its own
    without = opened(DGRAM, socket.htons(0x9001))
    log.append(without.sendto(b"hello", ("eth0", 0x9001, 0, 0, OTHER)))
    log.append(watcher.recvfrom(100))
    log.append(without.sendto(b"hello", ("eth0", 0, 0, 0, b"\xff" * 6)))
    log.append(watcher.recvfrom(100)[0][:12])
    for sock in (watcher, headless, one_kind, sender, without):
        sock.close()


@program
def lo_shows_frames_twice(log: list[Any]) -> None:
    watcher, one_kind = opened(RAW, ALL, "lo"), opened(DGRAM, IPV4, "lo")
    near, far = socket.socket(type=DGRAM), socket.socket(type=DGRAM)
    far.bind(("127.0.0.1", 4001))
    near.bind(("127.0.0.1", 4000))
    near.sendto(b"hello", ("127.0.0.1", 4001))
    far.recv(100)
    for _ in range(2):
        data, name = watcher.recvfrom(100)
        log.append([data[:14], data[34:40], data[42:], name])
    data, name = one_kind.recvfrom(100)
    log.append([data[20:26], data[28:], name])
    for sock in (watcher, one_kind, near, far):
        sock.close()


@program
def reading_a_part(log: list[Any]) -> None:
    watcher, sender = opened(RAW, ALL), opened(RAW, ALL)
    for _ in range(4):
        sender.send(frame(b"0123456789"))
    log.append(watcher.recv(15))
    got = watcher.recvmsg(20)
    log.append([got[0], got[1], got[2] == socket.MSG_TRUNC, got[3]])
    log.append([watcher.recv(100, socket.MSG_PEEK), watcher.recv_into(bytearray(5), 5, socket.MSG_TRUNC)])
    log.append([watcher.recv(100), nothing(watcher)])
    log.append([attempt(watcher.recv, 1, socket.MSG_OOB)])
    watcher.close()
    sender.close()


@program
def options(log: list[Any]) -> None:
    watcher, sender = opened(RAW, ALL), opened(RAW, ALL)
    sender.send(frame(b"one"))
    log.append([watcher.getsockopt(SOL_PACKET, STATISTICS, 8), watcher.getsockopt(SOL_PACKET, STATISTICS, 8)])
    log.append([watcher.getsockopt(SOL_PACKET, AUXDATA), attempt(watcher.setsockopt, SOL_PACKET, AUXDATA, 1)])
    log.append([watcher.getsockopt(SOL_PACKET, AUXDATA), watcher.recvmsg(100, 100)[:3]])
    log.append([attempt(watcher.setsockopt, SOL_PACKET, IGNORE_OUTGOING, value) for value in (2, 1)])
    sender.send(frame(b"two"))
    log.append([watcher.getsockopt(SOL_PACKET, IGNORE_OUTGOING), nothing(watcher)])
    log.append([attempt(watcher.setsockopt, SOL_PACKET, 99, 1), attempt(watcher.getsockopt, SOL_PACKET, 99)])
    watcher.close()
    sender.close()


@program
def memberships(log: list[Any]) -> None:
    sock = opened(RAW, ALL)
    group = bytes.fromhex("01005e010203")
    for request in [
        struct.pack("iHH8s", index(sock), 1, 0, b""), struct.pack("iHH8s", 99, 1, 0, b""),
        struct.pack("iHH8s", index(sock), 0, 6, group), struct.pack("iHH8s", index(sock), 0, 7, group),
        struct.pack("iHH8s", index(sock), 2, 0, b""), b"short",
    ]:  # fmt: skip
        log.append([attempt(sock.setsockopt, SOL_PACKET, ADD_MEMBERSHIP, request) for _ in range(2)])
        log.append([attempt(sock.setsockopt, SOL_PACKET, DROP_MEMBERSHIP, request) for _ in range(3)])
    sock.close()


def fprog(*instructions: tuple[int, int, int, int]) -> tuple[bytes, Any]:
    code = b"".join(struct.pack("HBBI", *one) for one in instructions)
    kept = ctypes.create_string_buffer(code, max(1, len(code)))
    return struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(kept)), kept


@program
def filters(log: list[Any]) -> None:
    sock, sender = opened(RAW, ALL), opened(RAW, ALL)
    for instructions in ([(6, 0, 0, 20)], [], [(0, 0, 0, 1)]):
        code, _kept = fprog(*instructions)
        log.append(attempt(sock.setsockopt, SOL, ATTACH, code))
    sender.send(frame(b"0123456789"))
    log.append(sock.recvmsg(100))
    only, _kept = fprog((0x28, 0, 0, 12), (0x15, 0, 1, 0x9001), (6, 0, 0, 100), (6, 0, 0, 0))
    sock.setsockopt(SOL, ATTACH, only)
    sender.send(frame(b"not this"))
    sender.send(frame(b"but this", 0x9001))
    log.append(sock.recv(100))
    log.append([attempt(sock.setsockopt, SOL, DETACH, 0) for _ in range(2)])
    log.append([attempt(sock.setsockopt, SOL, ATTACH, value) for value in (b"xx", 0)])
    log.append([attempt(sock.setsockopt, SOL, LOCK, 1), sock.getsockopt(SOL, LOCK)])
    log.append([attempt(sock.setsockopt, SOL, *one) for one in [(ATTACH, only), (LOCK, 0), (DETACH, 0)]])
    sock.close()
    sender.close()


@program
def filters_of_datagrams(log: list[Any]) -> None:
    near, far = socket.socket(type=DGRAM), socket.socket(type=DGRAM)
    far.bind(("127.0.0.1", 4001))
    far.settimeout(5)
    code, _kept = fprog((0x28, 0, 0, 2), (0x15, 0, 1, 4001), (6, 0, 0, 10), (6, 0, 0, 0))  # from UDP's header on
    far.setsockopt(SOL, ATTACH, code)
    near.sendto(b"hello", ("127.0.0.1", 4001))
    log.append(far.recv(100))
    code, _kept = fprog((6, 0, 0, 4))
    far.setsockopt(SOL, ATTACH, code)
    near.sendto(b"hello", ("127.0.0.1", 4001))
    log.append(far.recv(100))
    near.close()
    far.close()


@pytest.mark.parametrize("name", PROGRAMS)
def test_packet_sockets_are_the_machines(name: str) -> None:
    check_the_same(PROGRAMS[name])
