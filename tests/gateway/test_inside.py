"""The inside half alone, in virtual time: messages at exact times go in, what it tells is looked at.

That is all of a replay: no test here has a real socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import lunar
from lunar.gateway.inside import Inside
from lunar.gateway.messages import (
    DATA,
    DATAGRAM,
    END,
    FAILED,
    HOST_DOWN,
    NO_NAME,
    OPEN,
    OPENED,
    REFUSED,
    RESET,
    TAKEN,
    TIMED_OUT,
    WINDOW,
    Failure,
    Message,
    Told,
    pack,
    unpack,
)

MS = 1_000_000


class Site:
    """Hosts `client`, the gateway's, and `server`, 1 ms apart; `told` is what the inside has said, and when."""

    def __init__(self) -> None:
        self.net = lunar.Network(seed=1)
        self.client = self.net.host("client", "10.0.0.2/24")
        self.server = self.net.host("server", "10.0.0.1/24")
        self.net.link(self.client, self.server, delay="1ms")
        self.told: list[tuple[int, Told]] = []
        self.lines: list[str] = []
        self.net.supervisor.trace.subscribe_changes(lambda _at, _name, what: self.lines.append(what))
        self._inside = Inside(self.client, lambda told: self.told.append((int(self.net.scheduler.now_ns), told)))

    def serve(self, handler: Callable[..., Any], **options: Any) -> None:
        async def main() -> None:
            server = await asyncio.start_server(handler, port=80, **options)
            await server.serve_forever()

        self.net.start(self.server, main, background=True)

    def gets(self, at_ms: int, message: Message) -> None:
        """Let `message` come in at a time."""
        supervisor = self.net.supervisor
        supervisor.scheduler.post(self._inside.event_of(pack(message)), supervisor.outside, at_ms * MS)

    def kinds(self) -> list[int]:
        return [told.kind for _, told in self.told]

    def data(self) -> bytes:
        return b"".join(told.value for _, told in self.told if told.kind == DATA)


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.net.close()


@pytest.fixture
def net() -> Iterator[lunar.Network]:
    with lunar.Network(seed=1) as made:
        yield made


OPEN_1 = Message(OPEN, 1, name="server", port=80, client="127.0.0.1:5")


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionResetError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.mark.parametrize(
    "message",
    [
        OPEN_1,
        Message(DATA, 2, b"abc"),
        Message(END, 3),
        Message(RESET, 1 << 31),
        Message(TAKEN, 4, taken=WINDOW),
        Message(DATAGRAM, 5, b"payload", "2001:db8::1", 53),
        Message(OPEN, 6, name="n\udcff", port=1),
    ],
)
def test_messages_are_what_they_were(message: Message) -> None:
    assert unpack(pack(message)) == message


@pytest.mark.parametrize("data", [b"", b"\1", b"\x09\0\0\0\1", b"\4\0\0\0\1\0", b"\6\0\0\0\1\0\x50\0\x09abc"])
def test_what_is_no_message_is_told(data: bytes) -> None:
    with pytest.raises(ValueError, match="no message of a gateway"):
        unpack(data)


def test_a_connection_crosses_the_links_in_virtual_time(site: Site) -> None:
    site.serve(echo)
    site.gets(10, OPEN_1)
    site.gets(20, Message(DATA, 1, b"hello"))
    site.gets(30, Message(END, 1))
    site.net.run(until="1s")
    # One round trip of 2 ms for each.
    assert [(at / MS, told.kind) for at, told in site.told] == [(12, OPENED), (22, DATA), (32, END)]
    assert site.data() == b"hello"
    assert site.told[0][1].value[0] == "10.0.0.2"
    assert site.lines == ["127.0.0.1:5 to server:80 (10.0.0.1)"]
    # It was closed on both sides: whose FIN was first waits for stray segments.
    assert "TIME-WAIT" in site.client.sh("ss -tan")


