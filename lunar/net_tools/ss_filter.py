"""What ss(8) chooses sockets by: `state`, `exclude`, and expressions such as `( dport = :80 or src 10.0.0.0/8 )`.

Between two conditions that nothing joins stands `and`. A name of a service may stand for a port.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lunar import services
from lunar.net_tools.errors import CommandError
from lunar.net_tools.seen import Seen
from lunar.packet import AF_INET, AF_INET6
from lunar.tcp.tcb import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    LISTEN,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
)
from lunar.wire.address import parse_address

STATES: Final = {
    "established": ESTABLISHED, "syn-sent": SYN_SENT, "syn-recv": SYN_RECEIVED, "fin-wait-1": FIN_WAIT_1,
    "fin-wait-2": FIN_WAIT_2, "time-wait": TIME_WAIT, "unconnected": CLOSED, "closed": CLOSED,
    "close-wait": CLOSE_WAIT, "last-ack": LAST_ACK, "listening": LISTEN, "listen": LISTEN, "closing": CLOSING,
}  # fmt: skip
ALL: Final = frozenset(STATES.values())
_CONNECTED: Final = ALL - {CLOSED, LISTEN}
GROUPS: Final = {
    "all": ALL, "connected": _CONNECTED, "synchronized": _CONNECTED - {SYN_SENT},
    "bucket": frozenset({SYN_RECEIVED, TIME_WAIT}), "big": ALL - {SYN_RECEIVED, TIME_WAIT},
}  # fmt: skip
# What is shown without -a and -l, and with -l.
OPEN: Final = ALL - {LISTEN, CLOSED, TIME_WAIT, SYN_RECEIVED}
LISTENING: Final = frozenset({LISTEN, CLOSED})

Condition = Callable[[Seen], bool]
_COMPARISONS: Final[dict[str, Callable[[int, int], bool]]] = {
    "=": lambda a, b: a == b, "==": lambda a, b: a == b, "eq": lambda a, b: a == b,
    "!=": lambda a, b: a != b, "ne": lambda a, b: a != b, "neq": lambda a, b: a != b,
    "<": lambda a, b: a < b, "lt": lambda a, b: a < b, ">": lambda a, b: a > b, "gt": lambda a, b: a > b,
    "<=": lambda a, b: a <= b, "le": lambda a, b: a <= b, "leq": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b, "ge": lambda a, b: a >= b, "geq": lambda a, b: a >= b,
}  # fmt: skip
_EXPECTED: Final = "state, exclude, dst, src, dport, sport, and, or, not"


def states_of(word: str) -> frozenset[int]:
    """The states that a word means. Raises `CommandError`."""
    if word in GROUPS:
        return GROUPS[word]
    if word in STATES:
        return frozenset({STATES[word]})
    raise CommandError(f"ss: wrong state name: {word}")


class Expression:
    """Reads an expression from words; `condition` is what it says."""

    def __init__(self, words: list[str]) -> None:
        spaced = " ".join(words)
        for mark in "()":
            spaced = spaced.replace(mark, f" {mark} ")
        self._words = spaced.split()
        self.condition: Condition = _anything
        if self._words:
            self.condition = self._either()
            if self._words:
                raise CommandError(f'ss: "{self._words[0]}" is not supported; expected {_EXPECTED}')

    def _next(self) -> str:
        return self._words[0] if self._words else ""

    def _takes(self, *words: str) -> bool:
        if self._next() in words:
            self._words.pop(0)
            return True
        return False

    def _value(self, what: str) -> str:
        if not self._words:
            raise CommandError(f"ss: {what}: a value is missing")
        return self._words.pop(0)

    def _either(self) -> Condition:
        left = self._both()
        while self._takes("or", "|", "||"):
            left = _or(left, self._both())
        return left

    def _both(self) -> Condition:
        left = self._one()
        while self._words and self._next() not in ("or", "|", "||", ")"):
            self._takes("and", "&", "&&")
            left = _and(left, self._one())
        return left

    def _one(self) -> Condition:
        if self._takes("not", "!"):
            inner = self._one()
            return lambda seen: not inner(seen)
        if self._takes("("):
            inner = self._either()
            if not self._takes(")"):
                raise CommandError("ss: a ) is missing")
            return inner
        if self._takes("dst", "daddr"):
            self._takes("=", "==", "eq")
            return _address_is(self._value("dst"), remote=True)
        if self._takes("src", "saddr"):
            self._takes("=", "==", "eq")
            return _address_is(self._value("src"), remote=False)
        for word in ("dport", "sport"):
            if self._takes(word):
                comparison = _COMPARISONS["="]
                if self._next() in _COMPARISONS:
                    comparison = _COMPARISONS[self._words.pop(0)]
                port = _port(self._value(word))
                return _port_is(comparison, port, remote=word == "dport")
        raise CommandError(f'ss: "{self._next()}" is not supported; expected {_EXPECTED}')


def _anything(_seen: Seen) -> bool:
    return True


def _or(left: Condition, right: Condition) -> Condition:
    return lambda seen: left(seen) or right(seen)


def _and(left: Condition, right: Condition) -> Condition:
    return lambda seen: left(seen) and right(seen)


def _port_is(comparison: Callable[[int, int], bool], port: int, remote: bool) -> Condition:
    return lambda seen: comparison(seen.remote_port if remote else seen.local_port, port)


def _port(word: str) -> int:
    text = word.removeprefix("*").removeprefix(":")
    if text.isdigit() and int(text) <= 65535:
        return int(text)
    number = services.port_of(text)
    if number is None:
        raise CommandError(f'ss: "{word}" is not a port; expected a number or a service, as :80 or :http')
    return number


def _address_is(word: str, remote: bool) -> Condition:
    """A condition on an address, with a prefix length and a port or without: 10.0.0.0/8, [::1]:80, :80, *."""
    text, port = word, -1
    if word.startswith("["):
        text, _, rest = word[1:].partition("]")
        prefix, _, last = rest.partition(":")
        text += prefix
        port = _port(last) if last else -1
    elif word.count(":") == 1:
        text, _, last = word.partition(":")
        port = _port(last) if last not in ("", "*") else -1
    address, slash, length = text.partition("/")
    if address in ("", "*"):
        return lambda seen: port in (-1, seen.remote_port if remote else seen.local_port)
    try:
        family, number = parse_address(address)
        bits = 32 if family == AF_INET else 128
        prefix_length = int(length) if slash else bits
        if not 0 <= prefix_length <= bits:
            raise ValueError
    except ValueError:
        raise CommandError(f'ss: "{word}" is not an address; expected one like 10.0.0.0/8, [::1]:80 or :80') from None

    def condition(seen: Seen) -> bool:
        own, own_port = (seen.remote, seen.remote_port) if remote else (seen.local, seen.local_port)
        # An IPv4 address of an IPv6 socket is an IPv4 address all the same.
        of = AF_INET6 if seen.family == AF_INET6 and not (seen.mapped and own < 1 << 32) else AF_INET
        return of == family and (own ^ number) >> (bits - prefix_length) == 0 and port in (-1, own_port)

    return condition
