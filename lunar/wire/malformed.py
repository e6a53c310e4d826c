"""What a decoder returns for bytes that are no packet: the layer that gave up, and why.

A value and not an exception, because a run may corrupt every hundredth packet and a raise costs more than the parse.
The instances are made once, beside the checks that return them. A caller asks `isinstance(result, Malformed)` and
counts by `layer` and `reason` (Ip InHdrErrors, Tcp InCsumErrors ...).
"""

from __future__ import annotations

from typing import Final, final

TRUNCATED: Final = "truncated"
ETHERTYPE: Final = "ethertype"
BAD_VERSION: Final = "bad version"
BAD_PROTOCOL: Final = "bad protocol"
BAD_HEADER_LENGTH: Final = "bad header length"
BAD_HEADER_CHECKSUM: Final = "bad header checksum"
BAD_TOTAL_LENGTH: Final = "bad total length"
BAD_ADDRESS: Final = "bad address"
BAD_TRANSPORT_CHECKSUM: Final = "bad transport checksum"
BAD_TRANSPORT_HEADER: Final = "bad transport header"


@final
class Malformed:
    """Why bytes were refused. `layer` is "ethernet", "arp", "ip", "ipv4", "ipv6", "tcp", "udp" or "icmp"; `reason` one
    of those above.
    """

    def __init__(self, layer: str, reason: str) -> None:
        self.layer: str = layer
        self.reason: str = reason

    def __repr__(self) -> str:
        return f"Malformed({self.layer!r}, {self.reason!r})"
