"""tc(8): the root queue of a device. What each kind does here is in queues.py.

A device of ours has one queue, that of its wire. So queues that schedule between flows or classes (fq_codel,
pfifo_fast, sfq, htb, prio ...) are refused, and so are classes, filters and actions; of `fq` there is the pacing, and
of `tbf` the rate without its burst.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from lunar.net.device import Device
from lunar.net_tools.errors import CommandError
from lunar.net_tools.ip.shown import Row, shown
from lunar.net_tools.ip.words import Style, Words, device_named
from lunar.net_tools.queues import Queue, install, queue_of, take_away, wire_of
from weaves.units import parse_loss, parse_rate, parse_size, parse_wait

if TYPE_CHECKING:
    from lunar.host import Host

_FIRST_HANDLE: Final = 0x8001
_ETHERNET_BYTES: Final = 14
_ACTIONS: Final = ("show", "list", "ls", "add", "replace", "change", "delete")
_KINDS: Final = ("pfifo", "bfifo", "fq", "red", "tbf", "netem", "noqueue")
_RATES: Final = ((10**9, "Gbit"), (10**6, "Mbit"), (10**3, "Kbit"))
_FQ_PACKETS: Final = 10_000
_NETEM_PACKETS: Final = 1000


def run(host: Host, words: list[str]) -> str:
    """`tc [-s] [-d] [-j [-p]] qdisc [show [dev DEV]]`, `tc qdisc add|replace|change|del dev DEV root [handle H:] KIND
    ...`.
    """
    style = Style()
    rest = list(words)
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        if word in ("-s", "-statistics", "-stats"):
            style.statistics = 1
        elif word in ("-d", "-details"):
            style.details = 1
        elif word in ("-j", "-json"):
            style.json = True
        elif word in ("-p", "-pretty"):
            style.pretty = True
        else:
            raise CommandError(f'tc: "{word}" is not supported; expected -s, -d, -j or -p')
    if not rest or not "qdisc".startswith(rest[0]):
        found = rest[0] if rest else ""
        raise CommandError(f'tc: "{found}" is not supported; expected qdisc: there are no classes and filters here')
    todo = Words("tc qdisc", rest[1:])
    action = todo.choose(_ACTIONS, "show")
    todo.what = f"tc qdisc {action}"
    if action in ("show", "list", "ls"):
        return _show(host, style, todo)
    _change(host, action, todo)
    return ""


def _change(host: Host, action: str, words: Words) -> None:
    if not words.takes("dev"):
        raise words.refuse("dev DEV root")
    device = words.device(host)
    if not words.takes("root"):
        raise words.refuse("root: a device has one queue here")
    handle = 0
    if words.takes("handle"):
        text = words.take("a handle").partition(":")[0]
        try:
            handle = int(text, 16)
        except ValueError:
            raise CommandError(f'invalid qdisc ID "{text}"') from None
    if action == "delete":
        words.end()
        if device.queue is None:
            raise CommandError("Error: Cannot delete qdisc with handle of zero.")
        take_away(device)
        return
    old = queue_of(device)
    kind = words.choose(_KINDS, old.kind if action == "change" else "")
    if not kind:
        raise CommandError(f"{words.what}: a kind of queue is missing; expected {', '.join(_KINDS)}")
    settings = _SETTINGS[kind](device, words)
    words.end()
    if action == "add" and device.queue is not None:
        raise CommandError("Error: Exclusivity flag on, cannot modify.")
    if action == "change" and device.queue is None:
        raise CommandError("Error: Qdisc not found. To create specify NLM_F_CREATE flag.")
    if kind == "noqueue":
        take_away(device)
        return
    install(host, device, Queue(kind, handle or (old.handle if old.kind == kind else _free_handle(host)), settings))


def _free_handle(host: Host) -> int:
    used = {queue_of(device).handle for device in host.devices.values()}
    handle = _FIRST_HANDLE
    while handle in used:
        handle += 1
    return handle


# What the kinds take


def _unit(words: Words, parse: Callable[[str], Any], what: str) -> Any:
    word = words.take()
    try:
        return parse(word)
    except ValueError:
        raise CommandError(f'Illegal "{what}": "{word}"') from None


def _bytes(words: Words, what: str) -> int:
    """A number of bytes: 10000, 32kb, and of tc's own units 32kbit, which is an eighth."""

    def parse(text: str) -> int:
        lower = text.lower().removesuffix("b") if text.lower().endswith("bb") else text.lower()
        if lower.isdigit():
            return int(lower)
        for suffix, size in (("kbit", 128), ("mbit", 131_072), ("gbit", 134_217_728)):
            if lower.endswith(suffix):
                return int(float(lower.removesuffix(suffix)) * size)
        return parse_size(lower if lower.endswith("b") else f"{lower}b")

    return int(_unit(words, parse, what))


