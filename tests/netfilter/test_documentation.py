"""docs/netfilter.md names every match and target that there is, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path

from lunar.net_tools.iptables import registry

PAGE = (Path(__file__).parents[2] / "docs" / "netfilter.md").read_text(encoding="utf-8")


def table(title: str) -> str:
    """The first column of the table under a title."""
    section = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    return "\n".join(line.split(" | ")[0] for line in section.splitlines() if line.startswith("| "))


def test_the_page_has_all_matches() -> None:
    assert set(re.findall(r"`([a-z0-9]+)`", table("Matches"))) == set(registry.MATCHES)


def test_the_page_has_all_targets() -> None:
    words = set(re.findall(r"[A-Z]{2,}", table("Targets")))
    assert words == {*registry.TARGETS, *registry.STANDARD}
