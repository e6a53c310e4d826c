"""`lunar.asyncio.socket` gives the same results on the machine, under asyncio and under uvloop, and on a virtual host.

A program is a coroutine function that does both sides over the loopback address and notes what it sees: results, and
of exceptions their class, errno and text. Ports and descriptors are not noted, nor is how much a buffer takes.
"""

from __future__ import annotations

import asyncio as standard
import errno
import gc
import socket as standard_socket
import struct
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
import uvloop

from lunar import asyncio
from lunar.network import Network

Log = list[Any]
HERE = "127.0.0.1"
# Long enough for what is on its way to arrive, on the machine as between virtual hosts.
PAUSE = 0.01
LINGER_ZERO = struct.pack("ii", 1, 0)
PROGRAMS: dict[str, Callable[[Log], Coroutine[Any, Any, None]]] = {}


def program(function: Callable[[Log], Coroutine[Any, Any, None]]) -> Callable[[Log], Coroutine[Any, Any, None]]:
    PROGRAMS[function.__name__] = function
    return function


async def seen(call: Callable[[], Any] | Awaitable[Any]) -> Any:
    """What a call or an awaitable gives: its result, or the class, errno and text of its exception."""
    try:
        result = call() if callable(call) else await call
        return type(result) if isinstance(result, asyncio.socket) else result
    except OSError as error:
        return type(error).__name__, error.errno and errno.errorcode.get(error.errno, error.errno), str(error)
    except Exception as error:  # noqa: BLE001 what a program sees of any other kind is its class
        return type(error).__name__


async def until_it_waits() -> None:
    """Let the tasks that were just made run to where they wait."""
    for _ in range(3):
        await asyncio.sleep(0)


def listening() -> asyncio.socket:
    sock = asyncio.socket()
    sock.bind((HERE, 0))
    sock.listen(10)
    return sock


async def pair() -> tuple[asyncio.socket, asyncio.socket]:
    """Two ends of a connection: the one that called, the one that was accepted."""
    with listening() as listener:
        caller = asyncio.socket()
        await caller.connect(listener.getsockname())
        accepted, address = await listener.accept()
        assert address == caller.getsockname()
    return caller, accepted


def datagrams() -> asyncio.socket:
    sock = asyncio.socket(type=asyncio.SOCK_DGRAM)
    sock.bind((HERE, 0))
    return sock


async def closed_port() -> tuple[str, int]:
    with listening() as listener:
        address: tuple[str, int] = listener.getsockname()
    return address


async def everything(sock: asyncio.socket) -> bytes:
    data = bytearray()
    while more := await sock.recv(1 << 16):
        data += more
    return bytes(data)


async def fill(sock: asyncio.socket) -> asyncio.Task[None]:
    """A `sendall` that waits, because the buffers of both ends are full and nobody reads."""
    for _ in range(3):
        try:
            while True:
                await sock.send(bytes(65_536), asyncio.MSG_DONTWAIT)
        except BlockingIOError:
            await asyncio.sleep(PAUSE)
    sending = asyncio.create_task(sock.sendall(bytes(20_000_000)))
    await until_it_waits()
    assert not sending.done()
    return sending


# Streams


@program
async def connecting_and_accepting(log: Log) -> None:
    async with listening() as listener, asyncio.socket(asyncio.AF_INET, asyncio.SOCK_STREAM) as caller:
        waiting = asyncio.create_task(listener.accept())
        await until_it_waits()
        log.append(await caller.connect(("localhost", listener.getsockname()[1])))
        accepted, address = await waiting
        log += [type(accepted), address == caller.getsockname(), accepted.getsockname() == caller.getpeername()]
        for sock in (listener, caller, accepted):
            log.append((sock.family, sock.type, sock.proto, sock.gettimeout(), sock.getblocking(), sock.timeout))
        log.append(caller.fileno() >= 0)
        accepted.close()
    log += [caller.fileno(), listener.fileno(), accepted.fileno()]


