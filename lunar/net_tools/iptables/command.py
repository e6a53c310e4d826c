"""The command line of iptables and ip6tables, read as getopt_long(3) and iptables' own rules read it.

The outcome is a `Command`: what is to be done, to which table and chain, and with which rules. Nothing of a host is
looked at but which chains the table has, because `-j NAME` means a chain before it means a target.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from lunar.net_tools.iptables import names, registry
from lunar.net_tools.iptables.address import no_names, parse_network
from lunar.net_tools.iptables.errors import ParameterProblem
from lunar.net_tools.iptables.option import Extension, Option
from lunar.net_tools.iptables.spec import Spec
from lunar.netfilter import rule as run
from lunar.packet import AF_INET

# Letters of the commands with their long names, and how many words they take: chain, then rule number or name.
_COMMANDS: Final = {
    "append": "A", "check": "C", "delete": "D", "replace": "R", "insert": "I", "list": "L", "list-rules": "S",
    "flush": "F", "zero": "Z", "new-chain": "N", "delete-chain": "X", "rename-chain": "E", "policy": "P", "new": "N",
}  # fmt: skip
_NEEDS_CHAIN: Final = "ACDRINEP"
_MAY_HAVE_CHAIN: Final = "LSFZX"
_OPTIONS: Final = {
    "source": "s", "destination": "d", "src": "s", "dst": "d", "protocol": "p", "in-interface": "i", "jump": "j",
    "table": "t", "match": "m", "numeric": "n", "out-interface": "o", "verbose": "v", "wait": "w",
    "wait-interval": "W", "exact": "x", "fragments": "f", "version": "V", "help": "h", "line-numbers": "0",
    "modprobe": "M", "set-counters": "c", "goto": "g", "ipv4": "4", "ipv6": "6",
}  # fmt: skip
_WITH_ARGUMENT: Final = "sdpijtmoMcgW"
# What each command does not take, by the letters of options.
_ILLEGAL: Final = {
    "A": "nx0", "I": "nx0", "R": "nx0", "D": "nx0c", "C": "nx0c", "L": "sdpjiocf", "S": "nsdpjxio0cf",
    "F": "nsdpjxio0cf", "Z": "nsdpjxio0cf", "N": "nsdpjxio0cf", "X": "nsdpjxio0cf", "E": "nsdpjxio0cf",
    "P": "nsdpjxio0f",
}  # fmt: skip
_ORDER: Final = "nsdpjvxio0cf"
_MOST_NAME: Final = 28
_MOST_DEVICE: Final = 15
_TABLES: Final = ("raw", "mangle", "nat", "filter")


@attrs.define
class Command:
    """What one command line asks for. `letter` is the command's; `number` a rule's from 1 on, 0 for none."""

    family: int
    letter: str = ""
    table: str = "filter"
    chain: str | None = None
    number: int = 0
    name: str = ""  # the new name, or the policy
    specs: list[Spec] = attrs.field(factory=list)
    numeric: bool = False
    verbose: int = 0
    exact: bool = False
    line_numbers: bool = False
    zero: bool = False  # -L -Z: and set the counters to zero
    version: bool = False
    help: bool = False
    counters: tuple[int, int] | None = None


class _Words:
    """The words of the command line that have not been read yet."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.at = 0

    def more(self) -> bool:
        return self.at < len(self.words)

    def next(self) -> str:
        self.at += 1
        return self.words[self.at - 1]

    def free(self) -> str | None:
        """The next word if it can be an argument that may be left out."""
        if self.more() and self.words[self.at][:1] not in ("-", "!"):
            return self.next()
        return None


