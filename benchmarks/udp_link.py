"""The calls that a UDP link could be made of, side by side: two processes on loopback, a byte of credit a batch.

    python benchmarks/udp_link.py [ROUNDS]

Processor time of sender and receiver (user and kernel), in microseconds a datagram, for full datagrams of links with an
MTU of 1500 and of 9000 in batches of 64, and for acknowledgements of TCP in batches of 16. Then the time of a round
trip of one small datagram, where both sides look without sleeping. All contestants run in turn in each round; the
medians of the rounds are printed, and the median of the ratios to the first.

lunar/outside/peer_socket.py has what came out best: `sendmsg` of equal frames with UDP_SEGMENT, and UDP_GRO for what
comes, connected. sendmmsg and recvmmsg save the calls, which are the least of it: each datagram still goes through
all of the kernel by itself.
"""

from __future__ import annotations

import ctypes
import os
import socket
import statistics
import struct
import sys
import time
from collections.abc import Callable
from typing import Final

BATCHES: Final = 300
ROUND_TRIPS: Final = 3000
ROUNDS: Final = 5
ROOM: Final = 65536
# linux/udp.h
SOL_UDP: Final = 17
UDP_SEGMENT: Final = 103
UDP_GRO: Final = 104
MOST_SEGMENTS: Final = 64
MOST_BYTES: Final = 65507


class Way:
    """A way to send a batch of frames and to get them back as a list of bytes. It has one end of the pair."""

    def __init__(self, connected: bool = True) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind(("127.0.0.1", 0))
        self.connected = connected
        self.room = bytearray(ROOM)
        self.view = memoryview(self.room)

    def join(self, peer: tuple[str, int]) -> None:
        self.peer = peer
        if self.connected:
            self.socket.connect(peer)
        self.socket.setblocking(False)

    def send(self, frames: list[bytes]) -> None:
        raise NotImplementedError

    def receive(self) -> list[bytes]:
        """What is there, at most 64 datagrams."""
        raise NotImplementedError


class Plain(Way):
    """sendto and recvfrom: the address goes along, and comes back."""

    def __init__(self) -> None:
        super().__init__(connected=False)

    def send(self, frames: list[bytes]) -> None:
        for frame in frames:
            self.socket.sendto(frame, self.peer)

    def receive(self) -> list[bytes]:
        frames: list[bytes] = []
        try:
            while len(frames) < 64:
                data, address = self.socket.recvfrom(ROOM)
                if address == self.peer:
                    frames.append(data)
        except BlockingIOError:
            pass
        return frames


class Connected(Way):
    """send and recv_into on connected sockets."""

    def send(self, frames: list[bytes]) -> None:
        send = self.socket.send
        for frame in frames:
            send(frame)

    def receive(self) -> list[bytes]:
        frames: list[bytes] = []
        receive, room, view = self.socket.recv_into, self.room, self.view
        try:
            while len(frames) < 64:
                frames.append(bytes(view[: receive(room)]))
        except BlockingIOError:
            pass
        return frames


