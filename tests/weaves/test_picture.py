"""The picture of a tapestry: what is drawn once, what stands beside what; as text and as SVG."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weaves.figure import figure, in_ascii
from weaves.picture import Bead, Column, Group, layers, packed, picture
from weaves.svg import svg
from weaves.tapestry import BeadDescription, ModuleDescription, Tapestry, WeaveDescription, Where, parse, read

NOWHERE = Where("t.toml", None, "", "")
NAMESPACE = {"": "http://www.w3.org/2000/svg"}

# Three servers on one stack; ftp and http share a bead of users, which telnet, between them, does not.
SHARED = """
[modules.telnet]
run = "telnet.py"
[modules.ftp]
run = "ftp.py"
[modules.http]
run = "http_.py"
[modules.users]
module = "users"
[[beads]]
name = "server"
module = "lunar"
eth0 = "10.0.0.1/24"
[[beads]]
name = "other"
module = "lunar"
eth0 = "10.0.0.2/24"
[[beads]]
name = "telnet-1"
module = "telnet"
[[beads]]
name = "ftp-1"
module = "ftp"
[[beads]]
name = "http-1"
module = "http"
[[beads]]
name = "users"
module = "users"
[[weaves]]
name = "ftp"
beads = ["ftp-1", "users", "server"]
strings = [{}]
[[weaves]]
name = "telnet"
beads = ["telnet-1", "server"]
strings = [{}]
[[weaves]]
name = "http"
beads = ["http-1", "users", "server"]
strings = [{}, { call = "users:clean" }]
[[links]]
ends = ["server", "other"]
"""

SHARED_FIGURE = """\
     ftp          http         telnet
      ║           ║  ║            ║
  ╭───╫────╮  ╭───╫──╫───╮  ╭─────╫─────╮
  │ ftp-1  │  │  http-1  │  │ telnet-1  │
  │ ftp.py │  │ http_.py │  │ telnet.py │
  ╰───╫────╯  ╰───╫──╫───╯  ╰─────╫─────╯
  ╭───╫───────────╫──╫───╮        ║
  │   ║    users  ║  ║   │        ║
  ╰───╫───────────╫──╫───╯        ║
  ┌───╫───────────╫──╫────────────╫─────┐   ┌──────────────────┐
  │               server                │   │      other       │
  │          eth0 10.0.0.1/24           │   │ eth0 10.0.0.2/24 │
  └──────────────────┬──────────────────┘   └────────┬─────────┘
  ┌──────────────────┴───────────────────────────────┴─────────┐
  │                     simulator: 1 link                      │
  └────────────────────────────────────────────────────────────┘"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("telnet.py", "ftp.py", "http_.py", "users.py", "site.py"):
        (tmp_path / name).touch()
    return tmp_path


def drawn(tapestry: Tapestry, width: int = 100) -> str:
    return "\n".join(figure(tapestry, picture(tapestry), width))


def tree(tapestry: Tapestry) -> ElementTree.Element:
    return ElementTree.fromstring(svg(tapestry, picture(tapestry)))


def texts(tapestry: Tapestry) -> list[str]:
    # A tip, if there is one, stands before the text.
    elements = tree(tapestry).iterfind(".//text", NAMESPACE)
    return [(element.text or "") + "".join(tip.tail or "" for tip in element) for element in elements]


# What stands where


def test_weaves_that_share_a_bead_stand_side_by_side(folder: Path) -> None:
    server, other = picture(parse(SHARED, folder / "t.toml"))
    assert [column.name for column in server.columns] == ["ftp", "http", "telnet"]
    assert other.columns == ()


def test_a_shared_bead_is_one_box_below_those_that_are_not(folder: Path) -> None:
    server = picture(parse(SHARED, folder / "t.toml"))[0]
    rows = [[(box.bead.beads.first.name, box.start, box.end) for box in row] for row in layers(server.columns)]
    assert rows == [[("ftp-1", 0, 0), ("http-1", 1, 1), ("telnet-1", 2, 2)], [("users", 0, 1)]]


