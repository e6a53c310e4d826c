"""A megabyte each way by writev(2) and readv(2): from and into several buffers of different sizes."""

from __future__ import annotations

import os
import socket

import sides

SIZES = (1, 100, 4096, 1460)  # bytes


def send(connection: socket.socket, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        buffers, at = [], 0
        for size in SIZES:
            buffers.append(rest[at : at + size])
            at += size
        rest = rest[os.writev(connection.fileno(), buffers) :]


def receive(connection: socket.socket) -> bytes:
    received = bytearray()
    buffers = [bytearray(size) for size in SIZES]
    while count := os.readv(connection.fileno(), buffers):
        received += b"".join(buffers)[:count]
    return bytes(received)


if __name__ == "__main__":
    sides.main(sides.by_turns(send, receive))
