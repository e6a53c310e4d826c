"""Two peers behind address translators reach each other: hole punching as RFC 5128 (3.3, 3.4) describes it.

    python punch.py rendezvous 3478
    python punch.py peer 198.51.100.10 3478 anna bert [--tcp]

A peer tells the rendezvous server its name and whom it looks for, and hears from where the server sees that one's
packets come. Then both send there, from the port that they have used before: each opens its own translator for the
other. That works if a translator takes the same port for the second destination as for the first.
"""

from __future__ import annotations

import argparse
import select
import socket
import threading
import time

LOCAL_PORT = 4000
PATIENCE_S = 8.0


def rendezvous(port: int) -> None:
    """Introduce peers to each other, by UDP and by TCP, for ever."""
    datagrams = socket.socket(type=socket.SOCK_DGRAM)
    datagrams.bind(("", port))
    listener = socket.create_server(("", port))
    threading.Thread(target=introduce_streams, args=(listener,), daemon=True).start()
    seen: dict[str, tuple[str, int]] = {}
    while True:
        words, address = datagrams.recvfrom(100)
        name, partner = words.decode().split()
        seen[name] = address
        if partner in seen:
            datagrams.sendto(f"{seen[partner][0]} {seen[partner][1]}".encode(), address)


def introduce_streams(listener: socket.socket) -> None:
    """Each two that ask for each other hear of each other at once."""
    waiting: dict[str, tuple[socket.socket, tuple[str, int]]] = {}
    while True:
        stream, address = listener.accept()
        name, partner = stream.recv(100).decode().split()
        if partner not in waiting:
            waiting[name] = stream, address
            continue
        other, other_address = waiting.pop(partner)
        stream.sendall(f"{other_address[0]} {other_address[1]}".encode())
        other.sendall(f"{address[0]} {address[1]}".encode())


def by_datagrams(server: tuple[str, int], name: str, partner: str) -> str:
    """What became of it."""
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.bind(("", LOCAL_PORT))
    until = time.monotonic() + PATIENCE_S
    where: tuple[str, int] | None = None
    while time.monotonic() < until:
        sock.sendto(f"{name} {partner}".encode() if where is None else f"this is {name}".encode(), where or server)
        if not select.select([sock], [], [], 0.2)[0]:
            continue
        try:
            words, address = sock.recvfrom(100)
        except ConnectionError:
            continue  # a translator between has said that nobody waits there, yet
        if address == server:
            host, port = words.decode().split()
            where = host, int(port)
        elif words == f"this is {partner}".encode():
            sock.sendto(f"this is {name}".encode(), address)
            return f"{partner} is reached at {address[0]}:{address[1]}"
    return f"{partner} is not reached"


def by_streams(server: tuple[str, int], name: str, partner: str) -> str:
    """As `by_datagrams`: both open the same connection at once (RFC 9293, 3.5)."""
    with stream_from(LOCAL_PORT) as first:
        first.connect(server)
        first.sendall(f"{name} {partner}".encode())
        host, port = first.recv(100).decode().split()
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            try:
                with stream_from(LOCAL_PORT) as sock:
                    sock.connect((host, int(port)))
                    sock.sendall(f"this is {name}".encode())
                    if sock.recv(100) == f"this is {partner}".encode():
                        return f"{partner} is reached at {host}:{port}"
            except OSError:
                time.sleep(0.1)
    return f"{partner} is not reached"


def stream_from(port: int) -> socket.socket:
    """A stream socket that shares its port with others."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("", port))
    sock.settimeout(2)
    return sock


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("role", choices=["rendezvous", "peer"])
    parser.add_argument("where", nargs="+", help="PORT, or of a peer SERVER PORT NAME PARTNER")
    parser.add_argument("--tcp", action="store_true", help="by streams, not by datagrams")
    options = parser.parse_args()
    if options.role == "rendezvous":
        rendezvous(int(options.where[0]))
        return
    server, port, name, partner = options.where
    punch = by_streams if options.tcp else by_datagrams
    print(f"{name}: {punch((server, int(port)), name, partner)}")


if __name__ == "__main__":
    main()
