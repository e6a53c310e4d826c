"""The error queue, recvmsg(2) with MSG_ERRQUEUE, on the machine and on a virtual host: errors, stamps, zero-copy.

Of a time only that there is one is compared, of a packet's bytes not what its sender chose by chance.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest
from side_by_side import Settle, on_a_host, on_the_machine

MSG_ERRQUEUE, MSG_ZEROCOPY = 0x2000, 0x400_0000
IP_PKTINFO, IP_RECVERR, IP_RECVTTL, IP_RECVTOS = 8, 11, 12, 13
SO_TIMESTAMP, SO_TIMESTAMPNS, SO_TIMESTAMPING, SO_SELECT_ERR_QUEUE, SO_ZEROCOPY = 29, 35, 37, 45, 60
SO_TIMESTAMP_NEW, SO_TIMESTAMPNS_NEW, SO_TIMESTAMPING_NEW = 63, 64, 65
TX_SOFTWARE, RX_SOFTWARE, SOFTWARE, OPT_ID, TX_SCHED, TX_ACK = 2, 8, 16, 128, 256, 512
OPT_CMSG, OPT_TSONLY, OPT_STATS, OPT_ID_TCP = 1024, 2048, 4096, 65536
STAMPS = (SO_TIMESTAMP, SO_TIMESTAMPNS, SO_TIMESTAMP_NEW, SO_TIMESTAMPNS_NEW)

UNREACHABLE, SOURCE_QUENCH, TIME_EXCEEDED, PARAMETER_PROBLEM = 3, 4, 11, 12
ERRORS = [
    *((UNREACHABLE, code) for code in range(17)), (TIME_EXCEEDED, 0), (TIME_EXCEEDED, 1), (PARAMETER_PROBLEM, 0),
    (SOURCE_QUENCH, 0),
]  # fmt: skip


def own(role: int) -> str:
    """An address of 127/8 that is this process's: others may run the same test at the same time."""
    return f"127.{role}.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"


HERE, THERE, ROUTER = own(86), own(87), own(88)


def name_of(number: int) -> str:
    return errno.errorcode.get(number, str(number))


