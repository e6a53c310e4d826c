"""What is sent: a megabyte that each side can make for itself, and so compare."""

from __future__ import annotations

import hashlib
import random

SIZE = 1 << 20  # bytes


def payload(name: str) -> bytes:
    """A megabyte of random bytes, another for each name."""
    return random.Random(name).randbytes(SIZE)


def described(data: bytes) -> str:
    """How many bytes, and which: "1,048,576 bytes, SHA-256 ..."."""
    return f"{len(data):,} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}"
