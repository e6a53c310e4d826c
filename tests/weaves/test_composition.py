"""What is composed of what: the weaves, beads and modules of a tapestry, implied and explicit."""

from __future__ import annotations

from pathlib import Path

from weaves.tapestry import Tapestry, WeaveDescription, parse

HERE = Path(__file__).parent
APPS = HERE.parents[1] / "tapestries" / "apps"


def tapestry(text: str) -> Tapestry:
    """The tapestry in `text`, among the demo's programs: site.py and visit.py."""
    return parse(text, APPS / "t.toml")


def names(weaves: tuple[WeaveDescription, ...]) -> list[str]:
    return [f"{weave.name} on {weave.host}" for weave in weaves]


def test_each_string_of_a_host_is_a_weave() -> None:
    made = tapestry(
        """
        [hosts.a]
        strings = [{ run = "site.py" }, { run = "site.py 2" }, { call = "visit:visit", name = "v" }]
        [hosts.b]
        count = 2
        strings = [{ run = "visit.py {i}" }]
        [hosts.c]
        """
    )
    assert names(made.weaves) == ["site on a", "site #2 on a", "v on a", "visit on b-0", "visit on b-1"]
    assert [weave.strings for weave in made.weaves[:3]] == [(string,) for string in made.hosts[0].strings]
    assert made.weaves[1].where == made.hosts[0].strings[1].where


def test_a_string_of_a_host_has_a_bead_of_its_own() -> None:
    made = tapestry('[hosts.a]\ncount = 2\nstrings = [{ run = "site.py" }]\n')
    (first,), (second,) = (weave.beads for weave in made.weaves)
    assert (first.name, second.name) == ("site", "site")
    assert first is not second
    assert first != second, "beads are compared by what they are, not by their names"
    assert first.module is second.module


def test_the_module_of_a_string_is_its_code_without_arguments() -> None:
    made = tapestry(
        """
        [hosts.a]
        strings = [
          { run = "site.py --port 80" },
          { run = "python3 site.py --port 81" },
          { run = "python -m json.tool x" },
          { call = "visit:visit" },
          { call = "visit:main" },
          { call = "json.tool:main" },
        ]
        """
    )
    site, other_site, tool, visit, other_visit, imported_tool = (weave.beads[0].module for weave in made.weaves)
    assert (site.name, site.run, site.module) == ("site.py", ("site.py",), None)
    assert other_site is site
    assert (tool.name, tool.run, tool.module) == ("json.tool", ("python", "-m", "json.tool"), None)
    assert (visit.name, visit.run, visit.module) == ("visit", None, "visit")
    assert other_visit is visit
    # What `python -m` runs is __main__, another module than the one that is imported.
    assert (imported_tool.name, imported_tool.run, imported_tool.module) == ("json.tool", None, "json.tool")
    assert (site.isolate, site.share) == (None, ())