def outcome(call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except OSError as failed:
        return name_of(failed.errno or 0)


def conditions(sock: socket.socket) -> int:
    poll = select.poll()
    poll.register(sock, 0x7FFF)
    found = poll.poll(0)
    return found[0][1] if found else 0


def shown(item: tuple[int, int, bytes]) -> Any:
    level, kind, data = item
    if level == socket.SOL_SOCKET and kind in (*STAMPS, SO_TIMESTAMPING, SO_TIMESTAMPING_NEW):
        words = struct.unpack(f"={len(data) // 8}q", data)
        return level, kind, [word != 0 for word in words[::2]]
    if level == socket.SOL_SOCKET and kind == 54:
        return level, kind, len(data)
    if kind in (IP_RECVERR, 25) and len(data) >= 16:
        return level, kind, struct.unpack("=IBBBBII", data[:16]), data[16:]
    return item


def reports(sock: socket.socket, size: int = 200, room: int = 512) -> list[Any]:
    """All that is on the error queue."""
    log: list[Any] = []
    while True:
        try:
            data, items, flags, name = sock.recvmsg(size, room, MSG_ERRQUEUE)
        except OSError as failed:
            return [*log, name_of(failed.errno or 0)]
        end = data[-3:] if size > 100 else b""  # before it are checksums and identifications
        log.append((len(data), end, [shown(item) for item in items], flags, name and name[0]))


def pending(sock: socket.socket) -> str:
    return name_of(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def tell(kind: int, code: int, protocol: int, packet: bytes) -> None:
    """Send to HERE the error about a packet to THERE with `packet` behind its IP header."""
    addresses = socket.inet_aton(HERE) + socket.inet_aton(THERE)
    quoted = struct.pack("!BBHHHBBH8s", 0x45, 0, 20 + len(packet), 1, 0, 64, protocol, 0, addresses)
    body = struct.pack("!HH", 0x0500, 1400) + quoted + packet
    message = struct.pack("!BBH", kind, code, checksum(struct.pack("!BBH", kind, code, 0) + body)) + body
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as router:
        router.bind((ROUTER, 0))
        router.sendto(message, (HERE, 0))


def nobody() -> tuple[str, int]:
    """A port of HERE that nobody has."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind((HERE, 0))
        name: tuple[str, int] = sock.getsockname()
    return name


def refusals(settle: Settle) -> list[Any]:
    """Datagrams to a port that nobody has, from a socket that wants to know."""
    log: list[Any] = []
    dst = nobody()
    for domain in (socket.AF_INET, socket.AF_INET6):
        with socket.socket(domain, socket.SOCK_DGRAM) as sock:
            to = dst if domain == socket.AF_INET else ("::ffff:" + dst[0], dst[1])
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            if domain == socket.AF_INET6:
                sock.setsockopt(41, 25, 1)
            sock.sendto(b"first", to)
            settle()
            log.append((conditions(sock), pending(sock), reports(sock), conditions(sock)))
            for number in range(3):
                log.append(outcome(sock.sendto, b"x" * number, to))
                settle()
            log += [conditions(sock), reports(sock, size=1), pending(sock), conditions(sock)]
            # What is next decides the error that is pending.
            sock.sendto(b"a", to)
            settle()
            pending(sock)
            sock.sendto(b"b", to)
            settle()
            pending(sock)
            sock.recvmsg(10, 100, MSG_ERRQUEUE)
            log += [pending(sock), outcome(lambda: sock.recv(10, socket.MSG_DONTWAIT)), reports(sock)]
            # It is taken whatever else the flags say; a size may be too small.
            for call in (
                lambda: sock.recvmsg(10, 512, MSG_ERRQUEUE | socket.MSG_PEEK)[0],
                lambda: sock.recvfrom(2, MSG_ERRQUEUE)[0],
                lambda: sock.recv(3, MSG_ERRQUEUE),
                lambda: sock.recvmsg(10, 0, MSG_ERRQUEUE)[1:3],
                lambda: sock.recvmsg(10, 30, MSG_ERRQUEUE)[1:3],
            ):
                sock.sendto(b"five.", to)
                settle()
                pending(sock)
                log += [call(), outcome(call)]
            if domain == socket.AF_INET:
                for option in (IP_PKTINFO, IP_RECVTTL, IP_RECVTOS):
                    sock.setsockopt(socket.IPPROTO_IP, option, 1)
                sock.sendto(b"q", to)
                settle()
                log.append(reports(sock))
            sock.sendto(b"q", to)
            settle()
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 0)
            log += [conditions(sock), reports(sock), pending(sock), conditions(sock)]
    return log


def forged(settle: Settle) -> list[Any]:
    """All kinds of errors, to sockets of all kinds."""
    log: list[Any] = []
    for kind, code in ERRORS:
        with (
            socket.socket(type=socket.SOCK_DGRAM) as datagrams,
            socket.socket(socket.AF_INET, socket.SOCK_RAW, 200) as raw,
            socket.socket(socket.AF_INET, socket.SOCK_RAW, 201) as whole,
        ):
            socks = (datagrams, raw, whole)
            for sock in socks:
                sock.bind((HERE, 0))
                sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            whole.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
            head = struct.pack("!HHHH", datagrams.getsockname()[1], 7, 12, 0)
            tell(kind, code, socket.IPPROTO_UDP, head + b"data")
            tell(kind, code, 200, b"raw data")
            tell(kind, code, 201, b"raw data")
            settle()
            log.append((kind, code, [(conditions(s), reports(s), pending(s), conditions(s)) for s in socks]))
    return log


def streams(settle: Settle) -> list[Any]:
    """A stream that is connecting: the error is told, and ends the attempt."""
    log: list[Any] = []
    for kind, code in [(UNREACHABLE, code) for code in (1, 3, 4)] + [(TIME_EXCEEDED, 0), (PARAMETER_PROBLEM, 0)]:
        with (
            socket.socket() as listener,
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as sniffer,
            socket.socket() as first,
            socket.socket() as sock,
        ):
            listener.bind((THERE, 0))
            listener.listen(0)
            first.connect(listener.getsockname())
            sniffer.bind((THERE, 0))
            sniffer.setblocking(False)
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            sock.bind((HERE, 0))
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())  # the queue is full: nobody answers
            settle()
            head = sniffer.recv(200)[20:28]
            tell(kind, code, socket.IPPROTO_TCP, head)
            settle()
            told = reports(sock)
            log.append((conditions(sock), [(size, *rest) for size, _, *rest in told[:-1]], pending(sock)))
    return log


def sizes(settle: Settle) -> list[Any]:
    """What is too large to be sent is an error of our own."""
    log: list[Any] = []
    dst = nobody()
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        for size in (65508, 65535, 65536):
            log += [outcome(sock.sendto, bytes(size), dst), conditions(sock)]
            log += [pending(sock), reports(sock)]
        sock.setsockopt(socket.SOL_SOCKET, SO_SELECT_ERR_QUEUE, 1)
        outcome(lambda: sock.sendto(bytes(65535), dst))
        log += [conditions(sock), sock.getsockopt(socket.SOL_SOCKET, SO_SELECT_ERR_QUEUE)]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, 200) as raw:
        raw.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        log += [outcome(lambda: raw.sendto(bytes(65535), dst)), reports(raw)]
    return log


def stamped_datagrams(settle: Settle) -> list[Any]:
    log: list[Any] = []
    for flags in (
        TX_SOFTWARE | TX_SCHED | SOFTWARE | OPT_ID,
        TX_SOFTWARE | SOFTWARE | OPT_ID | OPT_TSONLY,
        TX_SOFTWARE | TX_SCHED,
        TX_SCHED | SOFTWARE | OPT_CMSG | OPT_ID,
        TX_ACK | SOFTWARE,
        OPT_ID | SOFTWARE,
    ):
        with socket.socket(type=socket.SOCK_DGRAM) as target, socket.socket(type=socket.SOCK_DGRAM) as sock:
            target.bind((HERE, 0))
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, flags)
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
            for data in (b"one", b"second"):
                sock.sendto(data, target.getsockname())
            wanted = [(socket.SOL_SOCKET, SO_TIMESTAMPING, struct.pack("I", TX_SOFTWARE))]
            sock.sendmsg([b"by the call"], wanted, 0, target.getsockname())
            settle()
            log.append((flags, conditions(sock), pending(sock), reports(sock)))
            for value in (struct.pack("I", SOFTWARE), struct.pack("I", 1 << 20), b"\2"):
                item = (socket.SOL_SOCKET, SO_TIMESTAMPING, value)
                log.append(outcome(sock.sendmsg, [b"x"], [item], 0, target.getsockname()))
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 0)
            log.append(len(reports(sock)))
    return log


def stamped_streams(settle: Settle) -> list[Any]:
    log: list[Any] = []
    for flags in (
        TX_SOFTWARE | TX_SCHED | TX_ACK | SOFTWARE | OPT_ID,
        TX_SOFTWARE | TX_ACK | SOFTWARE | OPT_ID | OPT_TSONLY | OPT_ID_TCP,
        TX_SOFTWARE | TX_ACK | SOFTWARE | OPT_TSONLY,
        TX_ACK | SOFTWARE | OPT_ID | OPT_TSONLY | OPT_STATS,
        SOFTWARE | OPT_ID | OPT_TSONLY,
    ):
        with socket.create_server((HERE, 0)) as listener, socket.create_connection(listener.getsockname()) as sock:
            far, _ = listener.accept()
            with far:
                sock.send(b"before")
                settle()
                sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, flags)
                sock.send(b"hello")
                settle()
                log.append((flags, conditions(sock), reports(sock)))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                sock.send(b"two writes")
                sock.send(b"in one segment")
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
                settle()
                log.append(reports(sock))
                wanted = [(socket.SOL_SOCKET, SO_TIMESTAMPING, struct.pack("I", TX_SCHED))]
                sock.sendmsg([b"by ", b"the call"], wanted)
                settle()
                log.append(reports(sock, size=20))
    return log


def arrivals(settle: Settle) -> list[Any]:
    """What recvmsg tells of when something came, and in which form."""
    log: list[Any] = []
    with socket.socket(type=socket.SOCK_DGRAM) as stamped:
        stamped.bind((HERE, 0))
        stamped.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, SOFTWARE | RX_SOFTWARE)
        # The machine begins to look at its clock some time after the first socket has asked it to.
        while True:
            stamped.sendto(b"x", stamped.getsockname())
            if stamped.recvmsg(1, 100)[1]:
                break
        log += _arrivals(settle)
    return log


def _arrivals(settle: Settle) -> list[Any]:
    log: list[Any] = []
    for options in (
        *(((option, 1),) for option in STAMPS),
        ((SO_TIMESTAMPING, SOFTWARE | RX_SOFTWARE),),
        ((SO_TIMESTAMPING_NEW, SOFTWARE | RX_SOFTWARE),),
        ((SO_TIMESTAMPING, SOFTWARE),),
        ((SO_TIMESTAMP, 1), (SO_TIMESTAMPNS, 1), (SO_TIMESTAMPING, SOFTWARE | RX_SOFTWARE)),
        ((SO_TIMESTAMP, 1), (SO_TIMESTAMPNS, 0)),
    ):
        with (
            socket.socket(type=socket.SOCK_DGRAM) as sock,
            socket.create_server((HERE, 0)) as listener,
            socket.create_connection(listener.getsockname()) as far,
        ):
            near, _ = listener.accept()
            with near:
                sock.bind((HERE, 0))
                for option, value in options:
                    sock.setsockopt(socket.SOL_SOCKET, option, value)
                    near.setsockopt(socket.SOL_SOCKET, option, value)
                sock.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
                for data in (b"data", b""):
                    sock.sendto(data, sock.getsockname())
                far.send(b"stream")
                settle()
                if options != ((SO_TIMESTAMPING, SOFTWARE),):  # where the machine stamps for another program, too
                    for receiver in (sock, sock, near):
                        data, items, told, _ = receiver.recvmsg(10, 300)
                        log.append((data, [shown(item) for item in items], told))
                log.append([sock.getsockopt(socket.SOL_SOCKET, o) for o in (*STAMPS, SO_TIMESTAMPING)])
    return log


def zero_copies(settle: Settle) -> list[Any]:
    log: list[Any] = []
    with socket.create_server((HERE, 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
        log += [near.getsockopt(socket.SOL_SOCKET, SO_ZEROCOPY), far.getsockopt(socket.SOL_SOCKET, SO_ZEROCOPY)]
        with near, far:
            near.send(b"x", MSG_ZEROCOPY)
            settle()
            log.append(reports(near))  # without the option it is a flag that is not known
            near.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
            log.append(near.send(b"", MSG_ZEROCOPY))
            near.send(b"x" * 100, MSG_ZEROCOPY)
            settle()
            log += [conditions(near), reports(near)]
            for _ in range(3):
                near.send(b"y" * 100, MSG_ZEROCOPY)
                settle()
            near.send(b"between")
            near.send(b"z" * 10, MSG_ZEROCOPY)
            settle()
            near.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 0)
            log.append(reports(near))
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            for _ in range(5):
                near.send(b"y" * 100, MSG_ZEROCOPY)
            near.send(b"between")
            near.send(b"z" * 10, MSG_ZEROCOPY)
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
            settle()
            log.append(reports(near))
            near.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 0)
            near.send(b"x", MSG_ZEROCOPY)
            settle()
            log.append(reports(near))
            near.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
            near.shutdown(socket.SHUT_WR)
            log += [outcome(lambda: near.send(b"x", MSG_ZEROCOPY)), reports(near)]
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind((HERE, 0))
        sock.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
        for data in (b"one", b"", b"three"):
            log.append(sock.sendto(data, MSG_ZEROCOPY, sock.getsockname()))
        for _ in range(3):
            sock.recv(10)  # the last one who has the buffer lets go of it
        settle()
        log.append(reports(sock))
    return log


def options(settle: Settle) -> list[Any]:
    log: list[Any] = []
    kinds = [
        socket.socket,
        lambda: socket.socket(type=socket.SOCK_DGRAM),
        lambda: socket.socket(socket.AF_INET6),
        lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 200),
    ]
    numbers: list[tuple[int, int]] = [
        *((socket.SOL_SOCKET, o) for o in (*STAMPS, SO_TIMESTAMPING, SO_TIMESTAMPING_NEW, SO_SELECT_ERR_QUEUE)),
        (socket.SOL_SOCKET, SO_ZEROCOPY), (socket.IPPROTO_IP, IP_RECVERR), (socket.IPPROTO_TCP, 36),
    ]  # fmt: skip
    for make in kinds:
        for level, number in numbers:
            for value in (1, 0, 2, -1, SOFTWARE, OPT_ID, OPT_ID_TCP, OPT_STATS, 1 << 18, 1 << 19, b"", b"\1", bytes(8)):
                with make() as sock:
                    done = outcome(sock.setsockopt, level, number, value)
                    read = outcome(sock.getsockopt, level, number)
                    packed = outcome(sock.getsockopt, level, number, 20)
                    log.append((sock.family, sock.type, level, number, value, done, read, packed))
    return log


@pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets of the machine are root's")
@pytest.mark.parametrize(
    "program",
    [refusals, forged, streams, sizes, stamped_datagrams, stamped_streams, arrivals, zero_copies, options],
)
def test_the_error_queue_has_what_it_has_on_the_machine(program: Callable[[Settle], list[Any]]) -> None:
    for host, machine in zip(on_a_host(program), on_the_machine(program), strict=True):
        assert host == machine
