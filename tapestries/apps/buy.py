"""A customer of the box office, in blocking code: one seat after the other, as long as there are any.

    python buy.py office 8443 --name anna --tls

Prints what it has got, and exits with an error when a seat was sold to somebody else, too.
"""

import argparse
import pathlib
import socket
import ssl

AUTHORITY = pathlib.Path(__file__).parent / "tls" / "authority.pem"


def buy(host: str, port: int, name: str, context: ssl.SSLContext | None) -> list[int]:
    seats = []
    with socket.create_connection((host, port), timeout=60) as plain:
        sock = plain if context is None else context.wrap_socket(plain, server_hostname=host)
        with sock, sock.makefile("rw", encoding="utf-8", newline="\n") as file:
            while True:
                file.write(f"buy {name}\n")
                file.flush()
                answer = file.readline().strip()
                if answer == "sold out":
                    return seats
                seats.append(int(answer.removeprefix("seat ")))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--name", default=socket.gethostname())
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args()
    context = ssl.create_default_context(cafile=AUTHORITY) if options.tls else None
    seats = buy(options.host, options.port, options.name, context)
    assert len(set(seats)) == len(seats)
    print(f"{options.name} has {len(seats)} seats: {' '.join(map(str, seats))}")


if __name__ == "__main__":
    main()
