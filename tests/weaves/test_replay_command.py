"""`weave run` in real time and `weave replay`: what they say and print, and how they end.

A client of the machine talks to a program inside by a forwarded port, so every session is another. Processes are
started where signals are sent to them; tests wait for lines and for ends, with a timeout that only a hang meets.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lunar
import weaves
from weaves.cli import main

TIMEOUT_S = 60
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(weaves.__file__).parent.parent)}
SAFE_PATH = ["-P"] if sys.flags.safe_path else []

SITE = """
[tapestry]
clock = "real"
forward = "127.0.0.1:{port} -> server:7"

[hosts.server]
eth0 = "10.0.0.1/24"
strings = [{{ run = "site.py" }}]

[hosts.mirror]
eth0 = "10.0.0.2/24"
strings = [{{ run = "mirror.py", background = true }}]

[[links]]
ends = ["server", "mirror"]
delay = "1ms"
"""

# Answers each line by what a mirror behind a link makes of it. "end" makes it fail, which ends a run that serves until
# somebody ends it.
PROGRAM = """
import socket, time
with socket.create_server(("", 7)) as server:
    print("ready", flush=True)
    while True:
        with server.accept()[0] as connection, connection.makefile("rwb") as lines:
            for line in lines:
                with socket.create_connection(("mirror", 7)) as mirror:
                    mirror.sendall(line)
                    answer = mirror.recv(100)
                print(time.time(), answer, flush=True)
                lines.write(answer)
                lines.flush()
                if line == b"end\\n":
                    raise SystemExit(3)
