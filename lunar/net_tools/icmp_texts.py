"""How ping and traceroute of Linux name the ICMP messages of RFC 792, 1122, 1812 and 4443."""

from __future__ import annotations

import socket
from typing import Final

_UNREACHABLE: Final = (
    "Destination Net Unreachable",
    "Destination Host Unreachable",
    "Destination Protocol Unreachable",
    "Destination Port Unreachable",
    "Frag needed and DF set",
    "Source Route Failed",
    "Destination Net Unknown",
    "Destination Host Unknown",
    "Source Host Isolated",
    "Destination Net Prohibited",
    "Destination Host Prohibited",
    "Destination Net Unreachable for Type of Service",
    "Destination Host Unreachable for Type of Service",
    "Packet filtered",
    "Precedence Violation",
    "Precedence Cutoff",
)
_UNREACHABLE_6: Final = (
    "No route",
    "Administratively prohibited",
    "Beyond scope of source address",
    "Address unreachable",
    "Port unreachable",
    "Source address failed ingress/egress policy",
    "Reject route to destination",
)
_PARAMETER_6: Final = ("Wrong header field ", "Unknown header ", "Unknown option ")

# What traceroute(8) puts behind the time, by the code of an unreachable destination; others are a number.
_MARKS: Final = {0: "!N", 1: "!H", 2: "!P", 4: "!F", 5: "!S", 9: "!X", 10: "!X", 13: "!X", 14: "!V", 15: "!C"}
_MARKS_6: Final = {0: "!N", 1: "!X", 2: "!S", 3: "!H"}


def error_text(family: int, kind: int, code: int, info: int) -> str:
    """The words of ping for an error message; `info` is the MTU or the pointer that came with it."""
    if family == socket.AF_INET6:
        return _error_text_6(kind, code, info)
    if kind == 3:
        text = _UNREACHABLE[code] if code < len(_UNREACHABLE) else f"Dest Unreachable, Bad Code: {code}"
        return f"{text} (mtu = {info})" if code == 4 else text
    if kind == 11:
        return {0: "Time to live exceeded", 1: "Frag reassembly time exceeded"}.get(code, f"Time exceeded, {code}")
    if kind == 12:
        return f"Parameter problem: pointer = {info}"
    if kind == 4:
        return "Source Quench"
    return f"Bad ICMP type: {kind}"


def _error_text_6(kind: int, code: int, info: int) -> str:
    if kind == 1:
        known = code < len(_UNREACHABLE_6)
        return f"Destination unreachable: {_UNREACHABLE_6[code] if known else f'Unknown code {code}'}"
    if kind == 2:
        return f"Packet too big: mtu={info}"
    if kind == 3:
        return f"Time exceeded: {('Hop limit', 'Defragmentation failure')[code] if code < 2 else f'code {code}'}"
    if kind == 4:
        return f"Parameter problem: {_PARAMETER_6[code] if code < 3 else f'code {code} '}at {info}"
    return f"unknown icmp type: {kind}"


def mark(family: int, kind: int, code: int, info: int) -> str:
    """What traceroute says of an error besides who sent it: "!H"; nothing for "time exceeded" and a closed port."""
    if family == socket.AF_INET6:
        if kind == 1:
            return "" if code == 4 else _MARKS_6.get(code, f"!<{code}>")
        return f"!F-{info}" if kind == 2 else "" if kind == 3 else f"!<{kind}-{code}>"
    if kind == 3:
        return "" if code == 3 else f"!F-{info}" if code == 4 and info else _MARKS.get(code, f"!<{code}>")
    return "" if kind == 11 else f"!<{kind}-{code}>"
