"""A program's end closes what it has open, as a kernel does at exit(2), and has an exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import weaves
from weaves.loader import load
from weaves.output import Output
from weaves.strings import ENDED
from weaves.supervisor import Supervisor
from weaves.tapestry import parse

SERVER = """
import asyncio, sys, time

async def main():
    kept = []                   # Python 3.12 and later close the connection of a writer that nobody holds
    server = await asyncio.start_server(lambda *streams: kept.append(streams), port=80)
    await asyncio.sleep(1)
    server.leaked = server      # a cycle: only the collector would find it
    raise RuntimeError("after a second") if "fail" in sys.argv else SystemExit(0)

asyncio.run(main())
"""

CLIENT = """
import asyncio, time

async def main():
    reader, writer = await asyncio.open_connection("server", 80)
    assert await reader.read() == b""
    print(f"the end came at {time.monotonic():.3f}")

asyncio.run(main())
"""

TAPESTRY = """
[hosts.server]
eth0 = "10.0.0.1/24"
strings = [{{ run = "server.py {argument}", on_error = "{on_error}" }}]

[hosts.client]
eth0 = "10.0.0.2/24"
strings = [{{ run = "client.py", start = "100ms" }}]

[[links]]
ends = ["server", "client"]
delay = "5ms"
"""


def tapestry(folder: Path, argument: str, on_error: str, until: str = "") -> weaves.LiveTapestry:
    (folder / "server.py").write_text(SERVER)
    (folder / "client.py").write_text(CLIENT)
    path = folder / "exit.toml"
    path.write_text(until + TAPESTRY.format(argument=argument, on_error=on_error))
    return weaves.load(path)


def supervised(live: weaves.LiveTapestry) -> Supervisor:
    live.supervisor.on_failure = lambda string: None
    return live.supervisor


def test_peers_see_the_end_of_a_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    live = tapestry(tmp_path, "end", "stop")
    live.run_blocking()
    assert [string.state for string in live.supervisor.strings] == [ENDED, ENDED]
    # The server ends at 1 s; its FIN takes 5 ms.
    assert capsys.readouterr().out == "the end came at 1.005\n"
    live.close()


def test_a_program_that_is_started_again_can_bind_its_port_again(tmp_path: Path) -> None:
    live = tapestry(tmp_path, "fail", "restart", '[tapestry]\nuntil = "5500ms"\n')
    supervisor = supervised(live)
    live.run_blocking()
    live.close()
    # It runs for 1 s and waits for 1 s: it fails at 1, 3 and 5 s, each time for its own reason.
    assert [str(string.error) for string in supervisor.failures[:1]] == ["after a second"]
    assert len(supervisor.failures) == 3


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("pass", 0),
        ("import sys; sys.exit()", 0),
        ("import sys; sys.exit(3)", 3),
        ("import sys; sys.exit(257)", 1),  # exit(3): eight bits
        ("import sys; sys.exit(-1)", 255),
        ("import sys; sys.exit('words')", 1),
        ("1 // 0", 1),
        ("import os; os._exit(7)", 7),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -15),
        ("import os; os.abort()", -6),
        ("import time; time.sleep(100)", None),
    ],
)
def test_exit_codes_are_those_of_processes(tmp_path: Path, text: str, code: int | None) -> None:
    (tmp_path / "p.py").write_text(text)
    live = load(parse('[hosts.a]\nstrings = [{ run = "p.py" }]\n', tmp_path / "site.toml"), until_ns=1_000_000_000)
    live.supervisor.on_failure = lambda string: None
    with Output():
        live.run_blocking()
    assert live.supervisor.strings[0].exit_code == code
    live.close()
    if code is None:
        assert live.supervisor.strings[0].exit_code == -9
    else:
        done = subprocess.run([sys.executable, tmp_path / "p.py"], stderr=subprocess.DEVNULL, check=False)
        assert done.returncode == code
