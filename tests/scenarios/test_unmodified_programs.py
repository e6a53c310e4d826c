"""Unmodified programs, a row each: a server on one host, clients on others, over a link that loses a little.

The programs stand in programs/ and know nothing of Lunar: `python programs/use_aiohttp.py server` works on any machine.
A client checks what it got, raises if that is wrong, and prints a line of facts at its end, which the row expects. So a
row fails when a string fails, when no such line comes, or when something was logged as an error.

Each row is run in this process, and twice in processes of their own, whose digests must be equal. A row whose library
draws from OpenSSL's own generator, where that shows on the wire, says in `varies` how, and what is equal all the same.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

import weaves
from weaves.output import Streams
from weaves.tapestry import parse
from weaves.weave import Weave

PROGRAMS = Path(__file__).parent / "programs"
TIMEOUT_S = 120

PAIR = """
[tapestry]
seed = 1
until = "10m"

[hosts.server]
eth0 = "10.0.0.1/24"
strings = [{{ run = "{program} server", background = true }}]

[hosts.client]
eth0 = "10.0.0.2/24"
strings = [{{ run = "{program} client server", start = "1s" }}]

[[links]]
ends = ["server", "client"]
rate = "50mbit"
delay = "5ms"
loss = "1%"
"""

# A hundred nodes: the first is known to all, 97 join it one after the other, one stores and one finds.
NODES = """
[tapestry]
seed = 1
until = "5m"

[hosts.server]
eth0 = "10.0.0.1/24"
strings = [{{ run = "{program} server", background = true }}]

[hosts.node]
count = 97
eth0 = "10.0.0.{{i+2}}/24"
strings = [{{ run = "{program} node server", start = "{{100 + i*50}}ms", background = true }}]

[hosts.store]
eth0 = "10.0.0.201/24"
strings = [{{ run = "{program} store server 10", start = "20s" }}]

[hosts.find]
eth0 = "10.0.0.202/24"
strings = [{{ run = "{program} find server 10", start = "60s" }}]

[[links]]
ends = ["server", "node", "store", "find"]
rate = "50mbit"
delay = "5ms"
loss = "0.1%"
"""

# Five nodes, of which the leader kills itself and is started again.
RAFT = """
[tapestry]
seed = 1
until = "10m"

[hosts.node]
count = 5
eth0 = "10.0.0.{{i+1}}/24"
strings = [{{ run = "{program} 10.0.0.{{i+1}}:4321 10.0.0.{{(i+1)%5+1}}:4321 10.0.0.{{(i+2)%5+1}}:4321\
 10.0.0.{{(i+3)%5+1}}:4321 10.0.0.{{(i+4)%5+1}}:4321", start = "{{i*100}}ms",\
 restart = "on-failure", restart_delay = "10s" }}]

[[links]]
ends = ["node"]
rate = "50mbit"
delay = "5ms"
loss = "0.5%"
"""

# Nothing runs on the router and the server: their kernels answer. icmplib numbers its requests from the number of the
# process that imports it: isolated, that is the program's.
PINGS = """
[tapestry]
seed = 1
until = "10m"
isolate = ["icmplib"]

[hosts.client]
eth0 = "10.0.0.2/24"
net = '''
route add default gw 10.0.0.1
sysctl -w net.ipv4.ping_group_range="0 0"
'''
strings = [{{ run = "{program} client server 10.0.0.77" }}]

[hosts.router]
eth0 = "10.0.0.1/24"
eth1 = "10.0.1.1/24"
net = "sysctl -w net.ipv4.ip_forward=1"

[hosts.server]
eth0 = "10.0.1.2/24"
net = "route add default gw 10.0.1.1"

[[links]]
ends = ["client", "router.eth0"]
delay = "2ms"

