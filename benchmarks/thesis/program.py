"""The program that is measured, the same with and without Lunar: blocking sockets, one that asks and one that answers.

A request says what it is in its first bytes: an echo, or a transfer, whose end is answered with how much has come.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from experiments import ECHO_BYTES, KB, MB, Cell

PORT: Final = 5001
_READ_BYTES: Final = 64 * KB
_COUNT_BYTES: Final = 8
_TRANSFER: Final = b"transfer"
_ECHO: Final = b"echoecho"


def listen(address: str) -> socket.socket:
    """A socket that `serve` takes connections from."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, PORT))
    listener.listen()
    return listener


def serve(listener: socket.socket) -> None:
    """Answer one connection after another, without end."""
    while True:
        connection, _ = listener.accept()
        with connection:
            if _receive(connection, len(_ECHO)) == _ECHO:
                _answer(connection)
            else:
                _take(connection)


def _take(connection: socket.socket) -> None:
    """Read to the end of the stream, and say how much that was."""
    total = 0
    while data := connection.recv(_READ_BYTES):
        total += len(data)
    connection.sendall(total.to_bytes(_COUNT_BYTES, "big"))


def _answer(connection: socket.socket) -> None:
    while data := connection.recv(ECHO_BYTES):
        connection.sendall(data)


def measure(cell: Cell, address: str, clock: Callable[[], float]) -> float:
    """How many seconds the cell takes by `clock`: from the first write to the last answer."""
    with socket.create_connection((address, PORT)) as connection:
        return _echo(connection, cell, clock) if cell.echoes else _transfer(connection, cell, clock)


def _transfer(connection: socket.socket, cell: Cell, clock: Callable[[], float]) -> float:
    chunk = bytes(cell.write_kb * KB)
    connection.sendall(_TRANSFER)
    left = total = cell.size_mb * MB
    started = clock()
    while left >= len(chunk):
        connection.sendall(chunk)
        left -= len(chunk)
    connection.sendall(chunk[:left])
    connection.shutdown(socket.SHUT_WR)
    count = int.from_bytes(_receive(connection, _COUNT_BYTES), "big")
    seconds = clock() - started
    assert count == total, f"{count} of {total} bytes have come"
    return seconds


def _echo(connection: socket.socket, cell: Cell, clock: Callable[[], float]) -> float:
    message = b"ping"
    connection.sendall(_ECHO)
    started = clock()
    for _ in range(cell.echoes):
        connection.sendall(message)
        answer = connection.recv(ECHO_BYTES)
        assert answer == message, f"{answer!r} has come back"
    return clock() - started


def _receive(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        assert more, "the connection ended early"
        data += more
    return data
