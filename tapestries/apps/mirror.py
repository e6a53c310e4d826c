"""Sends back whatever comes: an ordinary blocking server, a thread for each connection.

    python mirror.py --port 7
"""

import argparse
import socket
import threading


def serve(connection: socket.socket, peer: str) -> None:
    count = 0
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)
            count += len(data)
    print(f"{count} bytes for {peer}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=7)
    options = parser.parse_args()
    with socket.create_server(("", options.port)) as listener:
        print(f"listening on port {options.port}")
        while True:
            connection, (peer, _) = listener.accept()
            threading.Thread(target=serve, args=(connection, peer), daemon=True).start()


if __name__ == "__main__":
    main()
