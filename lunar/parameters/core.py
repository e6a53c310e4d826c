"""The parameters of net.core: what holds for sockets of any family."""

from __future__ import annotations

from typing import Final

from lunar.parameters.parameter import INT_MAX, Parameter, of_ip, of_tcp

# The least that Linux lets a buffer be (SOCK_MIN_RCVBUF, SOCK_MIN_SNDBUF), in bytes.
_RECEIVE_MIN: Final = 2304
_SEND_MIN: Final = 4608

ROWS: Final[dict[str, Parameter]] = {
    "net.core.rmem_default": Parameter(
        of_ip, ("rmem_default",), _RECEIVE_MIN, INT_MAX, "receive buffers of new sockets but TCP's, in bytes"
    ),
    "net.core.rmem_max": Parameter(
        of_ip, ("rmem_max",), _RECEIVE_MIN, INT_MAX, "the most that `SO_RCVBUF` takes, which doubles it, in bytes"
    ),
    "net.core.somaxconn": Parameter(
        of_tcp, ("somaxconn",), 0, INT_MAX, "the most that `listen` takes for a backlog"
    ),
    "net.core.wmem_default": Parameter(
        of_ip, ("wmem_default",), _SEND_MIN, INT_MAX, "send buffers of new sockets but TCP's, in bytes"
    ),
    "net.core.wmem_max": Parameter(
        of_ip, ("wmem_max",), _SEND_MIN, INT_MAX, "the most that `SO_SNDBUF` takes, which doubles it, in bytes"
    ),
}
