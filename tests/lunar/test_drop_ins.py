"""lunar.socket, select, selectors and ssl: the standard library's, for programs that want to say so."""

from __future__ import annotations

import importlib
import socket as machine_socket
from typing import Any

import pytest

import lunar
from lunar import select, selectors, socket, ssl
from lunar.host_socket import LunarSocket


@pytest.mark.parametrize("name", ["socket", "select", "selectors", "ssl"])
def test_every_name_is_there_and_the_same_object(name: str) -> None:
    standard, ours = importlib.import_module(name), importlib.import_module(f"lunar.{name}")
    public = [one for one in dir(standard) if not one.startswith("_")]
    assert all(getattr(ours, one) is getattr(standard, one) for one in public)
    taken: dict[str, Any] = {}
    exec(f"from lunar.{name} import *", taken)  # as a program does
    assert set(public) <= set(taken)
    assert set(public) <= set(dir(ours))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = ours.no_such_name


def test_a_program_that_imports_them() -> None:
    def serve() -> None:
        with socket.create_server(("", 7)) as listener, selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.select()
            connection, _address = listener.accept()
            with connection:
                connection.sendall(connection.recv(100).upper())

    def ask() -> Any:
        with socket.create_connection(("server", 7), timeout=5) as connection:
            connection.sendall(b"hello")
            readable, _, _ = select.select([connection], [], [], 2.5)
            return isinstance(connection, LunarSocket), readable == [connection], connection.recv(100)

    with lunar.Network(seed=1) as net:
        server, client = net.host("server", "10.0.0.1/24"), net.host("client", "10.0.0.2/24")
        net.link(server, client, delay="10ms")
        net.start(server, serve)
        assert net.run(ask, on=client) == (True, True, b"HELLO")
    with socket.socket() as outside:
        assert type(outside) is machine_socket.socket
    assert ssl.create_default_context().check_hostname
