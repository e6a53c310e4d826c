"""asyncio's streams between two virtual hosts: what they deliver, when, and how they fail."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest
from two_hosts import CLIENT, DELAY, ROUND_TRIP, SERVER, TwoHosts, now, times


async def echo_server(port: int = 80) -> None:
    """Sends back what comes until the end of the stream, then closes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, port=port)
    await server.serve_forever()


def serve_with(hosts: TwoHosts, handle: Any, port: int = 80, **kwargs: Any) -> None:
    async def serve() -> None:
        server = await asyncio.start_server(handle, port=port, **kwargs)
        await server.serve_forever()

    hosts.serve(serve)


# Opening


def test_connecting_takes_one_round_trip(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    async def main() -> float:
        _, took = await times(asyncio.open_connection(SERVER, 80))
        return took

    assert hosts.run(main) == ROUND_TRIP


def test_a_name_of_the_network_is_looked_up_in_no_time(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    async def main() -> tuple[Any, float]:
        _reader, writer = await asyncio.open_connection("server", 80)
        return writer.get_extra_info("peername"), now()

    assert hosts.run(main) == ((SERVER, 80), ROUND_TRIP)


def test_the_handler_runs_when_the_last_ack_of_the_handshake_comes(hosts: TwoHosts) -> None:
    accepted: list[float] = []

    async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(now())
        writer.close()

    serve_with(hosts, handle)

    async def main() -> bytes:
        reader, _writer = await asyncio.open_connection(SERVER, 80)
        return await reader.read()

    assert hosts.run(main) == b""
    assert accepted == [3 * DELAY]


def test_both_ends_know_both_addresses(hosts: TwoHosts) -> None:
    seen: list[Any] = []

    async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((writer.get_extra_info("sockname"), writer.get_extra_info("peername")))
        writer.close()

    serve_with(hosts, handle)

    async def main() -> Any:
        reader, writer = await asyncio.open_connection(SERVER, 80)
        await reader.read()
        return writer.get_extra_info("sockname"), writer.get_extra_info("peername")

    own, peer = hosts.run(main)
    assert own[0] == CLIENT and peer == (SERVER, 80)
    assert seen == [(peer, own)]


def test_a_local_address_and_port_can_be_chosen(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    async def main() -> Any:
        _reader, writer = await asyncio.open_connection(SERVER, 80, local_addr=(CLIENT, 4321))
        return writer.get_extra_info("sockname")

    assert hosts.run(main) == (CLIENT, 4321)


def test_a_host_reaches_itself_in_no_time(hosts: TwoHosts) -> None:
    async def main() -> tuple[bytes, float]:
        serving = asyncio.ensure_future(echo_server(7000))
        await asyncio.sleep(1)
        reader, writer = await asyncio.open_connection("localhost", 7000)
        writer.write(b"self")
        writer.write_eof()
        data = await reader.read()
        serving.cancel()
        return data, now()

    assert hosts.run(main) == (b"self", 1.0)


def test_a_refused_connect_takes_one_round_trip(hosts: TwoHosts) -> None:
    async def main() -> tuple[int | None, float]:
        with pytest.raises(ConnectionRefusedError) as caught:
            await asyncio.open_connection(SERVER, 81)
        return caught.value.errno, now()

    assert hosts.run(main) == (errno.ECONNREFUSED, ROUND_TRIP)


def test_a_network_without_a_route_is_unreachable_at_once(hosts: TwoHosts) -> None:
    async def main() -> tuple[int | None, float]:
        with pytest.raises(OSError) as caught:
            await asyncio.open_connection("192.0.2.1", 80)
        return caught.value.errno, now()

    assert hosts.run(main) == (errno.ENETUNREACH, 0.0)


def test_connecting_over_a_dead_link_times_out_as_linux_does() -> None:
    hosts = TwoHosts(loss=1.0)

    async def main() -> tuple[int | None, float]:
        with pytest.raises(TimeoutError) as caught:
            await asyncio.open_connection(SERVER, 80)
        return caught.value.errno, now()

    # The SYN goes out at 0, 1, 2, 3, 4, 5, 7, 11, 19, 35 and 67 s, and 64 s after the last it is over.
    assert hosts.run(main) == (errno.ETIMEDOUT, 131.0)
    hosts.net.close()


def test_wait_for_bounds_a_connect_exactly() -> None:
    hosts = TwoHosts(loss=1.0)

    async def main() -> float:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.open_connection(SERVER, 80), 2.5)
        return now()

    assert hosts.run(main) == 2.5
    hosts.net.close()


def test_an_unknown_name_raises_gaierror(hosts: TwoHosts) -> None:
    async def main() -> int | None:
        with pytest.raises(socket.gaierror) as caught:
            await asyncio.open_connection("nobody.example", 80)
        return caught.value.errno

    assert hosts.run(main) == socket.EAI_NONAME


def test_happy_eyeballs_goes_on_to_the_address_that_answers(hosts: TwoHosts) -> None:
    # RFC 6724, rule 9: 10.0.0.5, which is nobody, comes first, having 29 bits in common with 10.0.0.3; 10.0.0.9 has 28.
    hosts.server.add_address(hosts.server.devices["eth0"], 0x0A00_0009, 24)
    hosts.net.names.add("twice", 0x0A00_0009)
    hosts.net.names.add("twice", 0x0A00_0005)
    hosts.serve(echo_server)

    async def main() -> Any:
        _reader, writer = await asyncio.open_connection("twice", 80, happy_eyeballs_delay=0.25)
        return writer.get_extra_info("peername")[0], now()

    # At the latest the second attempt begins when the first has had its 250 ms.
    assert hosts.run(main) == ("10.0.0.9", 0.25 + ROUND_TRIP)


# Data


def test_a_request_and_its_answer_take_one_round_trip(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    async def main() -> tuple[bytes, float]:
        reader, writer = await asyncio.open_connection(SERVER, 80)
        writer.write(b"ping")
        return await times(reader.readexactly(4))

    assert hosts.run(main) == (b"ping", ROUND_TRIP)


def test_lines_are_cut_where_they_end_however_they_were_written(hosts: TwoHosts) -> None:
    async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in (b"one\ntw", b"o\n", b"thr", b"ee"):
            writer.write(piece)
            await asyncio.sleep(0.1)
        writer.close()

    serve_with(hosts, handle)

    async def main() -> list[tuple[bytes, float]]:
        reader, _writer = await asyncio.open_connection(SERVER, 80)
        lines = []
        while line := await reader.readline():
            lines.append((line, round(now(), 9)))
        return lines

    # Accepted at 15 ms; a piece each 100 ms, which is here 5 ms later. The last "line" ends with the stream.
    assert hosts.run(main) == [(b"one\n", 0.020), (b"two\n", 0.120), (b"three", 0.420)]


def test_a_stream_that_ends_early_is_an_incomplete_read(hosts: TwoHosts) -> None:
    async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"four")
        writer.close()

    serve_with(hosts, handle)

    async def main() -> tuple[bytes, int | None]:
        reader, _writer = await asyncio.open_connection(SERVER, 80)
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            await reader.readexactly(10)
        return caught.value.partial, caught.value.expected

    assert hosts.run(main) == (b"four", 10)


def test_a_line_beyond_the_limit_is_an_overrun(hosts: TwoHosts) -> None:
    async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 1000)

    serve_with(hosts, handle)

    async def main() -> int:
        reader, _writer = await asyncio.open_connection(SERVER, 80, limit=100)
        with pytest.raises(asyncio.LimitOverrunError) as caught:
            await reader.readuntil(b"\n")
        return caught.value.consumed

    assert hosts.run(main) >= 100


def test_a_reader_with_a_small_limit_holds_back_the_writer(hosts: TwoHosts) -> None:
    sent: list[float] = []

    async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(8_000_000))
        await writer.drain()
        sent.append(now())
        writer.close()

    serve_with(hosts, handle)

    async def main() -> int:
        reader, _writer = await asyncio.open_connection(SERVER, 80, limit=1000)
        await asyncio.sleep(60)
        assert sent == []  # 8 MB are more than all buffers on the way together
        total = 0
        while data := await reader.read(100_000):
            total += len(data)
        return total

    assert hosts.run(main) == 8_000_000
    assert len(sent) == 1 and sent[0] > 60.0


