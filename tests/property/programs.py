"""The programs at both ends of a random network: they write, read, pause and close as their plan says.

A program takes turns of the scheduler. It plans one when the socket wakes it, or when the time between two of its calls
is over; never because time goes by. So a wake-up that the stack forgets leaves it waiting, and the network hangs.
"""

from __future__ import annotations

import errno
import random
from typing import Any

from invariants import Broken

from lunar.net.sock import POLLERR, POLLHUP, POLLIN, POLLOUT
from lunar.tcp import sockopt
from lunar.tcp.tcb import SYN_SENT
from weaves.scheduler import Call, Lane

_AGAIN = -errno.EAGAIN
# What a program may be told when its peer has reset the connection; refused, if the reset overtook the SYN-ACK.
_RESET = {errno.ECONNRESET, errno.EPIPE, errno.ECONNREFUSED}
_CALLS_IN_A_TURN = 8


def data_of(plan: Any, side: int) -> bytes:
    """What that side sends."""
    return random.Random(f"{plan.number}/data/{side}").randbytes(plan.sizes[side])


class Program:
    """One end. `sent` and `got` are what passed; `exact` whether `got` must be all that the peer has."""

    def __init__(self, sock: Any, scheduler: Any, lane: Lane, plan: Any, side: int, sent: int = 0) -> None:
        self.sock = sock
        self.scheduler = scheduler
        self.lane = lane
        self.rng = random.Random(f"{plan.number}/program/{side}")
        self.data = data_of(plan, side)
        self.end = plan.ends[side]
        self.write_size, self.write_gap_ns = plan.writes[side]
        self.read_size, self.read_gap_ns = plan.reads[side]
        self.more, self.urgent = plan.more[side], plan.urgent[side]
        self.eor = plan.eor[side]
        self.pause = plan.pause[side]
        self.corked = plan.cork[side]
        self.sent = sent
        self.got = bytearray()
        self.ended = False  # the peer has closed its side
        self.shut = False
        self.error = 0
        self.closed = False
        self.write_at_ns = self.read_at_ns = int(scheduler.now_ns)
        self.planned: Call | None = None
        sock.waiters.append(self.woken)
        self.later(int(scheduler.now_ns))

    def woken(self, mask: int) -> None:
        if self.closed:
            raise Broken("a closed socket wakes its program")
        self.later(int(self.scheduler.now_ns))

    def later(self, at_ns: int) -> None:
        """Take a turn at that time, if none comes before."""
        planned = self.planned
        if planned is not None and planned.queued:
            if planned.at_ns <= at_ns:
                return
            self.scheduler.cancel(planned)
        self.planned = Call(self.turn, None)
        self.scheduler.post(self.planned, self.lane, at_ns)

    def turn(self, _: Any) -> None:
        if self.closed or self.sock.state == SYN_SENT:
            return  # the end of the handshake wakes it
        now = int(self.scheduler.now_ns)
        if now >= self.read_at_ns:
            self.read(now)
        if now >= self.write_at_ns and not self.closed:
            self.write(now)
        written = self.sent == len(self.data) or self.error
        if self.end == "abort" and self.sent * 2 >= len(self.data):
            self.sock.linger_on, self.sock.linger_s = True, 0
            self.close()
        elif written and (self.ended or self.error or self.end == "early"):
            self.close()
        elif written and self.end == "half" and not self.shut:
            self.shut = True
            result = self.sock.shutdown(1)
            if result not in (0, -errno.ENOTCONN):
                raise Broken(f"shutdown says {result}")
        if not self.closed:
            self.plan_next(now)

    def plan_next(self, now: int) -> None:
        """Come again for what is ready already; for the rest the socket will wake us."""
        mask = self.sock.poll()
        dead = mask & (POLLERR | POLLHUP) and not self.error
        if not self.ended and (mask & POLLIN or dead):
            self.later(max(self.read_at_ns, now))
        if self.sent < len(self.data) and not self.error and (mask & POLLOUT or dead):
            self.later(max(self.write_at_ns, now))

    def read(self, now: int) -> None:
        for _ in range(_CALLS_IN_A_TURN):
            if self.ended or self.error:
                return
            piece = self.sock.recv(1 + self.rng.randrange(self.read_size), False)
            if piece is None:
                number = int(self.sock.recv_errno)
                if number != errno.EAGAIN:
                    self.failed(number, "recv")
                return
            if piece == b"":
                self.ended = True
                return
            self.got += piece
            if self.pause is not None and len(self.got) >= self.pause[0]:
                self.read_at_ns = now + self.pause[1]
                self.pause = None
                return
            if self.read_gap_ns:
                self.read_at_ns = now + 1 + self.rng.randrange(self.read_gap_ns)
                return
        self.read_at_ns = now + 1000  # let the other things of this instant happen

    def write(self, now: int) -> None:
        for _ in range(_CALLS_IN_A_TURN):
            if self.sent == len(self.data) or self.error or self.shut:
                return
            piece = self.data[self.sent : self.sent + 1 + self.rng.randrange(self.write_size)]
            more = self.more > 0 and self.rng.random() < self.more and self.sent + len(piece) < len(self.data)
            urgent = self.urgent > 0 and self.rng.random() < self.urgent
            eor = self.eor > 0 and self.rng.random() < self.eor
            taken = int(self.sock.send(piece, more, urgent, eor))
            if taken < 0:
                if taken != _AGAIN:
                    self.failed(-taken, "send")
                return
            if not 0 < taken <= len(piece):
                raise Broken(f"send took {taken} of {len(piece)} bytes")
            self.sent += taken
            if self.corked and self.rng.random() < 0.1:
                sockopt.set_cork(self.sock, not self.sock.cork)
            if self.write_gap_ns:
                self.write_at_ns = now + 1 + self.rng.randrange(self.write_gap_ns)
                return
        self.write_at_ns = now + 1000

    def failed(self, number: int, call: str) -> None:
        if number not in _RESET:
            raise Broken(f"{call} fails with {errno.errorcode.get(number, number)}")
        self.error = number

    def close(self) -> None:
        self.sock.waiters.clear()
        self.sock.close()
        self.closed = True
        if self.planned is not None and self.planned.queued:
            self.scheduler.cancel(self.planned)