def test_what_comes_before_the_connection_stands_waits_for_it(site: Site) -> None:
    site.serve(echo)
    site.gets(10, OPEN_1)
    site.gets(10, Message(DATA, 1, b"early, "))
    site.gets(11, Message(DATA, 1, b"later"))
    site.gets(11, Message(END, 1))
    site.net.run(until="1s")
    assert site.kinds()[0] == OPENED and site.kinds()[-1] == END
    assert site.data() == b"early, later"


@pytest.mark.parametrize(
    ("name", "port", "failure"),
    [
        ("server", 81, Failure(REFUSED, "the connection was refused")),
        ("nosuch", 80, Failure(NO_NAME, "no host has the name nosuch")),
        ("a" * 300, 80, Failure(NO_NAME, "no host can have such a name")),
        ("server", 82, Failure(TIMED_OUT, "it does not answer")),
    ],
)
def test_why_a_connection_cannot_be_opened(site: Site, name: str, port: int, failure: Failure) -> None:
    site.server.sh("iptables -A INPUT -p tcp --dport 82 -j DROP")
    site.gets(0, Message(OPEN, 1, name=name, port=port, client="x"))
    site.net.run(until="300s")
    assert [told for _, told in site.told] == [Told(FAILED, 1, failure)]


def test_a_client_that_does_not_read_stops_the_server(site: Site) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(200):
            writer.write(bytes(100_000))
            await writer.drain()
        writer.close()

    site.serve(serve)
    site.gets(0, OPEN_1)
    site.net.run(until="60s")
    held = len(site.data())
    # One read of the transport's goes beyond.
    assert WINDOW <= held < 2 * WINDOW
    # Room for as much again as was taken, and no more.
    site.gets(60_000, Message(TAKEN, 1, taken=held))
    site.net.run(until="120s")
    assert WINDOW <= len(site.data()) - held < 2 * WINDOW
    # A client that takes all gets all.
    taken = held
    at_ms = 120_000
    while END not in site.kinds():
        site.gets(at_ms, Message(TAKEN, 1, taken=len(site.data()) - taken))
        taken = len(site.data())
        at_ms += 1_000
        site.net.run(until=f"{at_ms}ms")
    assert len(site.data()) == 20_000_000


def test_a_server_that_does_not_read_is_told_of_as_data_that_is_not_taken(site: Site) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(100)
        assert len(await reader.read(-1)) == 40 * 65_536
        writer.close()

    site.serve(serve, limit=1024)
    site.server.sh("sysctl -w net.ipv4.tcp_rmem='4096 65536 65536'")
    site.client.sh("sysctl -w net.ipv4.tcp_wmem='4096 65536 65536'")
    site.gets(0, OPEN_1)
    for number in range(40):
        site.gets(10 + number, Message(DATA, 1, bytes(65_536)))
    site.gets(100, Message(END, 1))
    site.net.run(until="99s")
    taken = sum(told.value for _, told in site.told if told.kind == TAKEN)
    assert taken < 20 * 65_536
    site.net.run(until="200s")
    assert site.kinds()[-1] == END


def test_resets_go_through_both_ways(site: Site) -> None:
    seen: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.read(1) == b"r":
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                writer.transport.abort()
            else:
                await reader.read()
        except ConnectionResetError:
            seen.append("reset")

    site.serve(serve)
    site.gets(0, OPEN_1)
    site.gets(10, Message(DATA, 1, b"r"))
    site.gets(20, OPEN_1._replace(number=2))
    site.gets(30, Message(DATA, 2, b"s"))
    site.gets(40, Message(RESET, 2))
    site.net.run(until="1s")
    assert [(told.kind, told.number) for _, told in site.told] == [(OPENED, 1), (RESET, 1), (OPENED, 2)]
    assert seen == ["reset"]


