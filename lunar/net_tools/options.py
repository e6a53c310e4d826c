"""The options of a command line, as getopt(3) reads them: `-n -c 3`, `-nc3`, `--numeric`, operands in between.

For the tools that have options of this kind. What is not among them is refused by name. The tools of iproute2 have
words in place of options; for those see words.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lunar.net_tools.errors import CommandError


class Options:
    """What options a command line has. `operands` is what is left; `has("n")`, `text("c")`, `number("c", ...)` ask."""

    def __init__(self, tool: str, words: Sequence[str], letters: str, names: Mapping[str, str] | None = None) -> None:
        """Read `words`. `letters` are as getopt's: one with ":" takes a value; `names` are long options' letters.

        Raises `CommandError` for what is not known, and for a value that is missing.
        """
        self._tool = tool
        self.given: list[tuple[str, str]] = []
        self.operands: list[str] = []
        self._takes = {letter: letters[at + 1 : at + 2] == ":" for at, letter in enumerate(letters) if letter != ":"}
        self._names = names or {}
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if word == "--":
                self.operands += rest
                break
            if word.startswith("--"):
                self._long(word, rest)
            elif word.startswith("-") and len(word) > 1:
                self._short(word, rest)
            else:
                self.operands.append(word)

    def _long(self, word: str, rest: list[str]) -> None:
        name, equals, value = word[2:].partition("=")
        # As getopt_long(3): a beginning that only one of them has is enough.
        found = {self._names[one] for one in self._names if one == name} or {
            letter for one, letter in self._names.items() if one.startswith(name)
        }
        if len(found) != 1:
            raise self._unknown(f"--{name}")
        (letter,) = found
        if self._takes[letter] and not equals:
            value = self._value(word, rest)
        elif equals and not self._takes[letter]:
            raise CommandError(f"{self._tool}: --{name} takes no value")
        self.given.append((letter, value))

    def _short(self, word: str, rest: list[str]) -> None:
        at = 1
        while at < len(word):
            letter = word[at]
            at += 1
            if letter not in self._takes:
                raise self._unknown(f"-{letter}")
            value = ""
            if self._takes[letter]:
                value = word[at:] or self._value(f"-{letter}", rest)
                at = len(word)
            self.given.append((letter, value))

    def _value(self, option: str, rest: list[str]) -> str:
        if not rest:
            raise CommandError(f"{self._tool}: {option}: a value is missing")
        return rest.pop(0)

    def _unknown(self, option: str) -> CommandError:
        known = ", ".join(f"-{letter}" for letter in self._takes)
        return CommandError(f'{self._tool}: "{option}" is not supported; expected {known}')

    def has(self, letter: str) -> bool:
        """Whether the option is there."""
        return any(one == letter for one, _ in self.given)

    def text(self, letter: str, default: str = "") -> str:
        """Its value; of several the last."""
        return next((value for one, value in reversed(self.given) if one == letter), default)

    def number(
        self,
        letter: str,
        default: float,
        smallest: float,
        largest: float,
        parse: Callable[[str], float] = int,
    ) -> float:
        """The same as a number from `smallest` to `largest`. Raises `CommandError`."""
        if not self.has(letter):
            return default
        text = self.text(letter)
        try:
            value = parse(text)
        except ValueError:
            raise CommandError(f'{self._tool}: -{letter} "{text}" is not a number') from None
        if not smallest <= value <= largest:
            raise CommandError(f"{self._tool}: -{letter} {text}: expected {smallest} to {largest}")
        return value

    def integer(self, letter: str, default: int, smallest: int, largest: int) -> int:
        """The same as an integer."""
        return int(self.number(letter, default, smallest, largest))