def test_half_a_connection_stays_open_after_write_eof(hosts: TwoHosts) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.read()
        await asyncio.sleep(1)
        writer.write(request.upper())
        writer.close()

    serve_with(hosts, handle)

    async def main() -> tuple[bytes, float]:
        reader, writer = await asyncio.open_connection(SERVER, 80)
        assert writer.can_write_eof()
        writer.write(b"half")
        writer.write_eof()
        return await reader.read(), now()

    # Connected at 10 ms, FIN there at 15 ms, answer sent 1 s later and 5 ms on its way.
    assert hosts.run(main) == (b"HALF", 1.02)


def test_data_written_before_close_arrives(hosts: TwoHosts) -> None:
    blob = bytes(range(256)) * 4000

    async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(blob)
        writer.close()
        await writer.wait_closed()

    serve_with(hosts, handle)

    async def main() -> bytes:
        reader, _writer = await asyncio.open_connection(SERVER, 80)
        return await reader.read()

    assert hosts.run(main) == blob


def test_a_hundred_connections_at_once_are_served_in_their_order(hosts: TwoHosts) -> None:
    order: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = int(await reader.readline())
        order.append(number)
        writer.write(b"%d\n" % (number * number))
        writer.close()

    serve_with(hosts, handle)

    async def one(number: int) -> tuple[int, float]:
        reader, writer = await asyncio.open_connection(SERVER, 80)
        writer.write(b"%d\n" % number)
        answer = int(await reader.readline())
        writer.close()
        return answer, now()

    async def main() -> Any:
        return await asyncio.gather(*(one(number) for number in range(100)))

    assert hosts.run(main) == [(number * number, 2 * ROUND_TRIP) for number in range(100)]
    assert order == list(range(100))


