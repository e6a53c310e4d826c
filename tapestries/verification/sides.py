"""The two sides of a transfer, for programs that differ in the calls by which they send and receive.

    PROGRAM serve PORT
    PROGRAM visit HOST PORT

The visitor sends a megabyte and the server another one. Each says what it has received, and fails if it is something
else. Either may be started first.
"""

from __future__ import annotations

import errno
import socket
import sys
import time
from collections.abc import Callable

from payload import described, payload

# How long the visitor looks for the server, and after how long a peer that does not answer counts as gone.
PATIENCE_S = 60
GONE_S = 15

# Gets a connection, what is to be sent, and whether to begin; gives back what was received.
Exchange = Callable[[socket.socket, bytes, bool], bytes]


def by_turns(send: Callable[[socket.socket, bytes], None], receive: Callable[[socket.socket], bytes]) -> Exchange:
    """One side sends while the other receives, then the other way round. The end of the data is the sender's FIN."""

    def exchange(connection: socket.socket, data: bytes, begins: bool) -> bytes:
        received = b""
        if not begins:
            received = receive(connection)
        send(connection, data)
        connection.shutdown(socket.SHUT_WR)
        if begins:
            received = receive(connection)
        return received

    return exchange


def main(exchange: Exchange) -> None:
    """Do what the command line says. Exits with a message if the other side's bytes are not what they should be."""
    if sys.argv[1] == "serve":
        with socket.create_server(("", int(sys.argv[2]))) as listener:
            print("ready", flush=True)
            connection, _ = listener.accept()
        own, other = "server", "visitor"
    else:
        connection = reach(sys.argv[2], int(sys.argv[3]))
        own, other = "visitor", "server"
    print("connected", flush=True)
    with connection:
        notice_who_is_gone(connection)
        received = exchange(connection, payload(own), own == "visitor")
    print(f"{own} received {described(received)}", flush=True)
    if received != payload(other):
        sys.exit(f"{own}: that is not what the {other} sent")


def reach(host: str, port: int) -> socket.socket:
    """A connection to the server; who is there before it waits for it."""
    for _ in range(PATIENCE_S):
        try:
            return socket.create_connection((host, port))
        except OSError as error:
            # The host is up and the program is not yet; or nobody answers for the address.
            if error.errno not in (errno.ECONNREFUSED, errno.EHOSTUNREACH):
                raise
            print(f"not there yet: {error.strerror}", flush=True)
            time.sleep(1)
    sys.exit(f"nobody is at {host}, port {port}")


def notice_who_is_gone(connection: socket.socket) -> None:
    """Let calls that block fail with ETIMEDOUT when the other side is silent: by default TCP waits for hours."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, GONE_S // 3)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, GONE_S // 3)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_S * 1000)