@program
async def ways_to_receive_a_stream(log: Log) -> None:
    a, b = await pair()
    await a.sendall(b"abcdefghijklmnopqrstuvwxyz")
    buffer = bytearray(4)
    log += [
        await b.recv(2), await b.recv(3, asyncio.MSG_PEEK), await b.recv(1),
        await b.recv_into(buffer), bytes(buffer), await b.recv_into(buffer, 2), bytes(buffer),
        await b.recv_into(memoryview(buffer)[2:]), bytes(buffer),
        await b.recvfrom(2), await b.recvfrom_into(buffer), await b.recvfrom_into(buffer, 1), bytes(buffer),
        await b.recvmsg(3), await b.recv(0), await b.recv_into(bytearray()), await b.recv(100),
    ]  # fmt: skip
    await a.shutdown(asyncio.SHUT_WR)
    log += [
        await b.recv(10), await b.recv_into(buffer), await b.recvfrom(10), await b.recvfrom_into(buffer),
        await b.recvmsg(10), await b.recv(10),
    ]  # fmt: skip
    a.close()
    b.close()


@program
async def ways_to_send_a_stream(log: Log) -> None:
    a, b = await pair()
    receiving = asyncio.create_task(everything(b))
    log += [
        await a.send(b"one "), await a.send(bytearray(b"two "), 0), await a.sendall(memoryview(b"three ")),
        await a.sendall(b"", 0), await a.sendall(b"four ", asyncio.MSG_MORE), await a.send(b""),
        await a.sendto(b"five ", b.getsockname()), await a.sendto(b"six ", 0, b.getsockname()),
        await a.sendmsg([b"se", bytearray(b"ven"), memoryview(b" ")]), await a.sendmsg(iter([b"eight"])),
        await a.sendmsg([]), await a.sendall(memoryview(bytearray(8)).cast("i")),
    ]  # fmt: skip
    await a.shutdown(asyncio.SHUT_WR)
    log.append(await receiving)
    a.close()
    b.close()


@program
async def more_than_the_buffers_hold(log: Log) -> None:
    a, b = await pair()
    data = bytes(range(256)) * 20_000
    there = asyncio.create_task(a.sendall(data))
    back = asyncio.create_task(b.sendall(data[::-1]))
    ends = asyncio.gather(a.shutdown(asyncio.SHUT_WR), b.shutdown(asyncio.SHUT_WR))
    got = await asyncio.gather(everything(a), everything(b))
    log += [got[1] == data, got[0] == data[::-1], await there, await back, await ends]
    a.close()
    b.close()


@program
async def a_shutdown_follows_what_was_sent_before(log: Log) -> None:
    a, b = await pair()
    data = bytes(10_000_000)
    tasks = [asyncio.create_task(a.sendall(data)), asyncio.create_task(a.shutdown(asyncio.SHUT_WR))]
    tasks.append(asyncio.create_task(a.sendall(b"too late")))
    await until_it_waits()
    log.append([task.done() for task in tasks])
    log.append(len(await everything(b)))
    log += [await seen(task) for task in tasks]
    # The other direction is open still.
    await b.sendall(b"hello")
    log.append(await a.recv(10))
    a.close()
    b.close()


@program
async def ways_to_shut_down(log: Log) -> None:
    a, b = await pair()
    receiving = asyncio.create_task(a.recv(10))
    await until_it_waits()
    log += [await a.shutdown(asyncio.SHUT_RD), await receiving, await a.recv(10)]
    await a.sendall(b"still")
    log += [await b.recv(10), await seen(b.shutdown(7)), await seen(b.shutdown(-1))]
    receiving = asyncio.create_task(b.recv(10))
    await until_it_waits()
    log += [await b.shutdown(asyncio.SHUT_RDWR), await receiving, await seen(b.send(b"x"))]
    a.close()
    b.close()
    with asyncio.socket() as fresh:
        for how in (asyncio.SHUT_RD, asyncio.SHUT_WR, asyncio.SHUT_RDWR):
            log.append(await seen(fresh.shutdown(how)))
    with listening() as listener:
        accepting = asyncio.create_task(listener.accept())
        await until_it_waits()
        log += [await listener.shutdown(asyncio.SHUT_RD), await seen(accepting), await seen(listener.accept())]


