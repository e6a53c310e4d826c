"""What a server has heard, as long as it may believe it: answers by their TTL, and that there is none (RFC 2308)."""

from __future__ import annotations

from typing import Final

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

# RFC 2308 section 5 and RFC 8767: no longer than this, whatever is said; times in seconds.
_TTL_MAX_S: Final = 86_400
_NEGATIVE_MAX_S: Final = 10_800

Key = tuple[dns.name.Name, int]


class Cache:
    """Messages by their question. With more than `entries` of them the oldest goes."""

    def __init__(self, entries: int = 10_000) -> None:
        self._entries = entries
        self._known: dict[Key, tuple[float, float, dns.message.Message]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def put(self, now: float, key: Key, message: dns.message.Message) -> None:
        """Keep `message`, heard at `now`, in seconds; not one that is an error, or may not be kept."""
        seconds = _lifetime(message)
        if seconds <= 0:
            return
        self._known.pop(key, None)
        while len(self._known) >= self._entries:
            del self._known[next(iter(self._known))]
        self._known[key] = (now, now + seconds, message)

    def get(self, now: float, key: Key) -> tuple[dns.message.Message, int] | None:
        """The message, and how many seconds ago it was heard; None if there is none that may be believed."""
        found = self._known.get(key)
        if found is None:
            return None
        heard, until, message = found
        if now >= until:
            del self._known[key]
            return None
        return message, int(now - heard)


def aged(section: list[dns.rrset.RRset], seconds: int) -> list[dns.rrset.RRset]:
    """The same records with what is left of their lives."""
    return [
        dns.rrset.from_rdata_list(rrset.name, max(rrset.ttl - seconds, 0), list(rrset)) for rrset in section
    ]


def _lifetime(message: dns.message.Message) -> int:
    rcode = message.rcode()
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) or message.flags & dns.flags.TC:
        return 0
    asked = message.question[0].rdtype
    if rcode == dns.rcode.NOERROR and any(rrset.rdtype == asked for rrset in message.answer):
        return min([_TTL_MAX_S, *(int(rrset.ttl) for rrset in message.answer)])
    for rrset in message.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            return min(int(rrset.ttl), int(rrset[0].minimum), _NEGATIVE_MAX_S)
    return 0
