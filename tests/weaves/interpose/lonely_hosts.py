"""What the tests of this folder run on; conftest.py makes it a fixture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lunar
from weaves import interpose

# Before the tests are read: what they keep in tables and in parameters is not found later.
interpose.install()

Programs = Callable[..., list[str]]


class World:
    """Two hosts without a link: what a program does alone."""

    def __init__(self, seed: int = 1) -> None:
        self.net = lunar.Network(seed=seed)
        self.host = self.net.host("alpha", "10.0.0.1/24")
        self.other = self.net.host("beta", "10.0.0.2/24")

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a blocking or coroutine function on alpha."""
        return self.net.run(function, *args, on=self.host)