def test_shared_beads_that_cross_are_in_rows_of_their_own(folder: Path) -> None:
    weaves = "".join(
        f'[[weaves]]\nname = "w{number}"\nbeads = [{beads}, "s"]\n'
        for number, beads in enumerate(['"a", "b"', '"a", "c"', '"b", "c"'])
    )
    (folder / "a.py").touch()
    (folder / "b.py").touch()
    (folder / "c.py").touch()
    modules = "".join(
        f'[modules.{name}]\nmodule = "{name}"\n[[beads]]\nname = "{name}"\nmodule = "{name}"\n' for name in "abc"
    )
    (host,) = picture(parse(f'{modules}[[beads]]\nname = "s"\nmodule = "lunar"\n{weaves}', folder / "t.toml"))
    rows = [[(box.bead.beads.first.name, box.start, box.end) for box in row] for row in layers(host.columns)]
    # b is in the first and the third weave, so it is in two boxes, and c meets one of them.
    assert rows == [[("a", 0, 1)], [("b", 0, 0), ("b", 2, 2)], [("c", 1, 2)]]


def test_a_group_is_one_column(folder: Path) -> None:
    text = '[hosts.c]\ncount = 1000\nstrings = [{ run = "site.py {i}" }, { run = "ftp.py" }]\n'
    tapestry = parse(text, folder / "t.toml")
    (host,) = picture(tapestry)
    assert (host.name, host.hosts.count) == ("c-0 ... c-999", 1000)
    assert [(column.name, column.weaves.count) for column in host.columns] == [("site", 1000), ("ftp", 1000)]
    assert host.columns[0].beads[0].beads.count == 1000


def test_a_bead_that_a_group_of_weaves_shares_is_one(folder: Path) -> None:
    tapestry = parse(
        """
        [modules.users]
        module = "users"
        [[beads]]
        name = "users"
        module = "users"
        [[beads]]
        name = "s"
        module = "lunar"
        count = 10
        [[weaves]]
        name = "w"
        count = 10
        beads = ["users", "s-{i}"]
        """,
        folder / "t.toml",
    )
    (host,) = picture(tapestry)
    (column,) = host.columns
    assert (column.weaves.count, column.beads[0].beads.count) == (10, 1)
    assert layers([column])[0][0].lines(set()) == ["users", "one for all"]


@pytest.mark.parametrize(
    ("room", "expected"), [(9, [[3, 4], [5, 1]]), (19, [[3, 4, 5, 1]]), (4, [[3], [4], [5], [1]])]
)
def test_what_does_not_fit_goes_to_the_next_list(room: int, expected: list[list[int]]) -> None:
    assert list(packed([3, 4, 5, 1], room, lambda item: item, 2)) == expected


@given(st.lists(st.sets(st.integers(0, 5), min_size=1, max_size=4), min_size=1, max_size=8))
def test_every_bead_is_over_all_its_weaves_and_over_no_other(weaves: list[set[int]]) -> None:
    beads = [Bead(Group(_bead(number), _bead(number), 1), True) for number in range(6)]
    columns = [
        Column(Group(_weave(number), _weave(number), 1), tuple(beads[at] for at in sorted(own)))
        for number, own in enumerate(weaves)
    ]
    drawn: list[set[int]] = [set() for _ in weaves]
    for row in layers(columns):
        taken: set[int] = set()
        for box in row:
            over = set(range(box.start, box.end + 1))
            assert not over & taken, "two boxes meet"
            taken |= over
            for column in over:
                assert beads.index(box.bead) not in drawn[column], "a bead is drawn twice in a column"
                drawn[column].add(beads.index(box.bead))
    assert drawn == weaves


def _bead(number: int) -> BeadDescription:
    module = ModuleDescription(f"m{number}", None, f"m{number}", None, (), NOWHERE)
    return BeadDescription(f"b{number}", module, NOWHERE)


def _weave(number: int) -> WeaveDescription:
    return WeaveDescription(f"w{number}", "h", (), (), NOWHERE)


# As text


def test_the_picture_of_shared_beads(folder: Path) -> None:
    assert drawn(parse(SHARED, folder / "t.toml")) == SHARED_FIGURE


def test_a_bead_whose_weaves_stand_apart_says_that_it_is_the_same(folder: Path) -> None:
    text = SHARED + '[[weaves]]\nname = "more"\nbeads = ["users", "other"]\nstrings = [{ call = "users:clean" }]\n'
    shown = drawn(parse(text, folder / "t.toml"))
    assert shown.count("users ") == 2
    assert shown.count("(same)") == 1