@program
async def the_peer_resets(log: Log) -> None:
    for call in (
        lambda sock: sock.recv(10), lambda sock: sock.recv_into(bytearray(10)), lambda sock: sock.recvfrom(10),
        lambda sock: sock.recvfrom_into(bytearray(10)), lambda sock: sock.recvmsg(10),
    ):  # fmt: skip
        a, b = await pair()
        waiting = asyncio.create_task(call(a))
        await until_it_waits()
        b.setsockopt(asyncio.SOL_SOCKET, asyncio.SO_LINGER, LINGER_ZERO)
        b.close()
        log += [await seen(waiting), await seen(a.recv(10)), await seen(a.send(b"x")), await seen(a.getpeername)]
        a.close()
    a, b = await pair()
    sending = await fill(a)
    b.setsockopt(asyncio.SOL_SOCKET, asyncio.SO_LINGER, LINGER_ZERO)
    b.close()
    log += [await seen(sending), await seen(a.sendall(b"x")), await seen(a.sendmsg([b"x"]))]
    a.close()


# Errors


@program
async def a_refused_socket_connects_again(log: Log) -> None:
    with listening() as listener, asyncio.socket() as sock:
        log.append(await seen(sock.connect(await closed_port())))
        log.append(await seen(sock.connect(listener.getsockname())))
        log.append(await seen(sock.connect(listener.getsockname())))
        log.append(await seen(sock.getpeername) == listener.getsockname())


@program
async def what_a_fresh_stream_refuses(log: Log) -> None:
    calls: list[Callable[[asyncio.socket], Any]] = [
        lambda sock: sock.accept(), lambda sock: sock.recv(1), lambda sock: sock.recv_into(bytearray(1)),
        lambda sock: sock.recvfrom(1), lambda sock: sock.recvfrom_into(bytearray(1)), lambda sock: sock.recvmsg(1),
        lambda sock: sock.send(b"x"), lambda sock: sock.sendall(b"x"), lambda sock: sock.sendmsg([b"x"]),
        lambda sock: sock.sendto(b"x", (HERE, 9)), lambda sock: sock.getpeername,
        lambda sock: lambda: sock.bind(("192.0.2.1", 0)),
        lambda sock: lambda: sock.setsockopt(asyncio.SOL_SOCKET, 9999, 1),
        lambda sock: lambda: sock.getsockopt(asyncio.SOL_SOCKET, 9999),
        lambda sock: lambda: sock.setsockopt(asyncio.IPPROTO_TCP, asyncio.TCP_KEEPCNT, 0),
        lambda sock: sock.connect(("255.255.255.255", 9)),
    ]  # fmt: skip
    for call in calls:
        with asyncio.socket() as sock:
            log.append(await seen(call(sock)))


@program
async def wrong_arguments(log: Log) -> None:
    a, b = await pair()
    wrong: Any = a
    for call in (
        lambda: wrong.recv(-1), lambda: wrong.recv("x"), lambda: wrong.recvfrom(-1), lambda: wrong.recvmsg(-1),
        lambda: wrong.recv_into(b"read only"), lambda: wrong.recv_into(bytearray(3), -1),
        lambda: wrong.recv_into(bytearray(3), 4), lambda: wrong.recvfrom_into(bytearray(3), 4),
        lambda: wrong.send("text"), lambda: wrong.sendall("text"), lambda: wrong.sendto(b"x"),
        lambda: wrong.sendto(b"x", 0, 0, 0), lambda: wrong.sendmsg(["text"]), lambda: wrong.sendmsg(3),
        lambda: wrong.connect("no address"), lambda: wrong.connect((HERE,)), lambda: wrong.connect((HERE, "80")),
        lambda: wrong.connect((HERE, 65536)), lambda: wrong.connect((HERE, -1)),
    ):  # fmt: skip
        log.append(await seen(call()))
    log += [await seen(lambda: asyncio.socket(fileno=-5)), await seen(lambda: asyncio.socket(999, 1))]
    log += [await seen(lambda: asyncio.socket(asyncio.AF_INET, 99)), await seen(lambda: asyncio.socket(2, 1, 17))]
    await b.sendall(b"usable")
    log.append(await a.recv(10))
    a.close()
    b.close()


