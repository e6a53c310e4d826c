"""Asking other servers on behalf of who asked here: over UDP, again when nothing comes, over TCP when it was cut."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
from collections.abc import Sequence
from typing import Final

import dns.exception
import dns.flags
import dns.message

_PORT: Final = 53
# How long one server is waited for, and how often all are gone through; in seconds.
_TIMEOUT_S: Final = 2.0
_ROUNDS: Final = 2
_PAYLOAD: Final = 1232  # DNS flag day 2020: what passes everywhere unfragmented


class _Exchange(asyncio.DatagramProtocol):
    """One question on a socket of its own, whose port nobody guesses (RFC 5452)."""

    def __init__(self, query: dns.message.Message) -> None:
        self._query = query
        self.answer: asyncio.Future[dns.message.Message] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        message = parsed(data)
        if message is not None and self._query.is_response(message) and not self.answer.done():
            self.answer.set_result(message)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


class Upstream:
    """The servers at `addresses` ("10.0.0.53", "2001:db8::53"), of which the first is asked first.

    Raises `ValueError` for what is no address.
    """

    def __init__(self, addresses: Sequence[str], port: int = _PORT) -> None:
        self._addresses = [addresses] if isinstance(addresses, str) else list(addresses)
        for address in self._addresses:
            try:
                ipaddress.ip_address(address.partition("%")[0])
            except ValueError:
                raise ValueError(f'"{address}" is not the address of a name server') from None
        self._port = port

    def __bool__(self) -> bool:
        return bool(self._addresses)

    async def ask(self, question: dns.rrset.RRset) -> dns.message.Message | None:
        """What one of them answers to `question`; None if none does."""
        for _round in range(_ROUNDS):
            for address in self._addresses:
                query = dns.message.make_query(
                    question.name, question.rdtype, question.rdclass, id=random.getrandbits(16), use_edns=0,
                    payload=_PAYLOAD,
                )  # fmt: skip
                with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                    message = await asyncio.wait_for(self._by_udp(address, query), _TIMEOUT_S)
                    if message.flags & dns.flags.TC:
                        cut = await asyncio.wait_for(self._by_tcp(address, query), _TIMEOUT_S)
                        if cut is None:
                            continue
                        message = cut
                    return message
        return None

    async def _by_udp(self, address: str, query: dns.message.Message) -> dns.message.Message:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(
            lambda: _Exchange(query), remote_addr=(address, self._port)
        )
        try:
            transport.sendto(query.to_wire())
            return await protocol.answer
        finally:
            transport.close()

    async def _by_tcp(self, address: str, query: dns.message.Message) -> dns.message.Message | None:
        reader, writer = await asyncio.open_connection(address, self._port)
        try:
            wire = query.to_wire()
            writer.write(len(wire).to_bytes(2, "big") + wire)
            message = parsed(await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big")))
            return message if message is not None and query.is_response(message) else None
        finally:
            writer.close()


def parsed(data: bytes) -> dns.message.Message | None:
    """The message in `data`; None if it is none."""
    try:
        return dns.message.from_wire(data)
    except (dns.exception.DNSException, ValueError):
        return None