def test_a_client_that_goes_before_the_connection_stands(site: Site) -> None:
    site.gets(0, OPEN_1._replace(port=82))
    site.server.sh("iptables -A INPUT -p tcp --dport 82 -j DROP")
    site.gets(500, Message(RESET, 1))
    site.net.run(until="300s")
    assert site.told == []
    assert "SYN-SENT" not in site.client.sh("ss -tan")


def test_a_crash_resets_what_was_open_and_a_boot_lets_new_ones_in(site: Site) -> None:
    site.serve(echo)
    site.gets(0, OPEN_1)
    site.net.at("50ms", site.client.crash)
    site.gets(60, Message(DATA, 1, b"lost"))
    site.gets(70, OPEN_1._replace(number=2))
    site.net.at("80ms", site.client.boot)
    site.gets(90, OPEN_1._replace(number=3))
    site.gets(100, Message(DATA, 3, b"again"))
    site.net.run(until="1s")
    assert [(told.kind, told.number) for _, told in site.told] == [
        (OPENED, 1), (RESET, 1), (FAILED, 2), (OPENED, 3), (DATA, 3)
    ]  # fmt: skip
    assert site.told[2][1].value == Failure(HOST_DOWN, "host client is down")
    assert site.data() == b"again"


def test_a_paused_host_goes_on_where_it_was(site: Site) -> None:
    site.serve(echo)
    site.gets(0, OPEN_1)
    site.net.at("10ms", site.client.pause)
    site.gets(20, Message(DATA, 1, b"patience"))
    site.net.at("500ms", site.client.resume)
    site.net.run(until="1s")
    assert [(at / MS, told.kind) for at, told in site.told] == [(2, OPENED), (502, DATA)]


def test_of_several_addresses_the_first_that_answers_is_taken(net: lunar.Network) -> None:
    client = net.host("client", ["10.0.0.2/24", "2001:db8::2/64"])
    server = net.host("server", ["10.0.0.1/24", "2001:db8::1/64"])
    net.link(client, server, delay="1ms")
    server.sh("ip6tables -A INPUT -p tcp -j DROP")
    told: list[tuple[int, Told]] = []
    inside = Inside(client, lambda one: told.append((int(net.scheduler.now_ns), one)))

    async def main() -> None:
        await (await asyncio.start_server(echo, port=80)).serve_forever()

    net.start(server, main, background=True)
    net.scheduler.post(inside.event_of(pack(OPEN_1)), net.supervisor.outside, 0)
    net.run(until="10s")
    # IPv6 goes first, and IPv4 250 ms later (RFC 8305).
    assert [(at / MS, one.kind) for at, one in told] == [(252, OPENED)]


def test_datagrams(site: Site) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(("0.0.0.0", 53))
        while True:
            data, address = await loop.sock_recvfrom(sock, 2048)
            await loop.sock_sendto(sock, data.upper(), address)

    site.net.start(site.server, serve, background=True)
    site.gets(0, Message(DATAGRAM, 1, b"one", "server", 53))
    site.gets(1, Message(DATAGRAM, 1, b"lost", "nosuch", 53))
    site.gets(1, Message(DATAGRAM, 1, b"two", "10.0.0.1", 53))
    site.gets(500, Message(RESET, 1))
    site.net.run(until="1s")
    assert [(at / MS, told.value) for at, told in site.told] == [
        (2, ("10.0.0.1", 53, b"ONE")), (3, ("10.0.0.1", 53, b"TWO"))
    ]  # fmt: skip
    assert site.client.sh("ss -uan").count("\n") == 1  # only the heading


def test_the_same_messages_make_the_same_run() -> None:
    def digest() -> str:
        site = Site()
        site.serve(echo)
        site.gets(1, OPEN_1)
        for number in range(50):
            site.gets(2 + number, Message(DATA, 1, bytes(number * 100)))
        site.gets(100, Message(END, 1))
        site.net.run(until="10s")
        assert END in site.kinds()
        found = site.net.digest()
        site.net.close()
        return found

    assert digest() == digest()
