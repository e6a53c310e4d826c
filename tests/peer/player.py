"""A program in a few words, which runs on the machine's kernel and on a virtual host: the same file on both sides.

    listen; accept; send 100000; shut; drain; close

Words are separated by semicolons. A word that fails notes the name of its errno and the program goes on, so that what a
call says is part of the log. Its last lines are how much was sent and read in all, with the SHA-256 of each.

    listen [BACKLOG]       a listening socket at the program's own port; `unlisten` closes it
    bind                   the socket at its own port, before `connect`
    accept, connect        the connection that all words below are about
    begin, finish          connect, without waiting, and the wait
    fastopen N             connect with N bytes in the SYN
    dial N, drop           N more connections at once; how many come to be; close them
    send N                 N bytes that depend on the seed alone
    oob X, urgent          one urgent byte, and the other side's
    drain, recv N, slow N  read to the end of the stream; N bytes; to the end, N bytes at a time with rests
    both N                 send N bytes, shut, and read to the end at the same time
    call N, answer         N questions of four bytes with their answers
    stall                  write until there is no room any more
    gone                   read until an error comes
    hangup                 wait until the connection is over, without reading
    shut, close, abort     shutdown(SHUT_WR), close, close with SO_LINGER at 0
    set NAME VALUE         an option of socket(7), tcp(7), ip(7); of the connection, or of all sockets to come
    get NAME               its value
    md5 KEY                signatures of RFC 2385 for the peer's address, on all sockets to come
    pause SECONDS
    tell MARK, hear MARK   say something to the other side by another way than the network, and wait for it
    udp                    a datagram socket at the program's own port, connected to the other's
    sendto N, recvfrom     one datagram of N bytes

The kernel's side runs this file as a program: a request in JSON on each line of its input, answers on its output.
Imports are of the standard library alone.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import random
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

_CHUNK: Final = 65_536
_LEVELS: Final = (
    ("SO_", socket.SOL_SOCKET), ("TCP_", socket.IPPROTO_TCP), ("IPV6_", socket.IPPROTO_IPV6), ("IP_", socket.IPPROTO_IP)
)  # fmt: skip
# Not in every Python's socket module.
_NUMBERS: Final = {"IP_MTU_DISCOVER": 10, "IP_MTU": 14, "IPV6_MTU_DISCOVER": 23, "IPV6_MTU": 24, "TCP_MD5SIG": 14}
_MSG_FASTOPEN: Final = 0x2000_0000


def content(seed: int, size: int) -> bytes:
    """What a program with this seed sends."""
    return random.Random(seed).randbytes(size)


def _option(name: str) -> tuple[int, int]:
    level = next(level for prefix, level in _LEVELS if name.startswith(prefix))
    return level, _NUMBERS[name] if name in _NUMBERS else int(getattr(socket, name))


class Stream:
    """How many bytes went one way, and which."""

    def __init__(self) -> None:
        self.size = 0
        self.hash = hashlib.sha256()

    def add(self, data: bytes) -> None:
        self.size += len(data)
        self.hash.update(data)

    def __str__(self) -> str:
        return f"{self.size} {self.hash.hexdigest()[:16]}"


class Player:
    """One program: `own` and `peer` are addresses with ports. `marks` are those that the other side has told so far,
    `tell` tells it one. The log has a line for each word that has something to say.
    """

    def __init__(
        self, own: tuple[str, int], peer: tuple[str, int], seed: int, marks: set[str], tell: Callable[[str], None]
    ) -> None:
        self.own, self.peer, self.seed = own, peer, seed
        self.marks, self.tell = marks, tell
        self.family = socket.AF_INET6 if ":" in own[0] else socket.AF_INET
        self.log: list[str] = []
        self.listener: socket.socket | None = None
        self.sock: socket.socket | None = None
        self.others: list[socket.socket] = []
        self.sent, self.got = Stream(), Stream()
        self._settings: list[tuple[int, int, Any]] = []
        self._sends = 0

    def play(self, program: str) -> list[str]:
        """Run the words of `program`; the log."""
        try:
            for words in (part.split() for part in program.split(";")):
                if words:
                    self._word(words[0], words[1:])
        finally:
            for each in (self.sock, self.listener, *self.others):
                if each is not None:
                    each.close()
        return [*self.log, f"sent {self.sent}", f"got {self.got}"]

    def _word(self, word: str, args: list[str]) -> None:
        try:
            said = getattr(self, f"do_{word}")(*args)
        except OSError as error:
            said = errno.errorcode[error.errno or 0]
        if said is not None:
            self.log.append(f"{word} {said}")

    @property
    def _connection(self) -> socket.socket:
        if self.sock is None:
            raise OSError(errno.ENOTCONN, "there is no connection")
        return self.sock

    def _new(self, kind: int = socket.SOCK_STREAM) -> socket.socket:
        made = socket.socket(self.family, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for level, number, value in self._settings:
            made.setsockopt(level, number, value)
        return made

    # Opening

    def do_listen(self, backlog: str = "16") -> None:
        self.listener = self._new()
        self.listener.bind(self.own)
        self.listener.listen(int(backlog))
        self.tell("listening")

    def do_unlisten(self) -> None:
        assert self.listener is not None, "unlisten comes after listen"
        self.listener.close()
        self.listener = None

    def do_accept(self) -> None:
        assert self.listener is not None, "accept comes after listen"
        self.sock, _ = self.listener.accept()

    def do_bind(self) -> None:
        self.sock = self._new()
        self.sock.bind(self.own)

    def do_connect(self) -> None:
        if self.sock is None:
            self.sock = self._new()
        self.sock.connect(self.peer)

    def do_begin(self) -> None:
        if self.sock is None:
            self.sock = self._new()
        self.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            self.sock.connect(self.peer)
        self.sock.setblocking(True)

    def do_finish(self) -> str | None:
        select.select([], [self._connection], [])
        failed = self._connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return errno.errorcode[failed] if failed else None

    def do_fastopen(self, size: str) -> None:
        self.sock = self._new()
        data = self._next(int(size))
        count = self.sock.sendto(data, _MSG_FASTOPEN, self.peer)
        self.sock.sendall(data[count:])
        self.sent.add(data)

    def do_dial(self, count: str) -> str:
        made = [self._new() for _ in range(int(count))]
        self.others += made
        for each in made:
            each.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                each.connect(self.peer)
        good = 0
        waiting = {each.fileno(): each for each in made}
        while waiting:
            for fd in select.select([], list(waiting), [])[1]:
                good += waiting.pop(fd).getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        return str(good)

    def do_drop(self) -> None:
        while self.others:
            self.others.pop().close()

    # Data

    def _next(self, size: int) -> bytes:
        """What is sent next: never the same twice in a program."""
        self._sends += 1
        return content(self.seed + self._sends - 1, size)

    def do_send(self, size: str) -> None:
        data = self._next(int(size))
        self._connection.sendall(data)
        self.sent.add(data)

    def do_oob(self, byte: str) -> None:
        self._connection.send(byte.encode(), socket.MSG_OOB)

    def do_urgent(self) -> str:
        select.select([], [], [self._connection])
        return self._connection.recv(1, socket.MSG_OOB).decode()

    def do_drain(self, most: str = str(_CHUNK)) -> None:
        while data := self._connection.recv(int(most)):
            self.got.add(data)

    def do_slow(self, most: str) -> None:
        while data := self._connection.recv(int(most)):
            self.got.add(data)
            time.sleep(0.01)

    def do_recv(self, size: str) -> str | None:
        left = int(size)
        while left:
            data = self._connection.recv(left)
            if not data:
                return f"the end, {left} early"
            self.got.add(data)
            left -= len(data)
        return None

    def do_both(self, size: str) -> str | None:
        failed: list[str] = []

        def send() -> None:
            try:
                self.do_send(size)
                self._connection.shutdown(socket.SHUT_WR)
            except OSError as error:
                failed.append(errno.errorcode[error.errno or 0])

        sender = threading.Thread(target=send)
        sender.start()
        try:
            self.do_drain()
        finally:
            sender.join()
        return failed[0] if failed else None

    def do_call(self, count: str) -> str | None:
        for _ in range(int(count)):
            self.do_send("4")
            short = self.do_recv("4")
            if short is not None:
                return short
        return None

    def do_answer(self) -> None:
        sock = self._connection
        while data := sock.recv(4):
            self.got.add(data)
            sock.sendall(data)
            self.sent.add(data)

    def do_stall(self) -> None:
        """A while without room is the end of it."""
        sock = self._connection
        sock.setblocking(False)
        while select.select([], [sock], [], 0.7)[1]:
            data = self._next(10_000)
            with contextlib.suppress(BlockingIOError):
                self.sent.add(data[: sock.send(data)])
        sock.setblocking(True)

    def do_gone(self) -> str:
        while data := self._connection.recv(_CHUNK):
            self.got.add(data)
        return "the end"

    def do_hangup(self) -> None:
        poll = select.poll()
        poll.register(self._connection, 0)
        while not poll.poll():
            pass

    # The end

    def do_shut(self) -> None:
        self._connection.shutdown(socket.SHUT_WR)

    def do_close(self) -> None:
        self._connection.close()
        self.sock = None

    def do_abort(self) -> None:
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.do_close()

    # Options

    def do_set(self, name: str, value: str) -> None:
        level, number = _option(name)
        said: Any = int(value) if value.lstrip("-").isdigit() else value.encode()
        if self.sock is None:
            self._settings.append((level, number, said))
        else:
            self.sock.setsockopt(level, number, said)

    def do_get(self, name: str) -> str:
        return f"{name} {self._connection.getsockopt(*_option(name))}"

    def do_md5(self, key: str) -> None:
        packed = socket.inet_pton(self.family, self.peer[0])
        address = struct.pack("=HH", self.family, 0)
        address += (bytes(4) if self.family == socket.AF_INET6 else b"") + packed
        # struct tcp_md5sig: the address, flags, prefix length, key length, interface, key
        setting = struct.pack("=128sBBHi80s", address, 0, 0, len(key), 0, key.encode())
        self._settings.append((socket.IPPROTO_TCP, _NUMBERS["TCP_MD5SIG"], setting))

    # Time, and the other side

    def do_pause(self, seconds: str) -> None:
        time.sleep(float(seconds))

    def do_tell(self, mark: str) -> None:
        self.tell(mark)

    def do_hear(self, mark: str) -> None:
        while mark not in self.marks:
            time.sleep(0.005)

    # Datagrams

    def do_udp(self) -> None:
        self.sock = self._new(socket.SOCK_DGRAM)
        self.sock.bind(self.own)
        self.sock.connect(self.peer)
        self.tell("listening")

    def do_sendto(self, size: str) -> None:
        data = self._next(int(size))
        self._connection.send(data)
        self.sent.add(data)

    def do_recvfrom(self) -> None:
        self.got.add(self._connection.recv(65_536))


def _serve() -> None:
    """The kernel's side: requests as lines of JSON, a thread for each program, until the input ends."""
    out = threading.Lock()
    marks: dict[str, set[str]] = {}

    def say(**what: Any) -> None:
        with out:
            print(json.dumps(what), flush=True)

    def run(name: str, request: dict[str, Any]) -> None:
        own, peer = tuple(request["own"]), tuple(request["peer"])
        player = Player(own, peer, request["seed"], marks[name], lambda mark: say(name=name, mark=mark))
        try:
            log = player.play(request["program"])
        except Exception as error:  # noqa: BLE001 - a mistake in a program shall be seen by who reads the log
            log = [*player.log, repr(error)]
        say(name=name, log=log)

    for line in sys.stdin:
        request = json.loads(line)
        name = request["name"]
        if "mark" in request:
            marks.setdefault(name, set()).add(request["mark"])
        else:
            marks.setdefault(name, set())
            threading.Thread(target=run, args=(name, request), daemon=True).start()


if __name__ == "__main__":
    _serve()