@program
async def bound_and_listening(log: Log) -> None:
    with listening() as listener, asyncio.socket() as other, datagrams() as datagram:
        log += [await seen(lambda: listener.bind((HERE, 0))), await seen(lambda: other.bind(listener.getsockname()))]
        log += [await seen(datagram.listen), await seen(datagram.accept()), await seen(lambda: listener.listen(1))]
        log += [await seen(listener.recv(1)), await seen(listener.send(b"x")), await seen(listener.connect((HERE, 9)))]
        log.append(listener.getsockopt(asyncio.SOL_SOCKET, asyncio.SO_ACCEPTCONN))
        log.append(other.getsockname())


@program
async def everything_on_a_closed_socket(log: Log) -> None:
    with asyncio.socket() as sock:
        pass
    sock.close()
    log += [
        await seen(sock.accept()), await seen(sock.connect((HERE, 9))), await seen(sock.recv(1)),
        await seen(sock.recv_into(bytearray(1))), await seen(sock.recvfrom(1)),
        await seen(sock.recvfrom_into(bytearray(1))), await seen(sock.recvmsg(1)), await seen(sock.send(b"x")),
        await seen(sock.sendall(b"")), await seen(sock.sendall(b"x")), await seen(sock.sendto(b"x", (HERE, 9))),
        await seen(sock.sendmsg([b"x"])), await seen(sock.shutdown(asyncio.SHUT_RD)),
        await seen(sock.shutdown(asyncio.SHUT_WR)), await seen(lambda: sock.bind((HERE, 0))), await seen(sock.listen),
        await seen(sock.getsockname), await seen(sock.getpeername), sock.fileno(), sock.detach(),
        await seen(lambda: sock.getsockopt(asyncio.SOL_SOCKET, asyncio.SO_TYPE)),
        await seen(lambda: sock.setsockopt(asyncio.SOL_SOCKET, asyncio.SO_KEEPALIVE, 1)),
    ]  # fmt: skip


# Closing, cancelling, and several tasks


WAITING: dict[str, Callable[[asyncio.socket], Awaitable[Any]]] = {
    "recv": lambda sock: sock.recv(10),
    "recv_into": lambda sock: sock.recv_into(bytearray(10)),
    "recvfrom": lambda sock: sock.recvfrom(10),
    "recvfrom_into": lambda sock: sock.recvfrom_into(bytearray(10)),
    "recvmsg": lambda sock: sock.recvmsg(10),
    "send": lambda sock: sock.send(b"y"),
    "sendall": lambda sock: sock.sendall(b"y"),
    "sendto": lambda sock: sock.sendto(b"y", sock.getpeername()),
    "sendmsg": lambda sock: sock.sendmsg([b"y"]),
    "shutdown": lambda sock: sock.shutdown(asyncio.SHUT_WR),
}


@program
async def closing_ends_what_waits(log: Log) -> None:
    a, b = await pair()
    sending = await fill(a)
    tasks = [asyncio.ensure_future(call(a)) for call in WAITING.values()]
    await until_it_waits()
    log.append([task.done() for task in tasks])
    a.close()
    log += [await seen(task) for task in [sending, *tasks]]
    b.close()
    with listening() as listener:
        accepting = [asyncio.create_task(listener.accept()) for _ in range(2)]
        await until_it_waits()
        listener.close()
        log += [await seen(task) for task in accepting]


@program
async def cancelling_leaves_the_socket_usable(log: Log) -> None:
    a, b = await pair()
    sending = await fill(a)  # so that what sends waits behind it
    for name, call in WAITING.items():
        task = asyncio.ensure_future(call(a))
        await until_it_waits()
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            log.append(name)
    await b.sendall(b"hello")
    log.append(await a.recv(10))
    sending.cancel()
    receiving = asyncio.create_task(everything(b))
    await a.sendall(b"the end")
    await a.shutdown(asyncio.SHUT_WR)
    data = await receiving
    log += [data[-7:], b"y" in data, sending.cancelled()]
    a.close()
    b.close()


