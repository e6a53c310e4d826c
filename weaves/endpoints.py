"""Addresses of the machine's, as a tapestry names them: "127.0.0.1:8193", "[::1]:8193", or a port of 127.0.0.1.

Also where the machine listens for a gateway, and what that leads to: "8080 -> server:80".

Besides what is to be known of the datagrams between two of them before there is a network: whether they may go without
a key, and how much they have room for.
"""

from __future__ import annotations

import ipaddress
from typing import Final, TypeAlias

# An address as text, without brackets, and a port.
Endpoint: TypeAlias = tuple[str, int]

_LOOPBACK: Final = "127.0.0.1"

# In characters. Of hexadecimal digits that were drawn by chance they are 64 bits.
KEY_MIN: Final = 16

# In bytes: a packet of Ethernet; the headers of IPv4, of IPv6, of UDP and of Ethernet in a datagram; what a key adds.
_PACKET: Final = 1500
_IPV4: Final = 20
_IPV6: Final = 40
_UDP: Final = 8
_ETHERNET: Final = 14
KEY_OVERHEAD: Final = 24
# What a datagram of IPv4 has room for: 65535 less both headers.
DATAGRAM_MAX: Final = 65_507


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


def check_key(text: str) -> str:
    """`text`, if it may be a shared key. Raises `ValueError`."""
    if len(text) < KEY_MIN:
        raise ValueError(f"a key of {len(text)} characters; expected {KEY_MIN} or more, made by chance")
    return text


def link_mtu(local: Endpoint, keyed: bool) -> int:
    """The MTU of a link whose frames fit, in datagrams, in packets of Ethernet: 1458 in IPv4 without a key."""
    return _PACKET - (_IPV6 if ":" in local[0] else _IPV4) - _UDP - _ETHERNET - (KEY_OVERHEAD if keyed else 0)


def check_mtu(mtu: int, keyed: bool) -> None:
    """Raise `ValueError` for an MTU whose frames have no room in a datagram."""
    largest = DATAGRAM_MAX - _ETHERNET - (KEY_OVERHEAD if keyed else 0)
    if mtu > largest:
        where = "a UDP link with a key" if keyed else "a UDP link"
        raise ValueError(f"mtu {mtu}: its frames have no room in datagrams; expected {largest} at most on {where}")


def parse_listen(text: str) -> tuple[str, int]:
    """The address and port of the machine in "1080", "127.0.0.1:1080" or "[::1]:1080"; without one it is 127.0.0.1."""
    address, colon, port = text.strip().rpartition(":")
    if not colon:
        address = _LOOPBACK
    if address == "localhost":
        address = _LOOPBACK
    try:
        if address.startswith("[") != (":" in address):
            raise ValueError
        return str(ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))), _port_in(port, 0)
    except ValueError:
        expected = f'expected a port, or an address of the machine with a port, such as "{_LOOPBACK}:1080"'
        raise ValueError(f'"{text}" is no place to listen; {expected}') from None


def parse_target(text: str) -> tuple[str, int]:
    """The name or address and the port in "server:80" or "[2001:db8::1]:80"."""
    name, _, port = text.strip().rpartition(":")
    bare = name.removeprefix("[").removesuffix("]")
    try:
        if not bare or bare.split() != [bare] or name.startswith("[") != (":" in name):
            raise ValueError
        if ":" in bare:
            ipaddress.IPv6Address(bare.partition("%")[0])
        return bare, _port_in(port, 1)
    except ValueError:
        raise ValueError(f'"{text}" is no port of a host; expected a name and a port, such as "server:80"') from None


def parse_forward(text: str) -> tuple[str, int, str, int]:
    """Address and port of the machine, name and port of a virtual host, in "127.0.0.1:8080 -> server:80"."""
    listen, arrow, target = text.partition("->")
    if not arrow:
        raise ValueError(f'"{text}" forwards nothing; expected a form as "{_LOOPBACK}:8080 -> server:80"')
    return *parse_listen(listen), *parse_target(target)


def _port_in(text: str, smallest: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not smallest <= int(text) <= 65535:
        raise ValueError(f'"{text}" is no port')
    return int(text)
