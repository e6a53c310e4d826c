"""The command `weave`: what it says of wrong input, how a run ends, and with which exit code.

Most tests call `main` in this process; what needs signals, pipes or a terminal starts a real process. No test looks at
the machine's clock: they wait for lines, with a timeout that only a hanging process meets.
"""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from dpkt.pcap import Reader

import weaves
from weaves.cli import main

TIMEOUT_S = 60
QUICKSTART = Path(__file__).parents[2] / "tapestries" / "quickstart.toml"

# A link between a and b, after their tables.
LINK = '[[links]]\nends = ["a", "b"]\n'

ECHO = """
import asyncio
async def echo(reader, writer):
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()
    writer.close()
async def serve():
    server = await asyncio.start_server(echo, "0.0.0.0", 7)
    await server.serve_forever()
async def talk(host, times=1, pause=0.0):
    for number in range(times):
        reader, writer = await asyncio.open_connection(host, 7)
        writer.write(b"x" * 5000)
        await reader.readexactly(5000)
        writer.close()
        print("talk", number)
        await asyncio.sleep(pause)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Each test in a folder of its own, whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def write(**files: str) -> None:
    """Write files into the current folder; `a_b__py` is the name of "a_b.py"."""
    for name, text in files.items():
        Path(name.replace("__", ".")).write_text(text)


def one_host(string: str, head: str = "") -> None:
    """site.toml: one host with one string."""
    write(site__toml=f'{head}\n[hosts.a]\neth0 = "10.0.0.1/24"\nstrings = [{string}]\n')


def two_hosts(string: str, head: str = "", link: str = "") -> None:
    """site.toml: host a with a string, host b with the echo server, and a link."""
    write(
        echo__py=ECHO,
        site__toml=f'{head}\n[hosts.a]\neth0 = "10.0.0.1/24"\nstrings = [{string}]\n'
        f'[hosts.b]\neth0 = "10.0.0.2/24"\nstrings = [{{ call = "echo:serve", background = true }}]\n{LINK}{link}',
    )


Captured = pytest.CaptureFixture[str]


# Wrong input. An entry: a title, the tapestry, and after ">>>" the line and the message, "..." goes on with a message.
# The folder has the files of FILES.

FILES = {
    "empty.py": "",
    "broken.py": "x = 1\ndef f(:\n",
    "nul.py": "x = '\0'\n",
    "latin.py": "x = '\xe4'\n",
    "functions.py": "def takes_one(x): ...\nasync def none(): ...\ndef generates():\n    yield 1\nNUMBER = 1\n",
    "import_error.py": "x = 1\nimport no_such_module_anywhere\n",
    "zero_division.py": "def f():\n    return 1 // 0\nf()\n",
    "exits.py": "import sys\nsys.exit('not today')\n",
    "exits_bare.py": "raise SystemExit\n",
    "missing_attribute.py": "import os\nos.main\n",
    "two_lines.py": "raise ValueError('one\\ntwo')\n",
}

MISTAKES = r'''
== an unknown key
[hosts.a]
cuont = 2
>>> 2: [hosts.a] cuont: unknown key; did you mean "count"?

== a bad unit
[tapestry]
until = "5 parsecs"
>>> 2: [tapestry] until: "5 parsecs" is not a duration; expected a number and a unit (ns, us, ms, s, m, h, d)

== an address in no network
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.9.2/24"
[[links]]
ends = ["a", "b"]
>>> 6: [[links]] ends: 10.0.0.1/24 of a.eth0 is in no network of this link; expected an address in 10.0.9.0/24

== two hosts of one name
[hosts.a-1]
[hosts.a]
count = 2
>>> 2: [hosts.a]: two hosts have the name "a-1", first in line 1; expected a name of its own for each host

== a link to a missing device
[hosts.a]
eth0 = "10.0.0.1/24"
[hosts.b]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["a", "b.eth1"]
>>> 6: [[links]] ends[1]: b has no eth1; expected one of eth0

== a program that does not exist
[hosts.a]
strings = [{ run = "nowhere.py" }]
>>> 2: [hosts.a] strings[0].run: there is no program "nowhere.py"; expected a Python file, from the tapestry's folder

== no hosts
[tapestry]
seed = 1
>>> 0: there are no hosts; expected a table [hosts.NAME], or one of [[beads]] with module = "lunar"

== an unknown network
[tapestry]
name = "x"
network = "mars"
[hosts.a]
>>> 3: [tapestry] network: "mars" is not known; expected "lunar"

Up to here `weave show` says the same. What follows needs the network, or imports.

== a program with a syntax error
[[hosts.a.strings]]
start = "1s"
run = "broken.py --fast"
>>> 3: [[hosts.a.strings]] run: "broken.py" does not compile: invalid syntax (broken.py, line 2); expected a
... Python program

== a program with a null character
[hosts.a]
strings = [{ run = "nul.py" }]
>>> 2: [hosts.a] strings[0].run: "nul.py" does not compile: *; expected a Python program

== a program that is not UTF-8
[hosts.a]
strings = [{ run = "latin.py" }]
>>> 2: [hosts.a] strings[0].run: "latin.py" does not compile: *; expected a Python program

== a module that runs, with a syntax error
[hosts.a]
strings = [{ run = "python -m broken" }]
>>> 2: [hosts.a] strings[0].run: "broken" does not compile: invalid syntax (broken.py, line 2); expected a
... Python program

== a module without Python code
[hosts.a]
strings = [{ run = "python -m _thread" }]
>>> 2: [hosts.a] strings[0].run: module "_thread" fails at import: ImportError: there is no Python code to run in
... _thread; expected a module that imports

== a module that raises ImportError
[hosts.a]
strings = [{ call = "import_error:main" }]
>>> 2: [hosts.a] strings[0].call: module "import_error" fails at import: ModuleNotFoundError: No module named
... 'no_such_module_anywhere' ({folder}/import_error.py:2); expected a module that imports

== a module that raises SyntaxError
[hosts.a]
strings = [{ call = "broken:main" }]
>>> 2: [hosts.a] strings[0].call: module "broken" fails at import: SyntaxError: invalid syntax
... ({folder}/broken.py:2); expected a module that imports

== a module that raises ZeroDivisionError
[hosts.a]
strings = [{ call = "zero_division:f" }]
>>> 2: [hosts.a] strings[0].call: module "zero_division" fails at import: ZeroDivisionError: integer division or
... modulo by zero ({folder}/zero_division.py:2); expected a module that imports

== a module that exits
[hosts.a]
strings = [{ call = "exits:main" }]
>>> 2: [hosts.a] strings[0].call: module "exits" fails at import: SystemExit: not today
... ({folder}/exits.py:2); expected a module that imports

== a module that exits without a word
[hosts.a]
strings = [{ call = "exits_bare:main" }]
>>> 2: [hosts.a] strings[0].call: module "exits_bare" fails at import: SystemExit ({folder}/exits_bare.py:1);
... expected a module that imports

== a module that raises AttributeError, of the name that is looked for
[hosts.a]
strings = [{ call = "missing_attribute:main" }]
>>> 2: [hosts.a] strings[0].call: module "missing_attribute" fails at import: AttributeError: module 'os' has no
... attribute 'main' ({folder}/missing_attribute.py:2); expected a module that imports

== an exception of two lines
[hosts.a]
strings = [{ call = "two_lines:main" }]
>>> 2: [hosts.a] strings[0].call: module "two_lines" fails at import: ValueError: one
... ({folder}/two_lines.py:1); expected a module that imports

== a function that the module lacks
[[hosts.a.strings]]
call = "functions:nnoe"
>>> 2: [[hosts.a.strings]] call: module "functions" has no "nnoe"; did you mean "none"?

== a module without any function
[hosts.a]
strings = [{ call = "empty:main" }]
>>> 2: [hosts.a] strings[0].call: module "empty" has no "main"; expected a function of it

== an attribute of a function
[hosts.a]
strings = [{ call = "functions:none.inner" }]
>>> 2: [hosts.a] strings[0].call: module "functions" has no "none.inner"; expected a function of it

== an attribute of an object without a dictionary
[hosts.a]
strings = [{ call = "functions:NUMBER.main" }]
>>> 2: [hosts.a] strings[0].call: module "functions" has no "NUMBER.main"; expected a function of it

== no function
[hosts.a]
strings = [{ call = "functions:NUMBER" }]
>>> 2: [hosts.a] strings[0].call: "functions:NUMBER" is not a function but int; expected a function

== a generator
[hosts.a]
strings = [{ call = "functions:generates" }]
>>> 2: [hosts.a] strings[0].call: "functions:generates" is a generator, which nobody would iterate over; expected a
... function or async function

== a missing argument
[hosts.a]
strings = [{ call = "functions:takes_one" }]
>>> 2: [hosts.a] strings[0].call: "functions:takes_one" cannot be called so: missing a required argument: 'x';
... expected takes_one(x)

== an argument too many
[[hosts.a.strings]]
call = "functions:none"
args = [1]
>>> 3: [[hosts.a.strings]] args: "functions:none" cannot be called so: too many positional arguments; expected none()

== a keyword that is not known
[[hosts.a.strings]]
call = "functions:takes_one"
kwargs = { y = 1 }
>>> 3: [[hosts.a.strings]] kwargs: "functions:takes_one" cannot be called so: missing a required argument: 'x';
... expected takes_one(x)

== a variable that no environment can have
[[hosts.a.strings]]
run = "empty.py"
env = { "A=B" = "1" }
>>> 3: [[hosts.a.strings]] env: "A=B" cannot be set; expected a name without "=", and no null characters

== a working directory that is not there
[[hosts.a.strings]]
run = "empty.py"
cwd = "nowhere"
>>> 3: [[hosts.a.strings]] cwd: there is no folder "nowhere"; expected one, from the tapestry's folder

== nobody to wait for
[hosts.a]
[hosts.b]
strings = [{ run = "empty.py", background = true }]
>>> 3: [hosts.b] strings[0].background: every string is in the background, so that the run would be over at once;
... expected one that is not, or [tapestry] until

== a route to an unreachable gateway
[hosts.a]
eth0 = "10.0.0.1/24"
net = """
sysctl -w net.ipv4.ip_forward=1
# the way out