[[links]]
ends = ["router.eth1", "server"]
delay = "5ms"
loss = "1%"
"""

# Twisted has one reactor a process, so each program has a Twisted of its own.
TWISTED = PAIR.replace('until = "10m"', 'until = "10m"\nisolate = ["twisted"]')


@attrs.frozen
class Row:
    """A program of programs/ and the last line of its clients, as a regular expression."""

    program: str
    says: str
    # `{program}` is the program's path. Braces of the tapestry's own templates are doubled.
    tapestry: str = PAIR
    clients: int = 1
    # Messages that the library logs as errors though they are part of its work, as a regular expression.
    logs: str = "never"
    # Why two runs may differ on the wire; empty for a row whose digest is the same in each run.
    varies: str = ""
    # A module of the standard library that later Pythons have no more.
    needs: str = ""

    def text(self) -> str:
        return self.tapestry.format(program=(PROGRAMS / f"{self.program}.py").as_posix())


ROWS = [
    Row("use_aiocoap", r"kept 120000 bytes, observed 5, at last, 4\.04 Not Found, NetworkError"),
    Row("use_aioftp", r"4 files, 440000 bytes up and down; 1 resumed, 1 appended, 1 tree, 2 refusals"),
    Row("use_aiohttp", r"8 pages, 720000 bytes; upload of 150000; 3 messages"),
    Row("use_aioquic", r"HTTP/3: 4 pages, 360000 bytes, an upload of 150000; 2 echoes over QUIC"),
    Row("use_aiosmtpd", r"4 letters with 2 attachments each, 3 in one session, 2 refusals"),
    Row("use_amqtt", r"heard 30 of 3 sensors, retained 150000 bytes"),
    Row("use_anyio", r"digests of 840048 bytes, TLSv1\.3, 20 datagrams, waited 2\.0, ConnectionRefusedError"),
    Row("use_asyncssh", r"4 commands, a terminal, a forwarded port, 5 times 400000 bytes by SFTP and SCP"),
    Row("use_dnspython", r"40 lookups at once, an alias, 3000 bytes by TCP and TLS, a zone of 1506 names"),
    Row("use_flask", r"6 met, visited 19 times, uploaded 150000 bytes twice, 5000 lines, \[404, 418, 405\]"),
    Row("use_ftplib", r"6 visits with 4 files of 370001 bytes up and down, aborted( 426){4}, refused 550 550 530"),
    Row(
        "use_grpclib",
        r"digests of 130001 bytes, counted 100, echoed 100000 bytes, late, PERMISSION_DENIED: not you",
    ),
    Row("use_http_client", r"TLSv1\.3: 4 bodies of 200000 bytes, an upload, resumed: True, 2 refusals"),
    Row("use_http_server", r"20 pages, 2 forms of 200016 bytes, 2 doors, a file of text/plain, ConnectionRefusedError"),
    Row("use_httpx", r"HTTP/2, HTTP/1.1 with and without TLS: 1080000 bytes of pages"),
    Row("use_hypercorn", r"HTTP/2 says 2, HTTP/1\.1 says 1\.1, echoed 415100 bytes, listed 20000 numbers"),
    Row(
        "use_icmplib",
        r"pinged 10\.0\.1\.2, alive \[True, False, True\], 2 hops, time exceeded at 10\.0\.0\.1",
        tapestry=PINGS,
    ),
    Row(
        "use_kademlia",
        r"stored 10, knows \d+|found 10, and None",
        tapestry=NODES,
        clients=2,
        logs="Did not receive reply for msg id",  # the datagrams that the link lost
    ),
    Row("use_paho", r"heard 30 of 3 sensors, came back, retained 150000 bytes, 0 threads left"),
    Row(
        "use_pysyncobj",
        r"(came back|saw the leader die): 5 nodes agree on 100 entries",
        tapestry=RAFT,
        clients=5,
    ),
    Row("use_redis", r"kept 200100 bytes, counted to 100, heard 10, WRONGTYPE"),
    Row(
        "use_requests",
        r"2 sessions, 16 slow pages in 4 s, retried for 2 s, ConnectionError SSLError ConnectionError",
        # urllib3 warns of a clock that is behind its own release.
        tapestry=PAIR.replace('until = "10m"', 'until = "10m"\nepoch = "2026-01-01"'),
    ),
    Row(
        "use_smtplib",
        r"took 8 letters|TLSv1\.3: 8 letters with 2 attachments each, 3 of them at once, 3 refusals",
        clients=2,
    ),
    Row("use_socketserver", r"8 callers at once, 800140 bytes in 40 blocks, 20 datagrams"),
    Row("use_telnetlib", r"4 terminals, 400000 bytes, waited 1\.5\d+ s, wrong", needs="telnetlib"),
    Row("use_telnetlib3", r"3 terminals, 360000 characters"),
    Row("use_tornado", r"uploaded 200000 bytes thrice, counted \[1, 100, 5000\], missing 404, chat of 5, 2 lines"),
    Row(
        "use_twisted",
        r"50 lines, 250010 bytes posted, counted 100, a datagram, ConnectionRefusedError",
        tapestry=TWISTED,
    ),
    Row("use_uvicorn", r"kept 371001 bytes in 4 files, missing 404, shouted 3, CLOSE"),
    Row("use_websockets", r"3 echoes of 7 messages; 5 heard 5 messages each"),
    Row("use_xmlrpc", r"5 values twice, 10 calls at once in \d s, 3 in turn in 9 s, 5 by a lock in 5 s, faults .* 404"),
]


def by_program(rows: list[Row]) -> list[Any]:
    return [
        pytest.param(row, id=row.program.removeprefix("use_"), marks=[] if found(row.needs) else [gone(row.needs)])
        for row in rows
    ]


def found(module: str) -> bool:
    return not module or importlib.util.find_spec(module) is not None


def gone(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skip(reason=f"Python {sys.version_info[0]}.{sys.version_info[1]} has no {module} any more")


@pytest.mark.parametrize("row", by_program(ROWS))
def test_a_program_runs_and_its_data_is_right(
    row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))  # to which loading adds the folders of tapestry and program
    printed: list[tuple[str, str]] = []
    failures: list[str] = []

    def note(weave: Weave, line: str) -> None:
        printed.append((weave.host.name, line))

    tapestry = weaves.load(parse(row.text(), tmp_path / "row.toml"))
    try:
        tapestry.supervisor.on_failure = lambda string: failures.append(string.describe_failure())
        with caplog.at_level(logging.WARNING), Streams(note, note):
            tapestry.run_blocking()
        told = "\n".join(f"{host}: {line}" for host, line in printed)
        waiting = [f"{string.name} on {string.weave.host.name}" for string in tapestry.supervisor.waiting()]
        # Before the end of the run kills the servers, about which some of them complain.
        errors = [
            record for record in caplog.records
            if record.levelno >= logging.ERROR and not re.match(row.logs, record.getMessage())
        ]  # fmt: skip
    finally:
        tapestry.close()
    assert not failures, "\n\n".join([*failures, told])
    assert not waiting, f"at {tapestry.now_ns / 1e9} s these have not ended: {waiting}\n{told}"
    assert not errors, "\n".join(logging.Formatter("%(name)s: %(message)s").format(record) for record in errors)
    facts = [line for _host, line in printed if re.fullmatch(row.says, line)]
    assert len(facts) == row.clients, told


def run(row: Row, folder: Path) -> dict[str, Any]:
    """The figures of a run in a process of its own."""
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    root = [str(Path(weaves.__file__).parents[1])]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONHASHSEED"}
    environment["PYTHONPATH"] = os.pathsep.join([*paths, *root])
    folder.mkdir()
    (folder / "row.toml").write_text(row.text(), encoding="utf-8")
    done = subprocess.run(
        [
            sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m", "weaves.cli", "run", "row.toml", "--quiet",
            "--json", "figures.json",
        ],
        env=environment, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads((folder / "figures.json").read_text())
    return figures


@pytest.mark.parametrize("row", by_program([row for row in ROWS if not row.varies]))
def test_two_processes_have_one_digest(row: Row, tmp_path: Path) -> None:
    first, second = run(row, tmp_path / "first"), run(row, tmp_path / "second")
    assert first["packets"] > 10
    assert first["digest"] == second["digest"]
