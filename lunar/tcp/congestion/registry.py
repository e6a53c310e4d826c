"""Algorithms by name, as TCP_CONGESTION and net.ipv4.tcp_congestion_control know them.

Which classes there are is known to the process, as modules of a kernel are; which one a host's sockets begin with, and
which ones its programs may choose, is the host's (`Tables`).
"""

from __future__ import annotations

from typing import Any, Final

from lunar.tcp.congestion.bbr import Bbr
from lunar.tcp.congestion.control import CongestionControl
from lunar.tcp.congestion.cubic import Cubic
from lunar.tcp.congestion.dctcp import Dctcp
from lunar.tcp.congestion.reno import Reno
from lunar.tcp.congestion.vegas import Vegas
from lunar.tcp.tables import Tables

NAME_MAX: Final = 15  # TCP_CA_NAME_MAX is 16, with the NUL

_classes: Final[dict[str, Any]] = {"reno": Reno, "cubic": Cubic, "bbr": Bbr, "dctcp": Dctcp, "vegas": Vegas}


def register(algorithm: Any) -> Any:
    """Make a subclass of `CongestionControl` known by its `name`; returns it, so this is a decorator, too.

    A name that is known already is given to the new class: a test may replace an algorithm. Raises `ValueError` for a
    name that TCP_CONGESTION could not have, and `TypeError` for what is no such class or lacks a method.
    """
    if not isinstance(algorithm, type) or not issubclass(algorithm, CongestionControl):
        raise TypeError(f"{algorithm!r} is not a subclass of lunar.CongestionControl")
    name = algorithm.name
    fits = isinstance(name, str) and 0 < len(name) <= NAME_MAX
    if not fits or not name.isascii() or not name.isprintable() or " " in name:
        raise ValueError(
            f"{algorithm.__name__}.name is {name!r}; expected 1 to {NAME_MAX} characters of ASCII without a space"
        )
    # Now, and not when a connection first loses something. `control` is in the place of `on_ack` where it sets cwnd.
    grows = ("on_ack", "control") if algorithm.full_control else ("on_ack",)
    for methods in (grows, ("on_loss",)):
        if all(getattr(algorithm, method) is getattr(CongestionControl, method) for method in methods):
            raise TypeError(f"{algorithm.__name__} has no {methods[-1]}; docs/congestion.md lists what is asked")
    _classes[name] = algorithm
    return algorithm


def find(name: str) -> Any:
    """The class of this name. Raises `LookupError` where there is none."""
    found = _classes.get(name)
    if found is None:
        raise LookupError(f'no congestion control is named "{name}"; there are {", ".join(_classes)}')
    return found


def names() -> list[str]:
    """All names, as tcp_available_congestion_control lists them."""
    return list(_classes)


def allowed(tables: Tables) -> list[str]:
    """The names that this host's programs may choose, as tcp_allowed_congestion_control lists them."""
    chosen = tables.congestion_allowed
    if chosen is None:
        chosen = [name for name, algorithm in _classes.items() if not algorithm.restricted]
    default = tables.congestion.name
    return chosen if default in chosen else [*chosen, default]
