"""A gateway: its two halves put together, and the services by which programs of the machine come in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lunar.gateway.channel import Channels
from lunar.gateway.inside import Inside
from lunar.gateway.messages import Told
from lunar.gateway.service import Forward, Proxy, Service

if TYPE_CHECKING:
    from lunar.host import Host


class Gateway:
    """The way from the machine into a virtual network by `host`, which makes the connections."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.services: list[Service] = []
        self._gates = host.network.supervisor.gates
        self.channels = Channels()
        self._inside = Inside(host, self._tell)
        self.channels.gate = self._gates.gate(f"gateway {host.name}", self._inside.event_of)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_called = False
        self._gates.on_open(self._open)
        self._gates.on_flush(self._flush)
        self._gates.on_close(self._close)

    def proxy(self, address: str, port: int) -> Proxy:
        """A SOCKS5 and HTTP proxy at `address` and `port` of the machine, from the start of the run."""
        made = Proxy(self, address, port)
        self.services.append(made)
        return made

    def forward(self, address: str, port: int, name: str, target_port: int) -> Forward:
        """Each connection to `address` and `port` of the machine goes on to `target_port` of `name`."""
        made = Forward(self, address, port, name, target_port)
        self.services.append(made)
        return made

    async def _open(self) -> None:
        self._loop = asyncio.get_running_loop()
        for service in self.services:
            await service.open(self._loop)

    def _close(self) -> None:
        for service in self.services:
            service.close()
        self._loop = None

    # What the inside half says is handed on in a turn of the machine's loop, which is out of sight within a slice.

    def _tell(self, told: Told) -> None:
        if self._gates.live:
            self.channels.tell(told)

    def _flush(self) -> None:
        if self.channels.has_news and not self._is_called and self._loop is not None:
            self._is_called = True
            self._loop.call_soon(self._hand_on)

    def _hand_on(self) -> None:
        self._is_called = False
        try:
            self.channels.hand_on()
        finally:
            self._flush()  # what one session raises does not keep from the others what is theirs

    def figures(self) -> dict[str, int | str]:
        """What it has done so far: a row of `gateway` in the JSON figures of `weave run`."""
        inside = self._inside
        return {
            "host": self.host.name,
            "connections": inside.connections,
            "failed": inside.failed,
            "bytes_in": inside.bytes_in,
            "bytes_out": inside.bytes_out,
        }
