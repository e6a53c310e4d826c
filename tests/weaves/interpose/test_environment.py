"""The environment and the working directory: a program has its own, a function shares the machine's."""

from __future__ import annotations

import os
import re
import ssl
from os import environ
from pathlib import Path
from typing import Any

import pytest
from lonely_hosts import Programs, World

from weaves.directory import directory
from weaves.loader import load
from weaves.tapestry_errors import TapestryError


def test_a_program_has_little_and_nothing_of_the_machines(
    programs: Programs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    lines = programs("import os\nfor name, text in sorted(os.environ.items()):\n    print(name, text)\n")
    assert lines == [
        f"HOME {tmp_path}",
        "HOSTNAME a",
        "LANG C.UTF-8",
        "PATH /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        f"PWD {tmp_path}",
        "TZ UTC",
        "USER root",
    ]


def test_the_tapestry_adds_to_it_and_changes_it(programs: Programs) -> None:
    source = "import os\nprint(os.environ['COLOUR'], os.getenv('USER'), os.environb[b'COLOUR'])\n"
    assert programs(source, keys=', env = { COLOUR = "blau", USER = "eve" }') == ["blau eve b'blau'"]


def test_openssl_finds_the_certificates_that_it_names(programs: Programs) -> None:
    authority = Path(__file__).parents[3] / "tapestries" / "apps" / "tls" / "authority.pem"
    source = "import ssl\nprint(ssl.create_default_context().cert_store_stats()['x509_ca'])\n"
    assert programs(source, keys=f', env = {{ SSL_CERT_FILE = "{authority.as_posix()}" }}') == ["1"]
    assert programs(source, keys=', env = { SSL_CERT_FILE = "/nowhere", SSL_CERT_DIR = "/nowhere" }') == ["0"]
    machine = ssl.create_default_context().cert_store_stats()["x509_ca"]
    assert programs(source) == [str(machine)]


CHANGES = """
import os, time
from os import environ
environ["MINE"] = {0!r}
os.environ.pop("LANG")
time.sleep(1)                     # the other host has changed its own by now
print(os.environ["MINE"], "LANG" in os.environ, environ is os.environ)
del os.environ["MINE"]
os.putenv("PUT", "1")
print(os.getenv("MINE"))
"""


def test_no_two_programs_share_a_variable(programs: Programs) -> None:
    before = dict(os.environ)
    assert programs(CHANGES.format("a's"), CHANGES.format("b's")) == [
        "a's False True",
        "None",
        "b's False True",
        "None",
    ]
    assert dict(os.environ) == before
    # What C code and child processes of the machine would see.
    assert b"PUT=1" not in Path("/proc/self/environ").read_bytes()


TWO_STRINGS = """
[hosts.a]
[modules.both]
module = "both"
[[beads]]
name = "both-1"
module = "both"
[[weaves]]
name = "both"
beads = ["both-1", "a"]
strings = [
    {{ call = "both:look", env = {{ COLOUR = "blau", ONE = "1" }}, cwd = "{one}" }},
    {{ call = "both:look", env = {{ COLOUR = "{colour}", TWO = "2" }}, cwd = "{two}" }},
]
"""


def two_strings(folder: Path, colour: str = "blau", one: str = "deep", two: str = "deep") -> Path:
    for name in ("deep", "other"):
        (folder / name).mkdir()
    (folder / "both.py").write_text(
        "import os\ndef look():\n    print(*(os.getenv(name) for name in ('COLOUR', 'ONE', 'TWO')), os.getcwd())\n"
    )
    (folder / "site.toml").write_text(TWO_STRINGS.format(colour=colour, one=one, two=two))
    return folder / "site.toml"


def test_the_strings_of_a_weave_have_one_environment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tapestry = load(two_strings(tmp_path))
    tapestry.run_blocking()
    assert tapestry.ok
    tapestry.close()
    assert capsys.readouterr().out.splitlines() == [f"blau 1 2 {tmp_path}/deep"] * 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"colour": "rot"}, 'env: "COLOUR" has another value in a string of the same weave; expected the same'),
        ({"two": "other"}, "cwd: a string of the same weave has "),
    ],
    ids=["environment", "directory"],
)
def test_strings_of_a_weave_that_contradict_each_other(tmp_path: Path, wrong: dict[str, str], message: str) -> None:
    with pytest.raises(TapestryError, match=re.escape(message)):
        load(two_strings(tmp_path, **wrong))


