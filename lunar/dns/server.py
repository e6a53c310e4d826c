"""The server: UDP and TCP on one port, RFC 1035 section 4.2 and RFC 7766.

An answer that does not fit into the datagram that the client takes (512 bytes, or what its EDNS says) is cut, with TC
set, and the client comes again over TCP. What is no question is not answered; a question about what this server does
not know, and nobody whom it may ask, is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from lunar.dns import zones as authority
from lunar.dns.cache import Cache, Key, aged
from lunar.dns.upstream import Upstream, parsed

_UDP_BYTES: Final = 512
_EDNS_BYTES: Final = 1232
# RFC 7766 section 6.2.3: how long a connection may say nothing, in seconds.
_IDLE_S: Final = 10.0


class Server:
    """Answers questions, of its own zones, from its cache, and by asking `forwarders`.

    `zones` are texts or tables by their names (lunar/dns/zones.py). `questions` counts those that came, `forwarded`
    those that were asked of others. Raises `ValueError` for a zone that cannot be read.
    """

    def __init__(
        self,
        zones: Mapping[str, str | Mapping[str, str | Sequence[str]]] | None = None,
        forwarders: Sequence[str] = (),
        *,
        cache_entries: int = 10_000,
    ) -> None:
        self._zones = authority.Zones([authority.parse(name, source) for name, source in (zones or {}).items()])
        self._upstream = Upstream(forwarders)
        self.cache = Cache(cache_entries)
        self._asking: dict[Key, asyncio.Task[dns.message.Message | None]] = {}
        self.questions = 0
        self.forwarded = 0

    async def answer(self, data: bytes) -> dns.message.Message | None:
        """What is to be said to `data`; None if nothing is."""
        query = parsed(data)
        if query is None:
            return _not_understood(data)
        if query.flags & dns.flags.QR:
            return None  # an answer, to nobody here; to answer it might never end
        self.questions += 1
        if query.opcode() != dns.opcode.QUERY:
            return _failed(query, dns.rcode.NOTIMP)
        if len(query.question) != 1:
            return _failed(query, dns.rcode.FORMERR)
        question = query.question[0]
        if question.rdclass != dns.rdataclass.IN or question.rdtype == dns.rdatatype.ANY:
            return _failed(query, dns.rcode.REFUSED)
        zone = self._zones.zone_of(question.name)
        if zone is not None:
            response = self._zones.answer(query, zone)
        elif self._upstream and query.flags & dns.flags.RD:
            response = await self._heard(query)
        else:
            return _failed(query, dns.rcode.REFUSED)
        if self._upstream:
            response.flags |= dns.flags.RA
        return response

    async def _heard(self, query: dns.message.Message) -> dns.message.Message:
        """The answer of others, new or remembered."""
        question = query.question[0]
        key = (question.name, int(question.rdtype))
        known = self.cache.get(asyncio.get_running_loop().time(), key)
        if known is None:
            message = await self._fetched(key, question)
            if message is None:
                return _failed(query, dns.rcode.SERVFAIL)
            known = message, 0
        message, seconds = known
        response = dns.message.make_response(query)
        response.set_rcode(message.rcode())
        response.answer = aged(message.answer, seconds)
        response.authority = aged(message.authority, seconds)
        return response

    async def _fetched(self, key: Key, question: Any) -> dns.message.Message | None:
        """Ask others; whoever asks the same meanwhile waits for the same answer."""
        task = self._asking.get(key)
        if task is None:
            self.forwarded += 1
            task = self._asking[key] = asyncio.ensure_future(self._upstream.ask(question))
            task.add_done_callback(lambda _done: self._asking.pop(key, None))
        message = await asyncio.shield(task)
        if message is not None:
            self.cache.put(asyncio.get_running_loop().time(), key, message)
        return message

    async def serve(self, host: str | None = None, port: int = 53) -> None:
        """Answer at `host`, by default at all addresses, until it is cancelled."""
        loop = asyncio.get_running_loop()
        listener = await asyncio.start_server(self._connection, host, port)
        datagrams = []
        try:
            for listening in listener.sockets:
                sock = _datagram_socket(listening.family, listening.getsockname())
                transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=sock)
                datagrams.append(transport)
            await listener.serve_forever()
        finally:
            for transport in datagrams:
                transport.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            while True:
                size = await asyncio.wait_for(reader.readexactly(2), _IDLE_S)
                data = await asyncio.wait_for(reader.readexactly(int.from_bytes(size, "big")), _IDLE_S)
                response = await self.answer(data)
                if response is None:
                    break
                wire = response.to_wire(max_size=65_535)
                writer.write(len(wire).to_bytes(2, "big") + wire)
                await writer.drain()
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    """The face over UDP."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: Any = None
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._count = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        number = self._count = self._count + 1
        task = asyncio.ensure_future(self._reply(data, addr))
        self._tasks[number] = task  # or the collector might take it
        task.add_done_callback(lambda _done: self._tasks.pop(number, None))

    async def _reply(self, data: bytes, addr: Any) -> None:
        response = await self._server.answer(data)
        if response is None or self._transport.is_closing():
            return
        query = parsed(data)
        room = _UDP_BYTES
        if query is not None and query.edns >= 0:
            room = max(_UDP_BYTES, min(int(query.payload), _EDNS_BYTES))
        self._transport.sendto(_fitted(response, room), addr)


def _datagram_socket(family: int, address: Any) -> socket.socket:
    """A socket for the same address as a listener's: as asyncio's servers, of IPv6 alone where it is of IPv6."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.setblocking(False)
    sock.bind(address)
    return sock


def _fitted(response: dns.message.Message, room: int) -> bytes:
    """The bytes of a datagram; cut, and said so, if they are too many."""
    try:
        return response.to_wire(max_size=room)
    except dns.exception.TooBig:
        response.answer, response.authority, response.additional = [], [], []
        response.flags |= dns.flags.TC
        return response.to_wire(max_size=room)


def _failed(query: dns.message.Message, rcode: dns.rcode.Rcode) -> dns.message.Message:
    response = dns.message.make_response(query)
    response.set_rcode(rcode)
    return response


def _not_understood(data: bytes) -> dns.message.Message | None:
    """FORMERR with the id of what cannot be read; nothing for what has none, or is an answer."""
    if len(data) < 12 or data[2] & 0x80:
        return None
    response = dns.message.Message(int.from_bytes(data[:2], "big"))
    response.flags = dns.flags.QR
    response.set_rcode(dns.rcode.FORMERR)
    return response


async def serve(
    zones: Mapping[str, str | Mapping[str, str | Sequence[str]]] | None = None,
    forwarders: Sequence[str] = (),
    *,
    files: Mapping[str, str] | None = None,
    host: str | None = None,
    port: int = 53,
) -> None:
    """A string that is a name server: for `zones` (texts or tables by name), and `files` of zones by name."""
    texts: dict[str, Any] = dict(zones or {})
    for name, path in (files or {}).items():
        texts[name] = Path(path).read_text(encoding="utf-8")
    await Server(texts, forwarders).serve(host, port)
