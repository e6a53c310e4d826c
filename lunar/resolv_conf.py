"""/etc/resolv.conf: which name servers a host asks, and how (resolv.conf(5))."""

from __future__ import annotations

from typing import Final

import attrs

from lunar.wire.address import parse_address

# resolv.conf(5): how many servers are heeded, and what the options are when nothing is said; times in seconds.
_SERVERS: Final = 3
_TIMEOUT_S: Final = 5
_TIMEOUT_MAX_S: Final = 30
_ATTEMPTS: Final = 2
_ATTEMPTS_MAX: Final = 5
_NDOTS_MAX: Final = 15
_FLAGS: Final = ("rotate", "use-vc", "edns0", "single-request", "single-request-reopen", "no-aaaa")


@attrs.frozen
class ResolvConf:
    """What such a file says. A server is (family, address, scope)."""

    servers: tuple[tuple[int, int, str], ...] = ()
    search: tuple[str, ...] = ()
    ndots: int = 1
    timeout_s: int = _TIMEOUT_S
    attempts: int = _ATTEMPTS
    flags: frozenset[str] = frozenset()

    @classmethod
    def of(cls, text: str) -> ResolvConf:
        """What `text` says; what glibc passes over is passed over."""
        servers: list[tuple[int, int, str]] = []
        search: tuple[str, ...] = ()
        numbers = {"ndots": 1, "timeout": _TIMEOUT_S, "attempts": _ATTEMPTS}
        largest = {"ndots": _NDOTS_MAX, "timeout": _TIMEOUT_MAX_S, "attempts": _ATTEMPTS_MAX}
        flags: set[str] = set()
        for line in text.splitlines():
            if line[:1] in ("#", ";"):
                continue
            words = line.split()
            if len(words) < 2:
                continue
            if words[0] == "nameserver" and len(servers) < _SERVERS:
                number, _, scope = words[1].partition("%")
                try:
                    servers.append((*parse_address(number), scope))
                except ValueError:
                    continue
            elif words[0] in ("search", "domain"):
                names = words[1:] if words[0] == "search" else words[1:2]
                search = tuple(name.rstrip(".") for name in names if name != ".")
            elif words[0] == "options":
                for word in words[1:]:
                    name, _, value = word.partition(":")
                    if name in numbers and value.isascii() and value.isdigit():
                        numbers[name] = min(int(value), largest[name])
                    elif word in _FLAGS:
                        flags.add(word)
        return cls(
            tuple(servers), search, numbers["ndots"], max(numbers["timeout"], 1), max(numbers["attempts"], 1),
            frozenset(flags),
        )  # fmt: skip

    def names(self, name: str) -> list[str]:
        """Under which names `name` is asked for, in order: with the domains of `search`, and as it is."""
        if name.endswith("."):
            return [name.rstrip(".")]
        searched = [f"{name}.{domain}" for domain in self.search]
        if name.count(".") >= self.ndots:
            return [name, *searched]
        return [*searched, name]
