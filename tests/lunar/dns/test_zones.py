"""The answers of a zone: RFC 1034 section 4.3.2, wildcards by RFC 4592, what is not there by RFC 2308."""

from __future__ import annotations

from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import pytest

from lunar.dns.cache import Cache
from lunar.dns.server import Server
from lunar.dns.zones import Zones, parse

EXAMPLE = """
$TTL 300
@ SOA ns hostmaster 7 3600 600 86400 60
@ NS ns
@ MX 10 mail
ns A 10.0.0.53
www A 10.0.0.80
www AAAA 2001:db8::80
alias CNAME www
away CNAME www.example.net.
round CNAME trip
trip CNAME round
*.wild A 10.0.0.99
host.wild TXT "here"
deep.down.below A 10.0.0.7
sub NS ns.sub
ns.sub A 10.0.1.53
"""


def ask(name: str, kind: str, *zones: tuple[str, Any]) -> dns.message.Message:
    known = Zones([parse(origin, source) for origin, source in (zones or [("example.org", EXAMPLE)])])
    query = dns.message.make_query(name, kind, id=1)
    zone = known.zone_of(query.question[0].name)
    assert zone is not None
    return known.answer(query, zone)


def told(name: str, kind: str, *zones: tuple[str, Any]) -> tuple[str, list[str], list[str]]:
    """The code, the answers, and what stands under authority, each as text."""
    response = ask(name, kind, *zones)
    sections = [[text for rrset in section for text in rrset.to_text().splitlines()]
                for section in (response.answer, response.authority)]  # fmt: skip
    return dns.rcode.to_text(response.rcode()), sections[0], sections[1]


SOA = "example.org. 60 IN SOA ns.example.org. hostmaster.example.org. 7 3600 600 86400 60"


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("www.example.org", "A", ("NOERROR", ["www.example.org. 300 IN A 10.0.0.80"], [])),
        ("WWW.Example.ORG", "AAAA", ("NOERROR", ["WWW.Example.ORG. 300 IN AAAA 2001:db8::80"], [])),
        ("example.org", "MX", ("NOERROR", ["example.org. 300 IN MX 10 mail.example.org."], [])),
        ("www.example.org", "TXT", ("NOERROR", [], [SOA])),
        ("nobody.example.org", "A", ("NXDOMAIN", [], [SOA])),
        (
            "alias.example.org",
            "A",
            (
                "NOERROR",
                ["alias.example.org. 300 IN CNAME www.example.org.", "www.example.org. 300 IN A 10.0.0.80"],
                [],
            ),
        ),
        ("alias.example.org", "CNAME", ("NOERROR", ["alias.example.org. 300 IN CNAME www.example.org."], [])),
        ("away.example.org", "A", ("NOERROR", ["away.example.org. 300 IN CNAME www.example.net."], [])),
        # A name that is there only because of those below it has nothing, but exists.
        ("down.below.example.org", "A", ("NOERROR", [], [SOA])),
        ("any.wild.example.org", "A", ("NOERROR", ["any.wild.example.org. 300 IN A 10.0.0.99"], [])),
        ("two.labels.wild.example.org", "A", ("NOERROR", ["two.labels.wild.example.org. 300 IN A 10.0.0.99"], [])),
        ("any.wild.example.org", "AAAA", ("NOERROR", [], [SOA])),
        # A name that exists is not the wildcard's, and neither is what is below it.
        ("host.wild.example.org", "A", ("NOERROR", [], [SOA])),
        ("below.host.wild.example.org", "A", ("NXDOMAIN", [], [SOA])),
        ("x.sub.example.org", "A", ("NOERROR", [], ["sub.example.org. 300 IN NS ns.sub.example.org."])),
    ],
)
def test_an_answer(name: str, kind: str, expected: tuple[str, list[str], list[str]]) -> None:
    assert told(name, kind) == expected


def test_authority_ends_at_a_delegation() -> None:
    assert ask("www.example.org", "A").flags & dns.flags.AA
    referral = ask("x.sub.example.org", "A")
    assert not referral.flags & dns.flags.AA
    assert [rrset.to_text() for rrset in referral.additional] == ["ns.sub.example.org. 300 IN A 10.0.1.53"]


def test_a_ring_of_aliases_ends() -> None:
    assert len(ask("round.example.org", "A").answer) == 16


def test_an_alias_into_another_zone_of_the_server_is_followed() -> None:
    other = {"www": "10.9.9.9"}
    code, answers, _ = told("away.example.org", "A", ("example.org", EXAMPLE), ("example.net", other))
    assert (code, answers[-1]) == ("NOERROR", "www.example.net. 3600 IN A 10.9.9.9")


def test_the_nearest_zone_answers() -> None:
    zones = Zones([parse("org", {}), parse("example.org", {"www": "10.0.0.1"})])
    found = zones.zone_of(dns.name.from_text("www.example.org"))
    assert found is not None and found.origin == dns.name.from_text("example.org")
    assert zones.zone_of(dns.name.from_text("example.com")) is None


def test_a_table_has_addresses_of_both_families() -> None:
    table = {"@": "10.0.0.1", "www": ["10.0.0.2", "2001:db8::2", "10.0.0.3"]}
    assert told("example.org", "A", ("example.org", table))[1] == ["example.org. 3600 IN A 10.0.0.1"]
    assert len(told("www.example.org", "A", ("example.org", table))[1]) == 2
    assert told("www.example.org", "AAAA", ("example.org", table))[1] == ["www.example.org. 3600 IN AAAA 2001:db8::2"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("@ A", "zone example.org: "),
        ("www A 10.0.0.1", "zone example.org: "),  # without an SOA
        ({"www": "nowhere"}, 'zone example.org: "nowhere" of www is not an address; expected one, or the zone as text'),
        (5, "zone example.org: 5; expected a zone as text, or a table of names with their addresses"),
    ],
)
def test_a_zone_that_cannot_be_read(source: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse("example.org", source)


# The cache


def heard(name: str = "www.example.org", kind: str = "A") -> tuple[tuple[dns.name.Name, int], dns.message.Message]:
    response = ask(name, kind)
    question = response.question[0]
    return (question.name, int(question.rdtype)), response


def test_an_answer_is_believed_for_its_ttl() -> None:
    cache, (key, message) = Cache(), heard()
    cache.put(10.0, key, message)
    assert cache.get(309.9, key) == (message, 299)
    assert cache.get(310.0, key) is None
    assert len(cache) == 0


def test_that_a_name_is_not_there_is_believed_for_the_soas_minimum() -> None:
    cache, (key, message) = Cache(), heard("nobody.example.org")
    cache.put(0.0, key, message)
    assert cache.get(59.9, key) is not None
    assert cache.get(60.0, key) is None


def test_a_failure_is_not_remembered() -> None:
    cache, (key, message) = Cache(), heard()
    message.set_rcode(dns.rcode.SERVFAIL)
    cache.put(0.0, key, message)
    assert len(cache) == 0


def test_the_cache_is_bounded() -> None:
    cache = Cache(entries=2)
    for name in ("one.wild", "two.wild", "three.wild"):
        cache.put(0.0, *heard(f"{name}.example.org"))
    assert len(cache) == 2
    assert cache.get(0.0, heard("one.wild.example.org")[0]) is None


def test_a_forwarder_is_an_address() -> None:
    assert Server(forwarders="10.0.0.9") and Server(forwarders=["fe80::9%eth0"])
    with pytest.raises(ValueError, match=r'^"nowhere" is not the address of a name server$'):
        Server(forwarders=["nowhere"])