class Parser:
    """Reads one command line. `has_chain` tells whether the table of a name has a chain of a name, `lookup` gives the
    addresses of a host's name.
    """

    def __init__(
        self, family: int, has_chain: Callable[[str, str], bool], lookup: Callable[[str], list[int]] = no_names
    ) -> None:
        self._lookup = lookup
        self.command = Command(family)
        self._has_chain = has_chain
        self._spec = Spec(family)
        self._sources: list[tuple[int, int]] = [(0, 0)]
        self._destinations: list[tuple[int, int]] = [(0, 0)]
        self._seen: set[str] = set()
        self._extensions: list[Extension] = []  # the newest last: their options are looked for first
        self._protocol_name = ""
        self._protocol_tried = False
        self._inverted = False
        self._inverts_many = False

    def parse(self, words: list[str], table: str | None = None) -> Command:
        """Read all words. `table` is that of iptables-restore, which takes no -t."""
        rest = _Words(words)
        if table is not None:
            self.command.table = table
        for at, word in enumerate(words[:-1]):  # a chain that -j names is looked for in the table that -t names
            if word in ("-t", "--table"):
                self.command.table = words[at + 1]
        while rest.more():
            word = rest.next()
            if word == "!":
                if self._inverted:
                    raise ParameterProblem("multiple consecutive ! not allowed")
                self._inverted = True
                continue
            if word.startswith("--") and len(word) > 2:
                self._long(word[2:], rest)
            elif word.startswith("-") and len(word) > 1:
                self._letters(word[1:], rest)
            else:
                raise ParameterProblem(f"Bad argument `{word}'")
            self._inverted = False
        self._finish()
        return self.command

    # Options

    def _letters(self, letters: str, rest: _Words) -> None:
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in "sdpijtmoMcgW" or letter in _NEEDS_CHAIN:
                self._one(letter, self._argument(letters, rest, f"-{letter}"), rest)
                return
            if letter in _MAY_HAVE_CHAIN:
                self._one(letter, letters or rest.free(), rest)
                return
            if letter == "w":
                if not letters and rest.more() and rest.words[rest.at].isdigit():
                    rest.next()
                return
            if letter not in "nvxfVh46b0" or letter == "0":
                raise ParameterProblem(f'unknown option "-{letter}"')
            self._one(letter, None, rest)

    @staticmethod
    def _argument(attached: str, rest: _Words, option: str) -> str:
        if attached:
            return attached
        if not rest.more():
            raise ParameterProblem(f'option "{option}" requires an argument')
        return rest.next()

    def _long(self, text: str, rest: _Words) -> None:
        name, equals, attached = text.partition("=")
        found = self._find(name)
        if found is None and self._bring_protocol():
            found = self._find(name)
        if found is None:
            raise ParameterProblem(f'unknown option "--{name}"')
        if isinstance(found, str):
            if found in _WITH_ARGUMENT or found in _NEEDS_CHAIN:
                self._one(found, self._argument(attached if equals else "", rest, f"--{name}"), rest)
            elif found in _MAY_HAVE_CHAIN:
                self._one(found, attached if equals else rest.free(), rest)
            elif found == "w":
                if not equals and rest.more() and rest.words[rest.at].isdigit():
                    rest.next()
            else:
                self._one(found, None, rest)
            return
        extension, option = found
        argument = ""
        if option.parse is not None:
            argument = attached if equals else self._argument("", rest, f"--{name}")
            if option.words == 2:
                second = rest.free()
                argument += " " + second if second is not None else ""
        extension.rule_protocol = self._spec.protocol
        extension.rule_protocol_inverted = bool(self._spec.inverted & run.NOT_PROTOCOL)
        extension.accept(option, argument, self._inverted)

    def _find(self, name: str) -> str | tuple[Extension, Option] | None:
        """The option of this name, or the only one that begins so."""
        begun: list[str | tuple[Extension, Option]] = []
        seen: set[object] = set()
        for extension in reversed(self._extensions):
            for option in extension.options:
                if option.name == name:
                    return extension, option
                if option.name.startswith(name) and (extension.name, option.id) not in seen:
                    seen.add((extension.name, option.id))
                    begun.append((extension, option))
        for long, letter in (*_COMMANDS.items(), *_OPTIONS.items()):
            if long == name:
                return letter
            if long.startswith(name) and letter not in seen:
                seen.add(letter)
                begun.append(letter)
        return begun[0] if len(begun) == 1 else None

    def _bring_protocol(self) -> bool:
        """`-p tcp --dport 80` brings along `-m tcp`, if it has not been named."""
        if not self._protocol_name or self._protocol_tried or self._spec.inverted & run.NOT_PROTOCOL:
            return False
        self._protocol_tried = True
        match = registry.match_of_protocol(self._protocol_name, self.command.family)
        if match is None or any(known.name == match.name for known in self._spec.matches):
            return False
        self._add(match)
        return True

    def _add(self, match: object) -> None:
        from lunar.net_tools.iptables.option import MatchExtension

        assert isinstance(match, MatchExtension), "targets are kept elsewhere"
        self._spec.matches.append(match)
        self._extensions.append(match)

    def _one(self, letter: str, argument: str | None, rest: _Words) -> None:
        if letter in "ACDRINEPLSFZX":
            self._set_command(letter, argument, rest)
            return
        inverted = self._inverted
        if letter in _ORDER and letter != "v":
            if letter in self._seen and letter != "n":
                raise ParameterProblem(f"multiple -{letter} flags not allowed")
            self._seen.add(letter)
        if inverted and letter not in "sdpiof":
            raise ParameterProblem(f"cannot have ! before -{letter}")
        handler = {
            "s": self._source, "d": self._destination, "p": self._protocol, "i": self._in, "o": self._out,
            "j": self._jump, "g": self._goto, "m": self._match, "c": self._counters, "t": self._table,
        }.get(letter)  # fmt: skip
        if letter == "c":
            self._counters(argument or "", rest)
        elif handler is not None:
            handler(argument or "")  # type: ignore[operator]
        elif letter == "f":
            if self.command.family != AF_INET:
                raise ParameterProblem("`-f' is not supported in IPv6, use -m frag instead")
            self._spec.fragment = True
            self._invert(run.NOT_FRAGMENT)
        elif letter == "n":
            self.command.numeric = True
        elif letter == "v":
            self.command.verbose += 1
        elif letter == "x":
            self.command.exact = True
        elif letter == "0":
            self.command.line_numbers = True
        elif letter == "V":
            self.command.version = True
        elif letter == "h":
            self.command.help = True
        elif letter in "46":
            if (letter == "4") != (self.command.family == AF_INET):
                raise ParameterProblem(f"The -{letter} option is not supported by this tool")

    def _invert(self, bit: int) -> None:
        if self._inverted:
            self._spec.inverted |= bit

    def _set_command(self, letter: str, argument: str | None, rest: _Words) -> None:
        command = self.command
        if command.letter and {command.letter, letter} != {"L", "Z"}:
            raise ParameterProblem(f"Cannot use -{letter} with -{command.letter}")
        if command.letter:
            command.zero = True
            command.letter = "L"
            command.chain = command.chain if argument is None else argument
            return
        if self._inverted:
            raise ParameterProblem(f"cannot have ! before -{letter}")
        command.letter = letter
        command.chain = argument
        if letter == "N":
            _check_chain_name(argument or "")
        if letter in "DIRLSZ" and argument is not None:
            number = rest.free()
            if number is None:
                if letter == "R":
                    raise ParameterProblem("-R requires a rule number")
                command.number = 1 if letter == "I" else 0
            else:
                value = names.parse_number(number, 1, 0x7FFF_FFFF)
                if value is None:
                    raise ParameterProblem(f"Invalid rule number `{number}'")
                command.number = value
        elif letter in "EP":
            second = rest.free()
            if second is None:
                raise ParameterProblem(
                    "-E requires old-chain-name and new-chain-name" if letter == "E"
                    else "-P requires a chain and a policy"
                )  # fmt: skip
            command.name = second
            if letter == "E" and len(second) > _MOST_NAME:
                raise ParameterProblem(f"chain name `{second}' too long (must be under {_MOST_NAME + 1} chars)")

    def _table(self, name: str) -> None:
        self.command.table = name

    def _source(self, text: str) -> None:
        self._sources = parse_network(self.command.family, text, self._lookup)
        self._invert(run.NOT_SRC)
        self._inverts_many = self._inverts_many or (self._inverted and len(self._sources) > 1)

    def _destination(self, text: str) -> None:
        self._destinations = parse_network(self.command.family, text, self._lookup)
        self._invert(run.NOT_DST)
        self._inverts_many = self._inverts_many or (self._inverted and len(self._destinations) > 1)

    def _protocol(self, text: str) -> None:
        number = names.protocol_number(text)
        self._spec.protocol = number
        self._invert(run.NOT_PROTOCOL)
        if number == 0 and self._inverted:
            raise ParameterProblem("rule would never match protocol")
        self._protocol_name = names.protocol_name(number) if number else ""

    def _in(self, name: str) -> None:
        self._spec.in_name = _device(name)
        self._invert(run.NOT_IN)

    def _out(self, name: str) -> None:
        self._spec.out_name = _device(name)
        self._invert(run.NOT_OUT)

    def _match(self, name: str) -> None:
        self._add(registry.new_match(name, self.command.family))

    def _jump(self, name: str) -> None:
        self._spec.verdict = name
        if name in registry.STANDARD or self._has_chain(self.command.table, name):
            return
        target = registry.new_target(name, self.command.family)
        self._spec.verdict = ""
        self._spec.target = target
        self._extensions.append(target)

    def _goto(self, name: str) -> None:
        if "j" in self._seen:
            raise ParameterProblem("multiple -j flags not allowed")
        self._seen.add("j")
        if not self._has_chain(self.command.table, name):
            raise ParameterProblem(f"goto '{name}' is not a chain")
        self._spec.verdict, self._spec.goes = name, True

    def _counters(self, packets: str, rest: _Words) -> None:
        octets = rest.free()
        if octets is None:
            raise ParameterProblem("-c requires packet and byte counter")
        for text in (packets, octets):
            if not text.isdigit():
                which = "packet" if text is packets else "byte"
                raise ParameterProblem(f"-c {which} counter not numeric")
        self.command.counters = int(packets), int(octets)

    # The end

    def _finish(self) -> None:
        command, spec = self.command, self._spec
        if command.version or command.help:
            return
        if self._inverts_many:
            raise ParameterProblem("! not allowed with multiple source or destination IP addresses")
        spec.finish()
        if not command.letter:
            raise ParameterProblem("no command specified")
        if command.table == "nat" and spec.verdict == "DROP":
            raise ParameterProblem(
                '\nThe "nat" table is not intended for filtering, the use of DROP is therefore inhibited.\n\n'
            )
        for letter in _ORDER:
            if letter in self._seen and letter in _ILLEGAL[command.letter]:
                raise ParameterProblem(f"Illegal option `-{letter}' with this command")
        if command.letter == "D" and command.number:
            for letter in _ORDER:
                if letter in self._seen:
                    raise ParameterProblem(f"Illegal option `-{letter}' with this command")
            return
        if command.letter in "ACDRI":
            self._check_devices(command.chain or "", spec)
            if command.counters is not None:
                spec.packets, spec.bytes = command.counters
            command.specs = [
                attrs.evolve(spec, src=source, dst=destination)
                for source in self._sources
                for destination in self._destinations
            ]
            if command.letter == "R" and len(command.specs) != 1:
                raise ParameterProblem("Replacement rule does not specify a unique address")

    @staticmethod
    def _check_devices(chain: str, spec: Spec) -> None:
        if chain in ("PREROUTING", "INPUT") and spec.out_name:
            raise ParameterProblem(f"Can't use -o with {chain}\n")
        if chain in ("POSTROUTING", "OUTPUT") and spec.in_name:
            raise ParameterProblem(f"Can't use -i with {chain}\n")


def _check_chain_name(name: str) -> None:
    if name.startswith(("-", "!")):
        raise ParameterProblem(f"chain name not allowed to start with `{name[0]}'")
    if len(name) > _MOST_NAME:
        raise ParameterProblem(f"chain name `{name}' too long (must be under {_MOST_NAME + 1} chars)")
    if registry.is_target(name):
        raise ParameterProblem("chain name may not clash with target name")
    if any(char.isspace() for char in name):
        raise ParameterProblem(f"Invalid chain name `{name}'")


def _device(name: str) -> str:
    if not name:
        raise ParameterProblem("Empty interface is likely to be undesired")
    if len(name) > _MOST_DEVICE:
        raise ParameterProblem(f"interface name `{name}' must be shorter than IFNAMSIZ ({_MOST_DEVICE})")
    return "" if name == "+" else name


TABLES: Final = _TABLES
