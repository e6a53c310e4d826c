"""Transports and protocols between two virtual hosts: the order of callbacks, flow control, ends, servers."""

from __future__ import annotations

import asyncio
import errno
import gc
import io
import os
import socket
import sys
import weakref
from typing import Any

import pytest
from two_hosts import CLIENT, DELAY, ROUND_TRIP, SERVER, Recorder, TwoHosts, now

LINGER_ZERO = b"\1\0\0\0\0\0\0\0"  # struct linger: on, 0 s


class Echo(asyncio.Protocol):
    transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Silent(asyncio.Protocol):
    """Takes what comes, counts it and says nothing."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.count = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.count += len(data)


def serve_with(hosts: TwoHosts, factory: Any, port: int = 80) -> None:
    """Bind at once and serve for the whole run."""

    async def serve() -> None:
        await asyncio.get_running_loop().create_server(factory, port=port)

    hosts.net.run(serve, on=hosts.server)


async def connect(factory: Any = Recorder, **kwargs: Any) -> tuple[Any, Any]:
    return await asyncio.get_running_loop().create_connection(factory, SERVER, 80, **kwargs)


def errors_of(loop: asyncio.AbstractEventLoop) -> list[dict[str, Any]]:
    """What is reported to the loop's exception handler from now on."""
    reported: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: reported.append(context))
    return reported


# Callbacks


