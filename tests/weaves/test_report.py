"""What a run says of itself: failures, the progress line, the summary and the JSON."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from weaves import report
from weaves.loader import LiveTapestry, load
from weaves.report import Report, failure_text, print_summary, write_json
from weaves.strings import ENDED, RUNNING, String
from weaves.tapestry import parse
from weaves.weave import Weave


def raised(error: BaseException) -> BaseException:
    """`error` with a traceback of a program."""
    try:
        exec(compile("def inner():\n    raise error\ninner()\n", "failing_program.py", "exec"), {"error": error})
    except BaseException as caught:  # noqa: BLE001
        return caught
    raise AssertionError


class FakeWeave:
    def __init__(self, host: str, name: str) -> None:
        self.host = SimpleNamespace(name=host)
        self.name = name


def weave(host: str = "a", name: str = "p") -> Weave:
    return cast(Weave, FakeWeave(host, name))


def string(error: BaseException | None = None, state: str = ENDED, of: Weave | None = None) -> String:
    return cast(
        String,
        SimpleNamespace(
            weave=of or weave(), name="s", error=error, state=state, over=state != RUNNING, restarts=0, exit_code=None,
        ),
    )  # fmt: skip


class Network:
    seed = 1
    udp_links: tuple[dict[str, Any], ...] = ()
    taps: tuple[dict[str, Any], ...] = ()
    gateways: tuple[dict[str, Any], ...] = ()

    def __init__(self, links: list[dict[str, Any]]) -> None:
        self._links = links

    def digest(self) -> str:
        return "d1"

    def totals(self) -> dict[str, int]:
        return {"hosts": 3, "packets": 1234567}

    def link_figures(self) -> list[dict[str, Any]]:
        return self._links

    def tcp_figures(self) -> dict[str, int]:
        return {"connections": 1000, "segments_sent": 2000, "retransmissions": 30}

    def outside_figures(self) -> dict[str, Any]:
        return {"udp_links": self.udp_links, "taps": self.taps, "programs": [], "gateway": self.gateways}


def live(strings: list[String], links: list[dict[str, Any]] | None = None) -> LiveTapestry:
    supervisor = SimpleNamespace(
        strings=strings, forgotten=Counter(), hangs=[], scheduler=SimpleNamespace(fired=5), pace=None, log=None
    )
    return cast(
        LiveTapestry,
        SimpleNamespace(
            supervisor=supervisor, network=Network(links or []), now_ns=1_500_000_000, until_ns=None, ok=True,
            stalled=[], description=SimpleNamespace(name="site"),
        ),
    )  # fmt: skip


def link(name: str, packets: int = 1) -> dict[str, Any]:
    return {
        "name": name, "packets": packets, "bytes": 1500 * packets, "lost": 2, "queue_drops": 3,
        "mean_queueing_s": 0.00125,
    }  # fmt: skip


# Failures


def test_a_failure_has_host_weave_string_and_the_programs_traceback() -> None:
    text = failure_text(string(raised(KeyError("x"))), full=True)
    assert text.startswith("host a, weave p, string s:\nTraceback (most recent call last):\n")
    frames = '  File "failing_program.py", line 3, in <module>\n  File "failing_program.py", line 2, in inner\n'
    assert text.endswith(f"{frames}KeyError: 'x'")


def test_frames_of_this_package_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text("import q\n")
    (tmp_path / "q.py").write_text("1 // 0\n")
    live = load(parse('[hosts.a]\nstrings = [{ run = "p.py" }]\n', tmp_path / "site.toml"))
    live.supervisor.on_failure = lambda string: None
    live.run_blocking()
    text = failure_text(live.supervisor.strings[0], full=True)
    live.close()
    assert text.endswith(
        f'last):\n  File "{tmp_path}/p.py", line 1, in <module>\n    import q\n'
        f'  File "{tmp_path}/q.py", line 1, in <module>\n    1 // 0\n    ~~^^~~\n'
        "ZeroDivisionError: integer division or modulo by zero"
    )


def test_causes_are_told() -> None:
    error = ValueError("second")
    error.__cause__ = raised(KeyError("first"))
    text = failure_text(string(raised(error)), full=True)
    assert "KeyError: 'first'\n\nThe above exception was the direct cause" in text
    assert text.endswith("ValueError: second")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one"), "ValueError: one"),
        (ValueError("one\ntwo"), "ValueError: one ..."),
        (ValueError(), "ValueError"),
        (SystemExit(3), "exited with code 3"),
        (SystemExit("words\nmore"), "exited with code 1: words ..."),
    ],
)
def test_a_failure_in_one_line(error: BaseException, line: str) -> None:
    assert failure_text(string(raised(error)), full=False) == f"host a, weave p, string s: {line}"


def test_an_exit_has_all_its_words_and_no_traceback() -> None:
    text = failure_text(string(raised(SystemExit("words\nmore"))), full=True)
    assert text == "host a, weave p, string s: exited with code 1: words\nmore"


# While it runs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A machine's clock that the test moves."""
    made = SimpleNamespace(now=0.0)
    monkeypatch.setattr(report, "perf_counter", lambda: made.now)
    return made


