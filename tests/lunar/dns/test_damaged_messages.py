"""Messages with flipped bits, cut, or with more behind them: what is no answer is none, and nothing raises."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import dns.message
import dns.rrset

from lunar.dns.server import Server
from lunar.resolver import _read

ROUNDS = 3000
QUERY = dns.message.make_query("www.example.org", "A", id=5, use_edns=0)


def answer() -> bytes:
    response = dns.message.make_response(QUERY)
    response.answer = [
        dns.rrset.from_text("www.example.org.", 60, "IN", "CNAME", "a.example.org."),
        dns.rrset.from_text("a.example.org.", 60, "IN", "A", "10.0.0.1", "10.0.0.2"),
    ]
    response.authority = [
        dns.rrset.from_text("example.org.", 60, "IN", "SOA", "ns.example.org. h.example.org. 1 2 3 4 5")
    ]
    return response.to_wire()


def damaged(rng: random.Random, message: bytes) -> bytes:
    made = bytearray(message)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        how = rng.randrange(4)
        if how == 0 and made:
            made[rng.randrange(len(made))] = rng.randrange(256)
        elif how == 1 and made:
            del made[rng.randrange(len(made)) :]
        elif how == 2:
            made += rng.randbytes(rng.randrange(20))
        elif made:
            made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
    return bytes(made)


def test_a_resolver_reads_whatever_comes() -> None:
    rng, whole = random.Random(1), answer()
    results: list[Any] = [_read(damaged(rng, whole), QUERY) for _ in range(ROUNDS)]
    assert _read(whole, QUERY) is not None
    assert None in results  # some are no answers any more
    assert any(result is not None for result in results)  # and some still are


def test_a_record_of_another_class_is_no_answer() -> None:
    response = dns.message.make_response(QUERY)
    response.answer = [dns.rrset.from_text("www.example.org.", 60, "IN", "A", "10.0.0.1")]
    wire = bytearray(response.to_wire())
    at = wire.rindex(b"\x00\x01\x00\x01")  # the type and the class of the record
    wire[at + 3] = 4  # Hesiod
    result = _read(bytes(wire), QUERY)
    assert result is not None and not isinstance(result, str)
    assert result.addresses == ()


def test_a_server_answers_whatever_comes() -> None:
    async def main() -> int:
        server, rng, query = Server({"example.org": {"www": "10.0.0.1"}}), random.Random(2), QUERY.to_wire()
        answered = 0
        for _ in range(ROUNDS):
            response = await server.answer(damaged(rng, query))
            if response is not None:
                assert response.to_wire(max_size=65_535)
                answered += 1
        return answered

    assert 0 < asyncio.run(main()) < ROUNDS
