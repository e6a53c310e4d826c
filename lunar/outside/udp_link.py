"""A UDP link: its frames travel in datagrams of the machine's, to a link like it in another process.

A datagram is one Ethernet frame without its frame check sequence, as in the thesis' section 4.1.
"""

from __future__ import annotations

import socket
from typing import Final

from lunar.links.outside_link import OutsideLink
from weaves.outside import Gates

# What fits in a datagram over Ethernet: 1500 less the headers of IPv4 (20), UDP (8) and the frame (14).
UDP_LINK_MTU: Final = 1458

_LARGEST: Final = 65_535
_AT_A_TIME: Final = 64
_BUFFER_BYTES: Final = 4 << 20


class UdpLink:
    """Takes the frames of `link` out to `remote`, and lets those of `remote` in. Addresses are (host, port)."""

    def __init__(self, gates: Gates, link: OutsideLink, local: tuple[str, int], remote: tuple[str, int]) -> None:
        self.link = link
        self.local = local
        self.remote = remote
        self.received = self.sent = self.foreign = self.send_errors = 0
        self._gates = gates
        self._gate = gates.gate(link.name, link.arrival)
        self._socket: socket.socket | None = None
        gates.on_open(self._open)
        gates.on_close(self._close)
        gates.on_flush(self._flush)

    def _open(self) -> None:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        try:
            made.bind(self.local)
        except OSError as error:
            made.close()
            raise OSError(error.errno, f"{self.link.name}: {self.local[0]}:{self.local[1]}: {error.strerror}") from None
        self._socket = made
        self._gates.watch(made.fileno(), self._readable)

    def _close(self) -> None:
        if self._socket is not None:
            self._gates.unwatch(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _readable(self) -> None:
        assert self._socket is not None, "nobody watches it otherwise"
        for _ in range(_AT_A_TIME):
            try:
                data, source = self._socket.recvfrom(_LARGEST)
            except BlockingIOError:
                return
            except OSError:
                self.send_errors += 1  # of an ICMP error: nobody was there
                continue
            if source != self.remote:
                self.foreign += 1
                continue
            self.received += 1
            self._gate.admit(data)

    def _flush(self) -> None:
        frames = self.link.doorway.frames
        if not frames:
            return
        if self._socket is not None:
            for frame in frames:
                try:
                    self._socket.sendto(frame, self.remote)
                    self.sent += 1
                except OSError:
                    self.send_errors += 1
        frames.clear()


def parse_udp_address(text: str) -> tuple[str, int]:
    """The address and port in "ADDRESS:PORT". Raises `ValueError`."""
    address, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError(f'"{text}" is not the address of a UDP link; expected one like "127.0.0.1:8193"')
    socket.inet_aton(address)
    return address, int(port)