def test_plain_progress_is_a_line_every_few_seconds(clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    told = Report(live([string(), string(state=RUNNING)]), quiet=False)
    for tenths in range(111):
        clock.now = tenths / 10
        told.on_slice()
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "virtual 1.500 s | wall 5.0 s | 1,234,567 packets | 3 hosts | 1 of 2 strings ended\n"
        "virtual 1.500 s | wall 10.0 s | 1,234,567 packets | 3 hosts | 1 of 2 strings ended\n"
    )
    told.clear()
    assert capsys.readouterr().err == ""


def test_in_real_time_lines_in_which_nothing_has_moved_are_left_out(
    clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    serving = string(state=RUNNING)
    tapestry = live([string(), serving])
    tapestry.supervisor.pace = SimpleNamespace(meter=SimpleNamespace(max_ns=2_000_000))
    told = Report(tapestry, quiet=False)
    for seconds in range(31):
        clock.now = float(seconds)
        if seconds == 20:
            serving.over = True
        told.on_slice()
    shown = re.findall(r"wall (\S+) s .* ([0-9]) of 2 strings", capsys.readouterr().err)
    assert shown == [("5.0", "1"), ("20.0", "2")]


def test_quiet_has_no_progress(clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    told = Report(live([string()]), quiet=True)
    clock.now = 100.0
    told.on_slice()
    told.printed(weave(), "x")
    assert capsys.readouterr() == ("", "")


def test_a_terminals_line_is_cleared_before_anything_else(
    clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(os, "get_terminal_size", lambda _fd: os.terminal_size((30, 24)))
    first = weave()
    told = Report(live([string(of=first)]), quiet=False)
    clock.now = 0.15
    told.on_slice()
    clock.now = 0.2
    told.on_slice()  # too early
    told.printed(first, "hello")
    told.printed(first, "again")
    line = "virtual 1.500 s | wall 0.1 s |"[:29]
    assert screen.getvalue() == f"\r\x1b[2K{line}\r\x1b[2K[   1.500000 a] hello\n[   1.500000 a] again\n"


def test_output_that_nobody_reads_is_noted_and_not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def write(self, text: str, /) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys, "stdout", Broken())
    told = Report(live([string()]), quiet=False)
    told.printed(weave(), "x")
    told.printed(weave(), "y")
    assert isinstance(told.broken, BrokenPipeError)


def test_names_are_aligned_up_to_a_width(capsys: pytest.CaptureFixture[str]) -> None:
    weaves = [weave("a"), weave("b", "one"), weave("b", "two"), weave("a-host-with-quite-a-long-name-17")]
    told = Report(live([string(of=each) for each in weaves]), quiet=False)
    for each in weaves:
        told.printed(each, "x")
    assert capsys.readouterr().out == (
        "[   1.500000 a                       ] x\n"
        "[   1.500000 b/one                   ] x\n"
        "[   1.500000 b/two                   ] x\n"
        "[   1.500000 a-host-with-quite-a-long-name-17] x\n"
    )


# At its end


def test_names_of_links_are_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(report.figures(live([], [link("[bold]a[/bold]"), link("[/x]")]), 1.0, False))
    out = capsys.readouterr().out
    assert re.search(r"^\[bold\]a\[/bold\] +1 +1,500 +2 +3 +1\.25ms$", out, re.MULTILINE)
    assert "[/x]" in out


def test_many_links_are_cut_to_the_busiest(capsys: pytest.CaptureFixture[str]) -> None:
    links = [link(f"link-{number}", packets=number) for number in range(1000)]
    figures = report.figures(live([], links), 1.0, False)
    print_summary(figures)
    out = capsys.readouterr().out
    assert re.findall(r"^link-(\d+)", out, re.MULTILINE) == [str(number) for number in range(999, 979, -1)]
    assert "\nthe busiest 20 of 1,000 links; --json FILE has all\n" in out
    assert len(figures["links"]) == 1000


def test_a_udp_link_has_a_line_and_in_it_what_befell_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = dict.fromkeys(report._UDP_TROUBLE, 0)
    links = [
        {"name": "a.eth0 - 127.0.0.1:8193", "frames_out": 1200, "frames_in": 3, **quiet},
        {"name": "b", "frames_out": 0, "frames_in": 0, **quiet, "foreign": 1_000_000, "bad_tag": 2},
    ]
    monkeypatch.setattr(Network, "udp_links", links)
    figures = report.figures(live([]), 1.0, False)
    print_summary(figures)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("udp")]
    assert lines == [
        "udp      a.eth0 - 127.0.0.1:8193: 1,200 frames out, 3 in",
        "udp      b: 0 frames out, 0 in, 1,000,000 foreign, 2 with a wrong tag",
    ]
    print_summary(figures | {"replay": {"text": "the same digest as recorded"}})
    out = capsys.readouterr().out
    assert "\nreplay   the same digest as recorded\n" in out and "\nudp " not in out


def test_a_gateway_has_a_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"host": "visitor", "connections": 1200, "failed": 1, "bytes_in": 10, "bytes_out": 5_000_000}
    monkeypatch.setattr(Network, "gateways", [row])
    print_summary(report.figures(live([]), 1.0, False))
    line = "gateway  1,200 connections by visitor, 1 failed, 10 bytes in, 5,000,000 out"
    assert line in capsys.readouterr().out.splitlines()


