"""The loop's low-level socket operations, and callbacks for descriptors, on plain sockets of a virtual host."""

from __future__ import annotations

import asyncio
import errno
import io
import socket
import ssl
from typing import Any

import pytest
from two_hosts import CLIENT, DELAY, ROUND_TRIP, SERVER, TwoHosts, now, times

from lunar.host_socket import LunarSocket
from lunar.sockets.fdtable import is_virtual


def non_blocking(kind: int = socket.SOCK_STREAM) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    sock.setblocking(False)
    return sock


def listening(port: int = 80, backlog: int = 10) -> socket.socket:
    sock = non_blocking()
    sock.bind(("", port))
    sock.listen(backlog)
    return sock


async def serve(handle: Any, port: int = 80) -> None:
    """Accept for ever; `handle(sock)` for each connection."""
    loop = asyncio.get_running_loop()
    listener = listening(port)
    tasks = set()
    while True:
        sock, _address = await loop.sock_accept(listener)
        tasks.add(asyncio.ensure_future(handle(sock)))


async def echo(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    with sock:
        while data := await loop.sock_recv(sock, 65536):
            await loop.sock_sendall(sock, data)


async def connected(port: int = 80) -> socket.socket:
    sock = non_blocking()
    await asyncio.get_running_loop().sock_connect(sock, (SERVER, port))
    return sock


async def cancelled_after(seconds: float, coroutine: Any) -> bool:
    task = asyncio.ensure_future(coroutine)
    await asyncio.sleep(seconds)
    assert not task.done(), "there was nothing to cancel"
    task.cancel()
    await asyncio.wait([task])
    return task.cancelled()


# Streams


def test_connect_send_receive_on_time(hosts: TwoHosts) -> None:
    hosts.serve(serve, echo)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        sock = non_blocking()
        assert isinstance(sock, LunarSocket) and isinstance(sock, socket.socket) and is_virtual(sock.fileno())
        _, connecting = await times(loop.sock_connect(sock, (SERVER, 80)))
        _, sending = await times(loop.sock_sendall(sock, b"ping"))
        data, receiving = await times(loop.sock_recv(sock, 100))
        return connecting, sending, data, receiving

    assert hosts.run(main) == (ROUND_TRIP, 0.0, b"ping", ROUND_TRIP)


def test_accept_gives_a_non_blocking_socket_and_the_peers_address(hosts: TwoHosts) -> None:
    async def accepting() -> Any:
        loop = asyncio.get_running_loop()
        sock, address = await loop.sock_accept(listening())
        return sock.gettimeout(), address, sock.getpeername(), sock.getsockname(), now()

    string = hosts.net.start(hosts.server, accepting)

    async def main() -> Any:
        sock = await connected()
        return sock.getsockname()

    own = hosts.run(main)
    hosts.net.run()
    assert own[0] == CLIENT
    assert string.result == (0.0, own, own, (SERVER, 80), 3 * DELAY)


def test_a_name_is_looked_up_by_sock_connect(hosts: TwoHosts) -> None:
    hosts.serve(serve, echo)

    async def main() -> Any:
        sock = non_blocking()
        await asyncio.get_running_loop().sock_connect(sock, ("server", 80))
        return sock.getpeername()

    assert hosts.run(main) == (SERVER, 80)


def test_recv_into_fills_a_part_of_the_buffer(hosts: TwoHosts) -> None:
    hosts.serve(serve, echo)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        sock = await connected()
        await loop.sock_sendall(sock, b"abcdefgh")
        buffer = bytearray(b"-" * 12)
        first = await loop.sock_recv_into(sock, memoryview(buffer)[2:7])
        second = await loop.sock_recv_into(sock, buffer)
        return first, second, bytes(buffer)

    # "abcde" at 2 to 6, then "fgh" at 0 to 2.
    assert hosts.run(main) == (5, 3, b"fghbcde-----")


def test_the_end_of_a_stream_is_an_empty_read_for_ever(hosts: TwoHosts) -> None:
    async def close(sock: socket.socket) -> None:
        sock.close()

    hosts.serve(serve, close)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        sock = await connected()
        return await loop.sock_recv(sock, 10), await loop.sock_recv(sock, 10), now()

    assert hosts.run(main) == (b"", b"", 2 * ROUND_TRIP)


def test_a_large_sendall_waits_for_the_reader(hosts: TwoHosts) -> None:
    total = 20_000_000  # more than the largest send buffer (4 MB) and receive buffer (6 MB) of Linux together

    async def late(sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(100)
        count = 0
        while data := await loop.sock_recv(sock, 1 << 20):
            count += len(data)
        await loop.sock_sendall(sock, b"%d" % count)
        sock.close()

    hosts.serve(serve, late)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        sock = await connected()
        await loop.sock_sendall(sock, memoryview(bytes(total)))
        sent = now()
        sock.shutdown(socket.SHUT_WR)
        return int(await loop.sock_recv(sock, 100)), sent > 100

    assert hosts.run(main) == (total, True)


def test_sendfile_sends_a_part_of_a_file(hosts: TwoHosts) -> None:
    hosts.serve(serve, echo)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        sock = await connected()
        content = bytes(range(256)) * 100
        file = io.BytesIO(content)
        assert await loop.sock_sendfile(sock, file, offset=10, count=20_000) == 20_000
        assert file.tell() == 20_010
        got = b""
        while len(got) < 20_000:
            got += await loop.sock_recv(sock, 65536)
        return got == content[10:20_010]

    assert hosts.run(main)


def test_several_readers_and_acceptors_each_get_theirs(hosts: TwoHosts) -> None:
    async def accepting() -> Any:
        loop = asyncio.get_running_loop()
        listener = listening()

        async def one() -> Any:
            sock, _address = await loop.sock_accept(listener)
            return await loop.sock_recv(sock, 10)

        return sorted(await asyncio.gather(one(), one(), one()))

    string = hosts.net.start(hosts.server, accepting)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in range(3):
            await loop.sock_sendall(await connected(), b"%d" % number)

    hosts.run(main)
    hosts.net.run()
    assert string.result == [b"0", b"1", b"2"]


# Errors


def test_a_refused_connect_names_the_address(hosts: TwoHosts) -> None:
    async def main() -> Any:
        with pytest.raises(ConnectionRefusedError) as caught:
            await connected(81)
        return caught.value.errno, str(caught.value), now()

    number, message, at = hosts.run(main)
    assert (number, at) == (errno.ECONNREFUSED, ROUND_TRIP)
    assert f"('{SERVER}', 81)" in message


def test_a_reset_reaches_the_reader_once_and_then_the_writer(hosts: TwoHosts) -> None:
    async def reset(sock: socket.socket) -> None:
        await asyncio.get_running_loop().sock_recv(sock, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()

    hosts.serve(serve, reset)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        sock = await connected()
        await loop.sock_sendall(sock, b"x")
        with pytest.raises(ConnectionResetError):
            await loop.sock_recv(sock, 1)
        with pytest.raises(BrokenPipeError):
            await loop.sock_sendall(sock, b"x")
        return await loop.sock_recv(sock, 1)

    assert hosts.run(main) == b""


@pytest.mark.parametrize("what", ["recv", "recv_into", "sendall", "connect", "accept", "recvfrom", "sendto"])
def test_a_closed_socket_is_a_bad_descriptor(hosts: TwoHosts, what: str) -> None:
    async def main() -> Any:
        loop = asyncio.get_running_loop()
        sock = non_blocking(socket.SOCK_DGRAM if what in ("recvfrom", "sendto") else socket.SOCK_STREAM)
        sock.close()
        arguments: dict[str, tuple[Any, ...]] = {
            "recv": (10,), "recv_into": (bytearray(10),), "sendall": (b"x",), "connect": ((SERVER, 80),), "accept": (),
            "recvfrom": (10,), "sendto": (b"x", (SERVER, 80)),
        }  # fmt: skip
        with pytest.raises(OSError) as caught:
            await getattr(loop, f"sock_{what}")(sock, *arguments[what])
        return caught.value.errno

    assert hosts.run(main) == errno.EBADF


def test_operations_refuse_what_they_cannot_do(hosts: TwoHosts) -> None:
    async def main() -> list[int | None]:
        loop = asyncio.get_running_loop()
        sock = non_blocking()
        numbers = []
        for attempt in (
            loop.sock_recv(sock, 10),  # not connected
            loop.sock_sendall(sock, b"x"),
            loop.sock_accept(sock),  # not listening
        ):
            with pytest.raises(OSError) as caught:
                await attempt
            numbers.append(caught.value.errno)
        return numbers

    assert hosts.run(main) == [errno.ENOTCONN, errno.EPIPE, errno.EINVAL]


def test_a_tls_socket_or_one_of_the_machine_is_refused(hosts: TwoHosts) -> None:
    tls = ssl.SSLSocket.__new__(ssl.SSLSocket)
    with socket.socket() as machine:
        machine.setblocking(False)

        async def main() -> None:
            loop = asyncio.get_running_loop()
            with pytest.raises(TypeError, match="machine"):
                await loop.sock_connect(machine, (SERVER, 80))
            with pytest.raises(TypeError, match="SSLSocket"):
                await loop.sock_recv(tls, 10)

        hosts.run(main)


def test_debug_mode_refuses_a_blocking_socket(hosts: TwoHosts) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        try:
            with socket.socket() as sock, pytest.raises(ValueError, match="non-blocking"):
                await loop.sock_connect(sock, (SERVER, 80))
        finally:
            loop.set_debug(False)

    hosts.run(main)


# Cancelling


def test_a_cancelled_connect_can_be_closed(hosts: TwoHosts) -> None:
    dead = TwoHosts(loss=1.0)

    async def main() -> bool:
        sock = non_blocking()
        over = await cancelled_after(1, asyncio.get_running_loop().sock_connect(sock, (SERVER, 80)))
        sock.close()
        return over

    assert dead.run(main)
    dead.net.close()


def test_a_cancelled_accept_takes_no_connection(hosts: TwoHosts) -> None:
    async def accepting() -> Any:
        loop = asyncio.get_running_loop()
        listener = listening()
        assert await cancelled_after(1, loop.sock_accept(listener))
        sock, _address = await loop.sock_accept(listener)
        return await loop.sock_recv(sock, 10)

    string = hosts.net.start(hosts.server, accepting)

    async def main() -> None:
        await asyncio.sleep(2)
        await asyncio.get_running_loop().sock_sendall(await connected(), b"taken")

    hosts.run(main)
    hosts.net.run()
    assert string.result == b"taken"


def test_a_cancelled_recv_takes_no_data(hosts: TwoHosts) -> None:
    hosts.serve(serve, echo)

    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        sock = await connected()
        assert await cancelled_after(1, loop.sock_recv(sock, 10))
        assert await cancelled_after(1, loop.sock_recv_into(sock, bytearray(10)))
        await loop.sock_sendall(sock, b"whole")
        return await loop.sock_recv(sock, 10)

    assert hosts.run(main) == b"whole"


def test_a_recv_cancelled_at_the_instant_when_data_comes_loses_nothing(hosts: TwoHosts) -> None:
    hosts.serve(serve, echo)

    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        sock = await connected()
        await loop.sock_sendall(sock, b"whole")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(ROUND_TRIP - 1e-9):
                await loop.sock_recv(sock, 10)
        return await loop.sock_recv(sock, 10)

    assert hosts.run(main) == b"whole"


def test_a_cancelled_sendall_may_have_sent_a_part_and_no_more(hosts: TwoHosts) -> None:
    got: list[int] = []

    async def late(sock: socket.socket) -> None:
        await asyncio.sleep(10)
        count = 0
        while data := await asyncio.get_running_loop().sock_recv(sock, 1 << 20):
            count += len(data)
        got.append(count)

    hosts.serve(serve, late)

    async def main() -> None:
        sock = await connected()
        assert await cancelled_after(5, asyncio.get_running_loop().sock_sendall(sock, bytes(20_000_000)))
        sock.close()

    hosts.run(main)
    hosts.settle(60)
    assert len(got) == 1 and 0 < got[0] < 20_000_000


def test_closing_a_socket_ends_who_waits_on_it(hosts: TwoHosts) -> None:
    hosts.serve(serve, echo)

    async def main() -> int | None:
        loop = asyncio.get_running_loop()
        sock = await connected()
        task = asyncio.ensure_future(loop.sock_recv(sock, 10))
        await asyncio.sleep(1)
        sock.close()
        with pytest.raises(OSError) as caught:
            await task
        return caught.value.errno

    assert hosts.run(main) == errno.EBADF


def test_data_for_a_loop_that_was_closed_wakes_nobody(hosts: TwoHosts) -> None:
    async def late(sock: socket.socket) -> None:
        await asyncio.sleep(2)
        await asyncio.get_running_loop().sock_sendall(sock, b"late")

    hosts.serve(serve, late)

    def main() -> bytes:
        sock = socket.create_connection((SERVER, 80))
        loop = asyncio.new_event_loop()
        waiting = loop.create_task(loop.sock_recv(sock, 10))
        loop.run_until_complete(asyncio.sleep(1))
        loop.close()
        waiting._log_destroy_pending = False  # type: ignore[attr-defined]
        return sock.recv(10)

    assert hosts.run(main) == b"late"


# Callbacks for descriptors


def test_a_reader_is_called_as_long_as_there_is_something_to_read(hosts: TwoHosts) -> None:
    hosts.serve(serve, echo)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        sock = await connected()
        calls: list[Any] = []

        def readable(word: str) -> None:
            calls.append((sock.recv(3), word, now()))

        loop.add_reader(sock, readable, "arg")
        sock.send(b"abcdefgh")
        await asyncio.sleep(1)
        assert loop.remove_reader(sock) is True
        assert loop.remove_reader(sock) is False
        sock.send(b"unheard")
        await asyncio.sleep(1)
        return calls

    at = 2 * ROUND_TRIP
    assert hosts.run(main) == [(b"abc", "arg", at), (b"def", "arg", at), (b"gh", "arg", at)]


def test_a_writer_is_called_while_there_is_room(hosts: TwoHosts) -> None:
    async def never(sock: socket.socket) -> None:
        await asyncio.sleep(3600)

    hosts.serve(serve, never)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        sock = await connected()
        counts: list[int] = []
        loop.add_writer(sock.fileno(), lambda: counts.append(sock.send(bytes(1_000_000))))
        await asyncio.sleep(600)
        called = len(counts)
        await asyncio.sleep(600)
        assert len(counts) == called, "nobody reads, and still there was room"
        assert loop.remove_writer(sock.fileno()) is True
        assert loop.remove_writer(sock.fileno()) is False
        with pytest.raises(BlockingIOError):
            # poll(2) calls a socket writable from a third of free room on; fill what is left of that.
            while sock.send(bytes(1_000_000)):
                pass
        return called > 1 and sum(counts) > 100_000

    assert hosts.run(main)


def test_a_writer_is_told_of_the_end_of_a_connect(hosts: TwoHosts) -> None:
    hosts.serve(serve, echo)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        results = []
        for port in (80, 81):
            sock = non_blocking()
            assert sock.connect_ex((SERVER, port)) == errno.EINPROGRESS
            writable = loop.create_future()
            loop.add_writer(sock, lambda done=writable: done.done() or done.set_result(now()))
            start = now()
            at = await writable
            loop.remove_writer(sock)
            results.append((round(at - start, 9), sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)))
        return results

    assert hosts.run(main) == [(ROUND_TRIP, 0), (ROUND_TRIP, errno.ECONNREFUSED)]


def test_a_second_reader_replaces_the_first_and_a_callback_can_remove_itself(hosts: TwoHosts) -> None:
    hosts.serve(serve, echo)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        sock = await connected()
        calls: list[str] = []
        loop.add_reader(sock, calls.append, "first")

        def once() -> None:
            calls.append("second")
            loop.remove_reader(sock)

        loop.add_reader(sock, once)
        sock.send(b"x")
        await asyncio.sleep(1)
        return calls, sock.recv(10)

    assert hosts.run(main) == (["second"], b"x")


def test_an_exception_in_a_reader_is_reported_and_it_is_called_again(hosts: TwoHosts) -> None:
    hosts.serve(serve, echo)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        reported: list[str] = []
        loop.set_exception_handler(lambda _loop, context: reported.append(str(context["exception"])))
        sock = await connected()

        def fail() -> None:
            raise LookupError(sock.recv(1).decode())

        loop.add_reader(sock, fail)
        sock.send(b"ab")
        await asyncio.sleep(1)
        return reported

    assert hosts.run(main) == ["a", "b"]


def test_a_reader_needs_an_open_descriptor(hosts: TwoHosts) -> None:
    async def main() -> Any:
        loop = asyncio.get_running_loop()
        sock = non_blocking()
        number = sock.fileno()
        sock.close()
        with pytest.raises(OSError) as caught:
            loop.add_reader(number, print)
        with pytest.raises(ValueError):
            loop.add_reader(sock, print)  # fileno() is -1
        return caught.value.errno

    assert hosts.run(main) == errno.EBADF


# Datagrams


def test_datagrams_there_and_back(hosts: TwoHosts) -> None:
    async def answer() -> None:
        loop = asyncio.get_running_loop()
        sock = non_blocking(socket.SOCK_DGRAM)
        sock.bind(("", 53))
        while True:
            data, address = await loop.sock_recvfrom(sock, 2000)
            await loop.sock_sendto(sock, data[::-1], address)

    hosts.serve(answer)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        sock = non_blocking(socket.SOCK_DGRAM)
        assert await loop.sock_sendto(sock, b"abc", ("server", 53)) == 3
        first = await loop.sock_recvfrom(sock, 100)
        at = now()
        await loop.sock_sendto(sock, b"defgh", (SERVER, 53))
        buffer = bytearray(10)
        second = await loop.sock_recvfrom_into(sock, buffer)
        await loop.sock_sendto(sock, b"0123456789", (SERVER, 53))
        cut = await loop.sock_recvfrom_into(sock, buffer, 4)
        return first, at, second, bytes(buffer), cut

    peer = (SERVER, 53)
    assert hosts.run(main) == ((b"cba", peer), ROUND_TRIP, (5, peer), b"9876d" + bytes(5), (4, peer))


def test_a_cancelled_recvfrom_takes_no_datagram(hosts: TwoHosts) -> None:
    async def late() -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(2)
        await loop.sock_sendto(non_blocking(socket.SOCK_DGRAM), b"late", (CLIENT, 53))

    hosts.serve(late)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        sock = non_blocking(socket.SOCK_DGRAM)
        sock.bind((CLIENT, 53))
        assert await cancelled_after(1, loop.sock_recvfrom(sock, 10))
        data, _address = await loop.sock_recvfrom(sock, 10)
        return data, now()

    assert hosts.run(main) == (b"late", 2.005)


# Names


def test_getaddrinfo_and_getnameinfo_ask_the_networks_table(hosts: TwoHosts) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo("server", "http", type=socket.SOCK_STREAM)
        assert found == [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (SERVER, 80))]
        assert await loop.getnameinfo((SERVER, 80)) == ("server", "http")
        assert await loop.getnameinfo((SERVER, 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV) == (SERVER, "80")
        with pytest.raises(socket.gaierror) as caught:
            await loop.getaddrinfo("nobody", 80)
        assert caught.value.errno == socket.EAI_NONAME
        assert now() == 0.0

    hosts.run(main)
