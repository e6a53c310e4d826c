"""SO_BINDTODEVICE of TCP: by which device a connection goes, and from which one a listener hears. Links take 1 ms."""

from __future__ import annotations

import socket
from typing import Any

import pytest

import lunar

EXPECTED = {"eth0": "refused", "eth1": "connected"}


def bound(name: bytes) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
    return sock


def test_a_listener_hears_its_device_alone() -> None:
    told: dict[str, str] = {}

    def listen() -> None:
        sock = bound(b"eth1")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16) == b"eth1\0"
        sock.bind(("", 80))
        sock.listen()
        sock.settimeout(2)
        with pytest.raises(TimeoutError):
            while True:
                sock.accept()

    def visit(name: str, address: str) -> None:
        try:
            socket.create_connection((address, 80), 1).close()
            told[name] = "connected"
        except ConnectionRefusedError:
            told[name] = "refused"

    with lunar.Network(seed=1) as net:
        server = net.host("server", "10.0.0.1/24", "10.1.0.1/24")
        near, far = net.host("near", "10.0.0.2/24"), net.host("far", "10.1.0.2/24")
        net.link(server.devices["eth0"], near, delay="1ms")
        net.link(server.devices["eth1"], far, delay="1ms")
        net.start(server, listen)
        net.start(near, visit, "eth0", "10.0.0.1")
        net.start(far, visit, "eth1", "10.1.0.1")
        net.run()
    assert told == EXPECTED


def test_a_connection_goes_by_its_device_though_no_route_says_so() -> None:
    told: list[Any] = []

    def serve() -> None:
        with socket.create_server(("", 80)) as listener:
            told.append(listener.accept()[1][0])

    def visit() -> None:
        with pytest.raises(OSError, match="unreachable"):
            socket.create_connection(("192.0.2.1", 80))
        with bound(b"eth1") as sock:
            sock.connect(("192.0.2.1", 80))

    with lunar.Network(seed=1) as net:
        client = net.host("client", "10.0.0.1/24", "10.1.0.1/24")
        server = net.host("server", "192.0.2.1/24")
        server.sh("ip route add 10.1.0.0/24 dev eth0")
        net.link(client.devices["eth0"], net.host("other", "10.0.0.2/24"), delay="1ms")
        net.link(client.devices["eth1"], server, delay="1ms")
        net.start(server, serve)
        net.start(client, visit)
        net.run()
    assert told == ["10.1.0.1"]
