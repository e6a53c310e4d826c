"""Zones for which a server has authority: RFC 1034 section 4.3.2, the algorithm for an answer.

A zone is text in the form of RFC 1035 section 5, or a table of names with their addresses. Wildcards are RFC 4592's;
what is below a delegation is referred to its servers, with the addresses that the zone has of them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.node
import dns.rcode
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.rrset
import dns.zone

# A chain of CNAMEs longer than this is taken for one without end.
_ALIASES_MAX: Final = 16
_TABLE_TTL_S: Final = 3600
_NEGATIVE_TTL_S: Final = 300


def parse(origin: str, source: str | Mapping[str, str | Sequence[str]]) -> dns.zone.Zone:
    """The zone `origin` as text, or as a table of names with an address, or several. Raises `ValueError`.

    A name of a table is within the zone, "@" the zone itself; it gets an SOA and a name server of its own.
    """
    try:
        if isinstance(source, str):
            return dns.zone.from_text(source, origin, relativize=False)
        if not isinstance(source, Mapping):
            raise ValueError(f"{source!r}; expected a zone as text, or a table of names with their addresses")
        return dns.zone.from_text(_text_of(source), origin, relativize=False)
    except (dns.exception.DNSException, ValueError) as wrong:
        raise ValueError(f"zone {origin}: {wrong or type(wrong).__name__}") from None


def _text_of(table: Mapping[str, str | Sequence[str]]) -> str:
    lines = [
        f"$TTL {_TABLE_TTL_S}",
        f"@ SOA ns hostmaster 1 3600 600 86400 {_NEGATIVE_TTL_S}",
        "@ NS ns",
    ]
    for name, values in table.items():
        for value in [values] if isinstance(values, str) else values:
            try:
                kind = "A" if ipaddress.ip_address(value).version == 4 else "AAAA"
            except ValueError:
                raise ValueError(f'"{value}" of {name} is not an address; expected one, or the zone as text') from None
            lines.append(f"{name} {kind} {value}")
    if "ns" not in table:
        # A zone has the address of its server; who asks has found the server already.
        lines.append("ns A 127.0.0.1")
    return "\n".join(lines) + "\n"


class Zones:
    """Several zones, of which the nearest to a name answers for it."""

    def __init__(self, zones: Sequence[dns.zone.Zone]) -> None:
        self._zones: dict[dns.name.Name, dns.zone.Zone] = {}
        for zone in zones:
            assert zone.origin is not None, "a zone that was parsed has an origin"
            self._zones[zone.origin] = zone

    def zone_of(self, name: dns.name.Name) -> dns.zone.Zone | None:
        """The zone that has authority for `name`; None if there is none here."""
        while name not in self._zones:
            if name == dns.name.root:
                return None
            name = name.parent()
        return self._zones[name]

    def answer(self, query: dns.message.Message, zone: dns.zone.Zone) -> dns.message.Message:
        """What the zone says to `query`, which has one question about a name in it."""
        question = query.question[0]
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        name = question.name
        for _alias in range(_ALIASES_MAX):
            if (cut := _delegation(zone, name)) is not None:
                self._refer(response, zone, cut)
                return response
            node, spelt = _node(zone, name)
            if node is None:
                response.set_rcode(dns.rcode.NXDOMAIN)
                break
            found = node.get_rdataset(dns.rdataclass.IN, question.rdtype)
            if found is not None:
                _add(response.answer, spelt, found)
                return response
            alias = node.get_rdataset(dns.rdataclass.IN, dns.rdatatype.CNAME)
            if alias is None:
                break
            _add(response.answer, spelt, alias)
            name = alias[0].target
            other = self.zone_of(name)
            if other is None:
                return response  # who asked asks whoever knows that name
            zone = other
        soa = zone.find_rdataset(zone.origin, dns.rdatatype.SOA)  # type: ignore[arg-type]
        negative = dns.rdataset.from_rdata(min(soa.ttl, soa[0].minimum), soa[0])  # RFC 2308 section 3
        _add(response.authority, zone.origin, negative)
        return response

    def _refer(self, response: dns.message.Message, zone: dns.zone.Zone, cut: dns.name.Name) -> None:
        if not response.answer:
            response.flags &= ~dns.flags.AA
        servers = zone.find_rdataset(cut, dns.rdatatype.NS)
        _add(response.authority, cut, servers)
        for server in servers:
            for kind in (dns.rdatatype.A, dns.rdatatype.AAAA):
                glue = zone.get_rdataset(server.target, kind) if server.target.is_subdomain(zone.origin) else None
                if glue is not None:
                    _add(response.additional, server.target, glue)


def _delegation(zone: dns.zone.Zone, name: dns.name.Name) -> dns.name.Name | None:
    """Where, from the zone's name down to `name`, the zone hands over to other servers."""
    assert zone.origin is not None, "a zone that was parsed has an origin"
    for labels in range(len(zone.origin) + 1, len(name) + 1):
        _, ancestor = name.split(labels)
        if zone.get_rdataset(ancestor, dns.rdatatype.NS) is not None:
            return ancestor
    return None


def _node(zone: dns.zone.Zone, name: dns.name.Name) -> tuple[dns.node.Node | None, dns.name.Name]:
    """What the zone has at `name`, be it by a wildcard, and the name to answer with; None: the name does not exist."""
    node = zone.get_node(name)
    if node is not None:
        return node, name
    if any(known.is_subdomain(name) for known in zone.nodes):
        return dns.node.Node(), name  # type: ignore[no-untyped-call]  # nothing but names below it
    ancestor = name
    while ancestor != zone.origin:
        ancestor = ancestor.parent()
        wildcard = zone.get_node(dns.name.Name((b"*", *ancestor.labels)))
        if wildcard is not None:
            return wildcard, name
        if zone.get_node(ancestor) is not None:
            break  # RFC 4592 section 2.2.1: only below the closest name that exists
    return None, name


def _add(section: list[dns.rrset.RRset], name: dns.name.Name | None, rdataset: dns.rdataset.Rdataset) -> None:
    assert name is not None, "a zone that was parsed has an origin"
    section.append(dns.rrset.from_rdata_list(name, rdataset.ttl, list(rdataset)))
