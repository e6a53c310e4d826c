"""`-m limit`, `hashlimit`, `statistic` as text.

Rates are kept as the kernel keeps them, as a time in units of a 10,000th (limit) or a millionth (hashlimit) of a
second, so that what is printed back is rounded as there: 700/sec becomes 714/sec.
"""

from __future__ import annotations

from typing import Final

from lunar.net_tools.iptables import names
from lunar.net_tools.iptables.errors import ParameterProblem, Refused
from lunar.net_tools.iptables.option import Extension, MatchExtension, Option, anything, uint
from lunar.netfilter import match_rate as run
from lunar.netfilter.netfilter import Netfilter
from lunar.netfilter.rule import Match

_UNITS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
# How a unit is printed.
_PRINTED: Final = (("sec", 1), ("min", 60), ("hour", 3600), ("day", 86400))
_LIMIT_SCALE: Final = 10_000
_HASH_SCALE: Final = 1_000_000
_ALL_BITS: Final = 0xFFFF_FFFF_FFFF_FFFF
_DEFAULT_BURST: Final = 5
_DEFAULT_RATE: Final = "3/hour"
_BYTES_EXPIRE_S: Final = 15
_MODES: Final = {
    "srcip": run.BY_SOURCE, "srcport": run.BY_SOURCE_PORT, "dstip": run.BY_DESTINATION,
    "dstport": run.BY_DESTINATION_PORT,
}  # fmt: skip
_DEFAULT_ROOM: Final = 65_536
_MOST_CREDIT_NS: Final = 1 << 62
_PROBABILITY_ONE: Final = 0x8000_0000


def _rate(text: str, scale: int) -> tuple[int, int] | None:
    """(time of one packet in units of 1/scale s, seconds of the rate's unit); None if it is no rate."""
    number, slash, unit = text.partition("/")
    seconds = 1
    if slash:
        found = [length for name, length in _UNITS.items() if unit and name.startswith(unit.lower())]
        if not found:
            return None
        seconds = found[0]
    count = _leading_number(number)
    if count == 0:
        return None
    if count // seconds > scale:
        raise ParameterProblem(f'Rate too fast "{text}"')
    period = scale * seconds // count
    return (period, seconds) if period else None


def _leading_number(text: str) -> int:
    """What atoi(3) makes of `text`."""
    digits = ""
    for char in text:
        if not char.isdigit():
            break
        digits += char
    return int(digits or 0)


def _rate_text(period: int, scale: int) -> str:
    """The rate in the unit of `_unit`."""
    name, seconds = _unit(period, scale)
    return f"{scale * seconds // period}/{name}"


def _unit(period: int, scale: int) -> tuple[str, int]:
    """The first unit, from seconds up, in which a rate is a whole number or nearly so: its name, its seconds."""
    for name, seconds in _PRINTED[:-1]:
        whole = scale * seconds
        if period <= whole and whole // period >= whole % period:
            return name, seconds
    return _PRINTED[-1]


