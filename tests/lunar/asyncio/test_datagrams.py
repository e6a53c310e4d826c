"""Datagram endpoints between virtual hosts."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest
from two_hosts import CLIENT, DELAY, ROUND_TRIP, SERVER, TwoHosts, now


class Datagrams(asyncio.DatagramProtocol):
    """Notes its callbacks; an `answer` is sent back for each datagram."""

    def __init__(self, answer: Any = None) -> None:
        self.calls: list[Any] = []
        self.answer = answer
        self.transport: Any = None
        self.arrived = asyncio.Event()
        self.over: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.calls.append("made")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.calls.append((data, addr))
        self.arrived.set()
        if self.answer is not None:
            self.transport.sendto(self.answer(data), addr)

    def error_received(self, exc: Exception) -> None:
        self.calls.append(exc)
        self.arrived.set()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.over.set_result(exc)


def serve(hosts: TwoHosts, answer: Any = bytes.upper) -> None:
    async def start() -> None:
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: Datagrams(answer), local_addr=("0.0.0.0", 53))

    hosts.net.run(start, on=hosts.server)


async def endpoint(**kwargs: Any) -> tuple[Any, Datagrams]:
    return await asyncio.get_running_loop().create_datagram_endpoint(Datagrams, **kwargs)


def test_a_connected_endpoint_sends_without_an_address(hosts: TwoHosts) -> None:
    serve(hosts)

    async def main() -> Any:
        transport, protocol = await endpoint(remote_addr=("server", 53))
        transport.sendto(b"abc")
        transport.sendto(b"def", (SERVER, 53))
        with pytest.raises(ValueError):
            transport.sendto(b"to somebody else", (SERVER, 54))
        await protocol.arrived.wait()
        return protocol.calls, now(), transport.get_extra_info("peername")

    peer = (SERVER, 53)
    calls, at, peername = hosts.run(main)
    assert (at, peername) == (ROUND_TRIP, peer)
    hosts.settle()
    assert calls == ["made", (b"ABC", peer), (b"DEF", peer)]


def test_an_unconnected_endpoint_sends_to_anybody(hosts: TwoHosts) -> None:
    serve(hosts)

    async def main() -> Any:
        transport, protocol = await endpoint(local_addr=(CLIENT, 4000))
        assert transport.get_extra_info("sockname") == (CLIENT, 4000)
        assert transport.get_extra_info("peername") is None
        transport.sendto(b"abc", (SERVER, 53))
        transport.sendto(b"abc", ("server", 53))
        await asyncio.sleep(1)
        return protocol.calls

    assert hosts.run(main) == ["made", (b"ABC", (SERVER, 53)), (b"ABC", (SERVER, 53))]


def test_an_empty_datagram_is_a_datagram(hosts: TwoHosts) -> None:
    serve(hosts)

    async def main() -> Any:
        transport, protocol = await endpoint(remote_addr=(SERVER, 53))
        transport.sendto(b"")
        await asyncio.sleep(1)
        return protocol.calls

    # asyncio's own transport does not send empty datagrams in every version of Python (gh-115199); Lunar does.
    assert hosts.run(main) == ["made", (b"", (SERVER, 53))]


def test_a_connected_endpoint_hears_that_nobody_is_there(hosts: TwoHosts) -> None:
    async def main() -> Any:
        transport, protocol = await endpoint(remote_addr=(SERVER, 54))
        transport.sendto(b"hello?")
        await protocol.arrived.wait()
        assert isinstance(protocol.calls[1], ConnectionRefusedError)
        return protocol.calls[1].errno, now(), transport.is_closing()

    assert hosts.run(main) == (errno.ECONNREFUSED, ROUND_TRIP, False)


def test_an_unconnected_endpoint_does_not(hosts: TwoHosts) -> None:
    async def main() -> Any:
        transport, protocol = await endpoint(local_addr=(CLIENT, 0))
        transport.sendto(b"hello?", (SERVER, 54))
        await asyncio.sleep(1)
        return protocol.calls

    assert hosts.run(main) == ["made"]


def test_an_error_of_send_goes_to_error_received(hosts: TwoHosts) -> None:
    async def main() -> Any:
        transport, protocol = await endpoint(local_addr=(CLIENT, 0))
        transport.sendto(b"x", ("192.0.2.1", 9))
        transport.sendto(bytes(65508), (SERVER, 9))
        transport.sendto(b"x", ("10.0.0.255", 9))
        return [call.errno for call in protocol.calls[1:]]

    assert hosts.run(main) == [errno.ENETUNREACH, errno.EMSGSIZE, errno.EACCES]


def test_sendto_refuses_what_is_not_bytes(hosts: TwoHosts) -> None:
    async def main() -> None:
        transport, _protocol = await endpoint(remote_addr=(SERVER, 53))
        with pytest.raises(TypeError):
            transport.sendto("text")

    hosts.run(main)


def test_a_broadcast_reaches_those_who_are_bound(hosts: TwoHosts) -> None:
    serve(hosts)

    async def main() -> Any:
        transport, protocol = await endpoint(local_addr=("0.0.0.0", 4000), allow_broadcast=True)
        transport.sendto(b"anybody", ("10.0.0.255", 53))
        await asyncio.sleep(1)
        return protocol.calls

    assert hosts.run(main) == ["made", (b"ANYBODY", (SERVER, 53))]


def test_datagrams_are_cut_nowhere_and_keep_their_order(hosts: TwoHosts) -> None:
    serve(hosts, bytes)
    sizes = [1, 10, 1000, 1472, 100]

    async def main() -> Any:
        transport, protocol = await endpoint(remote_addr=(SERVER, 53))
        for size in sizes:
            transport.sendto(bytes(size))
        await asyncio.sleep(1)
        return [len(data) for data, _addr in protocol.calls[1:]]

    assert hosts.run(main) == sizes


def test_close_calls_connection_lost_and_frees_the_port(hosts: TwoHosts) -> None:
    async def main() -> Any:
        transport, protocol = await endpoint(local_addr=(CLIENT, 4000))
        with pytest.raises(OSError) as caught:
            await endpoint(local_addr=(CLIENT, 4000))
        assert caught.value.errno == errno.EADDRINUSE
        transport.close()
        transport.close()  # again is nothing
        assert transport.is_closing()
        transport.sendto(b"late", (SERVER, 53))
        assert await protocol.over is None
        again, _ = await endpoint(local_addr=(CLIENT, 4000))
        again.abort()
        await asyncio.sleep(0)
        return now()

    assert hosts.run(main) == 0.0
    assert hosts.client.descriptors.all() == []


def test_nothing_is_received_after_close(hosts: TwoHosts) -> None:
    serve(hosts)

    async def main() -> Any:
        transport, protocol = await endpoint(remote_addr=(SERVER, 53))
        transport.sendto(b"abc")
        await asyncio.sleep(DELAY)
        transport.close()
        await asyncio.sleep(1)
        return protocol.calls

    assert hosts.run(main) == ["made"]


def test_an_exception_in_datagram_received_is_reported_and_the_next_arrives(hosts: TwoHosts) -> None:
    serve(hosts)

    class Fussy(Datagrams):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            if data == b"BAD":
                raise LookupError("bad")

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        reported: list[str] = []
        loop.set_exception_handler(lambda _loop, context: reported.append(str(context["exception"])))
        transport, protocol = await loop.create_datagram_endpoint(Fussy, remote_addr=(SERVER, 53))
        for data in (b"bad", b"good"):
            transport.sendto(data)
        await asyncio.sleep(1)
        return [data for data, _addr in protocol.calls[1:]], reported, transport.is_closing()

    assert hosts.run(main) == ([b"BAD", b"GOOD"], ["bad"], False)


def test_an_endpoint_takes_a_plain_socket(hosts: TwoHosts) -> None:
    serve(hosts)

    async def main() -> Any:
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.bind((CLIENT, 4001))
        sock.setblocking(False)
        transport, protocol = await endpoint(sock=sock)
        transport.sendto(b"abc", (SERVER, 53))
        await protocol.arrived.wait()
        return protocol.calls[1], transport.get_extra_info("sockname")

    assert hosts.run(main) == ((b"ABC", (SERVER, 53)), (CLIENT, 4001))


def test_an_endpoint_on_every_address_answers_from_the_one_that_was_asked(hosts: TwoHosts) -> None:
    hosts.server.add_address(hosts.server.devices["eth0"], 0x0A00_0004, 24)
    serve(hosts)

    async def main() -> Any:
        transport, protocol = await endpoint(local_addr=(CLIENT, 0))
        transport.sendto(b"abc", ("10.0.0.4", 53))
        await protocol.arrived.wait()
        return protocol.calls[1]

    # An unbound UDP socket answers from the address that the route prefers, as Linux does without IP_PKTINFO.
    assert hosts.run(main) == (b"ABC", (SERVER, 53))


def test_two_reuse_port_endpoints_share_a_port(hosts: TwoHosts) -> None:
    async def main() -> int:
        first, _ = await endpoint(local_addr=(CLIENT, 4000), reuse_port=True)
        second, _ = await endpoint(local_addr=(CLIENT, 4000), reuse_port=True)
        return int(first.get_extra_info("sockname") == second.get_extra_info("sockname"))

    assert hosts.run(main) == 1


def test_cancelling_a_wait_for_a_datagram(hosts: TwoHosts) -> None:
    async def main() -> float:
        _transport, protocol = await endpoint(remote_addr=(SERVER, 53))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(protocol.arrived.wait(), 3)
        return now()

    assert hosts.run(main) == 3.0
