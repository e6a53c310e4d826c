"""[[events]] of a tapestry and the restart keys of its strings: what is refused, what is shown, what happens."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import weaves
from weaves import cli, show
from weaves.restart import RestartPolicy
from weaves.strings import FAILED, KILLED
from weaves.tapestry import parse
from weaves.tapestry_errors import TapestryError

NETWORK = """\
[tapestry]
until = "20s"
on_error = "continue"

[hosts.server]
eth0 = "10.0.0.2/24"
strings = [{ run = "site.py", name = "site", background = true }]

[hosts.client]
count = 3
eth0 = "10.0.0.{i+10}/24"

[[links]]
name = "lan"
ends = ["server", "client"]

"""
FIRST_LINE = NETWORK.count("\n") + 1


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for tapestries, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "site.py").write_text("")
    return tmp_path


def mistake(event: str) -> str:
    with pytest.raises(TapestryError) as caught:
        parse(f"{NETWORK}[[events]]\n{event}", "site.toml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("event", "line", "message"),
    [
        ('do = "crash"\nhost = "server"', 0, ': no time; expected at = "5s"'),
        ('at = "5s"\nhost = "server"', 0,
         ': nothing to do; expected do = "crash", or another of what can happen to a host'),
        ('at = "5s"\ndo = "crsh"\nhost = "server"', 2, ' do: "crsh" is not known; did you mean "crash"?'),
        ('at = "soon"\ndo = "crash"\nhost = "server"', 1,
         ' at: "soon" is not a duration; expected a number and a unit (ns, us, ms, s, m, h, d)'),
        ('at = "5s"\ndo = "signal"\nsignal = "SIGHUP"\nhost = "client-1"\nweave = "site"', 5,
         " weave: there is no weave on client-1; expected no weave"),
        ('at = "5s"\ndo = "crash"', 0, ': no host for "crash"; expected host = "NAME"'),
        ('at = "5s"\ndo = "crash"\nhost = "servr"', 3, ' host: there is no host "servr"; did you mean "server"?'),
        ('at = "5s"\ndo = "crash"\nhost = "server"\nweave = "site"', 4,
         ' weave: "crash" is for all of a host; expected no weave, or do = "signal"'),
        ('at = "5s"\ndo = "boot"\nhost = "server"\nsignal = "SIGTERM"', 4,
         ' signal: "boot" has no signal; expected it with another `do`'),
        ('at = "5s"\ndo = "signal"\nhost = "server"', 0, ': no signal for "signal"; expected signal = "NAME"'),
        ('at = "5s"\ndo = "signal"\nhost = "server"\nsignal = "SIGTRM"', 4,
         ' signal: "SIGTRM" is not a signal; did you mean "SIGTERM"?'),
        ('at = "5s"\ndo = "signal"\nhost = "server"\nsignal = "SIGSTOP"', 4,
         ' signal: no process can be stopped by SIGSTOP yet; expected do = "pause", which stops the host'),
        ('at = "5s"\ndo = "signal"\nhost = "server"\nsignal = "SIGTERM"\nweave = "sight"', 5,
         ' weave: server has no weave "sight"; did you mean "site"?'),
        ('at = "5s"\ndo = "signal"\nhost = "client"\nsignal = "SIGTERM"\nweave = "site"', 5,
         " weave: there is no weave on client-0; expected no weave"),
        ('at = "5s"\ndo = "link-down"', 0, ': no link for "link-down"; expected link = "NAME"'),
        ('at = "5s"\ndo = "link-down"\nlink = "lam"', 3, ' link: there is no link "lam"; did you mean "lan"?'),
        ('at = "5s"\ndo = "link-up"\nlink = "lan"\nhost = "server"', 4,
         ' host: "link-up" has no host; expected it with another `do`'),
        ('at = "5s"\ndo = "crash"\nhosts = "server"', 3, ' hosts: unknown key; did you mean "host"?'),
    ],
)  # fmt: skip
def test_a_mistake_in_an_event_is_one_line(event: str, line: int, message: str) -> None:
    assert mistake(event) == f"site.toml:{FIRST_LINE + line}: [[events]]{message}"


def test_an_event_of_a_group_is_one_for_each_host() -> None:
    text = f'{NETWORK}[[events]]\nat = "{{i+5}}s"\ndo = "reboot"\nhost = "client"\n'
    events = parse(text, "site.toml").events
    assert [(event.host, event.at_ns) for event in events] == [
        ("client-0", 5_000_000_000), ("client-1", 6_000_000_000), ("client-2", 7_000_000_000),
    ]  # fmt: skip


def test_show_lists_events() -> None:
    events = """
        [[events]]
        at = "1s"
        do = "signal"
        signal = "SIGUSR1"
        host = "server"
        weave = "site"
        [[events]]
        at = "{i}s"
        do = "crash"
        host = "client"
        [[events]]
        at = "3s"
        do = "boot"
        host = "client-1"
        [[events]]
        at = "4s"
        do = "link-down"
        link = "lan"
    """
    assert show.as_text(parse(NETWORK + events, "site.toml"), 100).splitlines()[-4:] == [
        "event at 1s: SIGUSR1 to weave site: host server",
        "event at 0s ... 2s: crash: hosts client-0 ... client-2",
        "event at 3s: boot: host client-1",
        "event at 4s: link-down: lan",
    ]


def test_show_says_when_a_string_is_started_again() -> None:
    text = restarting('restart = "always", restart_delay = "3s", restart_limit = 5')
    shown = [line.strip() for line in show.as_text(parse(text, "site.toml"), 100).splitlines()]
    policy = "restarts always after 3s, 5 times at most"
    assert f"string runs site.py, starts at 0s, in the background, {policy}" in shown


# What happens


@pytest.fixture
def run(folder: Path) -> Iterator[Any]:
    """A tapestry from its text and the source of site.py, run to its end."""
    lives: list[weaves.LiveTapestry] = []

    def start(text: str, site: str) -> weaves.LiveTapestry:
        (folder / "site.py").write_text(site)
        (folder / "counting.py").write_text("number = 0\nseen = []\n")
        live = weaves.load(parse(text, folder / "site.toml"))
        live.supervisor.on_failure = lambda string: None
        lives.append(live)
        live.run_blocking()
        return live

    yield start
    for live in lives:
        live.close()


def event(at: str, do: str, **more: str) -> str:
    keys = {"at": at, "do": do, **more}
    return "[[events]]\n" + "".join(f'{key} = "{value}"\n' for key, value in keys.items())


# It counts in its own data and in that of a module, and says when it begins what it finds there.
COUNTING = """
import atexit, os, signal, sys, time
import counting