# Ends


def test_a_reset_raises_at_the_reader_and_at_drain(hosts: TwoHosts) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        # l_onoff 1, l_linger 0: close(2) sends a RST.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    serve_with(hosts, handle)

    async def main() -> Any:
        reader, writer = await asyncio.open_connection(SERVER, 80)
        writer.write(b"x")
        with pytest.raises(ConnectionResetError) as caught:
            await reader.read()
        first = caught.value.errno, now()
        writer.write(b"y")
        with pytest.raises(ConnectionResetError):
            await writer.drain()
        return first

    assert hosts.run(main) == (errno.ECONNRESET, 2 * ROUND_TRIP)


def test_closing_with_unread_data_resets_the_peer(hosts: TwoHosts) -> None:
    async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()
        await asyncio.sleep(1)  # 5 bytes come meanwhile, and lie in the socket
        writer.close()

    serve_with(hosts, handle)

    async def main() -> tuple[int | None, float]:
        reader, writer = await asyncio.open_connection(SERVER, 80)
        writer.write(b"lying")
        with pytest.raises(ConnectionResetError) as caught:
            await reader.read()
        return caught.value.errno, now()

    assert hosts.run(main) == (errno.ECONNRESET, 1.02)


def test_writing_after_close_is_not_an_error_until_drain(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    async def main() -> bool:
        _reader, writer = await asyncio.open_connection(SERVER, 80)
        writer.close()
        assert writer.is_closing()
        writer.write(b"late")
        await writer.wait_closed()
        with pytest.raises(ConnectionResetError):
            await writer.drain()
        return True

    assert hosts.run(main)


def test_reading_after_ones_own_close_ends(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    async def main() -> bytes:
        reader, writer = await asyncio.open_connection(SERVER, 80)
        writer.close()
        await writer.wait_closed()
        return await reader.read()

    assert hosts.run(main) == b""


# Timeouts and cancelling


def test_wait_for_bounds_a_read_exactly_and_the_stream_goes_on(hosts: TwoHosts) -> None:
    async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1)
        writer.write(b"late")

    serve_with(hosts, handle)

    async def main() -> Any:
        reader, _writer = await asyncio.open_connection(SERVER, 80)
        start = now()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(100), 0.25)
        waited = now() - start
        return waited, await reader.read(100), now()

    waited, data, at = hosts.run(main)
    assert (round(waited, 9), data, at) == (0.25, b"late", 1.02)


