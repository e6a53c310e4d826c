"""What a failing call raises: the OSError of an errno, in the subclass that Python gives it."""

from __future__ import annotations

import os


def error(number: int) -> OSError:
    """The OSError of `number`, positive or negative."""
    number = abs(number)
    return OSError(number, os.strerror(number))