atexit.register(print, "atexit")
try:
    sys.argv.append("x")
    counting.number += 1
    counting.seen.append(time.monotonic())
    print(counting.number, counting.seen, len(sys.argv))
    time.sleep(100)
finally:
    print("finally")
"""


def test_a_host_that_boots_starts_its_programs_from_their_first_values(
    run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    live = run(
        NETWORK + event("3s", "crash", host="server") + event("5s", "boot", host="server")
        + event("6s", "crash", host="server") + event("6s", "boot", host="server"),
        COUNTING,
    )  # fmt: skip
    assert capsys.readouterr().out == "1 [0.0] 2\n1 [5.0] 2\n1 [6.0] 2\n"
    assert live.supervisor.forgotten[KILLED] == 2


def test_start_and_stop_count_from_the_boot(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    text = NETWORK.replace("background = true", 'start = "1s", stop = "4s"')
    run(
        text + event("10s", "crash", host="server") + event("12s", "boot", host="server"),
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('asked to end', time.monotonic()))\n"
        "print('begins', time.monotonic())\n"
        "time.sleep(5)\n",
    )  # fmt: skip
    assert capsys.readouterr().out == "begins 1.0\nasked to end 4.0\nbegins 13.0\nasked to end 16.0\n"


def test_signals_pauses_and_reboots(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run(
        NETWORK + event("1s", "signal", host="server", signal="SIGUSR1", weave="site")
        + event("2s", "pause", host="server") + event("3s", "signal", host="server", signal="SIGUSR1")
        + event("5s", "resume", host="server") + event("7s", "reboot", host="server"),
        "import signal, sys, time\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('USR1', time.monotonic()))\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('TERM', time.monotonic())))\n"
        "print('begins', time.monotonic())\n"
        "while True: time.sleep(1.5)\n",
    )  # fmt: skip
    assert capsys.readouterr().out == "begins 0.0\nUSR1 1.0\nUSR1 5.0\nTERM 7.0\nbegins 7.0\n"


def test_a_cable_that_is_pulled(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    text = NETWORK.replace('eth0 = "10.0.0.{i+10}/24"', 'eth0 = "10.0.0.{i+10}/24"\nstrings = [{ run = "pings.py" }]')
    Path("pings.py").write_text(
        "import socket, time\n"
        "with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:\n"
        "    for number in range(10):\n"
        "        sock.sendto(b'%d' % number, ('server', 53))\n"
        "        time.sleep(1)\n"
    )
    text = text.replace("count = 3", "count = 1")
    run(
        text + event("2500ms", "link-down", link="lan") + event("6500ms", "link-up", link="lan"),
        "import socket\n"
        "sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "sock.bind(('', 53))\n"
        "while True: print(sock.recv(10).decode())\n",
    )  # fmt: skip
    assert capsys.readouterr().out.split() == ["0", "1", "2", "7", "8", "9"]


def test_the_run_says_what_happens(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "site.py").write_text("import time\ntime.sleep(100)\n")
    (folder / "site.toml").write_text(
        NETWORK + event("1500ms", "crash", host="server") + event("2s", "boot", host="server")
        + event("3s", "signal", host="server", signal="SIGTERM", weave="site")
        + event("4s", "link-down", link="lan") + event("5s", "pause", host="client-2")
    )  # fmt: skip
    assert cli.main(["run", "site.toml"]) == cli.OK
    assert capsys.readouterr().err.splitlines() == [
        "[   1.500000 server] crashes",
        "[   2.000000 server] boots",
        "[   3.000000 server] site gets SIGTERM",
        "[   4.000000 lan   ] is unplugged",
        "[   5.000000 client-2] is paused",
    ]


def test_a_run_without_until_lasts_until_the_last_event(run: Any) -> None:
    text = NETWORK.replace('until = "20s"\n', "").replace("background = true", 'background = false')
    live = run(text + event("7s", "pause", host="client"), "print('done')")
    assert (live.now_ns, live.ok) == (7_000_000_000, True)


# Restarts

FAILS_AT_ONCE = "import time\nprint(time.monotonic())\nraise SystemExit(3)\n"
ENDS_AT_ONCE = "import time\nprint(time.monotonic())\n"


def restarting(keys: str) -> str:
    return NETWORK.replace("background = true", f"background = true, {keys}")


@pytest.mark.parametrize(
    ("keys", "site", "expected"),
    [
        ('restart = "no"', FAILS_AT_ONCE, [0]),
        ('on_error = "restart", restart_limit = 3', FAILS_AT_ONCE, [0, 1, 2, 3]),
        ('restart = "on-failure", restart_delay = "4s"', FAILS_AT_ONCE, [0, 4, 8, 12, 16, 20]),
        ('restart = "on-failure"', ENDS_AT_ONCE, [0]),
        ('restart = "always", restart_delay = "2500ms", restart_limit = 2', ENDS_AT_ONCE, [0, 2.5, 5]),
        ('restart = "always", restart_delay = "6s"', FAILS_AT_ONCE, [0, 6, 12, 18]),
    ],
)
def test_restarts(keys: str, site: str, expected: list[float], run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run(restarting(keys), site)
    assert [float(line) for line in capsys.readouterr().out.split()] == expected


def test_after_the_last_restart_on_error_decides(run: Any) -> None:
    live = run(restarting('restart = "on-failure", restart_limit = 2, on_error = "stop"'), FAILS_AT_ONCE)
    assert (live.now_ns, live.ok) == (2_000_000_000, False)
    assert live.supervisor.strings[0].state == FAILED


@pytest.mark.parametrize(
    ("restart", "signame", "starts"),
    [
        ("on-failure", "SIGTERM", 1), ("on-failure", "SIGKILL", 2), ("on-failure", "SIGSEGV", 2),
        ("always", "SIGTERM", 2), ("no", "SIGKILL", 1),
    ],
)  # fmt: skip
def test_whoever_is_asked_to_end_has_not_failed(
    restart: str, signame: str, starts: int, run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    text = restarting(f'restart = "{restart}"') + event("3s", "signal", host="server", signal=signame)
    run(text, "import time\nprint(time.monotonic())\ntime.sleep(100)\n")
    assert capsys.readouterr().out.split() == ["0.0", "4.0"][:starts]


def test_a_program_that_is_started_again_is_a_new_process(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run(
        restarting('restart = "always", restart_limit = 2'),
        "import asyncio, signal, sys\n"
        "import counting\n"
        "counting.number += 1\n"
        "sys.argv.append('x')\n"
        "print(counting.number, len(sys.argv), signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)\n"
        "signal.signal(signal.SIGTERM, print)\n"
        "async def main():\n"
        "    await asyncio.start_server(print, '', 80)\n"
        "loop = asyncio.new_event_loop()\n"
        "loop.run_until_complete(main())\n",
    )
    # Its port is free again, though it closed neither its server nor its loop.
    assert capsys.readouterr().out == "1 2 True\n" * 3


def test_a_stop_is_not_undone(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run(restarting('restart = "always", stop = "3s"'), "import time\nprint(time.monotonic())\ntime.sleep(100)\n")
    assert capsys.readouterr().out == "0.0\n"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ('restart = "allways"', 'restart: "allways" is not known; did you mean "always"?'),
        ('restart_delay = "1s"', 'restart_delay: it is never started again; '
         'expected restart = "on-failure" or "always"'),
        ("restart_limit = 3", 'restart_limit: it is never started again; expected restart = "on-failure" or "always"'),
        ('restart = "always", restart_limit = 0', "restart_limit: 0 is too few; expected a count of 1 or more"),
        ('restart = "always", restart_delay = "0s"', "restart_delay: 0s is no time; expected a duration above 0"),
    ],
)  # fmt: skip
def test_mistakes_of_restarts(keys: str, message: str) -> None:
    with pytest.raises(TapestryError) as caught:
        parse(restarting(keys), "site.toml")
    assert str(caught.value) == f"site.toml:7: [hosts.server] strings[0].{message}"


def test_policies() -> None:
    always, failures = RestartPolicy("always", limit=1), RestartPolicy("on-failure")
    assert [always.after_failure(n) for n in (0, 1)] == [True, False]
    assert [always.after_end(n) for n in (0, 1)] == [True, False]
    assert (failures.after_failure(1000), failures.after_end(0)) == (True, False)
    assert (failures.after_signal(signal.SIGKILL, 0), failures.after_signal(signal.SIGINT, 0)) == (True, False)


DYING = """\
import signal, sys, time
print("begins")
signal.signal(signal.SIGTERM, lambda *_: print("the handler of a program that has ended"))
time.sleep(1)
sys.exit(3)
"""


def outputs(text: str, folder: Path, **files: str) -> tuple[list[str], list[str]]:
    """What the programs of host h print, and the states of its strings in the end."""
    for name, code in files.items():
        (folder / f"{name}.py").write_text(code)
    (folder / "site.toml").write_text(text)
    live = weaves.load(folder / "site.toml")
    live.supervisor.on_failure = lambda _string: None
    try:
        with weaves.Output() as output:
            live.run_blocking()
        return output.text("h").splitlines(), [string.state for string in live.supervisor.strings]
    finally:
        live.close()


def test_a_program_that_is_dead_until_its_restart_handles_no_signal_and_stop_ends_it(folder: Path) -> None:
    text = """\
