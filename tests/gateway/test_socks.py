"""SOCKS5, byte by byte (RFC 1928): what the proxy answers, and what it opens."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import pytest

from weaves.endpoints import parse_target

GREETING = b"\5\1\0"
CHOSEN = b"\5\0"


def request(target: str, command: int = 1) -> bytes:
    """A request for "NAME:PORT"."""
    name, port = parse_target(target)
    try:
        address = b"\1" + socket.inet_pton(socket.AF_INET, name)
    except OSError:
        try:
            address = b"\4" + socket.inet_pton(socket.AF_INET6, name)
        except OSError:
            address = bytes([3, len(name)]) + name.encode()
    return bytes([5, command, 0]) + address + port.to_bytes(2, "big")


async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GREETING)
    assert await reader.readexactly(2) == CHOSEN
    return reader, writer


async def reply(reader: asyncio.StreamReader) -> tuple[int, str, int]:
    """(reply, address, port) of what the proxy says to a request."""
    version, code, reserved, kind = await reader.readexactly(4)
    assert (version, reserved) == (5, 0)
    family, size = {1: (socket.AF_INET, 4), 4: (socket.AF_INET6, 16)}[kind]
    address = socket.inet_ntop(family, await reader.readexactly(size))
    return code, address, int.from_bytes(await reader.readexactly(2), "big")


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.write(b"bye")
    writer.close()


@pytest.mark.parametrize("target", ["server:80", "10.0.0.1:80", "[2001:db8::1]:80", "SERVER.:80"])
async def test_a_connection_by_name_or_address_of_either_family(live: Any, target: str) -> None:
    live.serve(echo)
    proxy = live.net.proxy(0)
    async with live.running(proxy):
        reader, writer = await connected(proxy.port)
        writer.write(request(target))
        code, address, port = await reply(reader)
        assert code == 0
        # The gateway's own end, of the family in which the server was found.
        assert address in ("10.0.0.2", "2001:db8::2") and port > 0
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.write_eof()  # half of the connection: the server still answers
        assert await reader.read() == b"bye"
        writer.close()


async def test_what_is_sent_with_the_request_arrives(live: Any) -> None:
    live.serve(echo)
    proxy = live.net.proxy(0)
    async with live.running(proxy):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(GREETING + request("server:80") + b"early")
        writer.write_eof()
        assert await reader.readexactly(2) == CHOSEN
        assert (await reply(reader))[0] == 0
        assert await reader.read() == b"earlybye"
        writer.close()


async def test_a_request_may_come_in_pieces(live: Any) -> None:
    live.serve(echo)
    proxy = live.net.proxy(0)
    async with live.running(proxy):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in GREETING + request("server:80") + b"x":
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert await reader.readexactly(2) == CHOSEN
        assert (await reply(reader))[0] == 0
        assert await reader.readexactly(1) == b"x"
        writer.close()


@pytest.mark.parametrize(
    ("target", "code", "line"),
    [
        ("server:81", 5, "server:81: the connection was refused"),
        ("nosuch:80", 4, "nosuch:80: no host has the name nosuch"),
        ("10.7.0.1:80", 3, "10.7.0.1:80: there is no route to its network"),
    ],
)
async def test_what_cannot_be_reached_has_a_reply_and_a_line(live: Any, target: str, code: int, line: str) -> None:
    proxy = live.net.proxy(0)
    async with live.running(proxy):
        reader, writer = await connected(proxy.port)
        writer.write(request(target))
        assert (await reply(reader))[0] == code
        assert await reader.read() == b""
        assert any(one.startswith("client: 127.0.0.1:") and one.endswith(f" to {line}") for one in live.lines)
        writer.close()
    assert live.net.outside_figures()["gateway"][0]["failed"] == 1


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"\5\1\2", b"\5\xff"),  # user and password, and nothing else, are offered
        (b"\5\0", b"\5\xff"),  # nothing is
        (GREETING + request("server:80", 2), CHOSEN + b"\5\7\0\1\0\0\0\0\0\0"),  # BIND
        (GREETING + request("server:80", 9), CHOSEN + b"\5\7\0\1\0\0\0\0\0\0"),  # no command
        (GREETING + b"\5\1\0\7abcdef", CHOSEN + b"\5\x08\0\1\0\0\0\0\0\0"),  # no kind of address
        (GREETING + b"\5\1\0\3\0\0\x50", CHOSEN + b"\5\1\0\1\0\0\0\0\0\0"),  # an empty name
        (GREETING + b"\4\1\0\1\1\2\3\4\0\x50", CHOSEN + b"\5\1\0\1\0\0\0\0\0\0"),  # another version in the middle
        (b"\4\1\0\x50\x0a\0\0\1\0", b"\0\x5b\0\0\0\0\0\0"),  # SOCKS4
    ],
)
async def test_what_the_proxy_does_not_do_is_refused(live: Any, sent: bytes, answer: bytes) -> None:
    proxy = live.net.proxy(0)
    async with live.running(proxy):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(sent)
        assert await reader.read() == answer
        writer.close()


async def test_user_and_password_beside_no_authentication_do_no_harm(live: Any) -> None:
    proxy = live.net.proxy(0)
    async with live.running(proxy):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"\5\2\2\0")
        assert await reader.readexactly(2) == CHOSEN
        writer.close()


async def test_a_client_that_says_nothing_leaves_nothing(live: Any) -> None:
    proxy = live.net.proxy(0)
    async with live.running(proxy):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        assert not proxy.clients
    assert live.net.outside_figures()["gateway"][0]["connections"] == 0


async def test_resets_go_through_both_ways(live: Any) -> None:
    seen: asyncio.Queue[str] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(1) == b"r":
            writer.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
            )
            writer.transport.abort()
            return
        try:
            await reader.read()
            seen.put_nowait("end")
        except ConnectionResetError:
            seen.put_nowait("reset")
        writer.close()

    live.serve(serve)
    proxy = live.net.proxy(0)
    async with live.running(proxy):
        reader, writer = await connected(proxy.port)
        writer.write(request("server:80"))
        assert (await reply(reader))[0] == 0
        writer.write(b"r")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()

        reader, writer = await connected(proxy.port)
        writer.write(request("server:80"))
        assert (await reply(reader))[0] == 0
        writer.write(b"s")
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()
        while seen.empty():  # it is filled by a string, whose queue this loop does not hear
            await asyncio.sleep(0)
        assert seen.get_nowait() == "reset"


async def test_a_thousand_connections_at_once(live: Any) -> None:
    live.serve(echo, backlog=1000)
    proxy = live.net.proxy(0)

    async def one(number: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(GREETING + request("server:80") + b"%d" % number)
        writer.write_eof()
        assert await reader.readexactly(2) == CHOSEN
        assert (await reply(reader))[0] == 0
        data = await reader.read()
        writer.close()
        return data

    async with live.running(proxy):
        found = await asyncio.gather(*(one(number) for number in range(1000)))
        assert found == [b"%dbye" % number for number in range(1000)]
    assert live.net.outside_figures()["gateway"][0]["connections"] == 1000


@pytest.mark.parametrize(
    ("target", "source"),
    [("10.0.0.1:53", "10.0.0.1:53"), ("[2001:db8::1]:53", "[2001:db8::1]:53"), ("server:53", "[2001:db8::1]:53")],
)
async def test_datagrams(live: Any, target: str, source: str) -> None:
    async def serve(family: int, address: str) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.bind((address, 53))
            while True:
                data, address = await loop.sock_recvfrom(sock, 2048)
                await loop.sock_sendto(sock, data[::-1], address)

    live.net.start(live.server, serve, socket.AF_INET, "10.0.0.1", background=True)
    live.net.start(live.server, serve, socket.AF_INET6, "2001:db8::1", background=True)
    proxy = live.net.proxy(0)
    async with live.running(proxy):
        reader, writer = await connected(proxy.port)
        writer.write(b"\5\3\0\1\0\0\0\0\0\0")  # it does not know from where it will send
        code, address, port = await reply(reader)
        assert (code, address) == (0, "127.0.0.1")
        loop = asyncio.get_running_loop()
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
            sock.setblocking(False)
            sock.bind(("127.0.0.1", 0))
            where = request(target)[3:]
            for wrong in (b"", b"\0\0", b"\0\0\1" + where + b"a fragment", b"\0\0\0\x09nothing", b"\0\0\0\3\xffx"):
                await loop.sock_sendto(sock, wrong, ("127.0.0.1", port))
            await loop.sock_sendto(sock, b"\0\0\0" + where + b"abc", ("127.0.0.1", port))
            data = await loop.sock_recv(sock, 2048)
            # From where it came, by its address.
            assert data == b"\0\0\0" + request(source)[3:] + b"cba"
        writer.close()
