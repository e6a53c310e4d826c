"""The parameters of net.core: what holds for sockets of any family."""

from __future__ import annotations

from typing import Final

from lunar.parameters.parameter import INT_MAX, Parameter, of_tcp

ROWS: Final[dict[str, Parameter]] = {
    "net.core.somaxconn": Parameter(
        of_tcp, ("somaxconn",), 0, INT_MAX, "the most that `listen` takes for a backlog"
    ),
}