route add default gw 10.9.0.1
"""
>>> 7: [hosts.a] net: route: gateway 10.9.0.1 is not in a network of a

== an unknown command
[hosts.a]
net = ["ifconfig", "ifconfg lo"]
>>> 2: [hosts.a] net[1]: there is no command "ifconfg"; did you mean "ifconfig"?

== an unknown parameter
[hosts.a]
net = "sysctl -w net.ipv4.ip_forwarding=1"
>>> 2: [hosts.a] net: sysctl: this stack does not obey "net.ipv4.ip_forwarding"; *

== quotes that do not end
[hosts.a]
net = "route add 'x"
>>> 2: [hosts.a] net: "route add 'x": No closing quotation
'''


def mistakes() -> Iterator[Any]:
    shown = True
    for block in MISTAKES.split("== ")[1:]:
        title, _, rest = block.partition("\n")
        text, _, tail = rest.partition(">>> ")
        message, _, remark = tail.partition("\n\n")
        number, _, message = message.replace("\n... ", " ").strip().partition(": ")
        yield pytest.param(text, int(number), message, shown, id=title)
        shown = shown and not remark.strip()


@pytest.mark.parametrize(("text", "line", "message", "shown"), list(mistakes()))
def test_a_mistake_is_one_line_with_its_place(
    folder: Path, capsys: Captured, text: str, line: int, message: str, shown: bool
) -> None:
    for name, content in FILES.items():
        Path(name).write_text(content, encoding="latin-1")
    Path("failing").mkdir()
    Path("failing/__init__.py").write_text("{}['x']\n")
    Path("failing/inner.py").write_text("")
    Path("json.py").write_text("def loads(text): ...\n")
    write(site__toml=text)
    expected = ("site.toml: " if line == 0 else f"site.toml:{line}: ") + message.replace("{folder}", str(folder))
    pattern = re.escape(expected).replace(r"\*", ".*") + "\n"
    for command in ("check", "run", "show") if shown else ("check", "run"):
        assert main([command, "site.toml"]) == 2
        out, err = capsys.readouterr()
        assert re.fullmatch(pattern, err), err
        assert out == ""
    if not shown and "exists" not in message:
        assert main(["show", "site.toml"]) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "site.toml: No such file or directory; expected a TOML file"),
        ("folder", "site.toml: Is a directory; expected a TOML file"),
        (b"", "site.toml: there are no hosts; expected a table [hosts.NAME]"),
        (b"\x7fELF\x02\x01\x01\x00\xff\xfe", "site.toml:1: not UTF-8; expected a TOML file in UTF-8"),
        (b"[hosts.a]\n\x00", "site.toml:2: not TOML: "),
        (b"[hosts.a\n", "site.toml:1: not TOML: "),
    ],
    ids=["missing", "folder", "empty", "binary", "null", "not TOML"],
)
def test_a_file_that_is_no_tapestry(capsys: Captured, content: bytes | str | None, message: str) -> None:
    if content == "folder":
        Path("site.toml").mkdir()
    elif isinstance(content, bytes):
        Path("site.toml").write_bytes(content)
    for command in ("check", "run", "show"):
        assert main([command, "site.toml"]) == 2
        out, err = capsys.readouterr()
        assert err.startswith(message)
        assert err.count("\n") == 1
        assert out == ""


def test_the_file_is_named_as_it_was_given(folder: Path, capsys: Captured) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "x.toml").write_text("[hosts.a]\nx = 1\n")
    for given in ("sub/x.toml", str(folder / "sub" / "x.toml")):
        assert main(["check", given]) == 2
        assert capsys.readouterr().err.startswith(f"{given}:2: [hosts.a] x: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "weave: the following arguments are required: COMMAND; weave --help says more"),
        (["frob"], "weave: argument COMMAND: invalid choice: 'frob' "),
        (["run"], "weave run: the following arguments are required: tapestry; weave run --help says more"),
        (["run", "site.toml", "--sed", "4"], "weave: unrecognized arguments: --sed 4; weave --help says more"),
        (["check", "site.toml", "--seed", "4"], "weave: unrecognized arguments: --seed 4; weave --help says more"),
        (["run", "site.toml", "--seed", "x"], 'weave run: argument --seed: "x" is not an integer; '),
        (
            ["run", "site.toml", "--until", "5parsecs"],
            'weave run: argument --until: "5parsecs" is not a duration; expected a number and a unit (ns, us, ms, s, '
            "m, h, d); weave run --help says more",
        ),
        (["run", "site.toml", "--until=-1s"], 'weave run: argument --until: "-1s" is negative; expected a duration '),
    ],
)
def test_a_wrong_command_line_is_one_line(capsys: Captured, arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert err.startswith(message)
    assert err.count("\n") == 1
    assert out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pcap", "site.toml"], "weave run: site.toml: cannot write captures to this directory: File exists\n"),
        (
            ["--pcap", "site.toml/x"],
            "weave run: site.toml/x: cannot write captures to this directory: Not a directory\n",
        ),
        (["--json", "no/x.json"], "weave run: no: there is no such folder to write the figures to\n"),
        (["--json", "."], "weave run: .: is a folder; expected a file to write the figures to\n"),
    ],
)
def test_an_output_that_cannot_be_written(capsys: Captured, arguments: list[str], message: str) -> None:
    one_host('{ run = "p.py" }')
    write(p__py='print("ran")\n')
    assert main(["run", "site.toml", *arguments]) == 2
    assert capsys.readouterr() == ("", message)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folders_that_are_not_writable(folder: Path, capsys: Captured) -> None:
    one_host('{ run = "p.py" }')
    write(p__py="")
    closed = folder / "closed"
    closed.mkdir(mode=0o500)
    assert main(["run", "site.toml", "--pcap", str(closed)]) == 2
    assert "Permission denied" in capsys.readouterr().err
    assert main(["run", "site.toml", "--json", str(closed / "x.json")]) == 2
    assert capsys.readouterr().err.endswith("not writable; expected a file to write the figures to\n")


# How a string ends


def test_a_string_that_raises_is_reported_with_its_place_and_traceback(folder: Path, capsys: Captured) -> None:
    write(p__py="import asyncio\nasync def main():\n    await asyncio.sleep(1.5)\n    {}['x']\nasyncio.run(main())\n")
    one_host('{ run = "p.py", name = "prog" }')
    assert main(["run", "site.toml"]) == 1
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert lines[:3] == [
        "failed at 1.5s: host a, weave prog, string prog:",
        "Traceback (most recent call last):",
        f'  File "{folder}/p.py", line 5, in <module>',  # the first frame is the program's
    ]
    assert lines[-1] == "KeyError: 'x'"
    assert f'  File "{folder}/p.py", line 4, in main' in lines
    assert "strings  0 ended well, 1 failed, 0 killed, 0 still running\n" in out


def test_a_function_that_raises_is_reported_with_its_cause(folder: Path, capsys: Captured) -> None:
    write(
        p__py="def main():\n    try:\n        1 // 0\n    except ArithmeticError as error:\n"
        "        raise OSError(5, 'no') from error\n"
    )
    one_host('{ call = "p:main" }')
    assert main(["run", "site.toml"]) == 1
    err = capsys.readouterr().err
    assert err.startswith(
        "failed at 0s: host a, weave main, string main:\nTraceback (most recent call last):\n"
        f'  File "{folder}/p.py", line 3, in main\n'
    )
    assert "ZeroDivisionError: integer division or modulo by zero\n\nThe above exception was the direct cause" in err
    assert err.endswith("OSError: [Errno 5] no\n")


@pytest.mark.parametrize(
    ("exit", "code", "said"),
    [
        ("sys.exit(3)", 1, "exited with code 3"),
        ("sys.exit('no more')", 1, "exited with code 1: no more"),
        ("sys.exit(('a', 1))", 1, "exited with code 1: ('a', 1)"),
        ("sys.exit(True)", 1, "exited with code 1"),
        ("exit(4)", 1, "exited with code 4"),
        ("sys.exit(0)", 0, None),
        ("sys.exit()", 0, None),
        ("sys.exit(False)", 0, None),
        ("exit()", 0, None),
    ],
)
@pytest.mark.parametrize("how", ["program", "asyncio.run", "async function", "function"])
def test_a_program_that_exits(capsys: Captured, exit: str, code: int, said: str | None, how: str) -> None:
    source = {
        "program": f"import sys\n{exit}\nprint('unreached')\n",
        "asyncio.run": f"import sys, asyncio\nasync def main():\n    {exit}\nasyncio.run(main())\nprint('unreached')\n",
        "async function": f"import sys\nasync def p():\n    {exit}\n",
        "function": f"import sys\ndef p():\n    {exit}\n",
    }[how]
    write(p__py=source)
    one_host('{ call = "p:p" }' if "function" in how else '{ run = "p.py" }')
    assert main(["run", "site.toml"]) == code
    out, err = capsys.readouterr()
    assert err == ("" if said is None else f"failed at 0s: host a, weave p, string p: {said}\n")
    assert "unreached" not in out
    assert f"strings  {1 - code} ended well, {code} failed, 0 killed, 0 still running\n" in out


FAILS_AT_1_S = "import time\ntime.sleep(1)\nraise ValueError('one')\n"


def test_on_error_stop_ends_the_run(capsys: Captured) -> None:
    write(p__py=FAILS_AT_1_S, q__py="import time\ntime.sleep(2)\n")
    one_host('{ run = "q.py" }, { run = "p.py" }')
    assert main(["run", "site.toml"]) == 1
    out, err = capsys.readouterr()
    assert err.startswith("failed at 1s: host a, weave p, string p:\n")
    assert "strings  0 ended well, 1 failed, 0 killed, 1 still running\n" in out
    assert "time     1.000000 s virtual" in out


def test_on_error_continue_lets_the_others_end(capsys: Captured) -> None:
    write(p__py=FAILS_AT_1_S, q__py="import time\ntime.sleep(2)\n")
    one_host('{ run = "q.py" }, { run = "p.py" }', '[tapestry]\non_error = "continue"')
    assert main(["run", "site.toml"]) == 1
    out, _ = capsys.readouterr()
    assert "strings  1 ended well, 1 failed, 0 killed, 0 still running\n" in out
    assert "time     2.000000 s virtual" in out


def test_on_error_restart_starts_again_a_second_later(capsys: Captured) -> None:
    # It fails at 1 s and, started again at 2 s, at 3 s; the third time, from 4 s on, it succeeds at 5 s.
    write(p__py="import time\ntime.sleep(1)\nif time.monotonic() < 5:\n    raise ValueError('one')\nprint('well')\n")
    one_host('{ run = "p.py", on_error = "restart" }')
    assert main(["run", "site.toml"]) == 0
    out, err = capsys.readouterr()
    assert re.findall(r"failed at (\S+):", err) == ["1s", "3s"]
    assert "[   5.000000 a] well\n" in out
    assert "strings  1 ended well, 0 failed, 0 killed, 0 still running, 2 restarts\n" in out


def test_many_failures_do_not_flood(capsys: Captured) -> None:
    write(p__py=FAILS_AT_1_S)
    write(
        site__toml='[tapestry]\non_error = "continue"\n[hosts.h]\ncount = 200\neth0 = "10.0.{i+1}/16"\n'
        'strings = [{ run = "p.py" }]\n'
    )
    assert main(["run", "site.toml"]) == 1
    out, err = capsys.readouterr()
    assert err.count("Traceback") == 10
    assert err.count("failed at 1s: host h-") == 200
    lines = err.splitlines()
    told = lines.index("(10 failures so far; from here on each is one line)")
    assert lines[told + 1 :] == [
        f"failed at 1s: host h-{number}, weave p, string p: ValueError: one" for number in range(10, 200)
    ]
    assert "strings  0 ended well, 200 failed, 0 killed, 0 still running\n" in out


def test_a_stalled_run_says_who_waits(capsys: Captured) -> None:
    write(
        p__py="import asyncio, time\nprint('waiting')\nasyncio.run(asyncio.Event().wait())\n",
        site__toml='[hosts.h]\ncount = 7\neth0 = "10.0.{i+1}/16"\nstrings = [{ run = "p.py", start = "{i}s" }]\n',
    )
    assert main(["run", "site.toml"]) == 1
    out, err = capsys.readouterr()
    assert err == (
        "stalled at 6s: nothing is left that could wake p on h-0, p on h-1, p on h-2, p on h-3, p on h-4 and 2 more: "
        "no packet is on its way, no timer is set. For a server that outlives its clients say background = true, or "
        "set until.\n"
    )
    assert "strings  0 ended well, 0 failed, 0 killed, 7 still running\n" in out


def test_a_server_in_the_background_does_not_keep_the_run_going(capsys: Captured) -> None:
    two_hosts('{ call = "echo:talk", args = ["b"] }')
    assert main(["run", "site.toml", "--json", "x.json"]) == 0
    assert "strings  1 ended well, 0 failed, 0 killed, 1 still running\n" in capsys.readouterr().out
    assert json.loads(Path("x.json").read_text())["strings"]["running"] == 1


@pytest.mark.parametrize("source", ["tapestry", "option"])
def test_until_ends_a_run_with_strings_still_running(capsys: Captured, source: str) -> None:
    write(p__py="import time\nwhile True:\n    time.sleep(1)\n    print('tick')\n")
    one_host('{ run = "p.py" }', '[tapestry]\nuntil = "2.5s"' if source == "tapestry" else "")
    arguments = ["--until", "2.5s"] if source == "option" else []
    assert main(["run", "site.toml", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("tick") == 2
    assert "strings  0 ended well, 0 failed, 0 killed, 1 still running\n" in out
    assert "time     2.500000 s virtual" in out


def test_until_is_reached_when_nothing_is_left_to_happen(capsys: Captured) -> None:
    one_host('{ call = "echo:serve", background = true }')
    write(echo__py=ECHO)
    assert main(["run", "site.toml", "--until", "1h"]) == 0
    out, err = capsys.readouterr()
    assert "time     3600.000000 s virtual" in out
    assert err == ""


def test_strings_that_have_ended_end_the_run_before_until(capsys: Captured) -> None:
    write(p__py="import time\ntime.sleep(1)\n")
    one_host('{ run = "p.py" }', '[tapestry]\nuntil = "1h"')
    assert main(["run", "site.toml"]) == 0
    assert "time     1.000000 s virtual" in capsys.readouterr().out


def test_stop_delivers_sigterm(capsys: Captured) -> None:
    write(
        graceful__py="import asyncio, signal\n"
        "async def main():\n"
        "    stop = asyncio.Event()\n"
        "    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)\n"
        "    await stop.wait()\n"
        "    await asyncio.sleep(1)\n"
        "    print('stopped gracefully')\n"
        "asyncio.run(main())\n",
        deaf__py="import time\ntime.sleep(1000)\nprint('unreached')\n",
    )
    one_host('{ run = "graceful.py", stop = "5s" }, { run = "deaf.py", stop = "4s" }')
    assert main(["run", "site.toml"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "[   6.000000 a/graceful] stopped gracefully\n" in out
    assert "unreached" not in out
    assert "strings  1 ended well, 0 failed, 1 killed, 0 still running\n" in out


# What programs print and read


def test_a_program_prints_with_time_and_host(capsys: Captured) -> None:
    write(
        p__py="import sys, time\n"
        "print('argv', sys.argv)\n"
        "time.sleep(0.25)\n"
        "print('a\\nb')\n"
        "print('to stderr', file=sys.stderr)\n"
        "print()\n"
        "print('10 %\\r20 %\\r\\n', end='')\n"
        "sys.stdout.buffer.write('\xfc'.encode()[:1])\n"
        "sys.stdout.buffer.write('\xfc'.encode()[1:] + b'!\\n')\n"
        "sys.stdout.writelines(['x', 'y\\n'])\n"
        "print('fileno', sys.stdout.isatty(), sys.stdin.isatty())\n"
        "print('first part', end=' ', flush=True)\n"
        "time.sleep(1)\n"
        "print('and no end', end='')\n"
    )
    one_host("""{ run = "p.py --name 'x y' -v {i}" }""")
    assert main(["run", "site.toml"]) == 0
    out, err = capsys.readouterr()
    assert out.partition("\n\n")[0].splitlines() == [
        "[   0.000000 a] argv ['p.py', '--name', 'x y', '-v', '0']",
        "[   0.250000 a] a",
        "[   0.250000 a] b",
        "[   0.250000 a] ",
        "[   0.250000 a] 20 %",
        "[   0.250000 a] \xfc!",
        "[   0.250000 a] xy",
        "[   0.250000 a] fileno False False",
        "[   1.250000 a] first part and no end",
    ]
    assert err == "[   0.250000 a] to stderr\n"


def test_the_last_line_comes_when_its_program_ends(capsys: Captured) -> None:
    write(
        p__py="print('no end', end='')\n",
        q__py="import time\ntime.sleep(1)\nprint('later')\n",
        r__py="import time\nprint('cut off', end='')\ntime.sleep(9)\n",
    )
    one_host('{ run = "p.py" }, { run = "q.py" }, { run = "r.py", background = true }')
    assert main(["run", "site.toml"]) == 0
    assert capsys.readouterr().out.startswith(
        "[   0.000000 a/p] no end\n[   1.000000 a/q] later\n[   1.000000 a/r] cut off\n\n"
    )


def test_lines_of_many_hosts_are_aligned(capsys: Captured) -> None:
    write(
        p__py="import socket\nprint('here is', socket.gethostname())\n",
        site__toml='[hosts.node]\ncount = 11\neth0 = "10.0.{i+1}/16"\nstrings = [{ run = "p.py" }]\n'
        '[hosts.b]\neth0 = "10.0.9.9/16"\nstrings = [{ run = "p.py" }, { run = "p.py" }]\n',
    )
    assert main(["run", "site.toml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[   0.000000 node-0 ] here is node-0"
    assert lines[10:13] == [
        "[   0.000000 node-10] here is node-10",
        "[   0.000000 b/p    ] here is b",
        "[   0.000000 b/p #2 ] here is b",
    ]


def test_a_program_reads_the_end_of_its_input(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    read, written = os.pipe()
    os.write(written, b"not for programs\n")
    os.close(written)
    write(
        p__py="import sys\nprint([sys.stdin.read(), sys.stdin.readline(), sys.stdin.buffer.read(), list(sys.stdin)])\n"
        "try:\n    input('name? ')\nexcept EOFError:\n    print('nobody')\n"
    )
    one_host('{ run = "p.py" }')
    with open(read) as machine:
        monkeypatch.setattr(sys, "stdin", machine)
        assert main(["run", "site.toml"]) == 0
        assert machine.read() == "not for programs\n"
    assert capsys.readouterr().out.startswith("[   0.000000 a] ['', '', b'', []]\n[   0.000000 a] name? nobody\n")


def test_a_program_that_closes_its_streams_closes_nobody_elses(capsys: Captured) -> None:
    write(p__py="import sys\nsys.stdout.close()\nsys.stdin.close()\n", q__py="print('still here')\n")
    one_host('{ run = "p.py" }, { run = "q.py" }')
    assert main(["run", "site.toml"]) == 0
    assert "still here\n" in capsys.readouterr().out


def test_quiet_leaves_the_summary_and_failures(capsys: Captured) -> None:
    write(p__py="import sys\nprint('out')\nprint('err', file=sys.stderr)\nsys.exit(3)\n")
    one_host('{ run = "p.py" }')
    assert main(["run", "site.toml", "--quiet"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("\ntcp      0 connections")
    assert err == "failed at 0s: host a, weave p, string p: exited with code 3\n"


def test_finally_clauses_at_the_end_of_the_run_still_print(capsys: Captured) -> None:
    write(
        server__py="import time\ntry:\n    time.sleep(99)\nfinally:\n    print('goodbye')\n",
        p__py="import time\ntime.sleep(1)\n",
    )
    one_host('{ run = "p.py" }, { run = "server.py", background = true }')
    assert main(["run", "site.toml"]) == 0
    assert capsys.readouterr().out.startswith("[   1.000000 a/server] goodbye\n\n")


def test_two_programs_of_one_name_draw_different_numbers(capsys: Captured) -> None:
    write(p__py="import random\nprint(random.random())\n")
    one_host('{ run = "p.py" }, { run = "p.py" }')
    assert main(["run", "site.toml"]) == 0
    first, second = (line.split("] ")[1] for line in capsys.readouterr().out.splitlines()[:2])
    assert first != second


# The commands


def test_check_counts_what_it_found(capsys: Captured) -> None:
    two_hosts('{ call = "echo:talk", args = ["b"] }')
    assert main(["check", "site.toml"]) == 0
    assert capsys.readouterr() == ("site.toml: 2 hosts, 1 link, 2 strings: no mistake found\n", "")
    one_host('{ run = "p.py" }')
    write(p__py="print('must not run')\n")
    assert main(["check", "site.toml"]) == 0
    assert capsys.readouterr().out == "site.toml: 1 host, 0 links, 1 string: no mistake found\n"
    assert main(["check", str(QUICKSTART.with_name("two_kernels.toml"))]) == 0
    assert capsys.readouterr().out.endswith(": 0 hosts, 2 kernels, 1 link, 0 strings: no mistake found\n")


def test_check_and_show_take_the_quickstart(capsys: Captured) -> None:
    assert main(["check", str(QUICKSTART)]) == 0
    assert capsys.readouterr().out.endswith(": 1,004 hosts, 4 links, 1,001 strings: no mistake found\n")
    assert main(["show", str(QUICKSTART)]) == 0
    assert capsys.readouterr().out.startswith("tapestry quickstart: seed 1, until every string has ended")


def test_show_writes_an_svg(folder: Path, capsys: Captured) -> None:
    write(p__py="print('must not run')\n")
    one_host('{ run = "p.py" }')
    assert main(["show", "site.toml", "--svg", "site.svg"]) == 0
    assert capsys.readouterr() == ("", "")
    assert ElementTree.parse(folder / "site.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_show_says_that_it_cannot_write_an_svg(capsys: Captured) -> None:
    write(p__py="")
    one_host('{ run = "p.py" }')
    assert main(["show", "site.toml", "--svg", "no/site.svg"]) == 2
    assert capsys.readouterr() == ("", "weave show: no/site.svg: No such file or directory\n")


@pytest.mark.parametrize(("encoding", "corner"), [("ascii", "+"), ("latin-1", "+"), ("utf-8", "┌")])
def test_show_draws_with_what_the_terminal_has(
    monkeypatch: pytest.MonkeyPatch, folder: Path, encoding: str, corner: str
) -> None:
    write(p__py="")
    (folder / "ä.py").touch()
    (folder / "site.toml").write_text('[hosts.a]\nstrings = [{ run = "ä.py" }]\n', encoding="utf-8")
    out = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["show", "site.toml"]) == 0
    out.flush()
    text = out.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert f"  {corner}" in text
    assert ("ä.py" if encoding != "ascii" else "\\xe4.py") in text


def test_the_picture_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    write(p__py="")
    one_host(", ".join(["{ run = 'p.py' }"] * 12))
    widths = []
    for columns in ("60", "150"):
        monkeypatch.setenv("COLUMNS", columns)
        assert main(["show", "site.toml"]) == 0
        picture = capsys.readouterr().out.partition("host a")[0]
        widths.append(max(map(len, picture.splitlines()[1:])))
    assert 50 < widths[0] <= 60
    assert 140 < widths[1] <= 150


def test_a_seed_on_the_command_line_replaces_the_tapestrys(capsys: Captured) -> None:
    two_hosts('{ call = "echo:talk", args = ["b", 5] }', "[tapestry]\nseed = 7", 'loss = "20%"\n')
    digests = {}
    for seed in (None, "7", "8"):
        assert main(["run", "site.toml", "--json", "x.json", *([] if seed is None else ["--seed", seed])]) == 0
        figures = json.loads(Path("x.json").read_text())
        assert figures["seed"] == int(seed or 7)
        digests[seed] = figures["digest"]
    assert digests[None] == digests["7"] != digests["8"]


def test_the_json_says_what_the_summary_says(capsys: Captured) -> None:
    two_hosts('{ call = "echo:talk", args = ["b", 20] }', "", 'name = "[red]wire[/]"\nloss = "5%"\nrate = "1mbit"\n')
    assert main(["run", "site.toml", "--json", "x.json"]) == 0
    figures = json.loads(Path("x.json").read_text())
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("[red]wire[/]")).split()
    link = figures["links"][0]
    assert row[:5] == [
        link["name"], f"{link['packets']:,}", f"{link['bytes']:,}", f"{link['lost']:,}", f"{link['queue_drops']:,}",
    ]  # fmt: skip
    assert row[5].endswith("ms")
    assert float(row[5][:-2]) == pytest.approx(link["mean_queueing_s"] * 1e3, abs=1e-6)
    said = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines[-5:]}
    tcp, strings = figures["tcp"], figures["strings"]
    assert said == {
        "tcp": f"{tcp['connections']} connections, {tcp['segments_sent']:,} segments sent, "
        f"{tcp['retransmissions']:,} retransmitted",
        "strings": f"{strings['ended']} ended well, {strings['failed']} failed, {strings['killed']} killed, "
        f"{strings['running']} still running",
        "packets": f"{figures['packets']:,} on {figures['hosts']} hosts",
        "time": f"{figures['virtual_s']:.6f} s virtual in {figures['wall_s']:.2f} s",
        "digest": figures["digest"],
    }
    assert tcp["connections"] == 20
    assert tcp["retransmissions"] > 0
    assert link["lost"] > 0
    assert (figures["tapestry"], figures["ok"], figures["interrupted"]) == ("site", True, False)
    assert strings["total"] == 2


def test_json_replaces_a_file_through_a_link_and_leaves_devices_be(folder: Path, capsys: Captured) -> None:
    one_host('{ run = "p.py" }')
    write(p__py="", old__json="old")
    (folder / "link.json").symlink_to("old.json")
    assert main(["run", "site.toml", "--json", "link.json"]) == 0
    assert (folder / "link.json").is_symlink()
    assert json.loads((folder / "old.json").read_text())["ok"] is True
    assert main(["run", "site.toml", "--json", os.devnull]) == 0
    assert Path(os.devnull).is_char_device()
    assert sorted(path.name for path in folder.iterdir()) == ["link.json", "old.json", "p.py", "site.toml"]


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ([], ["--version", "run", "check", "show", "130", "143"]),
        (["run"], ["--seed", "--until", "--pcap", "--json", "--through-bytes", "--quiet", "tapestry", "Ctrl-C"]),
        (["check"], ["tapestry"]),
        (["show"], ["--svg", "tapestry"]),
    ],
)
def test_help_names_every_option(capsys: Captured, command: list[str], options: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    out, err = capsys.readouterr()
    assert [option for option in options if option not in out] == []
    assert err == ""


def test_version_says_how_it_was_built(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    build = "compiled)" if weaves.COMPILED else "interpreted: "
    assert capsys.readouterr().out.startswith(f"weave {weaves.__version__} ({build}")


# Real processes


def command(*arguments: str) -> list[str]:
    safe_path = ["-P"] if sys.flags.safe_path else []
    return [sys.executable, *safe_path, "-m", "weaves.cli", *arguments]


def environment(**more: str) -> dict[str, str]:
    """Ours, with a PYTHONPATH that holds in any folder."""
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **more}


ORIGIN = Path.cwd()


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `weave` with pipes; what still runs at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str, **settings: Any) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **settings}
        process = subprocess.Popen(command(*arguments), env=ENVIRONMENT, **pipes)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


# Made at import, while the current folder is the one that a relative PYTHONPATH means.
ENVIRONMENT = environment()


def wait_for(process: subprocess.Popen[str], text: str) -> str:
    """The output of `process` up to a line that contains `text`."""
    assert process.stdout is not None
    seen = ""
    while text not in seen:
        ready, _, _ = select.select([process.stdout], [], [], TIMEOUT_S)
        assert ready, f"no {text!r} after {TIMEOUT_S} s, only {seen!r}"
        line = process.stdout.readline()
        assert line, f"the process ended without {text!r}: {seen!r}"
        seen += line
    return seen


Start = Callable[..., "subprocess.Popen[str]"]


def test_a_process_says_wrong_input_in_one_line(start: Start) -> None:
    write(site__toml="[hosts.a]\ncuont = 2\n")
    for arguments in (("check", "site.toml"), ("run", "site.toml"), ("show", "site.toml")):
        process = start(*arguments)
        out, err = process.communicate(timeout=TIMEOUT_S)
        assert (process.returncode, out) == (2, "")
        assert err == 'site.toml:2: [hosts.a] cuont: unknown key; did you mean "count"?\n'
    process = start("run", "site.toml", "--until", "5parsecs")
    assert process.communicate(timeout=TIMEOUT_S)[1].startswith('weave run: argument --until: "5parsecs" is not a ')
    assert process.returncode == 2


def test_a_process_reports_a_failure(start: Start, folder: Path) -> None:
    write(p__py="print('before')\nraise LookupError('x')\n")
    one_host('{ run = "p.py" }')
    process = start("run", "site.toml", stderr=subprocess.STDOUT)
    out, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    # In the order of events, though one is buffered and the other is not.
    assert out.startswith(
        "[   0.000000 a] before\nfailed at 0s: host a, weave p, string p:\nTraceback (most recent call last):\n"
        f'  File "{folder}/p.py", line 2, in <module>\n'
    )


# A tapestry that goes on for ever, and prints.
def for_ever() -> None:
    two_hosts('{ call = "echo:talk", args = ["b", 1000000000], kwargs = { pause = 0.001 } }', "", 'loss = "1%"\n')


def assert_whole_captures(directory: Path, names: set[str]) -> None:
    files = {path.name for path in directory.iterdir()}
    assert files == names
    for name in names:
        with open(directory / name, "rb") as file:
            count = sum(1 for _ in Reader(file))
            assert count > 0
            assert file.read() == b""


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_run_with_what_happened_so_far(
    start: Start, folder: Path, signum: signal.Signals, code: int
) -> None:
    for_ever()
    process = start("run", "site.toml", "--pcap", "captures", "--json", "x.json")
    wait_for(process, "talk 9")
    process.send_signal(signum)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == code
    assert err == ""
    assert out.endswith("\ninterrupted these are the figures so far\n")
    figures = json.loads((folder / "x.json").read_text())
    assert (figures["interrupted"], figures["ok"], figures["strings"]["running"]) == (True, False, 2)
    assert f"\ndigest   {figures['digest']}\n" in out
    assert_whole_captures(folder / "captures", {"a-eth0.pcap", "b-eth0.pcap"})
    left = {path.name for path in folder.iterdir()} - {"__pycache__"}
    assert left == {"site.toml", "echo.py", "captures", "x.json"}


def test_a_second_signal_ends_what_does_not_yield(start: Start, folder: Path) -> None:
    # The program never waits, so that the first signal, which asks for the end between two events, is not heard.
    write(
        p__py="import asyncio\n"
        "async def main():\n"
        "    print('talking', flush=True)\n"
        "    reader, writer = await asyncio.open_connection('b', 7)\n"
        "    print('spinning')\n"
        "    await asyncio.sleep(1)\n"
        "    import pathlib\n"
        "    pathlib.Path('spins').touch()\n"
        "    while True:\n"
        "        pass\n"
        "asyncio.run(main())\n"
    )
    two_hosts('{ run = "p.py" }')
    process = start("run", "site.toml", "--pcap", "captures", "--json", "x.json")
    wait_for_file(process, folder / "spins")
    # Two of one kind could arrive as one.
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode in (130, 143)
    assert "Traceback" not in err
    assert json.loads((folder / "x.json").read_text())["interrupted"] is True
    assert "\ninterrupted" in out
    assert_whole_captures(folder / "captures", {"a-eth0.pcap", "b-eth0.pcap"})


def wait_for_file(process: subprocess.Popen[str], path: Path) -> None:
    for _ in range(TIMEOUT_S * 20):
        if path.exists():
            return
        assert process.poll() is None, process.communicate()
        select.select([], [], [], 0.05)
    raise AssertionError(f"no {path} after {TIMEOUT_S} s")


@pytest.mark.parametrize(
    ("arguments", "signum", "code"),
    [(["run"], signal.SIGINT, 130), (["run"], signal.SIGTERM, 143), (["check"], signal.SIGINT, 130)],
)
def test_a_signal_during_loading_is_one_line(
    start: Start, folder: Path, arguments: list[str], signum: signal.Signals, code: int
) -> None:
    write(slow__py="import os\nos.write(1, b'loading\\n')\nwhile True:\n    pass\n")
    one_host('{ call = "slow:main" }')
    extra = ["--pcap", "captures", "--json", "x.json"] if arguments == ["run"] else []
    process = start(*arguments, "site.toml", *extra)
    wait_for(process, "loading")
    process.send_signal(signum)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, out, err) == (code, "", "interrupted\n")
    assert {path.name for path in folder.iterdir()} - {"__pycache__"} == {"slow.py", "site.toml"}


def test_an_ignored_ctrl_c_stays_ignored(start: Start) -> None:
    for_ever()
    process = start("run", "site.toml", preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    wait_for(process, "talk 2")
    process.send_signal(signal.SIGINT)
    wait_for(process, "talk 99")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 143


@pytest.mark.parametrize("how", ["run", "check", "show", "short run"])
def test_a_reader_that_goes_away_ends_it_quietly(start: Start, folder: Path, how: str) -> None:
    for_ever()
    if how == "short run":
        two_hosts('{ call = "echo:talk", args = ["b"] }')
    arguments = ["--json", "x.json", "--pcap", "captures"] if "run" in how else []
    process = start("run" if "run" in how else how, "site.toml", *arguments)
    assert process.stdout is not None
    if how == "run":
        assert process.stdout.readline() == "[   0.000000 a] talk 0\n"
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    assert process.wait(TIMEOUT_S) == 141
    assert err == ""
    if "run" in how:
        assert "digest" in json.loads((folder / "x.json").read_text())
        assert_whole_captures(folder / "captures", {"a-eth0.pcap", "b-eth0.pcap"})


def test_a_closed_standard_error_does_not_matter(start: Start) -> None:
    write(p__py="import sys\nprint('to nobody', file=sys.stderr)\nsys.exit(2)\n")
    one_host('{ run = "p.py" }')
    process = start("run", "site.toml")
    assert process.stderr is not None
    process.stderr.close()
    process.stderr = None
    out, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert "0 ended well, 1 failed" in out


def test_a_full_disk_under_the_captures_ends_the_run(start: Start, folder: Path) -> None:
    for_ever()
    process = start("run", "site.toml", "--pcap", "captures", "--json", "x.json", preexec_fn=_small_files)
    _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 2
    assert re.fullmatch(r"weave run: captures/[ab]-eth0.pcap: File too large\n", err), err
    for name in ("a-eth0.pcap", "b-eth0.pcap"):
        with open(folder / "captures" / name, "rb") as file:
            list(Reader(file))
            assert file.read() == b""


def _small_files() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


def test_what_a_program_logs_has_its_host(start: Start) -> None:
    write(
        p__py="import asyncio, logging\nlogging.basicConfig()\nlogging.warning('early')\n"
        "async def fails():\n    {}['x']\n"
        "async def main():\n    task = asyncio.create_task(fails())\n    await asyncio.sleep(1)\n    del task\n"
        "asyncio.run(main())\n"
    )
    one_host('{ run = "p.py" }')
    process = start("run", "site.toml")
    _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    lines = err.splitlines()
    assert lines[0] == "[   0.000000 a] WARNING:root:early"
    assert re.fullmatch(r"\[   1.000000 a\] ERROR:asyncio:\w*Task exception was never retrieved", lines[1])
    assert lines[-1] == "[   1.000000 a] KeyError: 'x'"


def test_the_order_of_sets_is_fixed(start: Start) -> None:
    write(p__py="print(hash('a'), *{'a', 'b', 'c', 'd', 'e', 'f', 'g'})\n")
    one_host('{ run = "p.py" }')
    lines = set()
    for _ in range(2):
        out, _ = start("run", "site.toml").communicate(timeout=TIMEOUT_S)
        lines.add(out.splitlines()[0])
    assert len(lines) == 1


def test_the_module_is_the_command(start: Start) -> None:
    out, err = start("--version").communicate(timeout=TIMEOUT_S)
    assert (out, err) == (f"weave {weaves.__version__} ({_build()})\n", "")


def _build() -> str:
    return "compiled" if weaves.COMPILED else "interpreted: no C compiler at its installation, or LUNAR_PURE=1"


# On a terminal


def run_on_terminal(*arguments: str, columns: int = 80, **more: str) -> tuple[int, str]:
    """The exit code, and everything that the terminal was sent."""
    import fcntl
    import struct
    import termios

    control, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        command(*arguments), stdin=terminal, stdout=terminal, stderr=terminal,
        env={**ENVIRONMENT, "TERM": "xterm", **more}, close_fds=True,
    )  # fmt: skip
    os.close(terminal)
    seen = b""
    try:
        while True:
            ready, _, _ = select.select([control], [], [], TIMEOUT_S)
            assert ready, seen
            try:
                data = os.read(control, 65536)
            except OSError:  # EIO: the other side has closed
                break
            if not data:
                break
            seen += data
    finally:
        process.kill()
        os.close(control)
    return process.wait(TIMEOUT_S), seen.decode()


# It takes at least two times 0.3 s of the machine's time, by the machine's clock, with a line after each.
TAKES_ITS_TIME = """
import asyncio
from weaves.interpose import real_perf_counter
async def main():
    for part in range(2):
        end = real_perf_counter() + 0.3
        while real_perf_counter() < end:
            await asyncio.sleep(0.001)
        print("part", part)
