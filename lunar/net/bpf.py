"""Classic BPF, the programs of SO_ATTACH_FILTER: checked as Linux checks them, and run over a packet's bytes.

Read McCanne and Jacobson, "The BSD Packet Filter" (1993), and the kernel's Documentation/networking/filter.rst for what
Linux adds: loads beyond the packet tell of it (its protocol, its device). A program returns how many bytes of a packet
its socket is to get, 0 for none. Left out: extended BPF, and the extensions for netlink attributes and processors.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, final

from mypy_extensions import i64

MAX_INSTRUCTIONS: Final = 4096  # BPF_MAXINSNS
INSTRUCTION_BYTES: Final = 8

_INSTRUCTION: Final = Struct("<HBBI")  # code, jump if true, jump if false, constant
_WORDS: Final = 16  # BPF_MEMWORDS

# Classes of instructions, the low three bits of a code.
_LD: Final = 0
_LDX: Final = 1
_ST: Final = 2
_STX: Final = 3
_ALU: Final = 4
_JMP: Final = 5
_RET: Final = 6
_MISC: Final = 7

# What Linux tells at these negative offsets: of the packet beside its bytes, and its headers from their beginning.
_ANCILLARY: Final = 0xFFFF_F000
_NETWORK: Final = 0xFFF0_0000
_LINK: Final = 0xFFE0_0000
_AD_PROTOCOL: Final = 0
_AD_PACKET_TYPE: Final = 4
_AD_DEVICE: Final = 8
_AD_MARK: Final = 20
_AD_QUEUE: Final = 24
_AD_HARDWARE: Final = 28
_AD_XOR: Final = 40
_AD_VLAN_TAG: Final = 44
_AD_VLAN_PRESENT: Final = 48
_AD_VLAN_PROTOCOL: Final = 60
_AD_KNOWN: Final = (
    _AD_PROTOCOL, _AD_PACKET_TYPE, _AD_DEVICE, _AD_MARK, _AD_QUEUE, _AD_HARDWARE, _AD_XOR, _AD_VLAN_TAG,
    _AD_VLAN_PRESENT, _AD_VLAN_PROTOCOL,
)  # fmt: skip

_NOTHING: Final = -1  # a load past the packet's end ends the program


@final
class Seen:
    """A packet as a filter sees it: its bytes from where the socket sees them, and what Linux tells beside them.

    `whole` are the bytes from the link's header on, `network` where the network's begins in them.
    """

    def __init__(self, data: bytes) -> None:
        self.data: bytes = data
        self.whole: bytes = data
        self.network: i64 = 0
        self.ethertype: i64 = 0
        self.packet_type: i64 = 0
        self.device: i64 = 0
        self.hardware: i64 = 1
        self.mark: i64 = 0


@final
class Program:
    """A program that was checked. `code` is as it was given."""

    def __init__(self, code: bytes) -> None:
        self.code: bytes = code
        self.codes: list[i64] = []
        self.true: list[i64] = []
        self.false: list[i64] = []
        self.constants: list[i64] = []
        for at in range(0, len(code), INSTRUCTION_BYTES):
            fields = _INSTRUCTION.unpack_from(code, at)
            self.codes.append(fields[0])
            self.true.append(fields[1])
            self.false.append(fields[2])
            self.constants.append(fields[3])

    def run(self, seen: Seen) -> i64:
        """How many bytes of the packet the socket gets."""
        codes, true, false, constants = self.codes, self.true, self.false, self.constants
        a: i64 = 0
        x: i64 = 0
        memory: list[i64] = [0] * _WORDS
        at: i64 = 0
        while True:
            code: i64 = codes[at]
            k: i64 = constants[at]
            kind: i64 = code & 7
            if kind == _LD:
                loaded: i64 = _load(seen, code, k, a, x, memory)
                if loaded < 0:
                    return 0
                a = loaded
            elif kind == _LDX:
                mode: i64 = code & 0xE0
                if mode == 0xA0:  # the length of an IPv4 header that begins at k
                    first: i64 = _bytes_at(seen, k, 1)
                    if first < 0:
                        return 0
                    x = (first & 0xF) << 2
                elif mode == 0x80:
                    x = len(seen.data)
                else:
                    x = memory[k] if mode == 0x60 else k
            elif kind == _ST:
                memory[k] = a
            elif kind == _STX:
                memory[k] = x
            elif kind == _ALU:
                operand: i64 = x if code & 8 else k
                if operand == 0 and ((code & 0xF0) == 0x30 or (code & 0xF0) == 0x90):
                    return 0  # a division by zero drops the packet
                a = _calculate(code & 0xF0, a, operand)
            elif kind == _JMP:
                if code & 0xF0 == 0:
                    at += k
                else:
                    at += true[at] if _holds(code & 0xF0, a, x if code & 8 else k) else false[at]
            elif kind == _RET:
                return a if code & 0x18 == 0x10 else k
            elif code & 0xF8 == 0:
                x = a
            else:
                a = x
            at += 1


def _load(seen: Seen, code: i64, k: i64, a: i64, x: i64, memory: list[i64]) -> i64:
    mode: i64 = code & 0xE0
    if mode == 0:
        return k
    if mode == 0x60:
        return memory[k]
    if mode == 0x80:
        return len(seen.data)
    size: i64 = 4
    if code & 0x18 == 0x08:
        size = 2
    elif code & 0x18 == 0x10:
        size = 1
    if mode == 0x40:
        return _bytes_at(seen, (k + x) & 0xFFFF_FFFF, size)
    if k >= _ANCILLARY:
        return _ancillary(seen, k - _ANCILLARY, a, x)
    return _bytes_at(seen, k, size)


def _bytes_at(seen: Seen, offset: i64, size: i64) -> i64:
    data = seen.data
    if offset >= 0x8000_0000:
        data = seen.whole
        if offset >= _NETWORK:
            offset = offset - _NETWORK + seen.network
        elif offset >= _LINK:
            offset -= _LINK
        else:
            return _NOTHING
    if offset + size > len(data):
        return _NOTHING
    value: i64 = 0
    for at in range(int(offset), int(offset + size)):
        value = (value << 8) | data[at]
    return value


def _ancillary(seen: Seen, what: i64, a: i64, x: i64) -> i64:
    if what == _AD_PROTOCOL:
        return seen.ethertype
    if what == _AD_PACKET_TYPE:
        return seen.packet_type
    if what == _AD_DEVICE:
        return seen.device
    if what == _AD_MARK:
        return seen.mark
    if what == _AD_HARDWARE:
        return seen.hardware
    return a ^ x if what == _AD_XOR else 0


def _calculate(operation: i64, a: i64, operand: i64) -> i64:
    """Arithmetic of 32 bits without a sign."""
    if operation == 0x00:
        return (a + operand) & 0xFFFF_FFFF
    if operation == 0x10:
        return (a - operand) & 0xFFFF_FFFF
    if operation == 0x20:
        # Two numbers of 32 bits may have a product of more than 63.
        low: i64 = operand & 0xFFFF
        high: i64 = operand >> 16
        return (a * low + (((a * high) & 0xFFFF) << 16)) & 0xFFFF_FFFF
    if operation == 0x30:
        return a // operand
    if operation == 0x40:
        return a | operand
    if operation == 0x50:
        return a & operand
    if operation == 0x60:
        shift: i64 = operand & 31
        return (a << shift) & 0xFFFF_FFFF
    if operation == 0x70:
        down: i64 = operand & 31
        return a >> down
    if operation == 0x80:
        return -a & 0xFFFF_FFFF
    return a % operand if operation == 0x90 else a ^ operand


def _holds(condition: i64, a: i64, operand: i64) -> bool:
    if condition == 0x10:
        return a == operand
    if condition == 0x20:
        return a > operand
    if condition == 0x30:
        return a >= operand
    return a & operand != 0


_ALLOWED: Final = (
    # Loads of a word, a half, a byte: at a constant, at X and a constant, immediate, the length, from memory.
    0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x00, 0x80, 0x60, 0x01, 0x81, 0x61, 0xB1,
    0x02, 0x03, 0x05, 0x06, 0x16, 0x07, 0x87, 0x84,
    0x04, 0x0C, 0x14, 0x1C, 0x24, 0x2C, 0x34, 0x3C, 0x44, 0x4C, 0x54, 0x5C, 0x64, 0x6C, 0x74, 0x7C, 0x94, 0x9C, 0xA4,
    0xAC, 0x15, 0x1D, 0x25, 0x2D, 0x35, 0x3D, 0x45, 0x4D,
)  # fmt: skip


def checked(code: bytes) -> Program | None:
    """The program, or None for one that the kernel refuses: an unknown instruction, a jump out of it, a division by the
    constant 0, a shift too far, memory that was not written on some way to its reading, an end without a return.
    """
    count: i64 = len(code) // INSTRUCTION_BYTES
    if count == 0 or count > MAX_INSTRUCTIONS or len(code) % INSTRUCTION_BYTES:
        return None
    program = Program(code)
    for at in range(int(count)):
        if not _is_good(program, at, count):
            return None
    if program.codes[count - 1] & 7 != _RET or not _writes_before_it_reads(program, count):
        return None
    return program


def _is_good(program: Program, at: i64, count: i64) -> bool:
    code: i64 = program.codes[at]
    k: i64 = program.constants[at]
    if code not in _ALLOWED:
        return False
    kind: i64 = code & 7
    if code == 0x60 or code == 0x61 or kind == _ST or kind == _STX:
        return k < _WORDS
    if (code == 0x34 or code == 0x94) and k == 0:
        return False
    if (code == 0x64 or code == 0x74) and k >= 32:
        return False
    if kind == _JMP:
        if code == 0x05:
            return k < count - at - 1
        return at + program.true[at] + 1 < count and at + program.false[at] + 1 < count
    if (code == 0x20 or code == 0x28 or code == 0x30) and k >= _ANCILLARY:
        return k - _ANCILLARY in _AD_KNOWN
    return True


def _writes_before_it_reads(program: Program, count: i64) -> bool:
    # Jumps go forward only, so one pass sees every way: a bit for each word that all ways here have written.
    written: list[i64] = [0xFFFF] * int(count)
    now: i64 = 0
    for at in range(int(count)):
        now &= written[at]
        code: i64 = program.codes[at]
        k: i64 = program.constants[at]
        kind: i64 = code & 7
        if kind == _ST or kind == _STX:
            bit: i64 = 1
            now |= bit << k
        elif code == 0x60 or code == 0x61:
            if now >> k & 1 == 0:
                return False
        elif kind == _JMP:
            if code == 0x05:
                written[at + 1 + k] &= now
            else:
                written[at + 1 + program.true[at]] &= now
                written[at + 1 + program.false[at]] &= now
            now = 0xFFFF
        # What follows a return, and is never reached, is judged as if the program went on there, as by Linux.
    return True