def test_the_lines_keep_to_the_width(folder: Path) -> None:
    strings = ", ".join(f'{{ run = "site.py", name = "site-number-{number}" }}' for number in range(10))
    tapestry = parse(f"[hosts.a]\nstrings = [{strings}]\n[hosts.b]\n", folder / "t.toml")
    for width in (40, 60, 100, 200):
        assert max(map(len, drawn(tapestry, width).splitlines())) <= width
    assert "a (1 of 5)" in drawn(tapestry, 40)
    assert "of" not in drawn(tapestry, 200)


def test_more_strings_than_fit_are_not_drawn(folder: Path) -> None:
    text = SHARED.replace('{ call = "users:clean" }', ", ".join(['{ call = "users:clean" }'] * 9))
    first = drawn(parse(text, folder / "t.toml")).splitlines()[1]
    assert first.count("║") == 5  # ftp 1, http 3 of 10, telnet 1


def test_a_terminal_without_lines_gets_ascii(folder: Path) -> None:
    text = in_ascii(drawn(parse(SHARED + "[hosts.c]\ncount = 2\n", folder / "t.toml")))
    assert text.isascii()
    assert "x 2" in text


# As SVG


def test_the_svg_has_each_thing_once(folder: Path) -> None:
    tapestry = parse(SHARED, folder / "t.toml")
    shown = texts(tapestry)
    for name in ("host server", "host other", "telnet-1", "users", "http", "users", "eth0", "simulator", "clean()"):
        assert shown.count(name) == (2 if name == "eth0" else 1), name
    kinds = [element.get("class") for element in tree(tapestry).iter()]
    # Besides one of each in the legend.
    assert (kinds.count("weave"), kinds.count("bead"), kinds.count("lunar"), kinds.count("string")) == (4, 5, 3, 5)
    assert kinds.count("simulator") == 1


def test_the_svg_of_a_large_group_is_small(folder: Path) -> None:
    def size(count: int) -> int:
        text = f"""
            [hosts.c]
            count = {count}
            eth0 = "10.0.{{i+2}}/16"
            strings = [{{ run = "site.py" }}]
            [hosts.s]
            eth0 = "10.0.0.1/16"
            [[links]]
            ends = ["c", "s"]
            """
        tapestry = parse(text, folder / "t.toml")
        assert "\N{MULTIPLICATION SIGN} 1,000" in texts(tapestry) or count != 1000
        return len(svg(tapestry, picture(tapestry)))

    assert abs(size(1000) - size(10)) < 100


@pytest.mark.parametrize("name", ["quickstart", "thesis"])
def test_the_pictures_of_the_documentation_are_drawn_by_this(name: str) -> None:
    root = Path(__file__).parents[2]
    tapestry = read(root / "tapestries" / f"{name}.toml")
    assert (root / "docs" / f"{name}.svg").read_text(encoding="utf-8") == svg(tapestry, picture(tapestry))


def test_the_svg_escapes_what_the_tapestry_says(folder: Path) -> None:
    text = '[tapestry]\nname = "a < b & c"\n[hosts.h]\nstrings = [{ run = "site.py \'<b>\'", name = "x<y" }]\n'
    shown = texts(parse(text, folder / "t.toml"))
    assert "tapestry a < b & c" in shown
    assert "x<y" in shown


def test_nothing_of_the_svg_is_outside_of_it(folder: Path) -> None:
    strings = ", ".join(f'{{ run = "site.py {"--word " * number}" }}' for number in range(12))
    devices = "".join(f'eth{number} = "10.{number}.0.1/24"\n' for number in range(4))
    hosts = "".join(f'[hosts.h{number}]\neth0 = "10.9.0.{number + 1}/24"\n' for number in range(9))
    text = f"{hosts}[hosts.a]\n{devices}strings = [{strings}]\n"
    text += '[[links]]\nends = ["h0", "h1", "h2", "h8"]\n[[links]]\nends = ["h3", "h4"]\n'
    root = tree(parse(text, folder / "t.toml"))
    width, height = int(str(root.get("width"))), int(str(root.get("height")))
    for element in root.iterfind(".//rect", NAMESPACE):
        x, y, wide, high = (int(str(element.get(key))) for key in ("x", "y", "width", "height"))
        assert 0 <= x <= x + wide <= width, element.attrib
        assert 0 <= y <= y + high <= height, element.attrib
    for element in root.iterfind(".//text", NAMESPACE):
        assert 0 <= int(str(element.get("x"))) < width
        assert 0 <= int(str(element.get("y"))) < height
