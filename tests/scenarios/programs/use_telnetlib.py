"""telnetlib, and a threaded server that negotiates: prompts, patterns, timeouts, bytes of 255, several at once.

    use_telnetlib.py server
    use_telnetlib.py client SERVER
"""

import random
import socketserver
import sys
import threading
import time
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import telnetlib

from telnetlib import DO, ECHO, IAC, NAWS, SB, SE, WILL, WONT

ECHO_OFF = IAC + WILL + ECHO


class Terminal(socketserver.StreamRequestHandler):
    """Asks for a name and a password, then obeys."""

    def handle(self):
        self.wfile.write(IAC + DO + NAWS + b"login: ")
        name = self.line()
        self.wfile.write(b"password: " + ECHO_OFF)
        if self.line() != b"secret":
            self.wfile.write(IAC + WONT + ECHO + b"\r\nwrong\r\n")
            return
        self.wfile.write(b"\r\nwelcome %s, %s\r\n$ " % (name, self.size))
        while (line := self.line()) not in (b"", b"exit"):
            command, _, rest = line.partition(b" ")
            if command == b"fill":
                text = random.Random(int(rest)).randbytes(100_000)
                self.wfile.write(text.replace(IAC, IAC + IAC))
            elif command == b"sleep":
                time.sleep(float(rest))
            elif command == b"reverse":
                self.wfile.write(rest[::-1])
            self.wfile.write(b"\r\n$ ")
        self.wfile.write(b"bye\r\n")

    size = b"of no size"

    def line(self):
        """A line without what is negotiated in it."""
        line = bytearray()
        while (byte := self.rfile.read(1)) not in (b"", b"\n"):
            if byte == IAC:
                command = self.rfile.read(1)
                if command == IAC:
                    line += IAC
                elif command == SB:
                    within = self.rfile.read(7)  # NAWS, four bytes, IAC, SE
                    assert within[:1] == NAWS and within[5:] == IAC + SE
                    self.size = b"%d by %d" % (int.from_bytes(within[1:3]), int.from_bytes(within[3:5]))
                else:
                    self.rfile.read(1)
            else:
                line += byte
        return bytes(line).rstrip(b"\r")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def serve():
    with Server(("", 23), Terminal) as server:
        server.serve_forever()


def negotiate(sock, command, option):
    if (command, option) == (DO, NAWS):
        sock.sendall(IAC + WILL + NAWS + IAC + SB + NAWS + b"\0\x50\0\x18" + IAC + SE)


def visit(server, number, log):
    with telnetlib.Telnet(server, timeout=30) as telnet:
        telnet.set_option_negotiation_callback(negotiate)
        telnet.read_until(b"login: ")
        telnet.write(b"visitor-%d\r\n" % number)
        telnet.read_until(b"password: ")
        telnet.write(b"secret\r\n")
        index, match, text = telnet.expect([rb"wrong", rb"welcome (\S+), (.*)\r\n"], 30)
        assert index == 1, text
        assert match[1] == b"visitor-%d" % number
        assert match[2] == b"80 by 24"
        telnet.read_until(b"$ ")
        telnet.write(b"fill %d\n" % number)
        expected = random.Random(number).randbytes(100_000)
        # Zeros and the bytes of XON are the protocol's: telnetlib takes them out.
        taken = telnet.read_until(b"\r\n$ ", 60)
        plain = expected.replace(b"\0", b"").replace(b"\x11", b"")
        assert taken == plain + b"\r\n$ ", (len(taken), len(plain))
        telnet.write(b"sleep 3\n")
        start = time.monotonic()
        assert telnet.read_until(b"$ ", 1) == b""
        assert telnet.expect([rb"\$ "], 0.5)[0] == -1
        log.append(round(time.monotonic() - start, 6))
        telnet.read_until(b"$ ")
        telnet.write(b"reverse a\xff\xffb\n")
        assert telnet.read_until(b"$ ") == b"b\xffa\r\n$ "
        telnet.write(b"exit\n")
        assert telnet.read_all() == b"bye\r\n"


def ask(server):
    log = []
    visit(server, 0, log)
    threads = [threading.Thread(target=visit, args=(server, number, log)) for number in range(1, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with telnetlib.Telnet(server) as telnet:
        telnet.read_until(b": ")
        telnet.write(b"nobody\n")
        telnet.read_until(b": ")
        telnet.write(b"guess\n")
        refused = telnet.read_all().split()
    print(f"{len(log)} terminals, 400000 bytes, waited {log[0]} s, {refused[-1].decode()}")


if __name__ == "__main__":
    serve() if sys.argv[1] == "server" else ask(sys.argv[2])
