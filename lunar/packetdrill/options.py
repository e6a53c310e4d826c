"""The tool's options, from the command line and from the head of a script, as `Settings`.

A script's own come after those of the command line and hold. Those that say how the tool reaches a real machine
(`--wire_client` ...) mean nothing here and are refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs

from lunar.packetdrill.backend import Settings
from lunar.wire.address import parse_ipv4

# The values of `--define` by which Google's suite runs over IPv4.
SUITE_DEFINES: Final = {
    "TFO_COOKIE": "3021b9d889017eeb",
    "CODE": "host_unreachable",
    "CMSG_LEVEL_IP": "SOL_IP",
    "CMSG_TYPE_RECVERR": "IP_RECVERR",
}


def default_settings() -> Settings:
    """As the suite has it for IPv4."""
    return Settings(send_omit_free=True, define=dict(SUITE_DEFINES))


def _address(text: str) -> str:
    parse_ipv4(text)
    return text


def _whole(text: str) -> int:
    # Not what `int` takes besides: signs, spaces, underscores.
    if not (text.isascii() and text.isdigit()):
        raise ValueError("expected a whole number that is not negative")
    return int(text)


def _port(text: str) -> int:
    value = _whole(text)
    if not 1 <= value <= 65535:
        raise ValueError("expected a port, 1 to 65535")
    return value


def _mtu(text: str) -> int:
    value = _whole(text)
    # RFC 791: no link carries less.
    if not 68 <= value <= 65535:
        raise ValueError("expected 68 to 65535 bytes")
    return value


def _percent(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise ValueError("expected a number that is not negative")
    return value


def _version(text: str) -> str:
    if text != "ipv4":
        raise ValueError("only ipv4 is here yet")
    return text


_VALUES: Final[dict[str, Callable[[str], Any]]] = {
    "ip_version": _version,
    "local_ip": _address,
    "remote_ip": _address,
    "gateway_ip": _address,
    "netmask_ip": _address,
    "bind_port": _port,
    "connect_port": _port,
    "mtu": _mtu,
    "mss": _whole,
    "speed": _whole,
    "tolerance_usecs": _whole,
    "tolerance_percent": _percent,
    "tcp_ts_tick_usecs": _whole,
    "non_fatal": lambda text: tuple(text.split(",")),
}
_FLAGS: Final = ("tcp_ts_ecr_scaled", "strict_segments", "send_omit_free")
# What makes no difference to a virtual host.
_WITHOUT_EFFECT: Final = ("debug", "dry_run", "is_anyip", "code_command", "code_format", "code_sockopt")


def apply(settings: Settings, options: Iterable[tuple[str, str]]) -> Settings:
    """`settings` with `options`, names without their dashes. Raises `ValueError` that names the option."""
    changes: dict[str, Any] = {}
    define = dict(settings.define)
    for name, value in options:
        if name in _VALUES:
            try:
                changes[name] = _VALUES[name](value)
            except ValueError as error:
                raise ValueError(f"bad --{name} '{value}': {error}") from None
        elif name in _FLAGS:
            changes[name] = True
        elif name == "define":
            symbol, equals, meaning = value.partition("=")
            if not equals or not symbol:
                raise ValueError(f"bad --define '{value}': expected NAME=VALUE")
            define[symbol] = meaning.strip('"`')
        elif name not in _WITHOUT_EFFECT:
            raise ValueError(f"there is no option --{name}")
    return attrs.evolve(settings, define=define, **changes)
