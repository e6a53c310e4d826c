"""The description of a run: what the TOML file says, checked, with every host spelled out.

`read()` is the way in. It goes through three forms: the text (toml_source.py), the tables as written (the `...Table`
classes here, one for each table of the file), and the descriptions (the `...Description` classes here), where groups
have become hosts and texts have become numbers. expand.py makes the last from the second.

All of it is frozen data. It knows no packets: what a queue kind or a line of `net` means is for the network that the
tapestry names. A mistake is a `TapestryError`; nothing here is half valid.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from types import GenericAlias
from typing import Any, Final, Literal, NewType, TypeAlias

import attrs
from cattrs import BaseValidationError, Converter, ForbiddenExtraKeysError
from cattrs.cols import list_structure_factory
from cattrs.errors import AttributeValidationNote, IterableValidationNote
from cattrs.gen import make_dict_structure_fn, mapping_structure_factory, override

from weaves.clock import EPOCH_NS
from weaves.tapestry_errors import TapestryError, Where
from weaves.toml_source import TomlPath, TomlSource
from weaves.units import LIMIT, parse_loss, parse_queue_limit, parse_rate, parse_wait

__all__ = [
    "BeadDescription",
    "DeviceDescription",
    "HostDescription",
    "LinkDescription",
    "ModuleDescription",
    "NetLine",
    "StringDescription",
    "Tapestry",
    "TapestryError",
    "WeaveDescription",
    "Where",
    "parse",
    "read",
]

OnError: TypeAlias = Literal["stop", "continue", "restart"]
QueueKind: TypeAlias = Literal["fifo", "red"]

# ip-link(8) takes 68 as the least MTU of an IPv4 device (RFC 791: every module must forward 68 bytes); 16 bits of
# length.
MTU_MIN: Final = 68
MTU_MAX: Final = 65535

_DEVICE: Final = re.compile(r"eth(?:0|[1-9][0-9]*)")


@attrs.frozen(slots=True)
class DeviceDescription:
    """A device of one host, with at least one address: IPv4, as a 32-bit int, and the prefix length."""

    name: str
    addresses: tuple[tuple[int, int], ...]


@attrs.frozen(slots=True)
class NetLine:
    """A line of `net`: a command of a net tool, stripped, never empty and no comment."""

    text: str
    where: Where


@attrs.frozen(slots=True)
class StringDescription:
    """A string to start: either `run`, the words of a program line, or `call`, "package.module:function".

    `weaves.programs.program_of` tells what the words of `run` name. Times count from the start of the run.
    """

    name: str
    run: tuple[str, ...] | None
    call: str | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    start_ns: int
    stop_ns: int | None
    background: bool
    on_error: OnError
    env: dict[str, str]
    cwd: str | None  # from the tapestry's folder; None: that folder
    where: Where


@attrs.frozen(slots=True)
class ModuleDescription:
    """A piece of code: a program, as the words of `run` without arguments, or an importable `module`; one is None.

    `isolate` has the top-level packages that get data of their own in a weave that uses the module; None: the
    application's code. `share` has the names that all beads of the module share, each NAME or "package.module:NAME".
    """

    name: str
    run: tuple[str, ...] | None
    module: str | None
    isolate: tuple[str, ...] | None
    share: tuple[str, ...]
    where: Where


@attrs.frozen(slots=True, eq=False)
class BeadDescription:
    """An instance of a module of the application. It is one thing in all weaves that name it, so compare by identity.

    The beads of the string of a host are implied: one a weave, with the weave's name.
    """

    name: str
    module: ModuleDescription
    where: Where


@attrs.frozen(slots=True, eq=False)
class WeaveDescription:
    """A program: beads of the application, the stack of `host` (its name), and the strings that run in it.

    No two of its beads are instances of the same code.
    """

    name: str
    host: str
    beads: tuple[BeadDescription, ...]
    strings: tuple[StringDescription, ...]
    where: Where


@attrs.frozen(slots=True)
class HostDescription:
    """A host. `group` is the NAME of its table [hosts.NAME], `index` its number there, 0 for a host that is alone.

    `strings` are those of its table, the short hand: each is in a weave of the tapestry, too.
    """

    name: str
    group: str
    index: int
    devices: tuple[DeviceDescription, ...]  # in the order of their numbers
    net: tuple[NetLine, ...]
    names: tuple[str, ...]
    strings: tuple[StringDescription, ...]
    where: Where


@attrs.frozen(slots=True)
class LinkDescription:
    """A link: two ends are a point-to-point link, more are a switch. An end is the name of a host and of its device.

    A queue is limited in packets or in bytes; the other limit is None. `rate_bps` is in bits per second, None is
    unlimited; `loss` is a probability from 0 to 1; `mtu` is in bytes.
    """

    name: str
    ends: tuple[tuple[str, str], ...]
    rate_bps: int | None
    delay_ns: int
    loss: float
    queue_kind: QueueKind
    queue_limit_packets: int | None
    queue_limit_bytes: int | None
    mtu: int
    where: Where


@attrs.frozen(slots=True)
class Tapestry:
    """A whole run. `epoch_ns` is the wall clock of the hosts at its start, in ns since 1970-01-01T00:00:00Z."""

    path: Path
    name: str
    seed: int
    until_ns: int | None  # None: until every string has ended
    on_error: OnError
    epoch_ns: int
    network: str
    hosts: tuple[HostDescription, ...]
    links: tuple[LinkDescription, ...]
    weaves: tuple[WeaveDescription, ...]  # those of the hosts' strings, then the explicit ones
    folder: Path  # absolute: where programs and modules are looked for


def read(path: str | os.PathLike[str]) -> Tapestry:
    """The tapestry in the TOML file at `path`. Raises `TapestryError` for whatever is wrong with it."""
    return _expanded(TomlSource.read(path))


def parse(text: str, path: str | os.PathLike[str]) -> Tapestry:
    """The tapestry in `text`, as if it stood in a file at `path`, which need not exist. Raises `TapestryError`."""
    return _expanded(TomlSource(text, Path(path)))


def _expanded(source: TomlSource) -> Tapestry:
    # expand.py builds the classes of this file, so it imports this one, and is imported here only when it is needed.
    from weaves.expand import expand

    try:
        return expand(source, structure(source))
    except RecursionError:
        raise TapestryError(str(source.path), None, "", "", "nested too deeply; expected a tapestry") from None


# The tables as written. A type below names how a value is read; `_READERS` has the function for each. Texts that may
# hold `{i}` stay texts here: they mean something only for a host.

Count = NewType("Count", int)
Duration = NewType("Duration", int)
DurationText = NewType("DurationText", str)
EpochNs = NewType("EpochNs", int)
Loss = NewType("Loss", float)
Mtu = NewType("Mtu", int)
QueueLimit = NewType("QueueLimit", tuple[int | None, int | None])
Rate = NewType("Rate", int)
OneOrMore: TypeAlias = str | tuple[str, ...]


@attrs.frozen(slots=True)
class StringTable:
    run: str | None = None
    call: str | None = None
    args: list[Any] = attrs.field(factory=list)
    kwargs: dict[str, Any] = attrs.field(factory=dict)
    start: DurationText | None = None
    stop: DurationText | None = None
    name: str | None = None
    background: bool = False
    on_error: OnError | None = None
    env: dict[str, str] = attrs.field(factory=dict)
    cwd: str | None = None


@attrs.frozen(slots=True)
class HostTable:
    count: Count | None = None
    net: OneOrMore = ()
    strings: tuple[StringTable, ...] = ()
    on_error: OnError | None = None
    names: tuple[str, ...] = ()
    devices: dict[str, OneOrMore] = attrs.field(factory=dict)  # no key of the file: it gathers eth0, eth1 ...


@attrs.frozen(slots=True)
class QueueTable:
    kind: QueueKind = "fifo"
    limit: QueueLimit = QueueLimit((1000, None))


@attrs.frozen(slots=True)
class LinkTable:
    name: str | None = None
    ends: tuple[str, ...] = ()
    rate: Rate | None = None
    delay: Duration = Duration(0)
    loss: Loss = Loss(0.0)
    queue: QueueTable = QueueTable()
    mtu: Mtu = Mtu(1500)


@attrs.frozen(slots=True)
class TapestryTable:
    name: str | None = None
    seed: int = 1
    until: Duration | None = None
    on_error: OnError = "stop"
    network: str = "lunar"
    epoch: EpochNs = EpochNs(EPOCH_NS)


@attrs.frozen(slots=True)
class RootTable:
    tapestry: TapestryTable = TapestryTable()
    hosts: dict[str, HostTable] = attrs.field(factory=dict)
    links: tuple[LinkTable, ...] = ()


# The explicit form of a tapestry. Its words are taken, so that a file that uses them is not told of unknown keys.
_RESERVED: Final = {"modules": "[modules]", "beads": "[[beads]]", "weaves": "[[weaves]]"}


def structure(source: TomlSource) -> RootTable:
    """The tables of `source`, each key known, each value of its type. Raises `TapestryError` for the first mistake."""
    for key, header in _RESERVED.items():
        if key in source.data:
            message = f"the explicit form with {header} is not there yet; expected hosts described by [hosts.NAME]"
            raise TapestryError(str(source.path), source.line(key), header, "", message)
    try:
        return _CONVERTER.structure(source.data, RootTable)
    except BaseValidationError as error:
        # The first in the file, where there are several: cattrs gathers by class, and has unknown keys in a set.
        mistakes = sorted(_mistakes(error, ()), key=lambda mistake: (source.line(*mistake[0]), str(mistake[0])))
        path, message = mistakes[0]
        raise source.where(*path).error(message) from None


def _mistakes(error: Exception, path: TomlPath) -> Iterator[tuple[TomlPath, str]]:
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            path = (*path, note.name)
        elif isinstance(note, IterableValidationNote):
            path = (*path, note.index)
    if isinstance(error, BaseValidationError):
        for inner in error.exceptions:
            yield from _mistakes(inner, path)
    elif isinstance(error, ForbiddenExtraKeysError):
        for key in error.extra_fields:
            yield (*path, key), "unknown key; " + suggestion(key, _keys_of(error.cl))
    else:
        yield path, str(error)


def _keys_of(table: type) -> list[str]:
    keys = [field.name for field in attrs.fields(table)]
    return ["eth0" if key == "devices" else key for key in keys]


def suggestion(word: str, known: list[str]) -> str:
    """What to say after an unknown `word`: the near miss, or what there is."""
    if near := difflib.get_close_matches(word, known, 1):
        return f'did you mean "{near[0]}"?'
    shown = sorted(known)[:12]
    return f"expected one of {', '.join(shown)}{' ...' if len(known) > len(shown) else ''}"


# Readers of values: a TOML value in, what its key means out, or a ValueError with what was expected.


def _expect(value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    # bool is an int to Python, not to TOML.
    if (isinstance(value, bool) and kind is not bool) or not isinstance(value, kind):
        raise ValueError(f"{_described(value)}; expected {what}")
    return value


def _described(value: Any) -> str:
    match value:
        case bool():
            return f"{str(value).lower()} is a boolean"
        case str():
            return f'"{value if len(value) <= 40 else value[:37] + "..."}" is a string'
        case int() | float():
            return f"{value} is {'an integer' if isinstance(value, int) else 'a number'}"
        case date() | time():
            return f"{value} is a date or time"
        case list():
            return "this is an array"
        case _:
            return "this is a table"


def _string(value: Any) -> str:
    return str(_expect(value, str, "a string"))


def _integer(value: Any) -> int:
    return int(_expect(value, int, "an integer"))


def _boolean(value: Any) -> bool:
    return bool(_expect(value, bool, "true or false"))


def _one_or_more(value: Any) -> OneOrMore:
    for item in _expect(value, (str, list), "a string or an array of strings"):
        _expect(item, str, "a string or an array of strings")
    return value if isinstance(value, str) else tuple(value)


def _duration_text(value: Any) -> str:
    if value == 0 and type(value) is int:  # zero needs no unit
        return "0"
    return str(_expect(value, str, 'a duration with a unit, such as "5ms"'))


def _duration(value: Any) -> int:
    return parse_wait(_duration_text(value))


def _count(value: Any) -> int:
    if _integer(value) < 1:
        raise ValueError(f"{value} is too few; expected a count of 1 or more")
    return int(value)


def _mtu(value: Any) -> int:
    if not MTU_MIN <= _integer(value) <= MTU_MAX:
        raise ValueError(f"{value} is out of range; expected an MTU of {MTU_MIN} to {MTU_MAX} bytes")
    return int(value)


def _rate(value: Any) -> int:
    return parse_rate(_expect(value, str, 'a rate with a unit, such as "100mbit"'))


def _loss(value: Any) -> float:
    return parse_loss(_expect(value, (str, int, float), 'a percentage such as "1%", or a number from 0 to 1'))


def _queue_limit(value: Any) -> tuple[int | None, int | None]:
    return parse_queue_limit(_expect(value, str, 'a limit with a unit, such as "100 packets" or "64 kb"'))


def _epoch(value: Any) -> int:
    expected = 'expected a date and time from 1970 to 2116, such as "2000-01-01T00:00:00Z"'
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f'"{value}" is not a date; {expected}') from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        raise ValueError(f"{_described(value)}; {expected}")
    # No zone is UTC: a virtual host has none of its own, and the machine's would differ from run to run.
    value = value if value.tzinfo else value.replace(tzinfo=UTC)
    # In integers: a float of seconds is too coarse for nanoseconds.
    epoch_ns = (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
    if not 0 <= epoch_ns < LIMIT:
        raise ValueError(f"{value.isoformat()} is out of range; {expected}")
    return int(epoch_ns)


def _one_of(*words: str) -> Callable[[Any], str]:
    expected = " or ".join(f'"{word}"' for word in words)

    def reader(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(f"{_described(value)}; expected {expected}")
        if value not in words:
            near = difflib.get_close_matches(value, words, 1)
            raise ValueError(
                f'"{value}" is not known; ' + (f'did you mean "{near[0]}"?' if near else f"expected {expected}")
            )
        return value

    return reader


_READERS: Final[dict[Any, Callable[[Any], Any]]] = {
    str: _string,
    int: _integer,
    bool: _boolean,
    list[Any]: lambda value: _expect(value, list, "an array"),
    OneOrMore: _one_or_more,
    OnError: _one_of("stop", "continue", "restart"),
    QueueKind: _one_of("fifo", "red"),
    Count: _count,
    Duration: _duration,
    DurationText: _duration_text,
    EpochNs: _epoch,
    Loss: _loss,
    Mtu: _mtu,
    QueueLimit: _queue_limit,
    Rate: _rate,
}


_Hook: TypeAlias = Callable[[Any, Any], Any]


def _is_tuple(kind: Any) -> bool:
    return isinstance(kind, GenericAlias) and kind.__origin__ is tuple


def _is_dict(kind: Any) -> bool:
    return isinstance(kind, GenericAlias) and kind.__origin__ is dict


def _converter() -> Converter:
    # cattrs converts where it can ("5" to 5, a text to a tuple of its characters). A file should say what it means,
    # so every kind of value has its check in front. The hook registered last is tried first.
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)

    converter.register_structure_hook_factory(
        lambda kind: kind in _READERS, lambda kind: lambda value, _: _READERS[kind](value)
    )
    for plain in (str, int, bool):
        converter.register_structure_hook(plain, lambda value, kind: _READERS[kind](value))

    def tuple_hook(kind: Any, converter: Converter) -> _Hook:
        inner = list_structure_factory(kind, converter)
        what = "an array of tables" if attrs.has(kind.__args__[0]) else "an array of strings"
        return lambda value, _: tuple(inner(_expect(value, list, what), kind))

    def mapping_hook(kind: Any, converter: Converter) -> _Hook:
        inner = mapping_structure_factory(kind, converter)
        return lambda value, _: inner(_expect(value, dict, "a table"), kind)

    def table_hook(kind: Any, converter: Converter) -> _Hook:
        fields = make_dict_structure_fn(kind, converter, devices=override(omit=True))
        return lambda value, _: fields(_expect(value, dict, "a table"), kind)

    converter.register_structure_hook_factory(_is_tuple, tuple_hook)
    converter.register_structure_hook_factory(_is_dict, mapping_hook)
    converter.register_structure_hook_factory(attrs.has, table_hook)
    host_fields = table_hook(HostTable, converter)
    queue_fields = table_hook(QueueTable, converter)

    def host_hook(value: Any, _: Any) -> HostTable:
        devices = {key: text for key, text in _expect(value, dict, "a table").items() if _DEVICE.fullmatch(key)}
        rest = {key: item for key, item in value.items() if key not in devices}
        fields: HostTable = host_fields(rest, HostTable)
        return attrs.evolve(fields, devices=converter.structure(devices, dict[str, OneOrMore]))

    def queue_hook(value: Any, _: Any) -> QueueTable:
        if isinstance(value, str):  # short for { limit = "..." }
            return QueueTable(limit=QueueLimit(_queue_limit(value)))
        fields: QueueTable = queue_fields(_expect(value, dict, 'a limit such as "100 packets", or a table'), QueueTable)
        return fields

    converter.register_structure_hook(HostTable, host_hook)
    converter.register_structure_hook(QueueTable, queue_hook)
    return converter


_CONVERTER: Final = _converter()
