"""socketserver with a thread a request: TCP handlers that wait for each other, UDP handlers that take their time.

    use_socketserver.py server
    use_socketserver.py client SERVER
"""

import hashlib
import random
import socket
import socketserver
import struct
import sys
import threading
import time

PORT = 5000
CALLERS = 8
ROUNDS = 5
DATAGRAMS = 20


class Books:
    """What all handlers share."""

    def __init__(self):
        self.lock = threading.Lock()
        self.requests = 0
        self.bytes = 0
        self.everybody = threading.Barrier(CALLERS, timeout=60)
        self.names = set()
        self.own = threading.local()
        self.closing = threading.Event()


class Blocks(socketserver.StreamRequestHandler):
    """Blocks of data, each answered by its digest; "meet" waits until all callers are there."""

    def handle(self):
        books = self.server.books
        assert not hasattr(books.own, "caller"), "a thread of its own"
        books.own.caller = self.client_address
        while line := self.rfile.readline():
            word, _, number = line.decode().strip().partition(" ")
            if word == "meet":
                place = books.everybody.wait()
                self.wfile.write(b"%d\n" % place)
            elif word == "close":
                self.server.books.closing.set()
                self.wfile.write(b"closing\n")
            else:
                data = self.rfile.read(int(number))
                with books.lock:
                    requests = books.requests
                    time.sleep(0.001)  # others want the lock meanwhile
                    books.requests = requests + 1
                    books.bytes += len(data)
                self.wfile.write(hashlib.sha256(data).hexdigest().encode() + b"\n")
            assert books.own.caller == self.client_address

    def finish(self):
        with self.server.books.lock:
            self.server.books.names.add(threading.current_thread().name)
        super().finish()


class Slowly(socketserver.DatagramRequestHandler):
    """Answers each datagram after as long as it says."""

    def handle(self):
        number, delay = struct.unpack("!Id", self.rfile.read())
        time.sleep(delay)
        self.wfile.write(struct.pack("!I", number))


class TcpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 2 * CALLERS


def server():
    books = Books()
    place = ("0.0.0.0", PORT)
    with TcpServer(place, Blocks) as stream, socketserver.ThreadingUDPServer(place, Slowly) as datagrams:
        stream.books = datagrams.books = books
        threads = [threading.Thread(target=one.serve_forever, args=(0.2,)) for one in (stream, datagrams)]
        for thread in threads:
            thread.start()
        books.closing.wait()
        for one in (stream, datagrams):
            one.shutdown()
        for thread in threads:
            thread.join()
    # Closing has joined the handlers' threads.
    print(f"served {books.requests} blocks, {books.bytes} bytes, in {len(books.names)} threads")


def caller(host, data, results, number):
    with socket.create_connection((host, PORT)) as sock, sock.makefile("rwb") as file:
        file.write(b"meet 0\n")
        file.flush()
        place = int(file.readline())
        digests = []
        for _ in range(ROUNDS):
            file.write(b"block %d\n" % len(data) + data)
            file.flush()
            digests.append(file.readline().decode().strip())
        results[number] = place, digests


def slow_ones(host):
    """Many datagrams at once, each with its own delay: the answers come in the order of the delays."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((host, PORT))
        sock.settimeout(5)
        left = set(range(DATAGRAMS))
        order = []
        begin = time.monotonic()
        while left:  # the network may lose some
            for number in sorted(left):
                sock.send(struct.pack("!Id", number, 0.5 + (DATAGRAMS - number) * 0.05))
            try:
                while left:
                    number = struct.unpack("!I", sock.recv(100))[0]
                    if number in left:
                        left.remove(number)
                        order.append(number)
            except TimeoutError:
                pass
        elapsed = time.monotonic() - begin
    return order, elapsed


def client(host):
    blocks = [random.randbytes(20_000 + number) for number in range(CALLERS)]
    results = {}
    threads = [
        threading.Thread(target=caller, args=(host, blocks[number], results, number)) for number in range(CALLERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(place for place, _ in results.values()) == list(range(CALLERS))
    for number, data in enumerate(blocks):
        assert results[number][1] == [hashlib.sha256(data).hexdigest()] * ROUNDS, number
    order, elapsed = slow_ones(host)
    assert sorted(order) == list(range(DATAGRAMS))
    longest_first = order[:2]
    assert 0 not in longest_first, "that with the longest delay is not among the first"
    assert elapsed < DATAGRAMS * 0.5, "one after the other they would take longer"
    with socket.create_connection((host, PORT)) as sock, sock.makefile("rwb") as file:
        file.write(b"close 0\n")
        file.flush()
        assert file.readline() == b"closing\n"
    total = sum(map(len, blocks)) * ROUNDS
    print(f"{CALLERS} callers at once, {total} bytes in {CALLERS * ROUNDS} blocks, {len(order)} datagrams")


if __name__ == "__main__":
    server() if sys.argv[1] == "server" else client(sys.argv[2])
