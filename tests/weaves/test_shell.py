"""`weave shell`: its own words, commands of hosts, lines from a file, and a person at a terminal."""

from __future__ import annotations

import io
import os
import pty
import select
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from weaves.cli import main
from weaves.loader import LiveTapestry, load
from weaves.report import Report
from weaves.shell import Shell

TIMEOUT_S = 60

SITE = """
[tapestry]
name = "site"
[hosts.server]
eth0 = "10.0.0.1/24"
[hosts.client]
eth0 = "10.0.0.2/24"
strings = [{ call = "talker:main", start = "1s" }]
[[links]]
ends = ["server", "client"]
delay = "5ms"
"""

TALKER = """
import asyncio
async def main():
    for number in range(3):
        print("number", number)
        await asyncio.sleep(1)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    Path("site.toml").write_text(SITE)
    Path("talker.py").write_text(TALKER)
    yield tmp_path


Captured = pytest.CaptureFixture[str]


class _Lines(io.StringIO):
    name = "<stdin>"


def session(text: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a session with these lines."""
    monkeypatch.setattr(sys, "stdin", _Lines(text))
    code = main(["shell", "site.toml", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_hosts_and_where_the_prompt_is(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = session("hosts\nhost client\nhosts\n", capsys, monkeypatch)
    assert (code, err) == (0, "")
    assert out == (
        "* server  up      10.0.0.1/24\n"
        "  client  up      10.0.0.2/24\n"
        "  server  up      10.0.0.1/24\n"
        "* client  up      10.0.0.2/24\n"
    )


def test_time_goes_on_by_run_alone(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "python net.now\nrun 1500ms\npython net.now\nrun until 2s\nrun\npython net.now\nrun 7s\npython net.now\n"
    code, out, err = session(lines, capsys, monkeypatch)
    assert (code, err) == (0, "")
    assert out == (
        "0.0\n"
        "[   1.000000 client] number 0\n"
        "1.5\n"
        "[   2.000000 client] number 1\n"
        "[   3.000000 client] number 2\n"
        "4.0\n"
        "11.0\n"
    )


def test_a_step_is_an_event_and_what_follows_at_once(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = session("step\nstep 2\npython net.now\nstep 5\n", capsys, monkeypatch)
    assert out == (
        "[   1.000000 client] number 0\n"
        "[   2.000000 client] number 1\n"
        "[   3.000000 client] number 2\n"
        "3.0\n"
    )
    assert code == 2
    assert err == "<stdin>:4: step: nothing is left to happen: no packet is on its way, no timer is set\n"


def test_a_command_of_the_host_takes_its_time(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = session("ping -c 2 client\npython net.now\n", capsys, monkeypatch, "--host", "server")
    assert (code, err) == (0, "")
    assert "64 bytes from client (10.0.0.2): icmp_seq=2 ttl=64 time=10.0 ms\n" in out
    assert "[   1.000000 client] number 0\n" in out  # programs go on meanwhile
    assert out.endswith("1.01\n")


def test_what_is_refused_is_told_with_its_line_and_the_rest_goes_on(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "# a comment\n\nrun 5 parsecs\nrun fast and far\nhost cleint\nroute flush\npython 1/0\nstep 0\npython 7\n"
    code, out, err = session(lines, capsys, monkeypatch)
    assert code == 2
    assert out == "7\n"
    told = err.splitlines()
    assert [line.partition(": ")[0] for line in told] == [f"<stdin>:{number}" for number in range(3, 9)]
    assert 'host: there is no host "cleint"; did you mean "client"?' in told[2]
    assert told[4] == "<stdin>:7: python: ZeroDivisionError: division by zero"


def test_nothing_that_a_line_raises_ends_the_session(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (
        "python raise SystemExit(3)\npython type('Odd', (), {'__repr__': lambda self: 1 / 0})()\n"
        "python net.at(1, host.crash)\nping -c 9 client\nip addr\npython 7\n"
    )
    code, out, err = session(lines, capsys, monkeypatch)
    assert (code, out.splitlines()[-1]) == (2, "7")
    assert [line for line in err.splitlines() if line.startswith("<stdin>")] == [
        "<stdin>:1: python: SystemExit: 3",
        "<stdin>:2: python: ZeroDivisionError: division by zero",
        "<stdin>:4: ping: host server crashed",
        "<stdin>:5: host server is down: no command runs there until it has booted",
    ]


def test_captures_that_cannot_be_written(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").write_text("")
    code, out, err = session("run\n", capsys, monkeypatch, "--pcap", "file/captures")
    assert (code, out) == (2, "")
    assert err == "weave shell: file/captures: cannot write captures to this directory: Not a directory\n"


def test_quit_ends_it(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    assert session("quit\npython 1\n", capsys, monkeypatch) == (0, "", "")


def test_python_keeps_names(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "python found = hosts['client'].address\npython found, host.name\n"
    assert session(lines, capsys, monkeypatch)[1] == "('10.0.0.2', 'server')\n"


def test_an_unknown_host_is_wrong_input(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = session("", capsys, monkeypatch, "--host", "serber")
    assert (code, err) == (2, 'weave shell: there is no host "serber"; did you mean "server"?\n')


def test_a_failure_stops_the_run_and_not_the_session(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("talker.py").write_text("def main():\n    raise KeyError('gone')\n")
    code, out, err = session("run 5s\nrun 5s\npython net.now\n", capsys, monkeypatch)
    assert code == 0
    assert "KeyError: 'gone'" in err
    assert "the run stopped at 1s: host client" in err
    assert out == "6.0\n"


@pytest.fixture
def shell() -> Iterator[Shell]:
    tapestry: LiveTapestry = load("site.toml")
    yield Shell(tapestry, "server", Report(tapestry, quiet=False))
    tapestry.close()


def test_completion(shell: Shell) -> None:
    assert shell.complete("ho", "ho") == ["host", "hostname", "hosts"]
    assert shell.complete("ifc", "ifc") == ["ifconfig"]
    assert shell.complete("", "host ") == ["client", "server"]
    assert shell.complete("et", "ifconfig et") == ["eth0"]
    assert shell.complete("cl", "ping -c 3 cl") == ["client"]


def test_the_prompt_says_where_and_when(shell: Shell) -> None:
    assert shell.prompt == "server:0s$ "
    shell.obey("run until 5ms")
    assert shell.prompt == "server:5ms$ "


class Terminal:
    """A session at a terminal of its own."""

    def __init__(self) -> None:
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            environ = {**os.environ, "TERM": "dumb", "PYTHONPATH": os.pathsep.join(sys.path)}
            os.execve(sys.executable, [sys.executable, "-m", "weaves.cli", "shell", "site.toml"], environ)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, text: str) -> None:
        """Read until `text` was seen, from what was not yet looked at."""
        while text not in self.seen:
            ready, _, _ = select.select([self.master], [], [], TIMEOUT_S)
            assert ready, f"waited for {text!r}, saw {self.seen!r}"
            self.seen += os.read(self.master, 65536).decode()
        self.seen = self.seen.partition(text)[2]

    def end(self) -> int:
        """Read to the end; the exit code."""
        while select.select([self.master], [], [], TIMEOUT_S)[0]:
            try:
                if not os.read(self.master, 65536):
                    break
            except OSError:  # EIO: the other side has gone
                break
        pid, self.pid = self.pid, 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def close(self) -> None:
        os.close(self.master)  # hangs up, if it has not ended
        if self.pid:
            os.waitpid(self.pid, 0)


def test_a_person_at_a_terminal_stops_a_command_and_a_run() -> None:
    terminal = Terminal()
    try:
        terminal.expect("server:0s$ ")
        terminal.type("ping client\n")
        terminal.expect("icmp_seq=5 ")
        terminal.type("\x03")
        terminal.expect("ping statistics")  # it says what it has, as the real one
        terminal.expect("stopped at ")
        terminal.expect("$ ")
        terminal.type("host client\n")
        terminal.expect("client:")
        terminal.type("python 6 * 7\n")
        terminal.expect("42")
        terminal.type("quit\n")
        assert terminal.end() == 0
    finally:
        terminal.close()


# By the machine's clock

LIVE = """
[tapestry]
clock = "real"
[hosts.here]
eth0 = "10.0.0.1/24"
[hosts.there]
eth0 = "10.0.0.2/24"
[[links]]
ends = ["here", "there"]
[hosts.away]
eth0 = "10.1.0.1/24"
[[links]]
ends = ["away"]
udp = {{ local = {local}, remote = "127.0.0.1:{remote}" }}
"""


def live() -> None:
    """A tapestry with a link that leads to nobody."""
    kind = socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as one, socket.socket(socket.AF_INET, kind) as two:
        for sock in (one, two):
            sock.bind(("127.0.0.1", 0))
        local, remote = one.getsockname()[1], two.getsockname()[1]
    Path("site.toml").write_text(LIVE.format(local=local, remote=remote))


def test_a_live_network_goes_on_by_run_and_by_commands_that_take_time(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    live()
    lines = "run 20ms\npython net.now\nping -c 1 10.0.0.2\nrun until 50ms\npython net.now\n"
    code, out, err = session(lines, capsys, monkeypatch)
    assert (code, err) == (0, "")
    assert "0.02\n" in out
    assert "1 packets transmitted, 1 received" in out
    # Nothing happens there but that time goes by.
    assert "0.05\n" in out


def test_a_port_that_is_taken_is_told_and_the_session_goes_on(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        Path("site.toml").write_text(LIVE.format(local=port, remote=port ^ 1))
        code, out, err = session("run 20ms\npython 1 + 1\n", capsys, monkeypatch)
    assert code == 2
    assert f"127.0.0.1:{port} to 127.0.0.1:{port ^ 1}: Address already in use" in err
    assert "Traceback" not in err
    assert "2\n" in out
