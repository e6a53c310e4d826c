"""An ordinary box office: a server of threads and a lock, from the standard library. It sells each seat once.

    python box_office.py --seats 40 --port 8000 --tls-port 8443

A line "buy NAME" is answered with "seat N", "left" with how many there are, what is sold out with "sold out". A sale
takes the printer 50 ms, during which nobody else has it.
"""

import argparse
import pathlib
import socketserver
import ssl
import threading
import time

CERTIFICATE = pathlib.Path(__file__).parent / "tls" / "server.pem"


class Seats:
    def __init__(self, count: int) -> None:
        self.sold: list[str] = []
        self.count = count
        self.printer = threading.Lock()

    def sell(self, name: str) -> str:
        with self.printer:
            number = len(self.sold) + 1
            if number > self.count:
                return "sold out"
            time.sleep(0.05)
            self.sold.append(name)
            print(f"seat {number} to {name} in {threading.current_thread().name.partition(' ')[0]}")
            return f"seat {number}"


class Window(socketserver.StreamRequestHandler):
    timeout = 30

    def handle(self) -> None:
        assert isinstance(self.server, Office)
        for line in self.rfile:
            command, _, name = line.decode().strip().partition(" ")
            seats = self.server.seats
            answer = seats.sell(name) if command == "buy" else str(seats.count - len(seats.sold))
            self.wfile.write(f"{answer}\n".encode())


class Office(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 100

    def __init__(self, port: int, seats: Seats, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("", port), Window)
        self.seats = seats
        self.context = context

    def finish_request(self, request, client_address) -> None:
        # In the thread of the connection, so that a slow handshake keeps nobody waiting.
        if self.context is not None:
            with self.context.wrap_socket(request, server_side=True) as secure:
                super().finish_request(secure, client_address)
        else:
            super().finish_request(request, client_address)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seats", type=int, default=40)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--tls-port", type=int, default=8443)
    options = parser.parse_args()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    seats = Seats(options.seats)
    secure = Office(options.tls_port, seats, context)
    threading.Thread(target=secure.serve_forever, daemon=True).start()
    Office(options.port, seats).serve_forever()


if __name__ == "__main__":
    main()
