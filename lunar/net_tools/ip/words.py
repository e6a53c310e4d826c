"""The words of an ip(8) command, which have no dashes: `add 10.0.0.1/24 dev eth0 scope link`.

A keyword may be cut short where iproute2 takes that, as `pref` for `preference`. What is no keyword is refused with
those that would be; a value that is none with what it should have been.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from lunar.net_tools.errors import CommandError, parsed
from lunar.packet import AF_INET, AF_INET6
from lunar.wire.address import address_text, network_mask, parse_address

if TYPE_CHECKING:
    from lunar.host import Host
    from lunar.net.device import Device


@attrs.define
class Style:
    """The options before the object: which family, and how things are shown. `family` 0 is both."""

    family: int = 0
    statistics: int = 0
    details: int = 0
    oneline: bool = False
    brief: bool = False
    json: bool = False
    pretty: bool = False
    numeric: bool = False

    @property
    def end(self) -> str:
        """What is between the lines of one thing."""
        return "\\" if self.oneline else "\n"


class Words:
    """The words of one command, taken from the front. `what` begins its messages: "ip route add"."""

    def __init__(self, what: str, words: Sequence[str]) -> None:
        self.what = what
        self._words = list(words)
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._words)

    @property
    def rest(self) -> list[str]:
        """The words that are left."""
        return self._words[self._at :]

    @property
    def now(self) -> str:
        """The word that comes next, "" at the end."""
        return self._words[self._at] if self else ""

    def take(self, expected: str = "a value") -> str:
        """The next word. Raises `CommandError` if there is none."""
        if not self:
            before = self._words[self._at - 1] if self._at else self.what
            raise CommandError(f"{self.what}: {before}: {expected} is missing")
        self._at += 1
        return self._words[self._at - 1]

    def takes(self, *names: str, short: int = 0) -> bool:
        """Whether the next word is one of `names`, then it is taken; with `short` also cut to so many letters."""
        word = self.now
        if word in names or (short and len(word) >= short and any(name.startswith(word) for name in names)):
            self._at += 1
            return True
        return False

    @property
    def taken(self) -> str:
        """The word that was taken last."""
        return self._words[self._at - 1]

    def choose(self, names: Sequence[str], default: str = "") -> str:
        """The one of `names` that the next word is, or begins, and only one; `default` at the end."""
        if not self:
            return default
        word = self.now
        found = [name for name in names if name == word] or [name for name in names if name.startswith(word)]
        if not found:
            raise CommandError(f'{self.what}: "{word}" is not supported; expected {", ".join(names)}')
        self._at += 1
        return found[0]

    def refuse(self, expected: str) -> CommandError:
        """The next word is not known here."""
        return CommandError(f'{self.what}: "{self.now}" is not supported; expected {expected}')

    def end(self) -> None:
        """Nothing may be left."""
        if self:
            raise CommandError(f'{self.what}: "{self.now}" is more than is expected')

    # Values

    def number(self, what: str, smallest: int, largest: int, base: int = 0) -> int:
        """A number; `base` 0 takes 0x and the like."""
        word = self.take()
        value = parsed(lambda text: int(text, base), word, what)
        if not smallest <= value <= largest:
            raise CommandError(f"{self.what}: {what} {word}: expected {smallest} to {largest}")
        return value

    def device(self, host: Host) -> Device:
        """A device of the host's."""
        return device_named(host, self.take("a device"))

    def address(self, family: int, what: str = "address") -> int:
        """An address of `family` (0: either), as an integer."""
        return self.family_address(family, what)[1]

    def family_address(self, family: int, what: str = "address") -> tuple[int, int]:
        """The same with its family."""
        return _address(self.take("an address"), family, what)

    def prefix(self, family: int, what: str = "prefix") -> tuple[int, int, int]:
        """Family, address and prefix length of "10.0.0.0/8", "default", "10.0.0.1" (all of its bits)."""
        return parse_prefix(self.take("an address"), family, what)


def parse_prefix(word: str, family: int, what: str = "prefix") -> tuple[int, int, int]:
    """Family, address and prefix length. Raises `CommandError` in iproute2's words."""
    if word in ("default", "any", "all"):
        return family or AF_INET, 0, 0
    text, slash, length = word.partition("/")
    if family in (0, AF_INET) and ":" not in text and text.count(".") < 3 and text.replace(".", "").isdigit():
        text += ".0" * (3 - text.count("."))  # "10.1/16", as iproute2 completes it
    found, address = _address(text, family, what, word)
    bits = 32 if found == AF_INET else 128
    if not slash:
        return found, address, bits
    if length.isdigit() and int(length) <= bits:
        return found, address, int(length)
    if found == AF_INET and length.count(".") == 3:
        mask = _address(length, AF_INET, what, word)[1]
        for prefix in range(33):
            if network_mask(prefix) == mask:
                return found, address, prefix
    raise CommandError(f'Error: any valid {what} is expected rather than "{word}".')


def _address(text: str, family: int, what: str, word: str = "") -> tuple[int, int]:
    if text in ("default", "any", "all"):
        return family or AF_INET, 0
    try:
        found, address = parse_address(text)
    except ValueError:
        raise _invalid(family, what, word or text) from None
    if family and found != family:
        raise _invalid(family, what, word or text)
    if found == AF_INET6 and 1 < address < 1 << 32:
        raise CommandError(f"{address_text(found, address)} is in ::/96, which nobody uses; expected another address")
    return found, address


def _invalid(family: int, what: str, word: str) -> CommandError:
    kind = {AF_INET: "inet ", AF_INET6: "inet6 "}.get(family, "")
    return CommandError(f'Error: any valid {kind}{what} is expected rather than "{word}".')


def device_named(host: Host, name: str) -> Device:
    """The device of this name. Raises `CommandError` in iproute2's words."""
    found: Any = host.devices.get(name)
    if found is None:
        raise CommandError(f'Cannot find device "{name}"')
    device: Device = found
    return device
