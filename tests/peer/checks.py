"""What the captures must show: the words of `wire` in cases.toml, and the options that a connection has agreed on.

A word speaks of what one side sent, as the captures of both ends show it: what the router dropped was sent, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from bed import Outcome
from wire import ACK, FIN, RST, SYN, URG, Segment, before

Seen = list[tuple[Segment, bool]]  # the segments of a connection in their order, and whether they are the side's


def check(word: str, outcome: Outcome, a_is_us: bool) -> str | None:
    """None, or what is wrong. `word` is as "a: no rst"."""
    who, _, what = word.partition(": ")
    by_us = (who == "a") == a_is_us
    wanted = not what.startswith("no ")
    captures = [*outcome.at_us, *outcome.at_kernel]
    found = any(_find(what.removeprefix("no "), [(each, each.from_us is by_us) for each in one]) for one in captures)
    return None if found is wanted else f"the capture does not show {word!r}"


def _find(what: str, seen: Seen) -> bool:
    for name, function in _WORDS.items():
        if what.startswith(name):
            rest = what.removeprefix(name).split()
            return function(seen, *(int(each) for each in rest if each.isdigit()))
    raise ValueError(f"{what}: not a word of the capture")


def _own(seen: Seen) -> Iterator[Segment]:
    return (segment for segment, own in seen if own)


def _flag(flag: int) -> Callable[[Seen], bool]:
    return lambda seen: any(segment.flags & flag for segment in _own(seen))


def _rst(seen: Seen) -> bool:
    """A reset of a connection that goes on. What is repeated to a socket that is gone after both FINs is none."""
    over: set[bool] = set()
    for segment, own in seen:
        if segment.flags & FIN:
            over.add(own)
        if own and segment.flags & RST and len(over) < 2:
            return True
    return False


def _again(seen: Seen, syn: bool) -> bool:
    """A segment whose bytes were sent before."""
    known: set[int] = set()
    for segment in _own(seen):
        if bool(segment.flags & SYN) is syn and segment.end != segment.seq:
            if segment.seq in known:
                return True
            known.add(segment.seq)
    return False


def _crossed(flag: int) -> Callable[[Seen], bool]:
    """Both sides sent it before they had the other's: neither acknowledges the other."""

    def find(seen: Seen) -> bool:
        own = next((segment for segment in _own(seen) if segment.flags & flag), None)
        other = next((segment for segment, mine in seen if not mine and segment.flags & flag), None)
        if own is None or other is None:
            return False
        return not own.flags & ACK if flag == SYN else before(own.ack, other.end) and before(other.ack, own.end)

    return find


def _window_probe(seen: Seen) -> bool:
    """Nothing, from before what is expected, while the window is closed."""
    closed, expected = False, 0
    for segment, own in seen:
        if not own:
            closed, expected = not segment.window and not segment.flags & (SYN | RST), segment.ack
        elif closed and not segment.size and before(segment.seq, expected):
            return True
    return False


def _zero_window(seen: Seen) -> bool:
    return any(not segment.window and not segment.flags & (SYN | RST) for segment in _own(seen))


def _opens_window(seen: Seen) -> bool:
    closed = False
    for segment in _own(seen):
        if closed and segment.window:
            return True
        closed = not segment.window and not segment.flags & (SYN | RST)
    return False


def _keepalive_probes(seen: Seen) -> Iterator[int]:
    """Where they are: an empty segment from the byte before the next, when all is acknowledged."""
    acked: int | None = None
    for at, (segment, own) in enumerate(seen):
        if not own and segment.flags & ACK:
            acked = segment.ack
        elif own and acked is not None and segment.end == (acked - 1) & 0xFFFF_FFFF and not segment.flags & RST:
            yield at


def _answers_keepalive(seen: Seen) -> bool:
    turned = [(segment, not own) for segment, own in seen]
    return any(any(own and segment.flags & ACK for segment, own in seen[at:]) for at in _keepalive_probes(turned))


def _data_after_fin(seen: Seen) -> bool:
    over = False
    for segment, own in seen:
        over = over or (not own and bool(segment.flags & FIN))
        if over and own and segment.size:
            return True
    return False


def _acks_syn_data(seen: Seen) -> bool:
    ends = {segment.end for segment, own in seen if not own and segment.flags & SYN and segment.size}
    return any(segment.flags & SYN and segment.ack in ends for segment in _own(seen))


_WORDS: Final[dict[str, Callable[..., bool]]] = {
    "rst": _rst,
    "fin": _flag(FIN),
    "urgent": lambda seen: any(segment.flags & URG and segment.urgent for segment in _own(seen)),
    "syn again": lambda seen: _again(seen, True),
    "again": lambda seen: _again(seen, False),
    "crossed syn": _crossed(SYN),
    "crossed fin": _crossed(FIN),
    "window probe": _window_probe,
    "zero window": _zero_window,
    "opens its window": _opens_window,
    "keepalive probe": lambda seen: any(True for _ in _keepalive_probes(seen)),
    "answers a keepalive probe": _answers_keepalive,
    "data after the other's fin": _data_after_fin,
    "asks for a cookie": lambda seen: any(s.flags & SYN and s.fast_open == b"" for s in _own(seen)),
    "gives a cookie": lambda seen: any(s.flags & SYN and s.flags & ACK and s.fast_open for s in _own(seen)),
    "data in its syn": lambda seen: any(s.flags & SYN and s.size and s.fast_open for s in _own(seen)),
    "acknowledges data of a syn": _acks_syn_data,
    "mss": lambda seen, mss: any(segment.flags & SYN and segment.mss == mss for segment in _own(seen)),
    "data of": lambda seen, most: max((segment.size for segment in _own(seen)), default=0) <= most,
    "signed": lambda seen: all(segment.signed for segment in _own(seen)),
}
