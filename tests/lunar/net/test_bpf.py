"""Classic BPF: what is refused, what instructions do, and the programs that tcpdump makes."""

from __future__ import annotations

import ctypes
import shutil
import socket
import struct
import subprocess
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lunar.net.bpf import Program, Seen, checked

Instruction = tuple[int, int, int, int]
ACCEPT, A = (6, 0, 0, 0xFFFF_FFFF), (0x16, 0, 0, 0)


def code_of(*instructions: Instruction) -> bytes:
    return b"".join(struct.pack("<HBBI", *one) for one in instructions)


def result(*instructions: Instruction, data: bytes = b"") -> int:
    program = checked(code_of(*instructions))
    assert program is not None
    return int(program.run(Seen(data)))


REFUSED: dict[str, Sequence[Instruction]] = {
    "nothing": [],
    "no return": [(0, 0, 0, 1)],
    "an unknown instruction": [(0xFFFF, 0, 0, 0), ACCEPT],
    "a jump out of the program": [(5, 0, 0, 5), ACCEPT],
    "a branch out of the program": [(0x15, 5, 0, 5), ACCEPT],
    "a division by 0": [(0x34, 0, 0, 0), ACCEPT],
    "a remainder by 0": [(0x94, 0, 0, 0), ACCEPT],
    "a shift too far": [(0x64, 0, 0, 32), ACCEPT],
    "memory that is not there": [(2, 0, 0, 16), ACCEPT],
    "memory that was not written": [(0x60, 0, 0, 1), ACCEPT],
    "memory that was not written on one way": [(0x15, 0, 1, 0), (2, 0, 0, 3), (0x60, 0, 0, 3), ACCEPT],
    "memory that was not written, where nobody comes": [(6, 0, 0, 0), (0x61, 0, 0, 0), ACCEPT],
    "an unknown place beyond the packet": [(0x20, 0, 0, 0xFFFF_F000 + 200), ACCEPT],
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_program_is_refused(name: str) -> None:
    assert checked(code_of(*REFUSED[name])) is None


def test_a_program_of_half_an_instruction_is_refused() -> None:
    assert checked(code_of(ACCEPT)[:-1]) is None
    assert checked(code_of(*[ACCEPT] * 4097)) is None
    assert checked(code_of(*[ACCEPT] * 4096)) is not None


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [
        ([(0x00, 0, 0, 7), A], 7),
        ([(0x20, 0, 0, 0), A], 0x0102_0304),
        ([(0x28, 0, 0, 1), A], 0x0203),
        ([(0x30, 0, 0, 4), A], 5),
        ([(0x30, 0, 0, 5), A], 0),  # past the end: nothing of the packet
        ([(0x01, 0, 0, 2), (0x50, 0, 0, 1), A], 4),
        ([(0x80, 0, 0, 0), A], 5),
        ([(0xB1, 0, 0, 3), (0x87, 0, 0, 0), A], 16),  # four times the low half of byte 3
        ([(0x00, 0, 0, 9), (2, 0, 0, 3), (0x00, 0, 0, 0), (0x60, 0, 0, 3), A], 9),
        ([(0x00, 0, 0, 0), (0x14, 0, 0, 1), A], 0xFFFF_FFFF),
        ([(0x00, 0, 0, 0xFFFF_FFFF), (0x24, 0, 0, 0xFFFF_FFFF), A], 1),
        ([(0x00, 0, 0, 7), (0x34, 0, 0, 2), A], 3),
        ([(0x00, 0, 0, 7), (0x3C, 0, 0, 0), A], 0),  # X is 0
        ([(0x00, 0, 0, 1), (0x84, 0, 0, 0), A], 0xFFFF_FFFF),
        ([(0x00, 0, 0, 3), (0x64, 0, 0, 31), A], 0x8000_0000),
        ([(0x00, 0, 0, 6), (0x07, 0, 0, 0), (0x00, 0, 0, 3), (0xAC, 0, 0, 0), A], 5),
        ([(0x00, 0, 0, 4), (0x25, 0, 1, 3), (6, 0, 0, 1), (6, 0, 0, 2)], 1),
        ([(0x00, 0, 0, 4), (0x45, 0, 1, 3), (6, 0, 0, 1), (6, 0, 0, 2)], 2),
        ([(0x05, 0, 0, 1), (6, 0, 0, 1), (6, 0, 0, 2)], 2),
    ],
)  # fmt: skip
def test_what_instructions_do(instructions: list[Instruction], expected: int) -> None:
    assert result(*instructions, data=b"\x01\x02\x03\x04\x05") == expected


