"""The picture of a tapestry as SVG: a card for each host or group of hosts, their links in the simulator below.

No font is at hand to measure with, so widths of texts are estimates on the wide side. The picture brings its own
background, so that it reads alike on a light and on a dark page.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

import attrs

from weaves.clock import format_duration
from weaves.picture import TIMES, Bead, Box, Column, HostEntry, layers, packed, span
from weaves.programs import program_of
from weaves.show import impairment_texts, rate_text, string_text, udp_text
from weaves.tapestry import LinkDescription, StringDescription, Tapestry

# All lengths are in pixels.
_WIDTH: Final = 1000
_MARGIN: Final = 20
_BETWEEN: Final = 20  # cards, columns are closer
_PAD: Final = 12
_SPINE: Final = 26  # what joins the simulator's bars at the left, where there are several
_FONT: Final = 13
_SMALL: Final = 12
_LINE: Final = 17
_HEADER: Final = 34  # the title of a card
_LUNAR: Final = 50  # height of a stack; the strings end in its upper part
_BAR: Final = 44  # height of the simulator without its list of links

# How long what a string does may be, in characters: as long as possible without more bands than with the shortest.
_LENGTHS: Final = (30, 26, 22, 18)
# More strings of a weave, or links of the simulator, than this are counted and not drawn.
_STRINGS: Final = 4
_LINKS: Final = 30

_STYLE: Final = """\
text { font: 13px Helvetica, Arial, "DejaVu Sans", sans-serif; fill: #24292f }
.small { font-size: 12px } .quiet { fill: #57606a } .bold { font-weight: bold } .middle { text-anchor: middle }
.page { fill: #fbfcfd; stroke: #8c959f } .card { fill: #ffffff; stroke: #24292f; stroke-width: 1.5 }
.behind { fill: #eaeef2; stroke: #8c959f } .weave { fill: #ddf4ff; stroke: #0969da; stroke-width: 1.5 }
.bead { fill: #ffd8b5; stroke: #bc4c00; stroke-width: 1.5 } .lunar { fill: #dafbe1; stroke: #1a7f37; stroke-width: 1.5 }
.string { fill: none; stroke: #8250df; stroke-width: 2.2 } .wire { fill: none; stroke: #57606a; stroke-width: 1.5 }
.device { fill: #24292f } .simulator { fill: #f0e8d8; stroke: #7d6329; stroke-width: 1.5 }
.link { fill: #7d6329 } .on { fill: #ffffff } .name { fill: #0550ae } .does { fill: #6639ba }
.paper { fill: #ffd8b5 } .app { fill: #702c00 } .stack { fill: #0b4b1e }"""


def svg(tapestry: Tapestry, hosts: Sequence[HostEntry]) -> str:
    """The picture as the text of an SVG file."""
    drawing = _Drawing(tapestry)
    # Where there are several bands, the simulator's spine takes some of the room.
    if len(_bands(hosts, drawing.room, _LENGTHS[-1])) > 1:
        drawing.left += _SPINE + _BETWEEN
    fewest = len(_bands(hosts, drawing.room, _LENGTHS[-1]))
    bands = next(bands for length in _LENGTHS if len(bands := _bands(hosts, drawing.room, length)) == fewest)
    drawing.heading()
    for band in bands:
        drawing.band(band)
    drawing.simulator()
    return drawing.text()


def _bands(hosts: Sequence[HostEntry], room: int, longest: int) -> list[list[_Card]]:
    cards = [card for host in hosts for card in _cards(host, room, longest)]
    return list(packed(cards, room, lambda card: card.width, _BETWEEN))


def _text_width(text: str, font: int = _FONT) -> int:
    # Helvetica's lower case letters are half as wide as high on the average, DejaVu's a good tenth more.
    return round(len(text) * font * 0.58)


def _label(string: StringDescription, last: StringDescription, longest: int) -> str:
    """What a string does, in so many characters: arguments, since the bead says of what."""
    text, last_text = (_does(each) for each in (string, last))
    if text != last_text:
        text = f"{text} ..."
    start = f", at {span(format_duration(string.start_ns), format_duration(last.start_ns))}"
    if (string.start_ns or last.start_ns) and len(text + start) <= longest:
        text += start
    return text if len(text) <= longest else text[: longest - 3] + "..."


def _does(string: StringDescription) -> str:
    if string.run is not None:
        return shlex.join(program_of(string.run).args) or "runs"
    return f"{str(string.call).partition(':')[2]}({', '.join(map(repr, string.args))})"


@attrs.frozen(slots=True, eq=False)
class _Card:
    """A host where it is drawn, with the widths of its columns."""

    host: HostEntry
    title: str
    widths: tuple[int, ...]
    width: int
    longest: int  # what a string does


def _cards(host: HostEntry, room: int, longest: int) -> list[_Card]:
    def size(column: Column) -> int:
        return _column_width(column, longest)

    pieces = host.split(room - 2 * _PAD, size, _PAD)
    cards = []
    for number, piece in enumerate(pieces):
        title = host.name if len(pieces) == 1 else f"{host.name} ({number + 1} of {len(pieces)})"
        widths = tuple(map(size, piece.columns))
        inner = sum(widths) + _PAD * (len(widths) - 1)
        tabs = sum(_tab_width(device) + _PAD for device in host.devices) - _PAD
        least = max(tabs, _text_width(f"hosts {title}{_times(host.hosts.count)}") + _PAD, 130)
        if widths and inner < least:
            missing = least - inner
            widths = tuple(width + (missing + at) // len(widths) for at, width in enumerate(widths))
        cards.append(_Card(piece, title, widths, max(inner, least) + 2 * _PAD, longest))
    return cards


def _times(count: int) -> str:
    return f" {TIMES} {count:,}" if count > 1 else ""


def _column_width(column: Column, longest: int) -> int:
    beads = max(map(_text_width, column.lines))
    labels = max((_text_width(_label(*pair, longest), _SMALL) for pair in column.strings[:_STRINGS]), default=0)
    name = _text_width(column.name + _times(column.weaves.count))
    return max(name, beads + _beside_strings(column), labels + _beside_strings(column)) + 2 * _PAD


def _beside_strings(column: Column) -> int:
    """Where texts begin in a column, from its inner edge: its strings run down at the left."""
    return 11 * min(len(column.strings), _STRINGS) + 4


def _tab_width(device: tuple[str, str]) -> int:
    return max(_text_width(text, _SMALL) for text in device) + 14


class _Drawing:
    """An SVG file that grows downwards: `y` is where the next thing is drawn."""

    def __init__(self, tapestry: Tapestry) -> None:
        self._tapestry = tapestry
        self._parts: list[str] = []
        self.left = _MARGIN
        self.y = _MARGIN
        # The links by number, and those of the devices; a device is on one.
        self._link_of = {end: number for number, link in enumerate(tapestry.links, 1) for end in link.ends}
        self._bars: list[tuple[int, int]] = []  # the simulator's: top and bottom
        self._wires: list[tuple[int, int, int, str]] = []  # x, from y, to y, which link
        self._drawn: set[Bead] = set()

    @property
    def room(self) -> int:
        """How wide a band can be."""
        return _WIDTH - _MARGIN - self.left

    def text(self) -> str:
        """The file."""
        name = escape(self._tapestry.name)
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {self.y}" width="{_WIDTH}" '
            f'height="{self.y}" role="img">\n<title>Tapestry {name}</title>\n<style>\n{_STYLE}\n</style>\n'
        )
        page = f'<rect class="page" x="1" y="1" width="{_WIDTH - 2}" height="{self.y - 2}" rx="12"/>\n'
        return head + page + "\n".join(self._parts) + "\n</svg>\n"

    # Elements

    def _rect(self, kind: str, x: int, y: int, width: int, height: int, rx: int) -> None:
        self._parts.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="{rx}"/>')

    def _write(self, kind: str, x: int, y: int, text: str, tip: str = "") -> None:
        tip = f"<title>{escape(tip)}</title>" if tip else ""
        self._parts.append(f'<text class="{kind}" x="{x}" y="{y}">{tip}{escape(text)}</text>')

    # From the top

    def heading(self) -> None:
        """What the tapestry is called, and what the colours are."""
        tapestry = self._tapestry
        until = "" if tapestry.until_ns is None else f", until {format_duration(tapestry.until_ns)}"
        counts = ", ".join(
            f"{len(things):,} {what}{'s'[: len(things) != 1]}"
            for things, what in ((tapestry.hosts, "host"), (tapestry.weaves, "weave"))
        )
        self._write("bold", _MARGIN, self.y + 14, f"tapestry {tapestry.name}")
        x = _MARGIN + _text_width(f"tapestry {tapestry.name}") + 24
        self._write("quiet", x, self.y + 14, f"{counts}, seed {tapestry.seed}{until}")
        x = _WIDTH - _MARGIN
        for kind, word in (("lunar", "stack"), ("bead", "bead"), ("weave", "weave")):
            x -= _text_width(word, _SMALL) + 8
            self._write("small quiet", x, self.y + 14, word)
            self._rect(kind, x - 24, self.y + 4, 18, 12, 4)
            x -= 36
        x -= _text_width("string", _SMALL) + 8
        self._write("small quiet", x, self.y + 14, "string")
        self._string(x - 12, self.y + 2, self.y + 18)
        self.y += 34

    def band(self, cards: list[_Card]) -> None:
        """Hosts beside each other, and a bar of the simulator below them."""
        columns = [column for card in cards for column in card.host.columns]
        top = self.y + (6 if any(card.host.hosts.count > 1 for card in cards) else 0)
        strings = max((len(self._labels(column, 0)) for column in columns), default=0)
        beads_top = top + _HEADER + 26 + _LINE * strings + 6
        rows = layers(columns)
        boxes: list[tuple[Box, list[str], int]] = []  # with what is written in them, and where they begin
        lunar_top = beads_top
        for row in rows:
            texts = [box.lines(self._drawn) for box in row]
            boxes += [(box, lines, lunar_top) for box, lines in zip(row, texts, strict=True)]
            lunar_top += 14 + _LINE * max(map(len, texts)) + 10
        lunar_top += 4 if columns else -20
        tabs_top = lunar_top + _LUNAR + 14
        places: list[tuple[int, int]] = []  # of the columns: left and width
        lefts: list[int] = []
        x = self.left
        for card in cards:
            lefts.append(x)
            left = x + _PAD
            for width in card.widths:
                places.append((left, width))
                left += width + _PAD
            x += card.width + _BETWEEN
        for card, left in zip(cards, lefts, strict=True):
            self._card(card, left, top, lunar_top, tabs_top)
        for column, (left, width) in zip(columns, places, strict=True):
            self._weave(column, cards[0].longest, left, width, top + _HEADER, lunar_top + 20)
        for card, left in zip(cards, lefts, strict=True):
            self._stack(card, left, lunar_top)
        for box, lines, box_top in boxes:
            left, right = places[box.start][0], sum(places[box.end])
            self._rect("bead", left + 6, box_top, right - left - 12, 14 + _LINE * len(lines), 14)
        for column, (left, _) in zip(columns, places, strict=True):
            for number in range(min(len(column.strings), _STRINGS)):
                start = top + _HEADER + 26 + _LINE * number
                self._string(left + _PAD + 2 + 11 * number, start, lunar_top + 18)
        for box, lines, box_top in boxes:
            left, right = places[box.start][0], sum(places[box.end])
            if box.start == box.end:
                left += _beside_strings(columns[box.start])
            self._bead_text(lines, (left + right) // 2, box_top)
        bottom = tabs_top + 38 + 24
        for card, left in zip(cards, lefts, strict=True):
            self._devices(card, left, tabs_top, bottom)
        self._bars.append((bottom, bottom + _BAR))
        self.y = bottom + _BAR + 24

    def _card(self, card: _Card, left: int, top: int, lunar_top: int, tabs_top: int) -> None:
        height = (tabs_top + 19 if card.host.devices else lunar_top + _LUNAR + 14) - top
        if card.host.hosts.count > 1:
            for away in (6, 3):
                self._rect("behind", left + away, top - away, card.width, height, 10)
        self._rect("card", left, top, card.width, height, 10)
        several = card.host.hosts.count > 1
        self._write("bold", left + _PAD, top + 22, f"host{'s' * several} {card.title}")
        if several:
            text = _times(card.host.hosts.count).strip()
            self._write("bold name", left + card.width - _PAD - _text_width(text), top + 22, text)
        if not card.widths:
            self._write("small quiet", left + _PAD, top + 42, "runs no program")

    def _weave(self, column: Column, longest: int, left: int, width: int, top: int, bottom: int) -> None:
        self._rect("weave", left, top, width, bottom - top, 10)
        self._write("name bold", left + _PAD, top + 19, column.name + _times(column.weaves.count))
        for number, (label, tip) in enumerate(self._labels(column, longest)):
            self._write("small does", left + _PAD + _beside_strings(column), top + 38 + _LINE * number, label, tip)

    def _labels(self, column: Column, longest: int) -> list[tuple[str, str]]:
        labels = [(_label(*pair, longest), string_text(*pair)) for pair in column.strings[:_STRINGS]]
        if (more := len(column.strings) - _STRINGS) > 0:
            labels.append((f"and {more} more", ""))
        return labels

    def _bead_text(self, lines: list[str], middle: int, top: int) -> None:
        for number, line in enumerate(lines):
            y = top + 20 + _LINE * number
            width = _text_width(line)
            # Strings of other columns do not cross the text.
            self._rect("paper", middle - width // 2, y - 12, width, 15, 0)
            self._write("app middle" if number else "app middle bold", middle, y, line)

    def _stack(self, card: _Card, left: int, top: int) -> None:
        self._rect("lunar", left + _PAD, top, card.width - 2 * _PAD, _LUNAR, 25)
        self._write("stack bold middle", left + card.width // 2, top + 36, self._tapestry.network)

    def _devices(self, card: _Card, left: int, top: int, bar: int) -> None:
        devices = card.host.devices
        widths = [_tab_width(device) for device in devices]
        x = left + (card.width - sum(widths) - _PAD * (len(widths) - 1)) // 2
        for (name, addresses), width in zip(devices, widths, strict=True):
            self._parts.append(f'<path class="wire" d="M{x + width // 2} {top - 14} V{top}"/>')
            self._rect("device", x, top, width, 38, 4)
            self._write("on small middle bold", x + width // 2, top + 16, name)
            self._write("on small middle", x + width // 2, top + 31, addresses)
            if number := self._links_of(card.host, name):
                self._wires.append((x + width // 2, top + 38, bar + _BAR // 2, number))
            x += width + _PAD

    def _links_of(self, host: HostEntry, device: str) -> str:
        first = self._link_of.get((host.hosts.first.name, device))
        last = self._link_of.get((host.hosts.last.name, device))
        if first is None or last is None:
            return "" if first == last else str(first or last)
        return str(first) if first == last else f"{first}..{last}"

    def _string(self, x: int, top: int, bottom: int) -> None:
        waves = max((bottom - top) // 8, 1)
        self._parts.append(f'<path class="string" d="M{x} {top} q-4 4 0 8{" t0 8" * (waves - 1)}"/>')

    # The simulator

    def simulator(self) -> None:
        """One shape for all bands, with the wires that end in it and the list of links at its foot."""
        links = self._tapestry.links
        rows = 1 + min(len(links), _LINKS) + (len(links) > _LINKS)
        top = self._bars[-1][1]
        foot = top + (_LINE + 4) * rows + 2
        left, right = _MARGIN, _WIDTH - _MARGIN
        path = f"M{left} {self._bars[0][0]} H{right}"
        for (_, bottom), (below, _) in zip(self._bars, self._bars[1:], strict=False):
            path += f" V{bottom} H{left + _SPINE} V{below} H{right}"
        self._parts.append(f'<path class="simulator" stroke-linejoin="round" d="{path} V{foot} H{left} Z"/>')
        for x, start, end, link in self._wires:
            self._parts.append(f'<path class="wire" d="M{x} {start} V{end}"/>')
            self._number(x, end, link)
        self._write("bold", left + _PAD, top + 8, self._tapestry.simulator)
        for number, described in enumerate(links[:_LINKS], 1):
            y = top + (_LINE + 4) * number + 4
            self._number(left + _PAD + 12, y, str(number))
            self._write("small", left + _PAD + 32, y + 4, _link(described))
        if len(links) > _LINKS:
            self._write("small", left + _PAD + 32, foot - 12, f"and {len(links) - _LINKS:,} more")
        self.y = foot + _MARGIN

    def _number(self, x: int, y: int, number: str) -> None:
        width = max(_text_width(number, _SMALL) + 10, 20)
        self._rect("link", x - width // 2, y - 10, width, 20, 10)
        self._write("on small middle bold", x, y + 4, number)


def _link(link: LinkDescription) -> str:
    ends = [f"{host}.{device}" for host, device in link.ends]
    if link.is_switch:
        shown = f"switch of {ends[0]} ... {ends[-1]}, {len(ends):,} devices"
    else:
        shown = " - ".join(ends)
    if link.udp is not None:
        shown += f" - {udp_text(link.udp)}"
    name = "" if link.udp is not None or link.name == shown or link.name.startswith("switch-") else f"{link.name}: "
    what = [f"delay {format_duration(link.delay_ns)}"]
    if link.rate_bps is not None:
        what.insert(0, rate_text(link.rate_bps))
    what += impairment_texts(link)
    return f"{name}{shown}: {', '.join(what)}"
