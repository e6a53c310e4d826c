"""A megabyte each way at the same time, by select(2) on a socket that does not block."""

from __future__ import annotations

import select
import socket

import sides


def exchange(connection: socket.socket, data: bytes, begins: bool) -> bytes:
    connection.setblocking(False)
    rest, parts, receiving = memoryview(data), [], True
    while rest or receiving:
        readable, writable, _ = select.select([connection] * receiving, [connection] * bool(rest), [])
        if readable:
            part = connection.recv(4096)
            parts.append(part)
            receiving = part != b""
        if writable:
            rest = rest[connection.send(rest) :]
            if not rest:
                connection.shutdown(socket.SHUT_WR)
    return b"".join(parts)


if __name__ == "__main__":
    sides.main(exchange)
