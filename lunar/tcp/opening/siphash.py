"""SipHash-2-4: 64 bits of a short message that nobody can guess who does not know the key.

Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012). TCP makes fast open's cookies (fast_open.py) and SYN
cookies (syn_cookies.py) of it, once for a SYN at most; so it counts in Python's integers, which do not overflow.
"""

from __future__ import annotations

from typing import Final, final

KEY_BYTES: Final = 16

_MASK: Final = 0xFFFF_FFFF_FFFF_FFFF


@final
class _State:
    """The four words of section 2.1."""

    def __init__(self, key: bytes) -> None:
        k0 = int.from_bytes(key[:8], "little")
        k1 = int.from_bytes(key[8:16], "little")
        # The constants say "somepseudorandomlygeneratedbytes".
        self.v0: int = k0 ^ 0x736F_6D65_7073_6575
        self.v1: int = k1 ^ 0x646F_7261_6E64_6F6D
        self.v2: int = k0 ^ 0x6C79_6765_6E65_7261
        self.v3: int = k1 ^ 0x7465_6462_7974_6573

    def rounds(self, count: int) -> None:
        """SipRound, section 2.2, figure 2.1."""
        v0, v1, v2, v3 = self.v0, self.v1, self.v2, self.v3
        for _ in range(count):
            v0 = (v0 + v1) & _MASK
            v2 = (v2 + v3) & _MASK
            v1 = _rotated(v1, 13) ^ v0
            v3 = _rotated(v3, 16) ^ v2
            v0 = _rotated(v0, 32)
            v2 = (v2 + v1) & _MASK
            v0 = (v0 + v3) & _MASK
            v1 = _rotated(v1, 17) ^ v2
            v3 = _rotated(v3, 21) ^ v0
            v2 = _rotated(v2, 32)
        self.v0, self.v1, self.v2, self.v3 = v0, v1, v2, v3


def _rotated(word: int, bits: int) -> int:
    return ((word << bits) | (word >> (64 - bits))) & _MASK


def siphash(key: bytes, message: bytes) -> int:
    """The 64 bits for `message` under `key`, of KEY_BYTES bytes."""
    state = _State(key)
    # Words of eight bytes; the last one ends with the length, modulo 256.
    padded = message + bytes(7 - len(message) % 8) + bytes((len(message) & 0xFF,))
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        state.v3 ^= word
        state.rounds(2)
        state.v0 ^= word
    state.v2 ^= 0xFF
    state.rounds(4)
    return state.v0 ^ state.v1 ^ state.v2 ^ state.v3
