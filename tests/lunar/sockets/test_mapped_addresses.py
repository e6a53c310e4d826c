"""AF_INET6 sockets on hosts that have IPv4 addresses only, which they reach as ::ffff:a.b.c.d.

What such a socket shares with the machine's is compared in tests/parity. Here is what it refuses because its host has
no IPv6 address but ::1: the errnos are those of Linux in a namespace with lo alone.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest

import lunar

STREAM, DGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
KINDS = [pytest.param(STREAM, id="stream"), pytest.param(DGRAM, id="datagram")]


def run(main: Any, *args: Any) -> Any:
    """The result of a blocking function on host "a", 10.0.0.1, beside "b", 10.0.0.2."""
    with lunar.Network(seed=1) as net:
        a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
        net.link(a, b, delay="1ms")
        return net.run(main, *args, on=a)


def code(call: Any, *args: Any) -> str:
    """The name of the errno with which a call fails."""
    try:
        call(*args)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "nothing"


@pytest.mark.parametrize("kind", KINDS)
def test_no_other_address_than_those_of_lo_can_be_bound(kind: int) -> None:
    def main() -> list[str]:
        with socket.socket(socket.AF_INET6, kind) as sock:
            return [code(sock.bind, (address, 0)) for address in ("::2", "2001:db8::1", "fe80::1", "::1")]

    assert run(main) == ["EADDRNOTAVAIL", "EADDRNOTAVAIL", "EINVAL", "nothing"]


@pytest.mark.parametrize(
    ("kind", "address", "expected"),
    [
        (STREAM, "::5", "ENETUNREACH"), (STREAM, "2001:db8::1", "ENETUNREACH"), (STREAM, "fe80::1", "EINVAL"),
        (STREAM, "ff02::1", "ENETUNREACH"), (DGRAM, "::5", "ENETUNREACH"), (DGRAM, "2001:db8::1", "ENETUNREACH"),
        (DGRAM, "fe80::1", "EINVAL"), (DGRAM, "ff02::1", "EINVAL"),
    ],
)  # fmt: skip
def test_nor_is_there_a_way_to_connect(kind: int, address: str, expected: str) -> None:
    def main() -> Any:
        with socket.socket(socket.AF_INET6, kind) as sock:
            return code(sock.connect, (address, 9)), sock.getsockname()[0]

    assert run(main) == (expected, "::")


@pytest.mark.parametrize("address", ["::5", "2001:db8::1", "fe80::1"])
def test_nor_one_to_send(address: str) -> None:
    def main() -> str:
        with socket.socket(socket.AF_INET6, DGRAM) as sock:
            return code(sock.sendto, b"x", (address, 9))

    assert run(main) == "ENETUNREACH"


def test_ipv6_alone_does_not_send_to_ipv4() -> None:
    def main() -> list[str]:
        with socket.socket(socket.AF_INET6, DGRAM) as sock:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            there = ("::ffff:10.0.0.2", 9)
            return [code(sock.sendto, b"x", there), code(sock.connect, there)]

    assert run(main) == ["ENETUNREACH", "ENETUNREACH"]


def test_a_connection_of_two_hosts_by_a_mapped_address_and_by_name() -> None:
    """What a program for both families does: it asks for the name's IPv6 addresses, mapped ones will do."""

    async def serve() -> None:
        async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(writer.get_extra_info("peername")[0].encode())
            writer.close()

        listening = socket.create_server(("", 80), family=socket.AF_INET6, dualstack_ipv6=True)
        await asyncio.start_server(answer, sock=listening)

    async def main() -> list[Any]:
        heard: list[Any] = []
        for options in ({}, {"family": socket.AF_INET6, "flags": socket.AI_V4MAPPED}):
            reader, writer = await asyncio.open_connection("b", 80, **options)
            heard += [writer.get_extra_info("sockname")[0], await reader.read()]
            writer.close()
        return heard

    with lunar.Network(seed=1) as net:
        a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
        net.link(a, b, delay="1ms")
        net.run(serve, on=b)
        assert net.run(main, on=a) == ["10.0.0.1", b"::ffff:10.0.0.1", "::ffff:10.0.0.1", b"::ffff:10.0.0.1"]