def test_a_device_of_the_machine_has_a_line_once_something_went_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    idle = {"device": "tap0", "sent": 0, "received": 0, "refused": 0, "oversized": 0, "state": "up"}
    taps = [
        {**idle, "name": "a.tap0", "sent": 1200, "received": 3},
        {**idle, "name": "b.tap0"},
        {**idle, "name": "c.eth0", "received": 1, "refused": 7, "oversized": 1},
    ]
    monkeypatch.setattr(Network, "taps", taps)
    print_summary(report.figures(live([]), 1.0, False))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("kernel")]
    assert lines == [
        "kernel   a.tap0: 1,200 frames out, 3 in",
        "kernel   c.eth0: 0 frames out, 1 in, 7 not taken by the device, 1 larger than the MTU",
    ]


def test_the_summary(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(report.figures(live([string(), string(state=RUNNING)]), 2.0, True))
    assert capsys.readouterr().out == (
        "\n"
        "tcp      1,000 connections, 2,000 segments sent, 30 retransmitted\n"
        "strings  1 ended well, 0 failed, 0 killed, 1 still running\n"
        "packets  1,234,567 on 3 hosts\n"
        "time     1.500000 s virtual in 2.00 s\n"
        "digest   d1\n"
        "interrupted these are the figures so far\n"
    )


def test_json_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    assert json.loads(path.read_text()) == {"a": 1}

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="cannot write the figures: No space left on device") as caught:
            write_json(path, {"a": 2})
    assert caught.value.filename == str(path)
    assert json.loads(path.read_text()) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def test_json_into_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    write_json(path, {"a": 1})
    assert json.loads(os.read(reader, 1000)) == {"a": 1}
    os.close(reader)
    assert path.is_fifo()
