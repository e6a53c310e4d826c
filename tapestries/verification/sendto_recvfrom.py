"""A megabyte in datagrams by sendto(2) and recvfrom(2), there and back.

    sendto_recvfrom.py serve PORT
    sendto_recvfrom.py visit HOST PORT [PATIENCE]

The server sends back what comes. The visitor numbers its datagrams and sends them in bursts that fit the buffer of a
socket; it waits for a burst to come back, but not longer than PATIENCE seconds: what is lost is lost. Both say how many
came, and fail if one came that was not sent. Either may be started first.
"""

from __future__ import annotations

import socket
import sys

from payload import SIZE, payload

PIECE = 1000  # bytes of a datagram, besides its number
NUMBER = 4  # bytes of that
BURST = 16  # datagrams

# Said before and after, as often as it takes.
BEGIN, END = b"begin", b"end"
ATTEMPTS = 60
QUIET_S = 3

Address = tuple[str, int]


class Tally:
    """Which of the datagrams came."""

    def __init__(self) -> None:
        data = payload("datagrams")
        places = enumerate(range(0, SIZE, PIECE))
        self.sent = [number.to_bytes(NUMBER, "big") + data[at : at + PIECE] for number, at in places]
        self.came: set[int] = set()
        self.wrong = 0

    def add(self, datagram: bytes) -> None:
        number = int.from_bytes(datagram[:NUMBER], "big")
        if number < len(self.sent) and datagram == self.sent[number]:
            self.came.add(number)
        elif datagram not in (BEGIN, END):
            self.wrong += 1

    def tell(self, who: str) -> None:
        print(f"{who} received {len(self.came)} of {len(self.sent)} datagrams", flush=True)
        if self.wrong:
            sys.exit(f"{who}: {self.wrong} datagrams came that nobody sent")


def serve(port: int) -> None:
    tally = Tally()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("", port))
        print("ready", flush=True)
        try:
            while True:
                datagram, visitor = sock.recvfrom(2048)
                sock.sendto(datagram, visitor)
                tally.add(datagram)
                if datagram == END:
                    sock.settimeout(QUIET_S)  # the answer to it may be lost, too, and then it comes again
        except TimeoutError:
            tally.tell("server")


def visit(server: Address, patience_s: float) -> None:
    tally = Tally()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        ask(sock, server, BEGIN, tally)
        sock.settimeout(patience_s)
        for first in range(0, len(tally.sent), BURST):
            burst = tally.sent[first : first + BURST]
            for datagram in burst:
                sock.sendto(datagram, server)
            try:
                while not tally.came.issuperset(range(first, first + len(burst))):
                    tally.add(sock.recvfrom(2048)[0])
            except TimeoutError:
                pass
        ask(sock, server, END, tally)
    tally.tell("visitor")


def ask(sock: socket.socket, server: Address, word: bytes, tally: Tally) -> None:
    """Say `word` until the server says it, too."""
    sock.settimeout(1)
    for _ in range(ATTEMPTS):
        sock.sendto(word, server)
        try:
            while (datagram := sock.recvfrom(2048)[0]) != word:
                tally.add(datagram)
        except TimeoutError:
            print("no answer yet", flush=True)
            continue
        return
    sys.exit(f"nobody answers at {server[0]}, port {server[1]}")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        visit((sys.argv[2], int(sys.argv[3])), float(sys.argv[4]) if len(sys.argv) > 4 else 2.0)
