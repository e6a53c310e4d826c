"""A megabyte each way by write(2) and read(2) on the socket's descriptor."""

from __future__ import annotations

import os
import socket

import sides


def send(connection: socket.socket, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(connection.fileno(), rest) :]


def receive(connection: socket.socket) -> bytes:
    parts = []
    while part := os.read(connection.fileno(), 4096):
        parts.append(part)
    return b"".join(parts)


if __name__ == "__main__":
    sides.main(sides.by_turns(send, receive))
