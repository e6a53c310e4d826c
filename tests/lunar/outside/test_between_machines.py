"""UDP links over a cable between two namespaces of the machine's kernel, as between two machines."""

from __future__ import annotations

import asyncio
import hashlib
import os
import select
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

import lunar
from lunar.kernel.namespace import KernelUnavailable, Namespace
from lunar.outside.peer_socket import PeerSocket
from lunar.outside.udp_link import UdpLink
from tests.lunar.outside.two_networks import LIMIT_S, connected, sink

KEY = "a text of many letters"
DATA = bytes(range(256)) * 1200
A, B = "192.0.2.1", "192.0.2.2"
# How often the kernel is asked whether the cable is plugged in, until a test is let fail.
LOOKS = 1000


@pytest.fixture
def machines() -> Iterator[tuple[Namespace, Namespace]]:
    """The namespaces of A and B, joined by a cable (veth) of MTU 1500."""
    if shutil.which("ip") is None:
        pytest.skip("ip of iproute2 is not installed")
    with ExitStack() as stack:
        try:
            a = Namespace()
            stack.callback(a.close)
            b = Namespace()
            stack.callback(b.close)
            there = f"/proc/{os.getpid()}/fd/{b._descriptor}"
            a.command("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", there)
            for namespace, address in ((a, A), (b, B)):
                namespace.command("ip", "address", "add", f"{address}/24", "dev", "eth0")
                namespace.command("ip", "link", "set", "eth0", "up")
            for _ in range(LOOKS):
                # The kernel sees a moment later that the other end is up.
                if a.command("ip", "-br", "link", "show", "eth0").split()[1] == "UP":
                    break
        except KernelUnavailable as why:
            pytest.skip(str(why))
        yield a, b


def opened_in(namespace: Namespace, sock: PeerSocket) -> Callable[[], int]:
    """The function `open` of `sock`, in a namespace."""
    opened = sock.open

    def open_there() -> int:
        with namespace:
            return opened()

    return open_there


def network(namespace: Namespace, name: str, address: str, local: str, remote: str) -> tuple[lunar.Network, UdpLink]:
    net = lunar.Network(clock="real")
    host = net.host(name, address)
    link = net.udp_link(host, local=f"{local}:8192", remote=f"{remote}:8192", key=KEY)
    link.socket.open = opened_in(namespace, link.socket)  # type: ignore[method-assign]
    return net, link


async def send_all() -> str:
    reader, writer = await connected()
    writer.write(DATA)
    writer.write_eof()
    return (await reader.read()).decode()


def test_a_transfer_between_two_machines(machines: tuple[Namespace, Namespace]) -> None:
    server, _ = network(machines[0], "server", "10.0.0.1/24", A, B)
    client, link = network(machines[1], "client", "10.0.0.2/24", B, A)

    async def both() -> str:
        serving = asyncio.ensure_future(server.run_async(sink, on=server.hosts["server"]))
        try:
            async with asyncio.timeout(LIMIT_S):
                found: str = await client.run_async(send_all, on=client.hosts["client"])
                return found
        finally:
            serving.cancel()

    with server, client:
        assert asyncio.run(both()) == hashlib.sha256(DATA).hexdigest()
        figures = link.figures()
        assert figures["failed_out"] == 0
        # Frames of the MTU that is there by default are cut by the kernel into packets of the cable's.
        assert figures["calls_out"] < figures["datagrams_out"] / 2


def everything(sock: PeerSocket, count: int) -> list[bytes]:
    """The next `count` datagrams."""
    assert sock._socket is not None
    found: list[bytes] = []
    while len(found) < count:
        assert select.select([sock._socket], [], [], LIMIT_S)[0], "it does not come"
        found += sock.receive()
    return found


def test_rows_that_the_cable_is_too_narrow_for_go_one_by_one(machines: tuple[Namespace, Namespace]) -> None:
    a = PeerSocket((A, 8192), (B, 8192), lambda _here: None)
    b = PeerSocket((B, 8192), (A, 8192), lambda _here: None)
    with machines[0]:
        a.open()
    with machines[1]:
        b.open()
    try:
        narrow, wide = [b"n" * 1472] * 5, [b"w" * 4000] * 5
        a.send(narrow)
        assert a.calls_out == 1
        a.send(wide)  # each is cut into fragments, which a row cannot be
        assert everything(b, 10) == narrow + wide
        assert a.calls_out == 6
        assert a.failed_out == 0
    finally:
        a.close()
        b.close()


def test_where_no_route_leads_it_cannot_be_opened(machines: tuple[Namespace, Namespace]) -> None:
    a = PeerSocket((A, 8192), ("198.51.100.1", 8192), lambda _here: None)
    with machines[0], pytest.raises(OSError, match="Network is unreachable"):
        a.open()
    assert not a.opened


def test_no_descriptor_is_left_over_by_what_cannot_be_opened() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        sock = PeerSocket(("192.0.2.77", 8192), (B, 8192), lambda _here: None)
        with pytest.raises(OSError, match="Cannot assign requested address"):
            sock.open()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM):
        assert len(os.listdir("/proc/self/fd")) == before + 1