"""
MIRROR = """
import socket
with socket.create_server(("", 7)) as server:
    while True:
        with server.accept()[0] as connection:
            connection.sendall(connection.recv(100)[::-1])
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Each test in a folder of its own, with a tapestry and its programs."""
    monkeypatch.chdir(tmp_path)
    Path("site.toml").write_text(SITE.format(port=free_port()))
    Path("site.py").write_text(PROGRAM)
    Path("mirror.py").write_text(MIRROR)
    yield tmp_path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


class Live:
    """`weave run site.toml --record log` in a process, and its client."""

    def __init__(self, *options: str, record: bool = True, **how: Any) -> None:
        words = ["run", "site.toml", *(["--record", "log"] if record else []), *options]
        self.process = subprocess.Popen(
            [sys.executable, *SAFE_PATH, "-m", "weaves.cli", *words], env=ENVIRONMENT, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, **how,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.lines: list[str] = []
        while not self.lines or "ready" not in self.lines[-1]:
            line = self.process.stdout.readline()
            assert line, self.process.communicate()[1]
            self.lines.append(line.rstrip("\n"))
        port = re.search(r":(\d+) -> ", Path("site.toml").read_text())
        assert port is not None
        self.client = socket.create_connection(("127.0.0.1", int(port[1])), TIMEOUT_S)

    def say(self, line: bytes) -> bytes:
        """What the program inside answers to a line."""
        self.client.sendall(line + b"\n")
        return self.client.recv(100)

    def end(self, signum: int = 0) -> tuple[int, list[str], str]:
        """Its exit code, lines of standard output and standard error. Sends it a signal first, if one is given."""
        if signum:
            self.process.send_signal(signum)
        out, error = self.process.communicate(timeout=TIMEOUT_S)
        self.client.close()
        return self.process.returncode, [*self.lines, *out.splitlines()], error


def replay(*options: str) -> tuple[int, list[str], str]:
    """`weave replay log`, in a process of its own."""
    done = subprocess.run(
        [sys.executable, *SAFE_PATH, "-m", "weaves.cli", "replay", "log", *options], env=ENVIRONMENT,
        capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout.splitlines(), done.stderr


def said(lines: list[str]) -> list[str]:
    """What programs have printed, with its virtual times, and the digest."""
    return [line for line in lines if line.startswith(("[", "digest"))]


def test_a_session_is_repeated() -> None:
    live = Live("--json", "run.json", "--pcap", "run.pcap", "--logs", "run.logs")
    answers = [live.say(word) for word in (b"one", b"two", b"end")]
    assert answers == [b"\neno", b"\nowt", b"\ndne"]
    code, lines, failure = live.end()
    assert code == 1
    assert sum(line.startswith("[") for line in lines) == 4
    again_code, again, error = replay("--json", "again.json", "--pcap", "again.pcap", "--logs", "again.logs")
    assert (again_code, said(again)) == (0, said(lines))
    assert again[-1] == "replay   the same digest as recorded"
    assert re.match(r"log: \d+ inputs in [\d.]+(ms|s) of virtual time\n", error)
    failed = [line for line in failure.splitlines() if line.startswith("failed at")]
    assert failed == [line for line in error.splitlines() if line.startswith("failed at")] != []
    for folder in ("pcap", "logs"):
        names = sorted(os.listdir(f"run.{folder}"))
        assert names == sorted(os.listdir(f"again.{folder}")) != []
        for name in names:
            assert Path(f"run.{folder}", name).read_bytes() == Path(f"again.{folder}", name).read_bytes()
    first, second = (json.loads(Path(f"{name}.json").read_text()) for name in ("run", "again"))
    assert second["replay"] == {
        "session": "log", "same": True, "text": "the same digest as recorded", "recorded_digest": first["digest"],
        "cut_off": False, "inputs": first["clock"]["recorded"]["inputs"],
    }  # fmt: skip
    assert second["clock"] == {"kind": "virtual"}
    for key in ("digest", "virtual_s", "events", "packets", "strings", "links", "tcp", "ok"):
        assert first[key] == second[key]


def test_the_figures_of_a_clock() -> None:
    live = Live("--json", "run.json", "--speed", "2", "--late", "hard-limit", "--late-limit", "1h")
    live.say(b"end")
    code, lines, _ = live.end()
    assert code == 1
    clock = json.loads(Path("run.json").read_text())["clock"]
    assert (clock["kind"], clock["speed"], clock["late"], clock["late_limit_s"]) == ("real", 2, "hard-limit", 3600)
    assert clock["events"] >= clock["later_than_1ms"] >= 0
    assert 0 <= clock["lateness_median_s"] <= clock["lateness_p99_s"] <= clock["lateness_max_s"]
    assert clock["recorded"]["file"] == "log"
    row = r"clock    real, speed 2: events late by \S+ \(median\), \S+ \(99%\), \S+ \(most\); [\d,]+ of [\d,]+ by more"
    assert any(re.match(row, line) for line in lines)
    assert f"session  {clock['recorded']['inputs']} inputs recorded to log" in lines


@pytest.mark.parametrize(("signum", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_session_and_its_replay(signum: int, expected: int) -> None:
    live = Live()
    live.say(b"one")
    live.say(b"two")
    code, lines, _ = live.end(signum)  # while the run sleeps
    assert code == expected
    assert "these are the figures so far" in lines[-1]
    again_code, again, _ = replay()
    assert (again_code, said(again)) == (0, said(lines))
    assert "replay   the same digest as recorded" in again


def test_a_process_that_was_killed_leaves_a_log() -> None:
    live = Live()
    for word in (b"one", b"two", b"three"):
        live.say(word)
    code, lines, _ = live.end(signal.SIGKILL)
    assert code == -signal.SIGKILL
    again_code, again, error = replay()
    assert again_code == 0
    assert ", cut off: its process was killed\n" in error
    # All answers have left, so what they are made of is in the log. What the last one led to may not be known any more.
    before = [line for line in said(lines) if "eerht" not in line]
    assert sum("eno" in line or "owt" in line for line in before) == 2
    assert said(again)[: len(before)] == before
    verdict = r"replay   it was cut off at \S+; it is repeated up to there, no difference was found"
    assert re.search(verdict, "\n".join(again))


# What is not the same any more


def recorded() -> list[str]:
    live = Live()
    live.say(b"one")
    live.say(b"end")
    code, lines, _ = live.end()
    assert code == 1
    return lines


def test_another_tapestry_is_told_beforehand() -> None:
    lines = recorded()
    text = Path("site.toml").read_text()
    Path("site.toml").write_text(text + "# a comment\n")
    code, again, error = replay()
    assert error.splitlines()[1].endswith(
        "site.toml is not what it was when the session was recorded; the replay may differ"
    )
    assert (code, said(again)) == (0, said(lines))
    Path("site.toml").write_text(text.replace('delay = "1ms"', 'delay = "2ms"'))
    code, again, error = replay()
    assert code == 1
    verdict = r"replay   it differs from the recorded run.*[:;] the first difference is between 0s and \S+ of virtual"
    assert re.search(verdict, "\n".join(again))


def test_another_program_is_found_out() -> None:
    recorded()
    Path("mirror.py").write_text(MIRROR.replace("[::-1]", " * 2"))
    code, again, error = replay()
    assert code == 1
    assert "is not what it was" not in error
    assert "replay   it differs from the recorded run" in "\n".join(again)


def test_a_tapestry_that_moved() -> None:
    lines = recorded()
    Path("elsewhere").mkdir()
    for name in ("site.toml", "site.py", "mirror.py"):
        Path(name).rename(Path("elsewhere", name))
    code, _, error = replay()
    assert code == 2
    message = r"^weave replay: log: its tapestry /.*/site\.toml is not there; --tapestry says where it is now$"
    assert re.search(message, error, re.M)
    code, again, _ = replay("--tapestry", "elsewhere/site.toml")
    assert (code, said(again)) == (0, said(lines))


def test_a_session_of_a_program_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with lunar.Network(clock="real", record="log") as net:
        net.host("a", "10.0.0.1/24")
        net.run(until="1ms")
    assert main(["replay", "log"]) == 2
    assert capsys.readouterr().err == (
        "weave replay: log: was recorded by a program of its own; run that with lunar.Network(replay=...)\n"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("site.toml", "site.toml: is not a session that `weave run --record` wrote"),
        ("nothing", "nothing: No such file or directory"),
        (".", ".: is not a file; expected a session that was recorded"),
        ("empty", "empty: is empty; expected a session that was recorded"),
    ],
)
def test_what_is_no_session(name: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").touch()
    assert main(["replay", name]) == 2
    assert capsys.readouterr().err == f"weave replay: {message}\n"


# What cannot be


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--clock", "virtual", "--record", "log"], "weave run: --record is of a real clock; expected --clock real"),
        (["--late-limit", "1ms"], 'weave run: --late-limit is not of late "best-effort"; expected --late hard-limit'),
        (["--record", "no/log"], "weave run: no/log: cannot record the session: No such file or directory"),
        (["--record", "/dev/full"], "weave run: /dev/full: cannot record the session: No space left on device"),
        (["--record", "."], "weave run: .: cannot record the session: Is a directory"),
        (["--clock", "virtual"], 'site.toml:3: [tapestry] clock: "'),
    ],
)
def test_a_mistake_of_the_command_line(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "site.toml", *options]) == 2
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--speed", "0"], 'argument --speed: "0" is not a speed; expected virtual seconds a real one, 0.001 to'),
        (["--late-limit", "0"], "argument --late-limit: 0 is no time; expected a duration above 0"),
        (["--clock", "wall"], "argument --clock: invalid choice: 'wall'"),
    ],
)
def test_a_value_of_the_command_line(
    option: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["run", "site.toml", *option])
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_a_hard_limit_ends_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--late", "hard-limit", "--late-limit", "1ns", "--record", "log"]
    assert main(["run", "site.toml", *options]) == 1
    live = capsys.readouterr()
    assert re.search(r"^stopped at \S+: the run is \S+ behind the machine's clock; late_limit is 1ns$", live.err, re.M)
    assert main(["replay", "log"]) == 0
    again = capsys.readouterr()
    stopped = [line for line in live.err.splitlines() if line.startswith("stopped")]
    assert stopped == [line for line in again.err.splitlines() if line.startswith("stopped")]
    assert said(again.out.splitlines()) == said(live.out.splitlines())


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    port = re.search(r":(\d+) -> ", Path("site.toml").read_text())
    assert port is not None
    with socket.create_server(("127.0.0.1", int(port[1]))):
        assert main(["run", "site.toml"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("weave run: ")
    assert "Address already in use" in error
    assert error.count("\n") == 1


def test_a_disk_that_fills_up_ends_the_run() -> None:
    size = 2_000

    def limit() -> None:
        # As Linux does for whoever asks for a limit of files: EFBIG, once its signal is ignored, as Python does.
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    live = Live(preexec_fn=limit)
    live.client.sendall(b"x" * 10_000)
    code, lines, error = live.end()
    assert code == 2
    assert error.splitlines()[-1] == "weave run: log: cannot record the session: File too large"
    assert not any(line.startswith("Traceback") for line in error.splitlines())
    again_code, again, again_error = replay()
    assert again_code == 0
    assert "cut off" in again_error
    assert said(again)[0] == said(lines)[0]


# Who serves until somebody ends it


@pytest.mark.parametrize("strings", ['strings = [{ run = "serve.py", background = true }]', ""])
def test_a_run_that_nobody_ends(strings: str) -> None:
    Path("site.toml").write_text(
        f'[tapestry]\nclock = "real"\nforward = "127.0.0.1:{free_port()} -> server:7"\n'
        f'[hosts.server]\neth0 = "10.0.0.1/24"\n{strings}\n'
    )
    Path("serve.py").write_text(PROGRAM)
    words = [sys.executable, *SAFE_PATH, "-m", "weaves.cli", "run", "site.toml"]
    process = subprocess.Popen(words, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "forwards 127.0.0.1" not in (line := process.stderr.readline()):
        assert line, "it has ended"
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert "stalled" not in error
    assert "interrupted these are the figures so far" in out.replace("  ", " ")