"""


def screen(sent: str) -> str:
    """What a terminal shows in the end of what it was sent; understands what the progress line uses."""
    shown = []
    for line in sent.replace("\r\n", "\n").split("\n"):
        shown.append(re.sub(r"\x1b\[[0-9;]*m", "", line.rpartition("\r\x1b[2K")[2]))
    return "\n".join(shown)


def test_a_terminal_shows_a_changing_line_and_clears_it() -> None:
    write(p__py=TAKES_ITS_TIME)
    one_host('{ call = "p:main" }')
    code, sent = run_on_terminal("run", "site.toml", columns=60)
    assert code == 0
    progress = re.findall(r"\r\x1b\[2K(virtual [^\r\n]+)", sent)
    assert progress
    for line in progress:
        assert re.match(r"virtual \d+\.\d{3} s \| wall \d+\.\d s \| 0 packets \| 1 hosts", line)
        assert len(line) == 59
    assert progress == sorted(progress, key=lambda line: float(line.split()[1]))
    number = r"\[ *[0-9.]+ a\]"
    assert re.match(rf"{number} part 0\n{number} part 1\n\ntcp      0 connections, 0 segments", screen(sent))
    assert "virtual " not in screen(sent).replace("s virtual in", "")


def test_a_wide_terminal_shows_all_of_the_line() -> None:
    write(p__py=TAKES_ITS_TIME)
    one_host('{ call = "p:main" }', '[tapestry]\nuntil = "2m"')
    _, sent = run_on_terminal("run", "site.toml", columns=200)
    assert re.search(r"virtual \S+ s of 2m \| wall \S+ s \| 0 packets \| 1 hosts \| 0 of 1 strings ended", sent)


def test_a_terminal_that_cannot_do_it_and_quiet_have_no_changing_line() -> None:
    write(p__py=TAKES_ITS_TIME)
    one_host('{ call = "p:main" }')
    code, sent = run_on_terminal("run", "site.toml", TERM="dumb")
    assert code == 0
    assert "\x1b[2K" not in sent
    code, sent = run_on_terminal("run", "site.toml", "--quiet")
    assert code == 0
    assert "wall" not in sent
    assert "part" not in sent