def test_what_is_told_beside_the_packet() -> None:
    seen = Seen(b"payload")
    seen.whole, seen.network = bytes(14) + b"\x45payload", 14
    seen.ethertype, seen.packet_type, seen.device, seen.hardware, seen.mark = 0x800, 4, 2, 772, 9
    told = []
    for at in (0, 4, 8, 28, 20, 24, 48):
        program = checked(code_of((0x20, 0, 0, 0xFFFF_F000 + at), A))
        assert program is not None
        told.append(program.run(seen))
    assert told == [0x800, 4, 2, 772, 9, 0, 0]
    network = checked(code_of((0x30, 0, 0, 0xFFF0_0000), A))
    link = checked(code_of((0x30, 0, 0, 0xFFE0_0000), A))
    assert network is not None and link is not None
    assert (network.run(seen), link.run(seen)) == (0x45, 0)


def kernel_says(code: bytes, data: bytes) -> int | None:
    """How many bytes of a datagram the machine's kernel keeps by the program, header included; None: it refuses it."""
    buffer = ctypes.create_string_buffer(code, max(1, len(code)))
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with first, second:
        try:
            second.setsockopt(
                socket.SOL_SOCKET, 26, struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
            )
        except OSError:
            return None
        first.setblocking(False)
        second.setblocking(False)
        try:
            first.send(data)
            return len(second.recv(1000))
        except BlockingIOError:
            return 0
        except ConnectionRefusedError:
            return 0


_CODES = [
    0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x00, 0x80, 0x60, 0x01, 0x81, 0x61, 0xB1, 0x02, 0x03, 0x05, 0x06, 0x16, 0x07,
    0x87, 0x84, 0x04, 0x0C, 0x14, 0x1C, 0x24, 0x2C, 0x34, 0x3C, 0x44, 0x4C, 0x54, 0x5C, 0x64, 0x6C, 0x74, 0x7C, 0x94,
    0x9C, 0xA4, 0xAC, 0x15, 0x1D, 0x25, 0x2D, 0x35, 0x3D, 0x45, 0x4D, 0x99, 0x08,
]  # fmt: skip
_SMALL = st.integers(0, 40) | st.integers(0, 2**32 - 1)
_PROGRAMS = st.lists(
    st.tuples(st.sampled_from(_CODES), st.integers(0, 3), st.integers(0, 3), _SMALL), min_size=0, max_size=12
)


@given(_PROGRAMS, st.binary(min_size=1, max_size=60))
def test_random_programs_do_as_in_the_kernel(instructions: list[Instruction], data: bytes) -> None:
    # What the kernel alone knows of a packet is no part of the comparison: its headers, and places beyond it.
    instructions = [one if one[3] < 0x8000_0000 else (*one[:3], one[3] & 0x3F) for one in instructions] + [A]
    code = code_of(*instructions)
    expected = kernel_says(code, data)
    program = checked(code)
    assert (program is None) == (expected is None)
    if program is not None:
        # An offset that X makes negative reaches headers that a Unix socket's packet has somewhere.
        kept = min(int(program.run(Seen(data))), len(data))
        assert kept == expected


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump, which makes programs, is not installed")
@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("udp port 53", True), ("udp port 54", False), ("ip host 10.0.0.1", True), ("src host 10.0.0.2", False),
        ("udp[8] = 120", True), ("greater 44", False), ("ether proto 0x806", False), ("ip and not tcp", True),
    ],
)  # fmt: skip
def test_programs_of_tcpdump(expression: str, expected: bool) -> None:
    made = subprocess.run(
        ["tcpdump", "-dd", "-y", "EN10MB", expression], capture_output=True, text=True, check=True
    ).stdout
    lines = [line.strip("{ },").split(",") for line in made.splitlines()]
    code = code_of(*[tuple(int(word, 0) for word in words) for words in lines])  # type: ignore[misc]
    frame = bytes(12) + b"\x08\x00" + struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 29, 0, 0, 64, 17, 0, b"\x0a\0\0\x01", b"\x0a\0\0\x02"
    ) + struct.pack(">HHHH", 4000, 53, 9, 0) + b"x"
    program: Program | None = checked(code)
    assert program is not None
    assert (program.run(Seen(frame)) > 0) is expected
