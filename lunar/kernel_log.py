"""The log of a host's kernel, which dmesg(1) shows: what netfilter's LOG writes.

It is a ring, as Linux': when it is full, the oldest lines go. A host that boots again has an empty one.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs

# Linux' ring is 256 KB by default (CONFIG_LOG_BUF_SHIFT 18); lines of LOG are some 150 bytes long.
_MOST_LINES: Final = 2048


@attrs.frozen
class LogLine:
    """One line: when it was written, in ns of virtual time; its level, 0 (emerg) to 7 (debug); the text."""

    at_ns: int
    level: int
    text: str


class KernelLog:
    """The lines of one host."""

    def __init__(self) -> None:
        self.lines: deque[LogLine] = deque(maxlen=_MOST_LINES)

    def write(self, at_ns: int, level: int, text: str) -> None:
        """Add a line."""
        self.lines.append(LogLine(at_ns, level, text))