@program
async def cancelling_what_waits_for_the_descriptor(log: Log) -> None:
    a, b = await pair()
    log_of = []
    for name, call in WAITING.items():
        if name.startswith("recv"):
            task = asyncio.ensure_future(call(b))
            await until_it_waits()
            # Data and the cancellation come at once: the data stays for the next one.
            await a.sendall(name.encode())
            task.cancel()
            await asyncio.wait([task])
            log_of.append((name, task.cancelled(), await b.recv(100) if task.cancelled() else None))
    log.append(log_of)
    (await fill(a)).cancel()
    taken = 0
    for name in ("send", "sendall", "sendto", "sendmsg"):
        while True:
            task = asyncio.ensure_future(WAITING[name](a))
            await until_it_waits()
            if not task.done():
                break
            taken += 1  # the machine's kernel finds some room now and then
        task.cancel()
        await asyncio.wait([task])
        log.append(task.cancelled())
    receiving = asyncio.create_task(everything(b))
    await a.shutdown(asyncio.SHUT_WR)
    log.append((await receiving).count(b"y") == taken)
    with listening() as listener, asyncio.socket() as caller:
        task = asyncio.ensure_future(listener.accept())
        await until_it_waits()
        task.cancel()
        await asyncio.wait([task])
        await caller.connect(listener.getsockname())
        log.append((await listener.accept())[1] == caller.getsockname())
    a.close()
    b.close()


@program
async def receivers_are_served_in_the_order_of_their_calls(log: Log) -> None:
    a, b = await pair()
    order: list[Any] = []

    async def receive(number: int) -> None:
        order.append((number, await b.recv(2)))

    tasks = [asyncio.create_task(receive(number)) for number in range(4)]
    await until_it_waits()
    tasks[1].cancel()
    await asyncio.wait([tasks[1]])
    await a.sendall(b"aabbcc")
    await asyncio.wait(tasks)
    log += [order, tasks[1].cancelled()]
    with listening() as listener:
        accepting = [asyncio.create_task(listener.accept()) for _ in range(3)]
        callers = [asyncio.socket() for _ in range(3)]
        for caller in callers:
            await caller.connect(listener.getsockname())
        log.append([(await task)[1] for task in accepting] == [caller.getsockname() for caller in callers])
    for sock in (a, b, *callers):
        sock.close()


@program
async def senders_do_not_mix(log: Log) -> None:
    a, b = await pair()
    tasks = [asyncio.create_task(a.sendall(bytes([letter]) * 3_000_000)) for letter in b"abc"]
    await until_it_waits()
    tasks.append(asyncio.create_task(a.shutdown(asyncio.SHUT_WR)))
    data = await everything(b)
    log.append([data[at : at + 3_000_000].count(data[at]) for at in range(0, len(data), 3_000_000)])
    log += [data[::3_000_000], len(data)]
    await asyncio.wait(tasks)
    a.close()
    b.close()


@program
async def not_to_wait(log: Log) -> None:
    a, b = await pair()
    flag = asyncio.MSG_DONTWAIT
    buffer = bytearray(3)
    log += [
        await seen(b.recv(1, flag)), await seen(b.recv_into(buffer, 0, flag)), await seen(b.recvfrom(1, flag)),
        await seen(b.recvfrom_into(buffer, 0, flag)), await seen(b.recvmsg(1, 0, flag)),
    ]  # fmt: skip
    receiving = asyncio.create_task(b.recv(1))
    await until_it_waits()
    log.append(await seen(b.recv(1, flag)))
    await a.send(b"x", flag)
    log.append(await receiving)
    sending = await fill(a)
    log += [await seen(a.send(b"x", flag)), await seen(a.sendall(b"x", flag)), await seen(a.sendmsg([b"x"], (), flag))]
    sending.cancel()
    await asyncio.wait([sending])
    log.append(await seen(a.sendall(bytes(20_000_000), flag)))
    a.close()
    b.close()


@program
async def a_descriptor_changes_hands(log: Log) -> None:
    a, b = await pair()
    waiting = asyncio.create_task(a.recv(10))
    await until_it_waits()
    descriptor = a.detach()
    log += [await seen(waiting), a.fileno(), await seen(a.recv(1))]
    again = asyncio.socket(fileno=descriptor)
    log += [again.fileno() == descriptor, (again.family, again.type), again.gettimeout()]
    await b.sendall(b"hello\n")
    log.append(await again.recv(3))
    reader, writer = await asyncio.open_connection(sock=standard_socket.socket(fileno=again.detach()))
    log.append(await reader.readline())
    writer.close()
    await writer.wait_closed()
    log.append(await b.recv(10))
    plain = standard_socket.socket()
    log += [plain.gettimeout(), asyncio.socket(sock=plain).gettimeout(), plain.gettimeout()]
    plain.close()
    b.close()


