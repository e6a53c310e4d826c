"""What ip(8) shows: one dictionary for each thing, in the order of iproute2's JSON, of which the text is made, too."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from lunar.net_tools.ip.words import Style

Row = dict[str, Any]


def shown(rows: list[Row], style: Style, text: Callable[[Row], str]) -> str:
    """The rows as JSON if `style` says so, otherwise the texts that `text` makes of them."""
    if not style.json:
        return "".join(text(row) for row in rows)
    if style.pretty:
        return _pretty(rows) + "\n"
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False) + "\n"


def _pretty(value: Any, depth: int = 0) -> str:
    """JSON as iproute2 indents it: eight spaces deeper in each object, lists of plain values in one line."""
    if isinstance(value, list):
        if not value:
            return "[ ]"
        if not isinstance(value[0], dict):
            return "[ " + ",".join(json.dumps(one) for one in value) + " ]"
        pad = " " * (4 + 8 * depth)
        inner = f"\n{pad}}},{{\n".join(_fields(one, depth) for one in value)
        return f"[ {{\n{inner}\n{pad}}} ]"
    return json.dumps(value, ensure_ascii=False)


def _fields(row: Row, depth: int) -> str:
    pad = " " * (8 + 8 * depth)
    return ",\n".join(f"{pad}{json.dumps(name)}: {_pretty(value, depth + 1)}" for name, value in row.items())
