"""The tables of a tapestry as they are written, one class for each, and how they are read: `structure()`.

Each key is known and each value of its type (readers.py) when that is done. What takes more than one key to see is
checked in expand.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from types import GenericAlias
from typing import Any, Final, NewType, TypeAlias, get_args

import attrs
from cattrs import BaseValidationError, Converter, ForbiddenExtraKeysError
from cattrs.cols import list_structure_factory
from cattrs.errors import AttributeValidationNote, IterableValidationNote
from cattrs.gen import make_dict_structure_fn, mapping_structure_factory, override

from weaves import readers
from weaves.clock import EPOCH_NS
from weaves.clock_plan import BEST_EFFORT, HARD_LIMIT, REAL, VIRTUAL, Clock, Late
from weaves.endpoints import Endpoint
from weaves.restart import When
from weaves.tapestry import Action, OnError, OnHang, QueueKind
from weaves.tapestry_errors import suggestion
from weaves.toml_source import TomlPath, TomlSource
from weaves.units import REORDER_BY_NS

_DEVICE: Final = re.compile(r"eth(?:0|[1-9][0-9]*)")
_TAP: Final = re.compile(r"(?:tap|tun)(?:0|[1-9][0-9]*)")

# A type names how a value is read; `_READERS` has the function for each.
Count = NewType("Count", int)
Duration = NewType("Duration", int)
DurationText = NewType("DurationText", str)
FileName = NewType("FileName", str)
EpochNs = NewType("EpochNs", int)
Patience = NewType("Patience", int)
Loss = NewType("Loss", float)
Burst = NewType("Burst", float)
Share = NewType("Share", float)
Span = NewType("Span", int)
Speed = NewType("Speed", float)
Mtu = NewType("Mtu", int)
QueueLimit = NewType("QueueLimit", tuple[int | None, int | None])
Rate = NewType("Rate", int)
LocalEndpoint = NewType("LocalEndpoint", Endpoint)
RemoteEndpoint = NewType("RemoteEndpoint", Endpoint)
Secret = NewType("Secret", str)
RestartDelay = NewType("RestartDelay", int)
Listen = NewType("Listen", tuple[str, int])
Forwards = NewType("Forwards", tuple[tuple[str, int, str, int], ...])
Setting = NewType("Setting", object)  # a number or a text
OneOrMore: TypeAlias = str | tuple[str, ...]
Arguments: TypeAlias = str | list[Any]


@attrs.frozen(slots=True)
class StringTable:
    run: str | None = None
    call: str | None = None
    args: Arguments = attrs.field(factory=list)
    kwargs: dict[str, Any] = attrs.field(factory=dict)
    start: DurationText | None = None
    stop: DurationText | None = None
    name: str | None = None
    background: bool = False
    on_error: OnError | None = None
    restart: When | None = None
    restart_delay: RestartDelay | None = None
    restart_limit: Count | None = None
    env: dict[str, str] = attrs.field(factory=dict)
    cwd: str | None = None


@attrs.frozen(slots=True)
class TapTable:
    address: OneOrMore = ()
    kernel: OneOrMore = ()
    device: str | None = None
    netns: str | None = None
    mtu: Mtu = Mtu(1500)
    up: bool = True


@attrs.frozen(slots=True)
class HostTable:
    count: Count | None = None
    net: OneOrMore = ()
    strings: tuple[StringTable, ...] = ()
    on_error: OnError | None = None
    names: tuple[str, ...] = ()
    stack: str | None = None
    files: dict[str, str] = attrs.field(factory=dict)
    devices: dict[str, OneOrMore] = attrs.field(factory=dict)  # no key of the file: it gathers eth0, eth1 ...
    taps: dict[str, TapTable] = attrs.field(factory=dict)  # nor is this: tap0, tun0 ...


@attrs.frozen(slots=True)
class KernelTable:
    netns: str | None = None
    net: OneOrMore = ()
    run: OneOrMore = ()
    background: OneOrMore = ()
    devices: dict[str, OneOrMore] = attrs.field(factory=dict)  # as in HostTable


@attrs.frozen(slots=True)
class ModuleTable:
    run: str | None = None
    module: str | None = None
    isolate: tuple[str, ...] | None = None
    share: tuple[str, ...] = ()


@attrs.frozen(slots=True)
class BeadTable:
    name: str | None = None
    module: str | None = None
    count: Count | None = None
    net: OneOrMore = ()
    names: tuple[str, ...] = ()
    stack: str | None = None
    files: dict[str, str] = attrs.field(factory=dict)
    devices: dict[str, OneOrMore] = attrs.field(factory=dict)  # as in HostTable


@attrs.frozen(slots=True)
class StackTable:
    based_on: str | None = None
    sysctl: dict[str, Setting] = attrs.field(factory=dict)
    rules: dict[str, Setting] = attrs.field(factory=dict)


@attrs.frozen(slots=True)
class WeaveTable:
    name: str | None = None
    count: Count | None = None
    beads: tuple[str, ...] = ()
    strings: tuple[StringTable, ...] = ()
    on_error: OnError | None = None


@attrs.frozen(slots=True)
class QueueTable:
    kind: QueueKind = "fifo"
    limit: QueueLimit = QueueLimit((1000, None))
    # Of "red" alone.
    min: QueueLimit | None = None
    max: QueueLimit | None = None
    probability: Share | None = None
    weight: Share | None = None
    ecn: bool | None = None


@attrs.frozen(slots=True)
class UdpTable:
    local: LocalEndpoint | None = None
    remote: RemoteEndpoint | None = None
    key: Secret | None = attrs.field(default=None, repr=False)
    key_file: str | None = None


@attrs.frozen(slots=True)
class LinkTable:
    name: str | None = None
    ends: tuple[str, ...] = ()
    rate: Rate | None = None
    delay: Duration = Duration(0)
    loss: Loss = Loss(0.0)
    loss_burst: Burst = Burst(1.0)
    reorder: Share = Share(0.0)
    reorder_by: Span = Span(REORDER_BY_NS)
    duplicate: Share = Share(0.0)
    corrupt: Share = Share(0.0)
    queue: QueueTable = QueueTable()
    mtu: Mtu | None = None
    arp: bool | None = None
    udp: UdpTable | None = None


@attrs.frozen(slots=True)
class EventTable:
    at: DurationText | None = None
    do: Action | None = None
    host: str | None = None
    weave: str | None = None
    signal: str | None = None
    link: str | None = None


@attrs.frozen(slots=True)
class TapestryTable:
    name: str | None = None
    seed: int = 1
    until: Duration | None = None
    on_error: OnError = "stop"
    network: str = "lunar"
    epoch: EpochNs = EpochNs(EPOCH_NS)
    watchdog: Patience | None = None
    on_hang: OnHang = "run"
    isolate: tuple[str, ...] | None = None
    arp: bool = False
    proxy: Listen | None = None
    forward: Forwards = Forwards(())
    gateway: str | None = None
    clock: Clock | None = None
    speed: Speed | None = None
    late: Late | None = None
    late_limit: Span | None = None
    busy_poll: Duration | None = None
    record: FileName | None = None


@attrs.frozen(slots=True)
class RootTable:
    tapestry: TapestryTable = TapestryTable()
    hosts: dict[str, HostTable] = attrs.field(factory=dict)
    kernels: dict[str, KernelTable] = attrs.field(factory=dict)
    stacks: dict[str, StackTable] = attrs.field(factory=dict)
    modules: dict[str, ModuleTable] = attrs.field(factory=dict)
    beads: tuple[BeadTable, ...] = ()
    weaves: tuple[WeaveTable, ...] = ()
    links: tuple[LinkTable, ...] = ()
    events: tuple[EventTable, ...] = ()


# Keys that are right in one table and often looked for in another.
_ELSEWHERE: Final[dict[tuple[type, str], str]] = {
    (BeadTable, "isolate"): "expected it in the [modules.NAME] that the bead is an instance of",
    (BeadTable, "share"): "expected it in the [modules.NAME] that the bead is an instance of",
    (BeadTable, "run"): "expected it in the [modules.NAME] that the bead is an instance of",
    (BeadTable, "strings"): "expected them in a [[weaves]] that has this bead",
    (ModuleTable, "args"): "expected them in the strings of [[weaves]]",
    (ModuleTable, "strings"): "expected them in [[weaves]]",
    (HostTable, "isolate"): "expected it in [modules.NAME] or [tapestry]",
    (HostTable, "share"): "expected it in [modules.NAME]",
    (StringTable, "isolate"): "expected it in [modules.NAME] or [tapestry]",
    (StringTable, "share"): "expected it in [modules.NAME]",
}


def structure(source: TomlSource) -> RootTable:
    """The tables of `source`, each key known, each value of its type. Raises `TapestryError` for the first mistake."""
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
            elsewhere = _ELSEWHERE.get((error.cl, key))
            yield (*path, key), f"unknown key; {elsewhere or suggestion(key, _keys_of(error.cl))}"
    else:
        yield path, str(error)


def _keys_of(table: type) -> list[str]:
    keys = [field.name for field in attrs.fields(table)]
    return [{"devices": "eth0", "taps": "tap0"}.get(key, key) for key in keys]


_READERS: Final[dict[Any, Callable[[Any], Any]]] = {
    str: readers.string,
    int: readers.integer,
    bool: readers.boolean,
    Arguments: readers.arguments,
    OneOrMore: readers.one_or_more,
    OnError: readers.one_of("stop", "continue", "restart"),
    When: readers.one_of("no", "on-failure", "always"),
    Action: readers.one_of(*get_args(Action)),
    RestartDelay: readers.restart_delay,
    OnHang: readers.one_of("string", "run"),
    Patience: readers.patience,
    QueueKind: readers.one_of("fifo", "red"),
    Clock: readers.one_of(VIRTUAL, REAL),
    Late: readers.one_of(BEST_EFFORT, HARD_LIMIT),
    Count: readers.count,
    Duration: readers.duration,
    DurationText: readers.duration_text,
    EpochNs: readers.epoch,
    FileName: readers.file_name,
    Loss: readers.loss,
    Burst: readers.burst,
    Share: readers.share,
    Span: readers.span,
    Speed: readers.speed,
    Mtu: readers.mtu,
    QueueLimit: readers.queue_limit,
    Rate: readers.rate,
    LocalEndpoint: readers.local_endpoint,
    RemoteEndpoint: readers.remote_endpoint,
    Secret: readers.secret,
    Listen: readers.listen,
    Forwards: readers.forwards,
    Setting: readers.setting,
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
        return lambda value, _: tuple(inner(readers.expect(value, list, what), kind))

    def mapping_hook(kind: Any, converter: Converter) -> _Hook:
        inner = mapping_structure_factory(kind, converter)
        return lambda value, _: inner(readers.expect(value, dict, "a table"), kind)

    def table_hook(kind: Any, converter: Converter) -> _Hook:
        fields = make_dict_structure_fn(kind, converter, devices=override(omit=True), taps=override(omit=True))
        return lambda value, _: fields(readers.expect(value, dict, "a table"), kind)

    converter.register_structure_hook_factory(_is_tuple, tuple_hook)
    converter.register_structure_hook_factory(_is_dict, mapping_hook)
    converter.register_structure_hook_factory(attrs.has, table_hook)
    queue_fields = table_hook(QueueTable, converter)

    def devices_hook(kind: Any) -> _Hook:
        """For a table that gathers eth0, eth1 ... in `devices`."""
        other_fields = table_hook(kind, converter)

        def hook(value: Any, _: Any) -> Any:
            table = readers.expect(value, dict, "a table")
            devices = {key: text for key, text in table.items() if _DEVICE.fullmatch(key)}
            taps = {key: item for key, item in table.items() if kind is HostTable and _TAP.fullmatch(key)}
            others = {key: item for key, item in table.items() if key not in devices and key not in taps}
            fields = attrs.evolve(
                other_fields(others, kind), devices=converter.structure(devices, dict[str, OneOrMore])
            )
            return attrs.evolve(fields, taps=converter.structure(taps, dict[str, TapTable])) if taps else fields

        return hook

    tap_fields = table_hook(TapTable, converter)

    def tap_hook(value: Any, _: Any) -> TapTable:
        if isinstance(value, str | list):  # short for { address = ... }
            return TapTable(address=converter.structure(value, OneOrMore))  # type: ignore[arg-type]
        fields: TapTable = tap_fields(readers.expect(value, dict, 'an address such as "10.9.0.1/24", or a table'), None)
        return fields

    def queue_hook(value: Any, _: Any) -> QueueTable:
        if isinstance(value, str):  # short for { limit = "..." }
            return QueueTable(limit=QueueLimit(readers.queue_limit(value)))
        table = readers.expect(value, dict, 'a limit such as "100 packets", or a table')
        fields: QueueTable = queue_fields(table, QueueTable)
        return fields

    for kind in (HostTable, BeadTable, KernelTable):
        converter.register_structure_hook(kind, devices_hook(kind))
    converter.register_structure_hook(QueueTable, queue_hook)
    converter.register_structure_hook(TapTable, tap_hook)
    return converter


_CONVERTER: Final = _converter()