# Datagrams


@program
async def ways_to_exchange_datagrams(log: Log) -> None:
    a, b = datagrams(), datagrams()
    here, there = a.getsockname(), b.getsockname()
    buffer = bytearray(4)
    receiving = asyncio.create_task(b.recvfrom(100))
    await until_it_waits()
    log += [await a.sendto(b"one", there), await receiving == (b"one", here)]
    log += [await a.sendto(b"second", 0, ("localhost", there[1])), await b.recvfrom_into(buffer) == (4, here), buffer]
    log += [await a.sendmsg([b"th", b"ird"], (), 0, there), (await b.recvmsg(3))[0:3:2]]
    log += [await a.sendmsg([b"whole"], [], 0, there), (await b.recvmsg(30))[0:3:2]]
    log += [await a.sendto(b"", there), await b.recv(10), await a.sendto(b"peek", there)]
    log += [await b.recv(2, asyncio.MSG_PEEK), await b.recv_into(buffer, 3), bytes(buffer)]
    log += [await a.connect(there), a.getpeername() == there, await a.send(b"x"), await a.sendall(b"yy")]
    log += [await a.sendall(b""), await b.recv(10), await b.recv(10), await b.recv(10)]
    a.close()
    b.close()


@program
async def what_datagram_sockets_refuse(log: Log) -> None:
    with datagrams() as a:
        nobody = await closed_port()
        log += [await seen(a.send(b"x")), await seen(a.sendall(b"x")), await seen(a.sendmsg([b"x"]))]
        log += [await seen(a.sendto(bytes(65_508), nobody)), await seen(a.sendto(b"x", (HERE, 0)))]
        log += [await seen(a.recv(1, asyncio.MSG_DONTWAIT))]
        log.append(await seen(a.sendto(b"x", ("255.255.255.255", 9))))
        with datagrams() as closed:
            port = closed.getsockname()
        await a.connect(port)
        await a.send(b"x")
        log += [await seen(a.recv(1)), await seen(a.shutdown(asyncio.SHUT_WR)), await seen(a.send(b"x"))]
        log.append(await seen(a.sendto(b"x", port)))
    with datagrams() as a:
        log += [await seen(a.shutdown(how)) for how in (asyncio.SHUT_RD, asyncio.SHUT_WR)]


# Unix sockets


@program
async def unix_sockets(log: Log) -> None:
    name = f"\0{__name__}"  # in the abstract namespace: nothing is left in a folder
    with asyncio.socket(asyncio.AF_UNIX) as listener, asyncio.socket(asyncio.AF_UNIX) as caller:
        listener.bind(name)
        listener.listen()
        await caller.connect(name)
        accepted, address = await listener.accept()
        await caller.sendall(b"hello")
        log += [await accepted.recv(10), address, listener.getsockname() == name.encode(), caller.family, caller.type]
        accepted.close()
        log += [await caller.recv(10), await seen(caller.send(b"x"))]
    with asyncio.socket(asyncio.AF_UNIX) as sock:
        log.append(await seen(sock.connect(name)))
    left, right = (asyncio.socket(sock=sock) for sock in standard_socket.socketpair())
    waiting = asyncio.create_task(right.recv(10))
    await until_it_waits()
    log += [await left.send(b"pair"), await waiting]
    left.close()
    right.close()


# What makes sockets, and names


@program
async def making_connections(log: Log) -> None:
    with asyncio.create_server((HERE, 0)) as listener:
        log += [listener.gettimeout(), listener.getsockopt(asyncio.SOL_SOCKET, asyncio.SO_REUSEADDR)]
        port = listener.getsockname()[1]
        async with await asyncio.create_connection((HERE, port), source_address=("127.0.0.1", 0)) as sock:
            log += [(await listener.accept())[1] == sock.getsockname(), sock.getpeername() == (HERE, port)]
    nobody = await closed_port()
    log.append(await seen(asyncio.create_connection(nobody)))
    log.append(await seen(asyncio.create_connection(nobody, all_errors=True)))
    log.append(await seen(asyncio.create_connection(nobody, source_address=("192.0.2.1", 0))))
    log.append(await asyncio.getaddrinfo(HERE, 80, type=asyncio.SOCK_STREAM))
    log.append(await asyncio.getnameinfo((HERE, 80), asyncio.NI_NUMERICHOST | asyncio.NI_NUMERICSERV))
    log.append(await seen(asyncio.getaddrinfo("300.1.1.1", 80, flags=asyncio.AI_NUMERICHOST)))
    log.append(asyncio.gethostname() == standard_socket.gethostname())


