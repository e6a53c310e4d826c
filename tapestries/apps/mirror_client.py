"""Looks into a mirror: sends a message, waits until it is back, and so on; then says how long it took.

    python mirror_client.py 10.0.0.1 7 --count 100

Whoever is not there yet is tried again.
"""

import argparse
import socket
import time


def connected(host: str, port: int) -> socket.socket:
    told = False
    while True:
        try:
            return socket.create_connection((host, port), timeout=10)
        except OSError as error:
            if not told:
                print(f"{host} is not there yet: {error.strerror or error}", flush=True)
                told = True
            time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--count", type=int, default=100)
    options = parser.parse_args()
    with connected(options.host, options.port) as sock, sock.makefile("rwb") as file:
        began = time.perf_counter()
        for number in range(options.count):
            message = b"message %d\n" % number
            file.write(message)
            file.flush()
            answer = file.readline()
            if answer != message:
                raise SystemExit(f"{answer!r} came back for {message!r}")
        spent = time.perf_counter() - began
    print(f"{options.count} messages to {options.host} and back, {spent / options.count * 1e6:.0f} us each")


if __name__ == "__main__":
    main()