class Limit(MatchExtension):
    """`-m limit`."""

    name = "limit"
    options = (
        Option("limit", "limit", anything),
        Option("limit-burst", "burst", uint(0, 10_000)),
    )

    def accept(self, option: Option, text: str, inverted: bool) -> None:
        super().accept(option, text, inverted)
        if option.id == "limit" and _rate(text, _LIMIT_SCALE) is None:
            raise ParameterProblem(f"bad rate \"{text}\"'")

    def _period(self) -> int:
        found = _rate(self.get("limit", _DEFAULT_RATE), _LIMIT_SCALE)
        assert found is not None, "it was checked when it came"
        return found[0]

    def refuse(self, points: int, table: str) -> None:
        if self.get("burst", _DEFAULT_BURST) == 0:
            raise Refused("Numerical result out of range.")

    def save(self) -> str:
        burst = self.get("burst", _DEFAULT_BURST)
        text = f" --limit {_rate_text(self._period(), _LIMIT_SCALE)}"
        return text if burst == _DEFAULT_BURST else f"{text} --limit-burst {burst}"

    def show(self, numeric: bool) -> str:
        return (
            f" limit: avg {_rate_text(self._period(), _LIMIT_SCALE)} burst {self.get('burst', _DEFAULT_BURST)}"
        )

    def build(self, netfilter: Netfilter) -> Match:
        period_ns = self._period() * (1_000_000_000 // _LIMIT_SCALE)
        return run.LimitMatch(period_ns, self.get("burst", _DEFAULT_BURST), netfilter.ip.scheduler.now_ns)


def _mode(extension: Extension, option: Option, text: str) -> int:
    bits = 0
    for word in text.split(","):
        if word not in _MODES:
            raise ParameterProblem(f'hashlimit: Bad value for "--hashlimit-mode" option: "{text}"')
        bits |= _MODES[word]
    return bits


def _bytes_cost(text: str) -> int | None:
    """The cost of 16 bytes for a rate as 4kb/s, as the kernel keeps it; None if the text is no rate of bytes."""
    lower, slash, unit = text.lower().partition("/")
    value = _size(lower)
    if value is None or not slash or not unit or not "second".startswith(unit):
        return None
    chunks = value >> 4
    if chunks == 0:
        raise ParameterProblem(f'Rate too slow "{text}"')
    return _ALL_BITS // chunks


def _size(text: str) -> int | None:
    """`5b`, `5kb`, `5mb`."""
    for suffix, factor in (("kb", 1024), ("mb", 1024 * 1024), ("b", 1)):
        if text.endswith(suffix) and text[: -len(suffix)].isdigit():
            return int(text[: -len(suffix)]) * factor
    return None


def _bytes_of(cost: int) -> int:
    return (_ALL_BITS // cost if cost else _ALL_BITS) << 4


def _exact_text(count: int) -> str:
    """A rate in the largest unit that divides it."""
    if count >= 1024 * 1024 and count % (1024 * 1024) == 0:
        return f"{count >> 20}mb"
    if count >= 1024 and count % 1024 == 0:
        return f"{count >> 10}kb"
    return f"{count}b"


def _rough_text(count: int) -> str:
    """A burst in the largest unit that it fills, and nothing of the rest."""
    if count >= 1024 * 1024:
        return f"{count >> 20}mb"
    return f"{count >> 10}kb" if count >= 1024 else f"{count}b"


class HashLimit(MatchExtension):
    """`-m hashlimit`. `period` is the time of a packet in millionths of a second, or the cost of 16 bytes."""

    name = "hashlimit"
    options = (
        Option("hashlimit-upto", "rate", anything, invert=True),
        Option("hashlimit-above", "rate", anything, invert=True),
        Option("hashlimit", "rate", anything, invert=True),
        Option("hashlimit-srcmask", "srcmask", uint(0, 128)),
        Option("hashlimit-dstmask", "dstmask", uint(0, 128)),
        Option("hashlimit-burst", "burst", anything),
        Option("hashlimit-htable-size", "size", uint()),
        Option("hashlimit-htable-max", "max", uint()),
        Option("hashlimit-htable-gcinterval", "gcinterval", uint()),
        Option("hashlimit-htable-expire", "expire", uint()),
        Option("hashlimit-mode", "mode", _mode),
        Option("hashlimit-name", "name", anything, must=True),
        Option("hashlimit-rate-match", "rate-match", None),
        Option("hashlimit-rate-interval", "interval", uint(1), also=("rate-match",)),
    )

    def __init__(self, family: int) -> None:
        super().__init__(family)
        self.above = False
        self.in_bytes = False
        self.period = 0
        self.burst = _DEFAULT_BURST
        self.seconds = 1

    def accept(self, option: Option, text: str, inverted: bool) -> None:
        super().accept(option, text, inverted)
        if option.id == "rate":
            self.above = (option.name == "hashlimit-above") != inverted
            cost = _bytes_cost(text)
            if cost is not None:
                self.in_bytes, self.period, self.seconds = True, cost, _BYTES_EXPIRE_S
                return
            rate = _rate(text, _HASH_SCALE)
            if rate is None:
                raise ParameterProblem(f'hashlimit: Bad value for "--{option.name}" option: "{text}"')
            self.period, self.seconds = rate
        elif option.id in ("srcmask", "dstmask") and int(self.values[option.id]) > self._bits():
            raise ParameterProblem(
                f'hashlimit: bad value for option "--{option.name}", or out of range (0-{self._bits()}).\n'
            )

    def _bits(self) -> int:
        return 32 if self.family == 2 else 128

    def check(self) -> None:
        if "rate" not in self.values:
            raise ParameterProblem("You have to specify --hashlimit")
        burst = self.get("burst")
        if self.in_bytes:
            self.burst = 0
            if burst is not None:
                size = _size(burst.lower())
                if size is None and burst.isdigit():
                    size = int(burst)
                rate = _bytes_of(self.period)
                if size is None or size < rate:
                    raise ParameterProblem(f"burst cannot be smaller than {rate}b")
                self.burst = (size + rate - 1) // rate
        elif burst is not None:
            value = _size(burst.lower()) or names.parse_number(burst, 1, 1_000_000)
            if value is None:
                raise ParameterProblem('bad value for option "--hashlimit-burst", or out of range (1-1000000).')
            self.burst = value
        if "rate-match" in self.values and not self.in_bytes:
            # What is counted is packets in an interval: the unit of the rate does not matter, as in the real tool.
            self.period = _HASH_SCALE // (_HASH_SCALE * self.seconds // self.period)

    def _rate_text(self, period: int) -> str:
        if self.in_bytes:
            return _exact_text(_bytes_of(self.period)) + "/s"
        return _rate_text(period, _HASH_SCALE)

    def _burst_text(self) -> str:
        if self.in_bytes:
            return _rough_text(_bytes_of(self.period) * self.burst) if self.burst else ""
        return str(self.burst)

    def _mode_text(self, between: str) -> str:
        bits = self.get("mode", 0)
        return between.join(name for name, bit in _MODES.items() if bits & bit)

    def save(self) -> str:
        text = f" --hashlimit-{'above' if self.above else 'upto'} {self._rate_text(self.period)}"
        if self._burst_text():
            text += f" --hashlimit-burst {self._burst_text()}"
        if self.get("mode", 0):
            text += f" --hashlimit-mode {self._mode_text(',')}"
        text += f" --hashlimit-name {self.values['name']}"
        for key in ("htable-size", "htable-max", "htable-gcinterval", "htable-expire"):
            value = self._table_value(key, self.period)
            if value is not None:
                text += f" --hashlimit-{key} {value}"
        for key in ("srcmask", "dstmask"):
            if self.get(key, self._bits()) != self._bits():
                text += f" --hashlimit-{key} {self.values[key]}"
        if "rate-match" in self.values:
            text += " --hashlimit-rate-match"
            if self.get("interval", 1) != 1:
                text += f" --hashlimit-rate-interval {self.values['interval']}"
        return text

    def _table_value(self, key: str, period: int) -> int | None:
        """The value of a `--hashlimit-htable-*` that is not what the printed rate has by default."""
        if key == "htable-expire":
            value = self.get("expire", self.seconds * 1000)
            default = 1000 * (_BYTES_EXPIRE_S if self.in_bytes else _unit(period, _HASH_SCALE)[1])
        else:
            value = self.get(key.removeprefix("htable-"))
            default = 1000 if key == "htable-gcinterval" else 0
        return None if value is None or value == default else int(value)

    def show(self, numeric: bool) -> str:
        # A rate is listed for the interval, and saved for a second.
        period = self.period * int(self.get("interval", 1))
        text = f" limit: {'above' if self.above else 'up to'} {self._rate_text(period)}"
        if self._burst_text():
            text += f" burst {self._burst_text()}"
        if self.get("mode", 0):
            text += f" mode {self._mode_text('-')}"
        for key in ("htable-size", "htable-max", "htable-gcinterval", "htable-expire"):
            value = self._table_value(key, period)
            if value is not None:
                text += f" {key} {value}"
        for key in ("srcmask", "dstmask"):
            if self.get(key, self._bits()) != self._bits():
                text += f" {key} {self.values[key]}"
        if "rate-match" in self.values:
            text += " rate-match"
            if self.get("interval", 1) != 1:
                text += f" rate-interval {self.values['interval']}"
        return text

    @property
    def shared_name(self) -> str:
        """What its table of buckets goes by among those of the host."""
        return f"hashlimit/{self.family}/{self.values['name']}"

    def build(self, netfilter: Netfilter) -> Match:
        mode = self.get("mode", 0) | (run.ABOVE if self.above else 0) | (run.IN_BYTES if self.in_bytes else 0)
        if "rate-match" in self.values:
            mode |= run.BY_RATE
        table = netfilter.shared.get(self.shared_name)
        if not isinstance(table, run.HashTable):
            table = self._new_table(mode, netfilter.ip.scheduler.now_ns)
            netfilter.shared[self.shared_name] = table
        return run.HashLimitMatch(mode, table)

    def _new_table(self, mode: int, now_ns: int) -> run.HashTable:
        period_ns = 1_000_000_000 // (_bytes_of(self.period) >> 4) if self.in_bytes else self.period * 1000
        expire_ms = self.get("expire", 0) or self.seconds * 1000
        room = self.get("max", 0) or 8 * self.get("size", 0) or _DEFAULT_ROOM
        burst = self.burst if self.in_bytes else min(self.burst, _MOST_CREDIT_NS // period_ns)
        table = run.HashTable(mode, period_ns, burst, expire_ms, room, now_ns)
        table.src_mask = run.all_ones(self.family, self.get("srcmask", self._bits()))
        table.dst_mask = run.all_ones(self.family, self.get("dstmask", self._bits()))
        table.interval_ns = self.get("interval", 1) * 1_000_000_000
        table.collect_ns = (self.get("gcinterval", 0) or 1000) * 1_000_000
        if self.in_bytes:
            table.rate = _bytes_of(self.period)
            table.most = (self.burst or 1) * table.rate
        else:
            table.rate = _HASH_SCALE // self.period
            table.most = self.burst + table.rate
        return table


def _probability(extension: Extension, option: Option, text: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ParameterProblem(
            'statistic: bad value for option "--probability", or out of range (0-1).\n'
        )
    return int(_PROBABILITY_ONE * value + 0.5)


def _statistic_mode(extension: Extension, option: Option, text: str) -> str:
    if text not in ("random", "nth"):
        raise ParameterProblem(f'Bad mode "{text}"')
    return text


class Statistic(MatchExtension):
    """`-m statistic`."""

    name = "statistic"
    options = (
        Option("mode", "mode", _statistic_mode, must=True),
        Option("probability", "probability", _probability, invert=True),
        Option("every", "every", uint(1), invert=True, also=("packet",)),
        Option("packet", "packet", uint(), also=("every",)),
    )

    def check(self) -> None:
        mode = self.get("mode", "random")
        if mode == "random" and "probability" not in self.values:
            raise ParameterProblem("--probability must be specified when using random mode")
        if mode == "nth" and "every" not in self.values:
            raise ParameterProblem("--every and --packet must be specified when using nth mode")
        if mode == "nth" and self.get("packet", 0) >= self.values["every"]:
            raise ParameterProblem("the --packet p must be 0 <= p <= n-1")

    def _text(self, dashes: str) -> str:
        bang = " !" if self.inverted else ""
        if self.values["mode"] == "random":
            part = self.values["probability"] / _PROBABILITY_ONE
            return f"mode random{bang} {dashes}probability {part:.11f}"
        return f"mode nth{bang} {dashes}every {self.values['every']} {dashes}packet {self.values['packet']}"

    def save(self) -> str:
        return f" --{self._text('--')}"

    def show(self, numeric: bool) -> str:
        return f" statistic {self._text('')}"

    def build(self, netfilter: Netfilter) -> Match:
        inverted = bool(self.inverted)
        if self.values["mode"] == "random":
            return run.StatisticMatch(self.values["probability"], 0, 0, inverted, netfilter.ip.rng)
        return run.StatisticMatch(0, self.values["every"], self.values["packet"], inverted, netfilter.ip.rng)


EXTENSIONS: Final = (Limit, HashLimit, Statistic)