@program
async def options(log: Log) -> None:
    with asyncio.socket() as sock:
        for level, name, value in (
            (asyncio.SOL_SOCKET, asyncio.SO_REUSEADDR, 1), (asyncio.SOL_SOCKET, asyncio.SO_KEEPALIVE, 1),
            (asyncio.SOL_SOCKET, asyncio.SO_SNDBUF, 10_000), (asyncio.SOL_SOCKET, asyncio.SO_RCVBUF, 10_000),
            (asyncio.IPPROTO_TCP, asyncio.TCP_NODELAY, 1), (asyncio.IPPROTO_TCP, asyncio.TCP_KEEPIDLE, 7),
            (asyncio.IPPROTO_IP, asyncio.IP_TTL, 9), (asyncio.SOL_SOCKET, asyncio.SO_LINGER, LINGER_ZERO),
            (asyncio.SOL_SOCKET, asyncio.SO_KEEPALIVE, struct.pack("i", 0)),
        ):  # fmt: skip
            log += [sock.setsockopt(level, name, value), sock.getsockopt(level, name), sock.getsockopt(level, name, 8)]
        log.append(await seen(lambda: sock.getsockopt(asyncio.SOL_SOCKET, asyncio.SO_KEEPALIVE, -1)))
        log.append(await seen(lambda: sock.getsockopt(asyncio.SOL_SOCKET, asyncio.SO_KEEPALIVE, 1025)))


def on_a_virtual_host(played: Callable[[Log], Coroutine[Any, Any, None]]) -> Log:
    log: Log = []
    with Network(seed=1) as net:
        net.run(played, log, on=net.host("host", "10.0.0.1/24"))
    return log


def on_the_machine(played: Callable[[Log], Coroutine[Any, Any, None]], run: Callable[..., Any]) -> Log:
    log: Log = []
    run(standard.wait_for(played(log), 60))
    return log


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_same_is_seen_in_all_three_places(name: str) -> None:
    played = PROGRAMS[name]
    machine = on_the_machine(played, standard.run)
    assert machine, "a program that observes nothing compares nothing"
    assert on_the_machine(played, uvloop.run) == machine
    assert on_a_virtual_host(played) == machine


@pytest.mark.parametrize("new_loop", [standard.new_event_loop, uvloop.new_event_loop])
def test_tasks_that_are_thrown_away_with_their_loop_disturb_nobody(new_loop: Callable[[], Any]) -> None:
    loop = new_loop()
    ended = []

    async def receive(sock: asyncio.socket) -> None:
        try:
            await sock.recv(1)
        finally:
            ended.append(len(ended))

    async def begin() -> tuple[Any, list[asyncio.Task[None]]]:
        ends = [asyncio.socket(sock=sock) for sock in standard_socket.socketpair()]
        tasks = [asyncio.create_task(receive(ends[0])) for _ in range(2)]  # one waits for the other
        await until_it_waits()
        return ends, tasks

    ends, tasks = loop.run_until_complete(begin())
    loop.close()
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    del task
    tasks.clear()
    for sock in ends:
        sock.close()  # what waits for it cannot be told any more
    for _ in ends:  # the second one is let go when the first one has ended
        gc.collect()  # pytest makes an error of what cannot be raised there
    assert ended == [0, 1]


def test_every_awaited_method_is_cancelled_above() -> None:
    awaited = {name for name, value in vars(asyncio.socket).items() if standard.iscoroutinefunction(value)}
    assert awaited - set(WAITING) - {"accept", "connect"} == {
        "__aenter__", "__aexit__", "_call", "_repeat", "_looked_up"
    }  # fmt: skip
