"""Addresses of the machine's, as a tapestry names them: "127.0.0.1:8193", "[::1]:8193", or a port of 127.0.0.1."""

from __future__ import annotations

import ipaddress
from typing import TypeAlias

# An address as text, without brackets, and a port.
Endpoint: TypeAlias = tuple[str, int]

_LOOPBACK = "127.0.0.1"


def parse_endpoint(value: str | int, what: str) -> Endpoint:
    """`value`, "ADDRESS:PORT" or a port of 127.0.0.1; `what` names it in the `ValueError` that is raised."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _LOOPBACK, _port(value, str(value), what)
    expected = f'expected {what} = "ADDRESS:PORT", such as "127.0.0.1:8193" or "[::1]:8193"'
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text; {expected}")
    host, colon, port = value.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host, six = host[1:-1], True
    else:
        six = False
    if not colon or not (port.isascii() and port.isdecimal()):
        raise ValueError(f'"{value}" has no port; {expected}')
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f'"{host}" is no address; {expected}') from None
    if (address.version == 6) is not six:
        raise ValueError(f'"{value}" is ambiguous; {expected}')
    if address.is_multicast or str(address) == "255.255.255.255":
        raise ValueError(f'"{value}" is the address of many; {expected}')
    return str(address), _port(int(port), value, what)


def _port(port: int, text: str, what: str) -> int:
    if not 0 < port < 65_536:
        raise ValueError(f"{text}: {port} is no port; expected {what} with one from 1 to 65535")
    return port


def is_loopback(endpoint: Endpoint) -> bool:
    """Whether the address is reached from this machine alone."""
    return ipaddress.ip_address(endpoint[0]).is_loopback


def format_endpoint(endpoint: Endpoint) -> str:
    """As `parse_endpoint` reads it."""
    address, port = endpoint
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def check_pair(local: Endpoint, remote: Endpoint, keyed: bool) -> None:
    """Raise `ValueError` unless datagrams can go between the two, and may: beyond loopback they need a key."""
    if (":" in local[0]) is not (":" in remote[0]):
        families = "one is IPv4 and the other IPv6; expected two of one family"
        raise ValueError(f"local {format_endpoint(local)}, remote {format_endpoint(remote)}: {families}")
    if local == remote:
        raise ValueError(f"local and remote are both {format_endpoint(local)}; expected two addresses or ports")
    here, there = is_loopback(local), is_loopback(remote)
    unspecified = ipaddress.ip_address(local[0]).is_unspecified
    if ipaddress.ip_address(remote[0]).is_unspecified:
        raise ValueError(f"remote {format_endpoint(remote)} is no address of a peer; expected that of one machine")
    if here and not there:
        raise ValueError(
            f"local {format_endpoint(local)} is of this machine alone, remote {format_endpoint(remote)} is not; "
            'expected local = "ADDRESS:PORT" with an address that the remote one can reach'
        )
    if not keyed and not (here and there):
        far = remote if not there else local
        what = "of every network" if unspecified and far is local else "not of this machine's loopback"
        raise ValueError(
            f'{format_endpoint(far)} is {what}; expected key = "SECRET" or key_file = "FILE", too, so that each '
            "datagram is authenticated"
        )