def _pfifo(device: Device, words: Words) -> dict[str, Any]:
    limit = int(device.txqueuelen)
    while words:
        if not words.takes("limit"):
            raise words.refuse("limit")
        limit = words.number("limit", 0, 0x7FFF_FFFF, 10)
    return {"limit": limit}


def _bfifo(device: Device, words: Words) -> dict[str, Any]:
    limit = int(device.txqueuelen) * (int(device.mtu) + _ETHERNET_BYTES)
    while words:
        if not words.takes("limit"):
            raise words.refuse("limit")
        limit = _bytes(words, "limit")
    return {"limit": limit}


def _fq(device: Device, words: Words) -> dict[str, Any]:
    settings = {"limit": _FQ_PACKETS}
    while words:
        if words.takes("limit"):
            settings["limit"] = words.number("limit", 0, 0x7FFF_FFFF, 10)
        elif not words.takes("pacing"):
            raise words.refuse("limit or pacing")
    return settings


def _red(device: Device, words: Words) -> dict[str, Any]:
    found: dict[str, Any] = {"probability": 0.02, "ecn": False}
    average, burst = 0, 0
    while words:
        if words.takes("limit", "min", "max"):
            name = words.taken
            found[name] = _bytes(words, name)
        elif words.takes("avpkt"):
            average = _bytes(words, "avpkt")
        elif words.takes("burst"):
            burst = words.number("burst", 1, 0x7FFF_FFFF, 10)
        elif words.takes("probability"):
            found["probability"] = _unit(words, float, "probability")
        elif words.takes("bandwidth"):
            _unit(words, parse_rate, "bandwidth")  # how long an idle queue was: the wire knows its rate
        elif words.takes("ecn"):
            found["ecn"] = True
        else:
            raise words.refuse("limit, min, max, avpkt, burst, probability, bandwidth or ecn")
    if not found.get("limit") or not average:
        raise CommandError("Required parameter (limit, avpkt) is missing")
    found.setdefault("max", found.get("min", 0) * 3 or found["limit"] // 4)
    found.setdefault("min", found["max"] // 3)
    if not 0 < found["min"] <= found["max"] <= found["limit"] or not 0 <= found["probability"] <= 1:
        raise CommandError(f"{words.what}: red: expected 0 < min <= max <= limit, and a probability up to 1")
    burst = burst or (2 * found["min"] + found["max"]) // (3 * average)
    return found | {"weight": _weight(burst, found["min"] / average)}


def _weight(burst: int, least: float) -> float:
    """The weight of the newest length in the average, a power of two: the largest with which `burst` packets at once
    lift the average of an empty queue to no more than `least` packets (Floyd and Jacobson, 1993, section 5).
    """
    for power in range(1, 32):
        weight = 0.5**power
        if burst + 1 + ((1 - weight) ** (burst + 1) - 1) / weight <= least:
            return weight
    raise CommandError("RED: failed to calculate EWMA constant.")


def _tbf(device: Device, words: Words) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while words:
        if words.takes("rate"):
            found["rate"] = _unit(words, parse_rate, "rate")
        elif words.takes("burst", "buffer", "maxburst"):
            found["burst"] = _bytes(words, "burst")
        elif words.takes("limit"):
            found["limit"] = _bytes(words, "limit")
        elif words.takes("latency"):
            found["latency"] = _unit(words, parse_wait, "latency")
        else:
            raise words.refuse("rate, burst, latency or limit")
    if not found.get("rate") or not found.get("burst"):
        raise CommandError("Both \"rate\" and \"burst\" are required.")
    if "limit" not in found and "latency" not in found:
        raise CommandError('Either "limit" or "latency" is required.')
    if "limit" not in found:
        found["limit"] = found["rate"] * found["latency"] // 8_000_000_000 + found["burst"]
    found.setdefault("latency", max(0, found["limit"] - found["burst"]) * 8_000_000_000 // found["rate"])
    return found


def _netem(device: Device, words: Words) -> dict[str, Any]:
    found: dict[str, Any] = {"limit": _NETEM_PACKETS}
    while words:
        if words.takes("limit"):
            found["limit"] = words.number("limit", 1, 0x7FFF_FFFF, 10)
        elif words.takes("delay", "latency"):
            found["delay"] = _unit(words, parse_wait, "delay")
        elif words.takes("loss", "drop"):
            words.takes("random")
            found["loss"] = _unit(words, parse_loss, "loss percent")
        elif words.takes("duplicate"):
            found["duplicate"] = _unit(words, parse_loss, "duplicate")
        elif words.takes("corrupt"):
            found["corrupt"] = _unit(words, parse_loss, "corrupt")
        elif words.takes("rate"):
            found["rate"] = _unit(words, parse_rate, "rate")
        else:
            raise words.refuse("limit, delay (without jitter), loss, duplicate, corrupt or rate")
    return found


def _noqueue(device: Device, words: Words) -> dict[str, Any]:
    return {}


_SETTINGS: Final[dict[str, Callable[[Device, Words], dict[str, Any]]]] = {
    "pfifo": _pfifo, "bfifo": _bfifo, "fq": _fq, "red": _red, "tbf": _tbf, "netem": _netem, "noqueue": _noqueue,
}  # fmt: skip


# Showing


def _show(host: Host, style: Style, words: Words) -> str:
    devices = list(host.devices.values())
    one = words.takes("dev")
    if one:
        devices = [device_named(host, words.take("a device"))]
    words.end()
    rows = [_row(device, style, one) for device in devices]
    return shown(rows, style, lambda row: _text(row, style))


def _row(device: Device, style: Style, one: bool) -> Row:
    queue = queue_of(device)
    row: Row = {"kind": queue.kind, "handle": f"{queue.handle:x}:"}
    if not one:
        row["dev"] = device.name
    row |= {"root": True, "refcnt": 2, "options": _options(queue)}
    if style.statistics:
        wire = wire_of(device)
        packets = 0 if wire is None else int(wire.packets)
        size = 0 if wire is None else int(wire.bytes) + packets * _ETHERNET_BYTES
        row |= {"bytes": size, "packets": packets, "drops": 0 if wire is None else int(wire.dropped_queue)}
        row |= {"overlimits": 0, "requeues": 0, "backlog": 0, "qlen": 0}
    return row


def _options(queue: Queue) -> Row:
    settings = queue.settings
    if queue.kind == "tbf":
        return {"rate": settings["rate"] // 8, "burst": settings["burst"], "lat": settings["latency"] // 1000}
    if queue.kind == "netem":
        row: Row = {"limit": settings["limit"]}
        row |= {"delay": {"delay": settings["delay"] / 1e9}} if "delay" in settings else {}
        row |= {"loss-random": {"loss": settings["loss"]}} if "loss" in settings else {}
        for name in ("duplicate", "corrupt"):
            row |= {name: {name: settings[name]}} if name in settings else {}
        return row | ({"rate": {"rate": settings["rate"] // 8}} if "rate" in settings else {})
    if queue.kind == "red":
        return {name: settings[name] for name in ("limit", "min", "max", "ecn")}
    return dict(settings)


def _text(row: Row, style: Style) -> str:
    device = f"dev {row['dev']} " if "dev" in row else ""
    text = f"qdisc {row['kind']} {row['handle']} {device}root refcnt {row['refcnt']} "
    text += _told(row["kind"], row["options"])
    if style.statistics:
        text += f"\n Sent {row['bytes']} bytes {row['packets']} pkt (dropped {row['drops']}, overlimits 0 requeues 0) "
        text += "\n backlog 0b 0p requeues 0"
    return f"{text}\n"


def _told(kind: str, options: Row) -> str:
    if kind in ("pfifo", "fq"):
        return f"limit {options['limit']}p"
    if kind == "bfifo":
        return f"limit {_size(options['limit'])}"
    if kind == "red":
        ecn = "ecn " if options["ecn"] else ""
        return f"limit {_size(options['limit'])} min {_size(options['min'])} max {_size(options['max'])} {ecn}"
    if kind == "tbf":
        return f"rate {_rate(options['rate'] * 8)} burst {_size(options['burst'])} lat {_time(options['lat'] * 1000)} "
    if kind == "netem":
        text = f"limit {options['limit']}"
        text += f" delay {_time(round(options['delay']['delay'] * 1e9))}" if "delay" in options else ""
        text += f" loss {options['loss-random']['loss'] * 100:g}%" if "loss-random" in options else ""
        for name in ("duplicate", "corrupt"):
            text += f" {name} {options[name][name] * 100:g}%" if name in options else ""
        return text + (f" rate {_rate(options['rate']['rate'] * 8)}" if "rate" in options else "")
    return ""


def _size(count: int) -> str:
    """Bytes as tc writes them: 10000b, 4Kb."""
    if count and count % 1_048_576 == 0:
        return f"{count // 1_048_576}Mb"
    return f"{count // 1024}Kb" if count and count % 1024 == 0 else f"{count}b"


def _rate(bits: int) -> str:
    for size, unit in _RATES:
        if bits >= size and bits % size == 0:
            return f"{bits // size}{unit}"
    return f"{bits}bit"


def _time(ns: int) -> str:
    if ns >= 1_000_000_000:
        return f"{ns / 1e9:g}s"
    return f"{ns / 1e6:g}ms" if ns >= 1_000_000 else f"{ns / 1e3:g}us"