def test_a_restarted_program_begins_with_the_first_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "again.py").write_text(
        "import os, time\n"
        "print(time.time() - 946684800, os.environ.get('SEEN'), os.getcwd() == os.environ['PWD'])\n"
        "os.environ['SEEN'] = 'yes'\n"
        "os.chdir('/')\n"
        "assert time.monotonic() > 0\n"
    )
    (tmp_path / "site.toml").write_text(
        '[tapestry]\non_error = "restart"\n[hosts.a]\nstrings = [{ run = "again.py" }]\n'
    )
    tapestry = load(tmp_path / "site.toml")
    tapestry.run_blocking()
    tapestry.close()
    assert capsys.readouterr().out.splitlines() == ["0.0 None True", "1.0 None True"]


def test_a_function_shares_the_machines(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLOUR", "green")

    def look() -> str | None:
        environ["SET_BY_A_FUNCTION"] = "1"
        return os.getenv("COLOUR")

    monkeypatch.setenv("SET_BY_A_FUNCTION", "0")
    assert world.run(look) == "green"
    assert os.environ["SET_BY_A_FUNCTION"] == "1"


def test_outside_it_is_the_machines_at_the_same_moment(world: World, outside: Any, tmp_path: Path) -> None:
    weave = world.host.new_weave("program", ["program"], {"COLOUR": "blau"}, str(tmp_path))
    inside, machine = [], []

    def main() -> None:
        inside.append(environ.get("COLOUR"))
        machine.append(outside(lambda: (environ.get("COLOUR"), environ.get("PATH"))))

    from weaves.strings import String

    world.net.supervisor.start(String(weave, "main", main), 0)
    world.net.run()
    assert inside == ["blau"]
    assert machine == [(None, os.environ.get("PATH"))]


# The working directory


WALKS = """
import os, time
os.mkdir({0!r})
os.chdir({0!r})
time.sleep(1)
with open("note", "w") as note:
    note.write({0!r})
print(os.path.basename(os.getcwd()), os.listdir("."), open("../{1}/note").read() if {0!r} == "right" else "")
"""


def test_each_program_has_a_directory_of_its_own(programs: Programs, tmp_path: Path) -> None:
    before = os.getcwd()
    assert programs(WALKS.format("left", "right"), WALKS.format("right", "left")) == [
        "left ['note'] ",
        "right ['note'] left",
    ]
    assert os.getcwd() == before
    assert (tmp_path / "right" / "note").read_text() == "right"


def test_a_program_begins_where_the_tapestry_says(programs: Programs, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    source = "import os\nprint(os.getcwd(), os.environ['HOME'])\n"
    assert programs(source, keys=', cwd = "deep"') == [f"{tmp_path}/deep {tmp_path}/deep"]


def test_a_directory_that_is_gone_is_an_empty_one(programs: Programs, tmp_path: Path) -> None:
    source = """
import os, time
os.mkdir("gone")
os.chdir("gone")
os.rmdir("../gone")
time.sleep(1)
try:
    open("note", "w")
except OSError as error:
    print(type(error).__name__)
print(os.path.exists("note"))
"""
    other = "import os, time\ntime.sleep(0.5)\nprint(os.getcwd())\n"
    assert programs(source, other) == [str(tmp_path), "FileNotFoundError", "False"]


def test_a_function_walks_with_the_machine(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir("/")
    world.run(os.chdir, tmp_path)
    assert os.getcwd() == str(tmp_path)
    assert directory.now is None


def test_between_two_slices_the_process_is_at_home(tmp_path: Path) -> None:
    import asyncio

    (tmp_path / "busy.py").write_text("import os, time\nos.chdir('/')\nfor _ in range(5_000):\n    time.sleep(1e-3)\n")
    (tmp_path / "site.toml").write_text('[hosts.a]\nstrings = [{ run = "busy.py" }]\n')
    seen: set[str] = set()
    before = os.getcwd()
    tapestry = load(tmp_path / "site.toml")
    asyncio.run(tapestry.run(lambda: seen.add(os.getcwd())))
    tapestry.close()
    assert seen == {before}


def test_a_program_that_is_killed_cleans_up_in_its_own_directory(tmp_path: Path) -> None:
    (tmp_path / "killed.py").write_text(
        "import os, time\nos.mkdir('work')\nos.chdir('work')\n"
        "try:\n    time.sleep(9)\nfinally:\n    open('last', 'w').close()\n"
    )
    (tmp_path / "site.toml").write_text('[tapestry]\nuntil = "1s"\n[hosts.a]\nstrings = [{ run = "killed.py" }]\n')
    before = os.getcwd()
    tapestry = load(tmp_path / "site.toml")
    tapestry.run_blocking()
    tapestry.close()
    assert (tmp_path / "work" / "last").exists()
    assert os.getcwd() == before
