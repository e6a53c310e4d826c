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
from lunar.wire.address import parse_address

IPV4: Final = "ipv4"
IPV6: Final = "ipv6"
MAPPED: Final = "ipv4-mapped-ipv6"

# How Google's suite runs in each of the modes, by `--ip_version`: addresses, the MTU (of which IPv6's header takes 20
# bytes more, so that segments have the same size), and the values of `--define`.
_ADDRESSES4: Final = {
    "local_ip": "192.168.0.1", "gateway_ip": "192.168.0.1", "netmask_ip": "255.255.0.0", "remote_ip": "192.0.2.1",
    "mtu": 1500,
}  # fmt: skip
_ADDRESSES6: Final = {
    "local_ip": "fd3d:0a0b:17d6::1", "gateway_ip": "fd3d:0a0b:17d6:8888::1", "remote_ip": "fd3d:fa7b:d17d::1",
    "mtu": 1520,
}  # fmt: skip
_ADDRESSES: Final[dict[str, dict[str, Any]]] = {IPV4: _ADDRESSES4, IPV6: _ADDRESSES6, MAPPED: _ADDRESSES4}
_DEFINES4: Final = {"TFO_COOKIE": "3021b9d889017eeb", "CODE": "host_unreachable"}
_DEFINES6: Final = {"CMSG_LEVEL_IP": "SOL_IPV6", "CMSG_TYPE_RECVERR": "IPV6_RECVERR"}
_DEFINES: Final = {
    IPV4: {**_DEFINES4, "CMSG_LEVEL_IP": "SOL_IP", "CMSG_TYPE_RECVERR": "IP_RECVERR"},
    # The suite leaves CODE open over IPv6; this is what the host says whose code it is over IPv4.
    IPV6: {**_DEFINES6, "TFO_COOKIE": "c1d1e9742a47a9bc", "CODE": "address_unreachable"},
    MAPPED: {**_DEFINES6, **_DEFINES4},
}


def default_settings(ip_version: str = IPV4) -> Settings:
    """As the suite has it in this mode; in IPv4's for a version that there is not, which `apply` refuses."""
    version = ip_version if ip_version in _ADDRESSES else IPV4
    return Settings(
        ip_version=version, send_omit_free=True, define=dict(_DEFINES[version]), **_ADDRESSES[version]
    )  # fmt: skip


def _address(text: str) -> str:
    parse_address(text)
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
    if text not in _ADDRESSES:
        raise ValueError(f"expected {IPV4}, {IPV6} or {MAPPED}")
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
_ADDRESS_OPTIONS: Final = ("local_ip", "remote_ip", "gateway_ip", "netmask_ip")
_FLAGS: Final = ("tcp_ts_ecr_scaled", "strict_segments", "send_omit_free")
# What makes no difference to a virtual host.
_WITHOUT_EFFECT: Final = ("debug", "dry_run", "is_anyip", "code_command", "code_format", "code_sockopt")


def apply(settings: Settings, options: Iterable[tuple[str, str]]) -> Settings:
    """`settings` with `options`, names without their dashes. Raises `ValueError` that names the option.

    Another `ip_version` than the settings' brings its addresses along. Addresses of the other family than that of the
    version are left aside: a script says them for the mode that it was written in, and may be run in others.
    """
    changes: dict[str, Any] = {}
    options = list(options)
    for name, value in options:
        if name == "ip_version" and value in _ADDRESSES and value != settings.ip_version:
            changes |= {"ip_version": value, **_ADDRESSES[value]}
    define = dict(settings.define)
    version = changes.get("ip_version", settings.ip_version)
    for name, value in options:
        if name in _VALUES:
            try:
                meaning = _VALUES[name](value)
            except ValueError as error:
                raise ValueError(f"bad --{name} '{value}': {error}") from None
            if name not in _ADDRESS_OPTIONS or (":" in value) == (version == IPV6):
                changes[name] = meaning
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
