"""A server on blocking sockets that serves one at a time, one for datagrams, and clients that fail without them."""

import random
import signal
import socket
import sys
import time


def serve():
    time.sleep(2)  # the first clients come too early
    listener = socket.create_server(("0.0.0.0", 8000))
    while True:
        sock, _address = listener.accept()
        with sock:
            while data := sock.recv(4096):
                sock.sendall(data[::-1])


def listen():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    time.sleep(4)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("", 8001))
    while True:
        data, address = sock.recvfrom(2000)
        sock.sendto(data * 2, address)


def call(number):
    with socket.create_connection(("10.0.0.1", 8000), timeout=3) as sock:
        for _ in range(5):
            data = random.randbytes(random.randrange(1, 6000))
            sock.sendall(data)
            received = b""
            while len(received) < len(data):
                received += sock.recv(4096)
            time.sleep(random.random())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.5)
        sock.connect(("10.0.0.1", 8001))
        sock.send(bytes(600 + number))
        sock.recv(2000)


if sys.argv[1] == "call":
    call(int(sys.argv[2]))
else:
    {"serve": serve, "listen": listen}[sys.argv[1]]()
