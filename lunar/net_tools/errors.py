"""What a command says when it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from weaves.commands import CommandError

T = TypeVar("T")


def parsed(parse: Callable[[str], T], word: str, what: str) -> T:
    """`parse(word)`; CommandError that says `what` was expected when it raises ValueError."""
    try:
        return parse(word)
    except ValueError:
        raise CommandError(f'"{word}" is not {what}') from None


__all__ = ["CommandError", "parsed"]