class Offload(Way):
    """UDP_SEGMENT for runs of frames of one size (the last may be shorter), UDP_GRO for what comes."""

    def __init__(self) -> None:
        super().__init__()
        self.socket.setsockopt(SOL_UDP, UDP_GRO, 1)

    def send(self, frames: list[bytes]) -> None:
        at = 0
        while at < len(frames):
            size = len(frames[at])
            most = min(MOST_SEGMENTS, MOST_BYTES // size)
            end = at + 1
            while end < len(frames) and end - at < most and len(frames[end]) == size:
                end += 1
            if end - at == 1:
                self.socket.send(frames[at])
            else:
                self.socket.sendmsg(frames[at:end], [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", size))])
            at = end

    def receive(self) -> list[bytes]:
        frames: list[bytes] = []
        receive, room, view = self.socket.recvmsg_into, [self.room], self.view
        try:
            while len(frames) < 64:
                count, items, _, _ = receive(room, 64)
                size = count
                for _, kind, data in items:
                    if kind == UDP_GRO:
                        size = int.from_bytes(data, "little")
                for at in range(0, count, size):
                    frames.append(bytes(view[at : min(at + size, count)]))
        except BlockingIOError:
            pass
        return frames


class OffloadJoined(Offload):
    """The same, but the frames are joined first: one buffer for the kernel to copy from."""

    def send(self, frames: list[bytes]) -> None:
        at = 0
        while at < len(frames):
            size = len(frames[at])
            most = min(MOST_SEGMENTS, MOST_BYTES // size)
            end = at + 1
            while end < len(frames) and end - at < most and len(frames[end]) == size:
                end += 1
            if end - at == 1:
                self.socket.send(frames[at])
            else:
                item = [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", size))]
                self.socket.sendmsg([b"".join(frames[at:end])], item)
            at = end


class OffloadSend(Connected):
    """UDP_SEGMENT to send, and no UDP_GRO: the kernel cuts what arrives."""

    send = Offload.send


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Mmsghdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p), ("namelen", ctypes.c_uint32), ("iov", ctypes.c_void_p), ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t), ("flags", ctypes.c_int),
        ("padding", ctypes.c_int), ("got", ctypes.c_uint),
    )  # fmt: skip


_libc = ctypes.CDLL(None, use_errno=True)
_sendmmsg, _recvmmsg = _libc.sendmmsg, _libc.recvmmsg
_sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
_recvmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]


class Many(Way):
    """sendmmsg and recvmmsg by ctypes, with headers and rooms that were made before; connected."""

    def __init__(self) -> None:
        super().__init__()
        self.rooms = bytearray(64 * 9216)
        self.rooms_view = memoryview(self.rooms)
        base = ctypes.addressof((ctypes.c_char * len(self.rooms)).from_buffer(self.rooms))
        self.vectors = (_Iovec * 64)(*[_Iovec(base + 9216 * at, 9216) for at in range(64)])
        self.headers = (_Mmsghdr * 64)()
        self.out_vectors = (_Iovec * 64)()
        self.out_headers = (_Mmsghdr * 64)()
        for headers, vectors in ((self.headers, self.vectors), (self.out_headers, self.out_vectors)):
            for at, header in enumerate(headers):
                header.iov, header.iovlen = ctypes.addressof(vectors) + 16 * at, 1
        # The numbers that change from batch to batch, as memory that Python writes and reads in one step each.
        self.lengths = memoryview(self.headers).cast("B").cast("I")[14::16]
        self.out_words = memoryview(self.out_vectors).cast("B").cast("Q")
        self.headers_at = ctypes.addressof(self.headers)
        self.out_headers_at = ctypes.addressof(self.out_headers)
        self.number = self.socket.fileno()

    def send(self, frames: list[bytes]) -> None:
        words = self.out_words
        kept = []
        for at, frame in enumerate(frames):
            held = ctypes.c_char_p(frame)
            kept.append(held)
            words[2 * at] = ctypes.cast(held, ctypes.c_void_p).value or 0
            words[2 * at + 1] = len(frame)
        done = 0
        while done < len(frames):
            sent = _sendmmsg(self.number, self.out_headers_at + 64 * done, len(frames) - done, 0)
            assert sent > 0, os.strerror(ctypes.get_errno())
            done += sent

    def receive(self) -> list[bytes]:
        count = _recvmmsg(self.number, self.headers_at, 64, 0, None)
        view, lengths = self.rooms_view, self.lengths
        return [bytes(view[9216 * at : 9216 * at + lengths[at]]) for at in range(max(count, 0))]


class ManyCopied(Many):
    """The same; what is sent is copied to places that were made before."""

    def __init__(self) -> None:
        super().__init__()
        self.places = bytearray(64 * 9216)
        base = ctypes.addressof((ctypes.c_char * len(self.places)).from_buffer(self.places))
        for at in range(64):
            self.out_words[2 * at] = base + 9216 * at

    def send(self, frames: list[bytes]) -> None:
        words, places = self.out_words, self.places
        for at, frame in enumerate(frames):
            places[9216 * at : 9216 * at + len(frame)] = frame
            words[2 * at + 1] = len(frame)
        done = 0
        while done < len(frames):
            sent = _sendmmsg(self.number, self.out_headers_at + 64 * done, len(frames) - done, 0)
            assert sent > 0, os.strerror(ctypes.get_errno())
            done += sent


WAYS: Final[dict[str, Callable[[], Way]]] = {
    "sendto, recvfrom": Plain,
    "send, recv_into; connected": Connected,
    "sendmmsg, recvmmsg by ctypes; connected": Many,
    "the same, copied before": ManyCopied,
    "UDP_SEGMENT, recv_into; connected": OffloadSend,
    "UDP_SEGMENT, UDP_GRO; connected": Offload,
    "the same, joined before": OffloadJoined,
}


class Side:
    """One process of a pair: its end, and a pipe to tell the other and to be told."""

    def __init__(self, way: Way, first: bool, heard: int, tells: int) -> None:
        self.way = way
        self.first = first
        self._heard = heard
        self._tells = tells

    def tell(self, data: bytes = b"+") -> None:
        os.write(self._tells, data)

    def hear(self, size: int = 1) -> bytes:
        return os.read(self._heard, size)

    def wait(self) -> None:
        """Until something is there to receive."""
        self.way.socket.setblocking(True)
        self.way.socket.recv(1, socket.MSG_PEEK)
        self.way.socket.setblocking(False)


Work = Callable[[Side], float]


def measure(make: Callable[[], Way], work: Work) -> float:
    """The sum of what `work` gives for this process and for a child of it."""
    one, two = make(), make()
    one.join(two.socket.getsockname())
    two.join(one.socket.getsockname())
    forth_heard, forth_tells = os.pipe()
    back_heard, back_tells = os.pipe()
    child = os.fork()
    if child == 0:
        side = Side(two, False, forth_heard, back_tells)
        try:
            side.tell(struct.pack("d", work(side)))
        finally:
            os._exit(0)  # also where it fails: what follows is the parent's
    side = Side(one, True, back_heard, forth_tells)
    result = work(side)
    other: float = struct.unpack("d", side.hear(8))[0]
    os.waitpid(child, 0)
    for descriptor in (forth_heard, forth_tells, back_heard, back_tells):
        os.close(descriptor)
    one.socket.close()
    two.socket.close()
    return result + other


def transfer(size: int, batch: int) -> Work:
    """The work of carrying batches one way: microseconds of this process' processor a datagram."""

    def work(side: Side) -> float:
        frames = [bytes(size)] * batch
        began = time.process_time()
        for _ in range(BATCHES):
            if side.first:
                side.way.send(frames)
                side.hear()
                continue
            left = batch
            while left:
                got = side.way.receive()
                left -= len(got)
                if not got:
                    side.wait()
            side.tell()
        return (time.process_time() - began) * 1e6 / (BATCHES * batch)

    return work


def echo(side: Side) -> float:
    """The work of round trips: half of each, in microseconds, so that the sum of both sides is one."""
    frame = [bytes(70)]
    way = side.way
    began = time.perf_counter()
    for _ in range(ROUND_TRIPS):
        if side.first:
            way.send(frame)
        while not way.receive():
            os.sched_yield()
        if not side.first:
            way.send(frame)
    return (time.perf_counter() - began) * 1e6 / ROUND_TRIPS / 2


TABLES: Final = {
    "1472 bytes, batches of 64: us of processor a datagram": transfer(1472, 64),
    "8972 bytes, batches of 64: us of processor a datagram": transfer(8972, 64),
    "66 bytes, batches of 16: us of processor a datagram": transfer(66, 16),
    "70 bytes there and back, one at a time: us a round trip": echo,
}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    for title, work in TABLES.items():
        figures: dict[str, list[float]] = {name: [] for name in WAYS}
        for _ in range(rounds):
            for name, make in WAYS.items():
                figures[name].append(measure(make, work))
        print(title)
        first = next(iter(figures.values()))
        for name, found in figures.items():
            ratio = statistics.median(mine / base for mine, base in zip(found, first, strict=True))
            print(f"  {name:<42} {statistics.median(found):8.2f}  {ratio:5.2f}x")


if __name__ == "__main__":
    main()