def test_asyncio_timeout_bounds_a_block_exactly(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    async def main() -> float:
        reader, _writer = await asyncio.open_connection(SERVER, 80)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout_at(3600.0):
                await reader.read()
        return now()

    assert hosts.run(main) == 3600.0


async def _cancelled(coroutine: Any) -> bool:
    """Whether `coroutine` ends by CancelledError when it is cancelled 1 s after its start."""
    task = asyncio.ensure_future(coroutine)
    await asyncio.sleep(1)
    assert not task.done(), "there was nothing to cancel"
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


def test_cancelling_a_connect_leaves_no_socket() -> None:
    hosts = TwoHosts(loss=1.0)

    async def main() -> bool:
        return await _cancelled(asyncio.open_connection(SERVER, 80))

    assert hosts.run(main)
    hosts.settle()
    assert hosts.client.descriptors.all() == []
    hosts.net.close()


def test_cancelling_a_read_loses_nothing(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    async def main() -> bytes:
        reader, writer = await asyncio.open_connection(SERVER, 80)
        assert await _cancelled(reader.read(100))
        assert await _cancelled(reader.readexactly(5))
        assert await _cancelled(reader.readline())
        writer.write(b"after")
        return await reader.readexactly(5)

    assert hosts.run(main) == b"after"


def test_cancelling_a_drain_loses_nothing(hosts: TwoHosts) -> None:
    total = 8_000_000

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(10)
        count = 0
        while data := await reader.read(1 << 20):
            count += len(data)
        writer.write(b"%d" % count)
        writer.close()

    serve_with(hosts, handle)

    async def main() -> int:
        reader, writer = await asyncio.open_connection(SERVER, 80)
        writer.write(bytes(total))
        assert await _cancelled(writer.drain())
        writer.write_eof()
        return int(await reader.read())

    assert hosts.run(main) == total


def test_cancelling_serve_forever_closes_the_server(hosts: TwoHosts) -> None:
    async def serve() -> None:
        async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        server = await asyncio.start_server(handle, port=80)
        assert await _cancelled(server.serve_forever())
        assert not server.is_serving()

    hosts.net.start(hosts.server, serve)

    async def main() -> int | None:
        reader, _writer = await asyncio.open_connection(SERVER, 80)
        assert await reader.read() == b""
        await asyncio.sleep(2)
        with pytest.raises(ConnectionRefusedError) as caught:
            await asyncio.open_connection(SERVER, 80)
        return caught.value.errno

    assert hosts.run(main) == errno.ECONNREFUSED
    assert hosts.net.run() is None  # the server's string has ended too, without an error


def test_a_task_group_of_connections_ends_together(hosts: TwoHosts) -> None:
    hosts.serve(echo_server)

    async def one(number: int) -> bytes:
        reader, writer = await asyncio.open_connection(SERVER, 80)
        writer.write(b"%d" % number)
        data = await reader.read(10)
        if number == 3:
            raise RuntimeError("number three")
        await reader.read()  # until it is cancelled
        return data

    async def main() -> float:
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                for number in range(5):
                    group.create_task(one(number))
        assert [str(error) for error in caught.value.exceptions] == ["number three"]
        return now()

    assert hosts.run(main) == 2 * ROUND_TRIP


# Servers


def test_a_server_can_start_serving_later(hosts: TwoHosts) -> None:
    async def serve() -> None:
        async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        server = await asyncio.start_server(handle, port=80, start_serving=False)
        assert not server.is_serving()
        await asyncio.sleep(5)
        await server.start_serving()
        assert server.is_serving()
        await asyncio.sleep(5)
        server.close()

    hosts.net.start(hosts.server, serve)

    async def main() -> float:
        # Bound and not listening: nobody is there yet.
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(SERVER, 80)
        await asyncio.sleep(6)
        reader, _writer = await asyncio.open_connection(SERVER, 80)
        await reader.read()
        return round(now(), 9)

    assert hosts.run(main) == 6.03  # refused at 10 ms; connected 10 ms after 6.01 s; the end comes 10 ms later
    hosts.net.run()


def test_port_zero_takes_a_free_one(hosts: TwoHosts) -> None:
    async def main() -> int:
        async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with await asyncio.start_server(handle, host=CLIENT, port=0) as server:
            address, port = server.sockets[0].getsockname()
            assert address == CLIENT
            reader, _writer = await asyncio.open_connection(CLIENT, port)
            assert await reader.read() == b""
        assert server.sockets == ()
        return int(port)

    assert 32768 <= hosts.run(main) <= 60999  # ip_local_port_range


def test_two_servers_cannot_have_one_port(hosts: TwoHosts) -> None:
    async def main() -> Any:
        async def handle(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None: ...

        first = await asyncio.start_server(handle, port=80)
        with pytest.raises(OSError) as caught:
            await asyncio.start_server(handle, port=80)
        first.close()
        second = await asyncio.start_server(handle, port=80)
        return caught.value.errno, second.is_serving()

    assert hosts.run(main) == (errno.EADDRINUSE, True)


def test_a_server_cannot_have_an_address_of_another_host(hosts: TwoHosts) -> None:
    async def main() -> str:
        async def handle(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None: ...

        with pytest.raises(OSError) as caught:
            await asyncio.start_server(handle, host=SERVER, port=80)
        return str(caught.value)

    # EADDRNOTAVAIL, of which asyncio makes a message of its own; its words differ between versions of Python.
    message = hosts.run(main)
    assert "bind on" in message and f"('{SERVER}', 80)" in message


def test_a_closed_server_refuses_new_connections_and_keeps_the_old(hosts: TwoHosts) -> None:
    async def serve() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(4)
            server.close()
            writer.write(b"still here")
            writer.write(await reader.readexactly(4))
            writer.close()

        server = await asyncio.start_server(handle, port=80)
        await server.wait_closed()

    hosts.serve(serve)

    async def main() -> Any:
        reader, writer = await asyncio.open_connection(SERVER, 80)
        writer.write(b"stop")
        first = await reader.readexactly(10)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(SERVER, 80)
        writer.write(b"more")
        return first, await reader.read()

    assert hosts.run(main) == (b"still here", b"more")


def test_an_error_in_a_handler_is_reported_and_serving_goes_on(hosts: TwoHosts) -> None:
    reported: list[Any] = []

    async def serve() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if await reader.read(1) == b"!":
                writer.close()
                raise LookupError("in the handler")
            writer.write(b"fine")
            writer.close()

        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context["exception"]))
        server = await asyncio.start_server(handle, port=80)
        await server.serve_forever()

    hosts.serve(serve)

    async def main() -> list[bytes]:
        answers = []
        for byte in (b"!", b"?"):
            reader, writer = await asyncio.open_connection(SERVER, 80)
            writer.write(byte)
            answers.append(await reader.read())
            writer.close()
        return answers

    assert hosts.run(main) == [b"", b"fine"]
    assert [str(error) for error in reported] == ["in the handler"]


def test_a_string_that_ends_leaves_its_servers_to_the_host(hosts: TwoHosts) -> None:
    # As in asyncio: a server belongs to the loop, not to the task that made it.
    async def serve() -> None:
        async def handle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"on my own")
            writer.close()

        serve.server = await asyncio.start_server(handle, port=80)  # type: ignore[attr-defined]

    hosts.net.run(serve, on=hosts.server)

    async def main() -> bytes:
        reader, _writer = await asyncio.open_connection(SERVER, 80)
        return await reader.read()

    assert hosts.run(main) == b"on my own"


def test_who_asks_for_data_in_a_circle_receives_it_over_lo(hosts: TwoHosts) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(4))
        writer.close()

    async def main() -> bytes:
        server = await asyncio.start_server(serve, "127.0.0.1", 80)
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", 80))
        sock.send(b"ping")
        while True:
            try:
                data = sock.recv(100)
                break
            except BlockingIOError:
                await asyncio.sleep(0)
        server.close()
        sock.close()
        return data

    assert (hosts.run(main()), hosts.net.now) == (b"ping", 0.0)
