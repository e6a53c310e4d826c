"""A megabyte each way by send(2) and recv(2)."""

from __future__ import annotations

import socket

import sides


def send(connection: socket.socket, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        sent = connection.send(rest)
        rest = rest[sent:]


def receive(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(4096):
        parts.append(part)
    return b"".join(parts)


if __name__ == "__main__":
    sides.main(sides.by_turns(send, receive))