[tapestry]
until = "30s"
[hosts.h]
eth0 = "10.0.0.1/24"
strings = [{ run = "dying.py", restart = "on-failure", restart_delay = "10s", stop = "5s" }]
"""
    assert outputs(text, folder, dying=DYING) == (["begins"], [KILLED])


def test_a_signal_for_a_program_that_is_dead_does_not_keep_it_from_its_restart(folder: Path) -> None:
    text = """\
[tapestry]
until = "11s"
on_error = "continue"
[hosts.h]
eth0 = "10.0.0.1/24"
strings = [{ run = "dying.py", restart = "on-failure", restart_delay = "8s" }]
[[events]]
at = "5s"
do = "signal"
signal = "SIGTERM"
host = "h"
"""
    assert outputs(text, folder, dying=DYING)[0] == ["begins", "begins"]


@pytest.mark.parametrize("restart", ["on-failure", "always"])
def test_what_fails_when_it_is_stopped_stays_ended(folder: Path, restart: str) -> None:
    text = f"""\
[tapestry]
until = "30s"
on_error = "continue"
[hosts.h]
eth0 = "10.0.0.1/24"
strings = [{{ run = "failing.py", restart = "{restart}", stop = "5s" }}]
"""
    failing = (
        "import signal, sys, time\nprint('begins')\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))\ntime.sleep(100)\n"
    )
    assert outputs(text, folder, failing=failing) == (["begins"], [FAILED])
