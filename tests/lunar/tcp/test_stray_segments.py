"""Segments that should not be, in every state of a handshake and of an ending: what a kernel of Linux 6.18 answers.

Each row was sent to such a kernel, and to this stack; the answers are the kernel's. Numbers count from the initial
sequence numbers of both ends; "0" is a sequence number of zero, as a RST without an ACK to go by has it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from tcp_scenario import ACK, FIN, LOCAL, OWN, OWN_PORT, PEER_PORT, PSH, REMOTE, RST, SYN, Scenario, server

from lunar.packet import URG
from lunar.tcp import sockopt

SYN_OPTIONS = {"mss": 1460}

# (flags, sequence number, acknowledgment or None)
Answer = tuple[int, int | str, int | None]
CHALLENGE: Answer = (ACK, 1, 1)


def listening(fast: bool = False) -> Scenario:
    t = server()
    sysctls = t.tcp.tables.sysctls
    sysctls.tcp_syncookies = 0
    sysctls.tcp_timestamps = 0
    if fast:
        sysctls.tcp_fastopen = 0x602
        sockopt.set_fast_limit(t.sock, 10)
    return t


def requested() -> Scenario:
    """A SYN was answered."""
    t = listening()
    t.gets(at=0, seq=REMOTE, flags=SYN, mss=1460)
    t.iss = int(t.sends(at=0, flags=SYN | ACK).seq)
    return t


def opened_fast() -> Scenario:
    """A SYN with ten bytes made a connection, and the program has it."""
    t = listening(fast=True)
    t.gets(at=0, seq=REMOTE, flags=SYN, mss=1460, data=b"0123456789")
    t.iss = int(t.sends(at=0, flags=SYN | ACK, ack=REMOTE + 11).seq)
    child = t.sock.accept_one()
    assert child is not None
    t.watch(child)
    return t


def connecting() -> Scenario:
    t = Scenario()
    t.tcp.tables.sysctls.tcp_timestamps = 0
    t.connect()
    t.forget()
    return t


def crossing() -> Scenario:
    """Simultaneous open: both SYNs are out."""
    t = connecting()
    t.gets(at=0, seq=REMOTE, flags=SYN, mss=1460)
    t.sends(at=0, flags=SYN | ACK)
    return t


def connected() -> Scenario:
    t = connecting()
    t.gets(at=0, seq=REMOTE, ack=LOCAL + 1, flags=SYN | ACK, mss=1460)
    t.sends(at=0, flags=ACK)
    return t


def in_last_ack() -> Scenario:
    t = connected()
    t.gets(at=0, flags=FIN | ACK)
    t.sock.close()
    t.forget()
    return t


def in_time_wait() -> Scenario:
    t = connected()
    t.sock.close()
    t.gets(at=0, ack=LOCAL + 2, flags=FIN | ACK)
    t.forget()
    return t


# A state, what comes (flags, sequence number, acknowledgment, data), what is answered.
ROWS: list[tuple[Callable[[], Scenario], int, int, int, bytes, list[Answer]]] = [
    (listening, SYN | FIN, 0, 0, b"", []),
    (listening, SYN | RST, 0, 0, b"", []),
    (listening, 0, 0, 0, b"", []),
    (listening, FIN, 0, 0, b"", []),
    (listening, FIN | PSH | URG, 0, 0, b"", []),
    (listening, RST | ACK, 0, 50, b"", []),
    (listening, ACK, 0, 50, b"", [(RST, 50, None)]),
    (listening, SYN | ACK, 0, 50, b"", [(RST, 50, None)]),
    (requested, ACK, 1, 5, b"", [(RST, 5, None)]),
    (requested, RST, 50, 0, b"", [CHALLENGE]),
    (requested, RST, 1, 0, b"", []),
    (requested, SYN, 4900, 0, b"", [(RST | ACK, "0", 4901)]),
    (requested, ACK, 100_000_000, 1, b"", [CHALLENGE]),
    (requested, FIN, 1, 0, b"", []),
    (requested, SYN, 0, 0, b"", [(SYN | ACK, 0, 1)]),
    (opened_fast, RST, 50, 0, b"", [(ACK, 1, 11)]),
    (opened_fast, RST, 11, 0, b"", []),
    (opened_fast, SYN, 4900, 0, b"", [(RST | ACK, "0", 4901)]),
    (opened_fast, SYN, 0, 0, b"", [(SYN | ACK, 0, 11)]),
    (opened_fast, ACK, 11, 500, b"", [(RST, 500, None)]),
    (opened_fast, ACK, 11, 0, b"", [(RST, 0, None)]),
    (opened_fast, FIN, 11, 0, b"", []),
    (opened_fast, 0, 11, 0, b"zzz", []),
    (opened_fast, ACK, 1_000_000_000, 1, b"", [(ACK, 1, 11)]),
    (connecting, RST, 0, 0, b"", []),
    (connecting, SYN | ACK | RST, 0, 1, b"", []),
    (connecting, ACK, 0, 1, b"hello", []),
    (connecting, FIN, 0, 0, b"hello", []),
    (connecting, SYN | ACK | FIN, 0, 1, b"", [CHALLENGE]),
    (connecting, SYN | ACK, 0, 1, b"hello", [CHALLENGE]),
    (connecting, ACK, 0, 300, b"", [(RST, 300, None)]),
    (crossing, RST, 1, 0, b"", []),
    (crossing, RST, 50, 0, b"", [CHALLENGE]),
    (crossing, SYN, 0, 0, b"", [CHALLENGE]),
    (crossing, ACK, 1, 100, b"", [(RST, 100, None)]),
    (connected, ACK, 1, 5000, b"x", [CHALLENGE]),
    (connected, SYN, 1, 0, b"x", [CHALLENGE]),
    (connected, SYN, 90_000_000, 0, b"", [CHALLENGE]),
    (connected, ACK, 0, 1, b"", [CHALLENGE]),
    (in_last_ack, ACK, 2, 1, b"x", []),
    (in_last_ack, RST, 2, 0, b"", []),
    (in_time_wait, RST, 3, 0, b"", []),
    (in_time_wait, SYN | ACK, 2, 2, b"", [(ACK, 2, 2)]),
    (in_time_wait, ACK, 4900, 2, b"zz", [(ACK, 2, 2)]),
    (in_time_wait, 0, 2, 0, b"", []),
    (in_time_wait, FIN, 2, 0, b"", [(ACK, 2, 2)]),
    (in_time_wait, FIN | ACK, 1, 2, b"", [(ACK, 2, 2)]),
]


@pytest.mark.parametrize(("state", "flags", "seq", "ack", "data", "answers"), ROWS)
def test_a_segment_that_should_not_be_is_answered_as_by_linux(
    state: Callable[[], Scenario], flags: int, seq: int, ack: int, data: bytes, answers: list[Answer]
) -> None:
    t = state()
    options = SYN_OPTIONS if flags & SYN else {}
    t.gets(at=0, seq=REMOTE + seq, ack=LOCAL + ack, flags=flags, data=data, **options)
    found: list[Answer] = []
    for _, segment in t.medium.sent:
        number = (int(segment.seq) - t.iss) & 0xFFFF_FFFF if segment.seq else "0"
        acknowledged = int(segment.ack) - REMOTE if segment.flags & ACK else None
        found.append((int(segment.flags), number, acknowledged))
    assert found == answers


@pytest.mark.parametrize("flags", [SYN, ACK, RST, FIN, 0, SYN | ACK])
def test_a_closed_port_answers_as_linux_does(flags: int) -> None:
    t = Scenario()
    t.gets(at=0, seq=REMOTE, flags=flags, data=b"xy", ports=(PEER_PORT, 9999))
    if flags & RST:
        assert not t.medium.sent
        return
    segment = t.medium.sent[0][1]
    assert segment.src == OWN and segment.sport == 9999 and segment.dport == PEER_PORT
    if flags & ACK:
        assert segment.flags == RST
    else:
        size = 2 + (1 if flags & (SYN | FIN) else 0)
        assert (segment.flags, segment.seq, int(segment.ack) - REMOTE) == (RST | ACK, 0, size)


@pytest.mark.parametrize(
    ("segment", "error"), [((RST, 1), errno.ECONNRESET), ((RST | ACK, 1), errno.ECONNRESET)]
)
def test_a_reset_in_simultaneous_open_is_told(segment: tuple[int, int], error: int) -> None:
    t = crossing()
    t.gets(at=0, seq=REMOTE + segment[1], flags=segment[0], ports=(PEER_PORT, OWN_PORT))
    assert t.sock.take_error() == error
