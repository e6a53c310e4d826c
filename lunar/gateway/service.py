"""What listens on the machine for a gateway: a proxy, or a forwarded port. Each has its address and its clients."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final

from lunar.gateway.channel import Channels, ChannelUser
from lunar.gateway.client import Client, Session
from lunar.gateway.http import HttpSession
from lunar.gateway.messages import target_text
from lunar.gateway.socks import SOCKS4, VERSION, Socks, refuse_socks4
from lunar.gateway.tunnel import Tunnel

if TYPE_CHECKING:
    from lunar.gateway.gateway import Gateway

# So many connections may wait to be accepted: the kernel's own limit (net.core.somaxconn) since Linux 5.4.
_BACKLOG: Final = 4096

# So many names are listed where a run says whom its proxy reaches.
_NAMES: Final = 8


class Service:
    """Listens at `address` and `port` of the machine while a run is live. Port 0 lets the machine choose."""

    what = ""

    def __init__(self, gateway: Gateway, address: str, port: int) -> None:
        self.gateway = gateway
        self.address = address
        self.port = port
        self.clients: dict[Client, None] = {}
        self._server: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listens: asyncio.Event | None = None  # made when somebody waits for it

    async def listening(self) -> int:
        """Wait, in a loop of the machine's, until a run has begun and it listens. Returns its port."""
        if self._server is None:
            if self._listens is None:
                self._listens = asyncio.Event()
            await self._listens.wait()
        return self.port

    @property
    def channels(self) -> Channels:
        """Where sessions get channels."""
        return self.gateway.channels

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The machine's event loop."""
        assert self._loop is not None, "there are clients only while a run is live"
        return self._loop

    def session(self, client: Client) -> Session:
        """What talks to a client that has just come."""
        raise NotImplementedError

    def described(self) -> str:
        """What it is and where, for who starts the run."""
        raise NotImplementedError

    async def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Listen. Raises `OSError` that says what cannot be had."""
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((self.address, self.port))
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            where = target_text(self.address, self.port)
            raise OSError(error.errno, f"{self.what} cannot listen at {where}: {error.strerror}") from None
        self.port = listener.getsockname()[1]
        self._loop = loop
        self._server = await loop.create_server(lambda: Client(self), sock=listener, backlog=_BACKLOG)
        if self._listens is not None:
            self._listens.set()
        supervisor = self.gateway.host.network.supervisor
        supervisor.trace.change(int(supervisor.scheduler.now_ns), self.gateway.host.name, self.described())

    def close(self) -> None:
        """Listen no more, and close all connections."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for client in list(self.clients):
            client.abort()


class Proxy(Service):
    """A SOCKS5 and HTTP proxy. Which of them a client speaks, its first byte tells."""

    what = "the proxy"

    def session(self, client: Client) -> Session:
        return _FirstByte(client, self)

    def described(self) -> str:
        where = target_text(self.address, self.port)
        host = self.gateway.host
        return f"proxy (SOCKS5, HTTP) at {where}; connects as {host.name}, {self._names()}"

    def _names(self) -> str:
        if self.gateway.host.name_service.has_servers:
            return "to names that its name servers know"
        names = self.gateway.host.network.names.known()
        listed = ", ".join(names[:_NAMES])
        more = f" and {len(names) - _NAMES:,} more" if len(names) > _NAMES else ""
        return f"to {listed}{more}" if names else "to addresses: no host has a name"

    @property
    def how_to(self) -> str:
        """What to tell a client that takes the proxy for a site."""
        where = target_text(self.address, self.port)
        return (
            f"This is the proxy of a virtual network, for clients that use it as http://{where} or socks5h://{where}; "
            f"it connects as {self.gateway.host.name}, {self._names()}."
        )


class Forward(Service):
    """Each connection goes on to one port of one virtual host."""

    what = "a forwarded port"

    def __init__(self, gateway: Gateway, address: str, port: int, name: str, target_port: int) -> None:
        super().__init__(gateway, address, port)
        self.name = name
        self.target_port = target_port

    def session(self, client: Client) -> Session:
        channel = self.channels.new(ChannelUser())
        tunnel = Tunnel(client, channel)
        channel.connect(self.name, self.target_port, client.name)
        return tunnel

    def described(self) -> str:
        where = target_text(self.address, self.port)
        return f"forwards {where} to {target_text(self.name, self.target_port)}, connects as {self.gateway.host.name}"


class _FirstByte(Session):
    """Waits for the first byte of a client, and gives it to whom it speaks to."""

    def __init__(self, client: Client, proxy: Proxy) -> None:
        self._client = client
        self._proxy = proxy

    def client_sent(self, data: bytes) -> None:
        client = self._client
        if data[0] == SOCKS4:
            refuse_socks4(client)
            return
        session: Session = Socks(client) if data[0] == VERSION else HttpSession(client, self._proxy.how_to)
        client.session = session
        session.client_sent(data)

    def client_ended(self) -> None:
        self._client.close()
