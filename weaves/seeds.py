"""One seed makes a generator for each host, link and string.

The generator of a thing depends on the run's seed and the thing's name alone: adding a host does not change what the
others draw. Names are hashed with SHA-256, whose result is the same on every machine and Python.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any


def generator(seed: int, kind: str, name: str) -> random.Random:
    """The generator of the `kind` ("host", "link", "weave") called `name`, in a run with `seed`."""
    digest = hashlib.sha256(f"{seed}/{kind}/{name}".encode()).digest()
    return random.Random(int.from_bytes(digest, "big"))


class LazyGenerator:
    """A generator that is made at its first use: the state of one is 2.5 KB, and most idle hosts never draw."""

    def __init__(self, seed: int, kind: str, name: str) -> None:
        self._origin = (seed, kind, name)

    def __getattr__(self, name: str) -> Any:
        # Only what is not set yet comes here: the generator itself, then its methods, which are kept.
        if name == "_generator":
            self._generator = generator(*self._origin)
            return self._generator
        method = getattr(self._generator, name)
        setattr(self, name, method)
        return method
