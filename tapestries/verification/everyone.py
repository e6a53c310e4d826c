"""Each of several hosts sends a megabyte to each other one, all at once.

    everyone.py OWN_NAME PORT NAME=HOST:PORT ...

A server with threads beside one client for each of the others. The receiver answers with the SHA-256 of what it got.
They may be started in any order.
"""

from __future__ import annotations

import hashlib
import socket
import sys
import threading

import sides
from payload import described, payload

NAME_BYTES = 16


def serve(own: str, listener: socket.socket, names: set[str]) -> None:
    """Take one transfer of each of the others."""
    takers = []
    for _ in names:
        connection, _ = listener.accept()
        takers.append(threading.Thread(target=take, args=(own, connection)))
        takers[-1].start()
    for taker in takers:
        taker.join()


def take(own: str, connection: socket.socket) -> None:
    with connection, connection.makefile("rb") as file:
        sides.notice_who_is_gone(connection)
        name = file.read(NAME_BYTES).decode().strip()
        received = file.read()
        connection.sendall(hashlib.sha256(received).digest())
    right = "" if received == payload(f"{name} to {own}") else "; that is not what it sent"
    print(f"{own} received of {name} {described(received)}{right}", flush=True)


def give(own: str, name: str, host: str, port: int, given: set[str]) -> None:
    with sides.reach(host, port) as connection:
        sides.notice_who_is_gone(connection)
        data = payload(f"{own} to {name}")
        connection.sendall(own.ljust(NAME_BYTES).encode() + data)
        connection.shutdown(socket.SHUT_WR)
        if connection.makefile("rb").read() == hashlib.sha256(data).digest():
            given.add(name)


def main(own: str, port: str, *others: str) -> None:
    addresses = {}
    for other in others:
        name, _, address = other.partition("=")
        host, _, its_port = address.rpartition(":")
        addresses[name] = host, int(its_port)
    given: set[str] = set()
    with socket.create_server(("", int(port))) as listener:
        print("ready", flush=True)
        threads = [threading.Thread(target=serve, args=(own, listener, set(addresses)))]
        threads += [threading.Thread(target=give, args=(own, name, *addresses[name], given)) for name in addresses]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(f"{own}: {len(given)} of {len(addresses)} have what was sent to them", flush=True)
    if len(given) < len(addresses):
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
