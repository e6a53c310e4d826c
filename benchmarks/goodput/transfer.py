"""Two programs, the same on the machine's kernel and on virtual hosts: one sends all it can, one reads and counts."""

from __future__ import annotations

import socket
import time
from typing import Final

PORT: Final = 5001
_CHUNK: Final = bytes(64 * 1024)


def listen(address: str) -> socket.socket:
    """A socket that one connection can be accepted from."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind((address, PORT))
    listener.listen(1)
    return listener


def receive(listener: socket.socket, seconds: float) -> float:
    """Read for `seconds` from the moment of the connection; the goodput in bits a second."""
    connection, _ = listener.accept()
    end = time.monotonic() + seconds
    total = 0
    with connection, listener:
        while (left := end - time.monotonic()) > 0:
            connection.settimeout(left)
            try:
                total += len(connection.recv(256 * 1024))
            except TimeoutError:
                break
    return total * 8 / seconds


def sender(congestion: str) -> socket.socket:
    """A socket with this congestion control."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
    return made


def send(made: socket.socket, address: str) -> None:
    """Connect, and write until the receiver has had enough and closes."""
    with made:
        made.connect((address, PORT))
        try:
            while True:
                made.sendall(_CHUNK)
        except (ConnectionResetError, BrokenPipeError):
            return