def test_the_callbacks_of_a_connection_come_in_order_and_on_time(hosts: TwoHosts) -> None:
    class Hello(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            transport.write(b"hello")
            transport.write_eof()

    serve_with(hosts, Hello)

    async def main() -> Any:
        _transport, protocol = await connect()
        assert await protocol.over is None
        return protocol.calls, protocol.times

    # Accepted at 15 ms, and both the data and the FIN are here 5 ms later. eof_received returned false: it closes.
    assert hosts.run(main) == (["made", b"hello", "eof", ("lost", None)], [0.010, 0.020, 0.020, 0.020])


def test_connection_made_comes_before_create_connection_returns(hosts: TwoHosts) -> None:
    serve_with(hosts, Echo)

    async def main() -> Any:
        transport, protocol = await connect()
        return protocol.calls, protocol.transport is transport, transport.get_protocol() is protocol

    assert hosts.run(main) == (["made"], True, True)


def test_eof_received_can_keep_the_connection_half_open(hosts: TwoHosts) -> None:
    got = bytearray()

    class Eof(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            transport.write_eof()

        def data_received(self, data: bytes) -> None:
            got.extend(data)

    serve_with(hosts, Eof)

    async def main() -> Any:
        transport, protocol = await connect(lambda: Recorder(keep_open=True))
        await asyncio.sleep(1)
        assert protocol.calls == ["made", "eof"] and not transport.is_closing()
        transport.write(b"still")
        transport.close()
        await protocol.over
        return protocol.calls

    assert hosts.run(main) == ["made", "eof", ("lost", None)]
    hosts.settle()
    assert got == b"still"


def test_a_reset_is_handed_to_connection_lost(hosts: TwoHosts) -> None:
    class Resetting(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
            transport.close()

    serve_with(hosts, Resetting)

    async def main() -> Any:
        _transport, protocol = await connect()
        error = await protocol.over
        return protocol.calls, error.errno, now()

    calls, number, at = hosts.run(main)
    assert calls == ["made", ("lost", "ConnectionResetError")]
    assert (number, at) == (errno.ECONNRESET, 0.020)


def test_abort_drops_what_was_not_sent(hosts: TwoHosts) -> None:
    made: list[Silent] = []

    def factory() -> Silent:
        made.append(Silent())
        return made[-1]

    serve_with(hosts, factory)

    async def main() -> Any:
        transport, protocol = await connect()
        transport.write(bytes(10_000_000))
        assert transport.get_write_buffer_size() > 0
        transport.abort()
        assert transport.is_closing() and transport.get_write_buffer_size() == 0
        await protocol.over
        return protocol.calls

    assert hosts.run(main) == ["made", "pause", ("lost", None)]
    hosts.settle(10)
    assert 0 < made[0].count < 10_000_000


def test_close_sends_what_was_written_first(hosts: TwoHosts) -> None:
    made: list[Silent] = []

    def factory() -> Silent:
        made.append(Silent())
        return made[-1]

    serve_with(hosts, factory)

    async def main() -> Any:
        transport, protocol = await connect()
        transport.write(bytes(5_000_000))
        transport.close()
        transport.close()  # again is nothing
        assert transport.is_closing()
        assert await protocol.over is None
        return protocol.calls

    # 5 MB cross the high-water mark; the low one is reached before the end.
    assert hosts.run(main) == ["made", "pause", "resume", ("lost", None)]
    hosts.settle(10)
    assert made[0].count == 5_000_000


def test_nothing_is_received_after_close(hosts: TwoHosts) -> None:
    class Talkative(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            loop = asyncio.get_running_loop()
            for number in range(10):
                loop.call_later(number * 0.1, transport.write, b"x")

    serve_with(hosts, Talkative)

    async def main() -> Any:
        transport, protocol = await connect()
        await asyncio.sleep(0.15)
        transport.close()
        await asyncio.sleep(2)
        return protocol.calls

    assert hosts.run(main) == ["made", b"x", b"x", ("lost", None)]


# Writing


def test_write_refuses_what_is_not_bytes(hosts: TwoHosts) -> None:
    serve_with(hosts, Echo)

    async def main() -> None:
        transport, _protocol = await connect()
        for wrong in ("text", 5, None, [1, 2]):
            with pytest.raises(TypeError):
                transport.write(wrong)

    hosts.run(main)


def test_writelines_and_all_kinds_of_bytes_arrive_in_order(hosts: TwoHosts) -> None:
    serve_with(hosts, Echo)

    async def main() -> bytes:
        transport, protocol = await connect()
        array = bytearray(b"two ")
        transport.write(b"one ")
        transport.write(array)
        array[:] = b"XXXX"  # written is written
        transport.write(memoryview(b"three "))
        transport.writelines([b"four ", bytearray(b"five "), memoryview(b"six")])
        transport.write(b"")
        await asyncio.sleep(1)
        return bytes(protocol.data)

    assert hosts.run(main) == b"one two three four five six"


def test_write_after_write_eof_is_an_error(hosts: TwoHosts) -> None:
    serve_with(hosts, Echo)

    async def main() -> None:
        transport, protocol = await connect()
        assert transport.can_write_eof()
        transport.write_eof()
        transport.write_eof()  # again is nothing
        with pytest.raises(RuntimeError, match="write_eof"):
            transport.write(b"late")
        await protocol.over

    hosts.run(main)


def test_write_after_the_connection_was_lost_is_ignored(hosts: TwoHosts) -> None:
    class Closing(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            transport.close()

    serve_with(hosts, Closing)

    async def main() -> list[Any]:
        transport, protocol = await connect()
        await protocol.over
        for _ in range(10):
            transport.write(b"into the void")
        await asyncio.sleep(1)
        return protocol.calls

    assert hosts.run(main) == ["made", "eof", ("lost", None)]


def test_a_large_write_pauses_the_protocol_and_resumes_it(hosts: TwoHosts) -> None:
    serve_with(hosts, Silent)

    async def main() -> Any:
        transport, protocol = await connect()
        low, high = transport.get_write_buffer_limits()
        transport.write(bytes(3_000_000))
        assert transport.get_write_buffer_size() > high
        assert protocol.calls == ["made", "pause"]
        while protocol.calls[-1] == "pause":
            await asyncio.sleep(0.001)
        return (low, high), transport.get_write_buffer_size() <= low, protocol.calls

    assert hosts.run(main) == ((16 * 1024, 64 * 1024), True, ["made", "pause", "resume"])


def test_a_slow_reader_holds_the_writer_until_it_reads(hosts: TwoHosts) -> None:
    made: list[Silent] = []

    class Late(Silent):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            made.append(self)
            transport.pause_reading()
            asyncio.get_running_loop().call_later(60, transport.resume_reading)

    serve_with(hosts, Late)

    async def main() -> Any:
        transport, protocol = await connect()
        transport.write(bytes(8_000_000))
        await asyncio.sleep(59)
        assert protocol.calls == ["made", "pause"] and made[0].count == 0
        await asyncio.sleep(60)
        return protocol.calls, made[0].count

    assert hosts.run(main) == (["made", "pause", "resume"], 8_000_000)


def test_the_write_buffer_limits_can_be_set(hosts: TwoHosts) -> None:
    serve_with(hosts, Silent)

    async def main() -> None:
        transport, protocol = await connect()
        transport.set_write_buffer_limits(high=4000)
        assert transport.get_write_buffer_limits() == (1000, 4000)
        transport.set_write_buffer_limits(high=4000, low=10)
        assert transport.get_write_buffer_limits() == (10, 4000)
        transport.set_write_buffer_limits(low=3)
        assert transport.get_write_buffer_limits() == (3, 12)
        transport.set_write_buffer_limits(high=0)
        assert transport.get_write_buffer_limits() == (0, 0)
        with pytest.raises(ValueError):
            transport.set_write_buffer_limits(high=1, low=2)
        # With a mark of 0, one byte that the socket does not take pauses.
        sock = transport.get_extra_info("socket")
        while transport.get_write_buffer_size() == 0:
            assert protocol.calls == ["made"]
            transport.write(bytes(1000))
        assert protocol.calls == ["made", "pause"]
        assert sock.type == socket.SOCK_STREAM

    hosts.run(main)


# Reading


def test_nothing_is_delivered_while_reading_is_paused(hosts: TwoHosts) -> None:
    class Talkative(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            for number in range(4):
                asyncio.get_running_loop().call_later(number, transport.write, b"%d" % number)

    serve_with(hosts, Talkative)

    async def main() -> Any:
        transport, protocol = await connect()
        assert transport.is_reading()
        await asyncio.sleep(0.5)
        transport.pause_reading()
        transport.pause_reading()  # again is nothing
        assert not transport.is_reading()
        await asyncio.sleep(2.0)
        assert protocol.calls == ["made", b"0"]
        transport.resume_reading()
        transport.resume_reading()
        assert transport.is_reading()
        await asyncio.sleep(1.0)
        transport.close()
        assert not transport.is_reading()
        transport.pause_reading()  # after close these do nothing
        transport.resume_reading()
        await protocol.over
        return protocol.calls, [round(at, 9) for at in protocol.times]

    # Written at 15 ms, 1.015 s ...; resumed at 2.51 s, when two bytes lie in the socket.
    assert hosts.run(main) == (["made", b"0", b"12", b"3", ("lost", None)], [0.010, 0.020, 2.510, 3.020, 3.510])


def test_reading_can_be_paused_from_data_received(hosts: TwoHosts) -> None:
    serve_with(hosts, Echo)

    class OneAtATime(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(1, self.transport.resume_reading)

    async def main() -> Any:
        transport, protocol = await connect(OneAtATime)
        for number in range(3):
            transport.write(b"%d" % number)
            await asyncio.sleep(0.1)
        await asyncio.sleep(5)
        return protocol.calls, [round(at, 9) for at in protocol.times]

    assert hosts.run(main) == (["made", b"0", b"12"], [0.010, 0.020, 1.020])


def test_paused_before_connection_made_ends_gets_nothing(hosts: TwoHosts) -> None:
    class Hello(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            transport.write(b"hello")
            transport.close()

    serve_with(hosts, Hello)

    class Paused(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.pause_reading()

    async def main() -> Any:
        transport, protocol = await connect(Paused)
        await asyncio.sleep(1)
        assert protocol.calls == ["made"]
        transport.resume_reading()
        await protocol.over
        return protocol.calls

    assert hosts.run(main) == ["made", b"hello", "eof", ("lost", None)]


def test_set_protocol_takes_over_in_the_middle(hosts: TwoHosts) -> None:
    serve_with(hosts, Echo)

    async def main() -> Any:
        transport, first = await connect()
        transport.write(b"a")
        await asyncio.sleep(1)
        second = Recorder()
        transport.set_protocol(second)
        assert transport.get_protocol() is second
        transport.write(b"b")
        await asyncio.sleep(1)
        transport.close()
        await second.over
        return first.calls, second.calls

    assert hosts.run(main) == (["made", b"a"], [b"b", ("lost", None)])


# BufferedProtocol


class Buffered(asyncio.BufferedProtocol):
    """Reads into a buffer of `size` bytes."""

    def __init__(self, size: int = 10) -> None:
        self.buffer = bytearray(size)
        self.calls: list[Any] = []
        self.transport: Any = None
        self.over: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> Any:
        return memoryview(self.buffer)

    def buffer_updated(self, nbytes: int) -> None:
        self.calls.append(bytes(self.buffer[:nbytes]))

    def eof_received(self) -> None:
        self.calls.append("eof")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.over.set_result(exc)


def test_a_buffered_protocol_gets_its_buffer_filled(hosts: TwoHosts) -> None:
    class Hello(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            transport.write(b"0123456789abcdefghijk")
            transport.close()

    serve_with(hosts, Hello)

    async def main() -> Any:
        _transport, protocol = await connect(Buffered)
        await protocol.over
        return protocol.calls, now()

    assert hosts.run(main) == ([b"0123456789", b"abcdefghij", b"k", "eof"], 0.020)


def test_a_transport_changes_between_the_two_kinds_of_protocol(hosts: TwoHosts) -> None:
    serve_with(hosts, Echo)

    async def main() -> Any:
        transport, plain = await connect()
        transport.write(b"plain")
        await asyncio.sleep(1)
        buffered = Buffered()
        transport.set_protocol(buffered)
        transport.write(b"buffered")
        await asyncio.sleep(1)
        transport.set_protocol(plain)
        transport.write(b"again")
        await asyncio.sleep(1)
        return plain.calls, buffered.calls

    assert hosts.run(main) == (["made", b"plain", b"again"], [b"buffered"])


@pytest.mark.parametrize("wrong", ["empty", "raises", "updated raises"])
def test_an_error_of_a_buffered_protocol_ends_the_connection(hosts: TwoHosts, wrong: str) -> None:
    serve_with(hosts, Echo)

    class Wrong(Buffered):
        def get_buffer(self, sizehint: int) -> Any:
            if wrong == "raises":
                raise LookupError("no buffer")
            return bytearray(0 if wrong == "empty" else 10)

        def buffer_updated(self, nbytes: int) -> None:
            raise LookupError("no use for it")

    async def main() -> Any:
        reported = errors_of(asyncio.get_running_loop())
        transport, protocol = await connect(Wrong)
        transport.write(b"x")
        error = await protocol.over
        return type(error), [type(context["exception"]) for context in reported]

    kind = RuntimeError if wrong == "empty" else LookupError
    assert hosts.run(main) == (kind, [kind])


# Errors in callbacks


class Failing(Recorder):
    """Raises in the callback that `where` names."""

    where = ""

    def fail_in(self, where: str) -> None:
        if where == self.where:
            raise LookupError(where)

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.fail_in("connection_made")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.fail_in("data_received")

    def eof_received(self) -> bool:
        super().eof_received()
        self.fail_in("eof_received")
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.fail_in("connection_lost")


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        # connection_made is a plain callback of the loop: reported, and the connection goes on.
        ("connection_made", ["made", b"hello", "eof", ("lost", None)]),
        ("data_received", ["made", b"hello", ("lost", "LookupError")]),
        ("eof_received", ["made", b"hello", "eof", ("lost", "LookupError")]),
        ("connection_lost", ["made", b"hello", "eof", ("lost", None)]),
    ],
)
def test_an_exception_in_a_callback_is_reported(hosts: TwoHosts, where: str, expected: list[Any]) -> None:
    class Hello(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            transport.write(b"hello")
            transport.close()

    serve_with(hosts, Hello)

    async def main() -> Any:
        reported = errors_of(asyncio.get_running_loop())
        factory = type("Factory", (Failing,), {"where": where})
        _transport, protocol = await connect(factory)
        await protocol.over
        await asyncio.sleep(1)
        return protocol.calls, [str(context["exception"]) for context in reported]

    assert hosts.run(main) == (expected, [where])
    assert hosts.client.descriptors.all() == []


@pytest.mark.parametrize("where", ["pause_writing", "resume_writing"])
def test_an_exception_in_flow_control_is_reported_and_data_arrives(hosts: TwoHosts, where: str) -> None:
    made: list[Silent] = []

    def factory() -> Silent:
        made.append(Silent())
        return made[-1]

    serve_with(hosts, factory)

    async def main() -> Any:
        reported = errors_of(asyncio.get_running_loop())

        class Wrong(asyncio.Protocol):
            pass

        def fail(_self: Any) -> None:
            raise LookupError(where)

        setattr(Wrong, where, fail)
        transport, _protocol = await connect(Wrong)
        transport.write(bytes(1_000_000))
        await asyncio.sleep(60)
        return [str(context["exception"]) for context in reported]

    assert hosts.run(main) == [where]
    assert made[0].count == 1_000_000


def test_an_exception_in_the_servers_factory_closes_that_connection_alone(hosts: TwoHosts) -> None:
    reported: list[Any] = []
    turns = iter([True, False])

    def factory() -> Any:
        if next(turns):
            raise LookupError("no protocol today")
        return Echo()

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: reported.append(str(context["exception"])))
        await loop.create_server(factory, port=80)

    hosts.net.run(serve, on=hosts.server)

    async def main() -> Any:
        _transport, first = await connect()
        await first.over
        transport, second = await connect()
        transport.write(b"hi")
        await asyncio.sleep(1)
        return first.calls, second.calls

    assert hosts.run(main) == (["made", "eof", ("lost", None)], ["made", b"hi"])
    assert reported == ["no protocol today"]


# Extra information


def test_extra_info_of_a_connection(hosts: TwoHosts) -> None:
    serve_with(hosts, Echo)

    async def main() -> None:
        transport, _protocol = await connect()
        assert transport.get_extra_info("peername") == (SERVER, 80)
        assert transport.get_extra_info("sockname")[0] == CLIENT
        assert transport.get_extra_info("nothing of the kind") is None
        assert transport.get_extra_info("nothing of the kind", 7) == 7
        sock = transport.get_extra_info("socket")
        assert (sock.family, sock.type, sock.proto) == (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        assert sock.getpeername() == (SERVER, 80)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1  # as asyncio's own transports have it
        with pytest.raises(AttributeError):
            _ = sock.recv  # TransportSocket hides what would disturb the transport

    hosts.run(main)


# Making connections


def test_create_connection_takes_a_connected_plain_socket(hosts: TwoHosts) -> None:
    serve_with(hosts, Echo)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, (SERVER, 80))
        transport, protocol = await loop.create_connection(Recorder, sock=sock)
        assert transport.get_extra_info("socket").fileno() == sock.fileno()
        transport.write(b"over it")
        await asyncio.sleep(1)
        transport.close()
        await protocol.over
        return protocol.calls, sock.fileno()

    assert hosts.run(main) == (["made", b"over it", ("lost", None)], -1)


def test_create_connection_refuses_contradicting_arguments(hosts: TwoHosts) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            for kwargs in (
                {"host": SERVER, "port": 80, "sock": sock},
                {},
                {"server_hostname": "x", "host": SERVER, "port": 80},
                {"ssl": True, "sock": sock},
                {"ssl_handshake_timeout": 1, "host": SERVER, "port": 80},
            ):
                with pytest.raises(ValueError):
                    await loop.create_connection(Recorder, **kwargs)
        with socket.socket(type=socket.SOCK_DGRAM) as datagram, pytest.raises(ValueError):
            await loop.create_connection(Recorder, sock=datagram)

    hosts.run(main)


def test_all_addresses_of_a_name_are_tried_and_the_last_errors_told(hosts: TwoHosts) -> None:
    hosts.net.names.add("both", 0x0A00_0002)
    hosts.net.names.add("both", 0x0A00_0003)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        with pytest.raises(OSError) as caught:
            await loop.create_connection(Recorder, "both", 81)
        return str(caught.value), now()

    message, at = hosts.run(main)
    # One round trip to the server's refusal; our own host refuses at once.
    assert at == ROUND_TRIP
    assert f"('{SERVER}', 81)" in message and f"('{CLIENT}', 81)" in message


def test_an_accepted_plain_socket_becomes_a_transport(hosts: TwoHosts) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as listener:
            listener.bind(("", 80))
            listener.listen()
            listener.setblocking(False)
            sock, _address = await loop.sock_accept(listener)
            await loop.connect_accepted_socket(Echo, sock)
            await asyncio.sleep(10)

    hosts.serve(serve)

    async def main() -> bytes:
        transport, protocol = await connect()
        transport.write(b"accepted")
        await asyncio.sleep(1)
        return bytes(protocol.data)

    assert hosts.run(main) == b"accepted"


def test_sendfile_falls_back_to_reading_and_writing(hosts: TwoHosts) -> None:
    serve_with(hosts, Echo)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        transport, protocol = await connect()
        content = bytes(range(256)) * 1000
        file = io.BytesIO(content)
        assert await loop.sendfile(transport, file, offset=256, count=100_000) == 100_000
        assert file.tell() == 256 + 100_000
        await asyncio.sleep(1)
        with pytest.raises(RuntimeError):
            await loop.sendfile(transport, file, fallback=False)
        return bytes(protocol.data) == content[256 : 256 + 100_000]

    assert hosts.run(main)


# Servers


def test_a_server_listens_on_several_addresses(hosts: TwoHosts) -> None:
    second = hosts.server.add_device([(0x0A01_0001, 24)])
    assert second.name == "eth1"

    async def serve() -> Any:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, [SERVER, "10.1.0.1", "127.0.0.1"], 80)
        return [sock.getsockname() for sock in server.sockets]

    assert sorted(hosts.net.run(serve, on=hosts.server)) == [(SERVER, 80), ("10.1.0.1", 80), ("127.0.0.1", 80)]

    async def main() -> bytes:
        transport, protocol = await connect()
        transport.write(b"to one of them")
        await asyncio.sleep(1)
        return bytes(protocol.data)

    assert hosts.run(main) == b"to one of them"


def test_a_server_takes_a_bound_plain_socket(hosts: TwoHosts) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.bind((SERVER, 80))
        server = await loop.create_server(Echo, sock=sock)
        assert server.sockets[0].fileno() == sock.fileno()

    hosts.net.run(serve, on=hosts.server)

    async def main() -> bytes:
        transport, protocol = await connect()
        transport.write(b"x")
        await asyncio.sleep(1)
        return bytes(protocol.data)

    assert hosts.run(main) == b"x"


def test_wait_closed_returns_when_close_was_called_and_connections_are_gone(hosts: TwoHosts) -> None:
    async def serve() -> Any:
        loop = asyncio.get_running_loop()

        class Closing(Echo):
            def connection_made(self, transport: Any) -> None:
                super().connection_made(transport)
                loop.call_later(2, transport.close)

        server = await loop.create_server(Closing, port=80)
        await asyncio.sleep(1)
        assert server.is_serving()
        server.close()
        server.close()  # again is nothing
        assert not server.is_serving()
        await server.wait_closed()
        return now()

    string = hosts.net.start(hosts.server, serve)

    async def main() -> None:
        _transport, protocol = await connect()
        await protocol.over

    hosts.run(main)
    hosts.net.run()
    # Accepted at 15 ms and closed 2 s later. Before Python 3.12, wait_closed() did not wait for connections.
    assert string.result == (2.015 if sys.version_info >= (3, 12) else 1.0)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="Server.close_clients and abort_clients are new in Python 3.13")
@pytest.mark.parametrize("how", ["close_clients", "abort_clients"])
def test_a_server_ends_its_clients(hosts: TwoHosts, how: str) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Echo, port=80)
        await asyncio.sleep(1)
        server.close()
        getattr(server, how)()
        await server.wait_closed()
        assert now() == 1.0

    hosts.net.start(hosts.server, serve)

    async def main() -> Any:
        _transport, protocol = await connect()
        await protocol.over
        return protocol.calls, now()

    assert hosts.run(main) == (["made", "eof", ("lost", None)], 1.0 + DELAY)
    hosts.net.run()


def test_cancelling_create_connection_and_serve_forever(hosts: TwoHosts) -> None:
    dead = TwoHosts(loss=1.0)

    async def cancelled(coroutine: Any) -> float:
        task = asyncio.ensure_future(coroutine)
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return now()

    async def main() -> float:
        return await cancelled(connect())

    assert dead.run(main) == 1.0
    assert dead.client.descriptors.all() == []
    dead.net.close()

    async def serve() -> float:
        server = await asyncio.get_running_loop().create_server(Echo, port=80)
        return await cancelled(server.serve_forever())

    assert hosts.net.run(serve, on=hosts.server) == 1.0
    assert hosts.server.descriptors.all() == []


def test_a_connection_that_is_over_is_freed_without_the_garbage_collector(hosts: TwoHosts) -> None:
    serve_with(hosts, Echo)

    async def main() -> list[Any]:
        left = []
        for _ in range(2):
            transport, protocol = await connect()
            transport.close()
            await protocol.over
            left += [weakref.ref(transport), weakref.ref(protocol)]
        del transport, protocol
        await asyncio.sleep(0)
        return [reference() for reference in left]

    gc.disable()
    try:
        assert hosts.run(main) == [None] * 4
    finally:
        gc.enable()


def test_what_a_virtual_host_does_not_have_says_so(hosts: TwoHosts) -> None:
    async def main() -> list[int | None]:
        numbers = []
        for attempt in (
            asyncio.create_subprocess_exec("true"),
            asyncio.create_subprocess_shell("true"),
        ):
            with pytest.raises(OSError) as caught:
                await attempt
            numbers.append(caught.value.errno)
        return numbers

    assert hosts.run(main) == [errno.ENOSYS] * 2


def test_a_pipe_of_the_machine_is_no_descriptor_of_the_host(hosts: TwoHosts) -> None:
    reading, writing = os.pipe()

    async def main() -> list[int | None]:
        loop = asyncio.get_running_loop()
        numbers = []
        for attempt in (
            loop.connect_read_pipe(asyncio.Protocol, os.fdopen(reading, "rb", 0)),
            loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(writing, "wb", 0)),
        ):
            with pytest.raises(OSError) as caught:
                await attempt
            numbers.append(caught.value.errno)
        return numbers

    assert hosts.run(main) == [errno.EBADF] * 2
