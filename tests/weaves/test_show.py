"""`weave show`: what a tapestry makes, as text: a picture (more of it in test_picture.py) and a list."""

from __future__ import annotations

from pathlib import Path

import pytest

from weaves.show import as_text
from weaves.tapestry import parse, read

TAPESTRIES = Path(__file__).parents[2] / "tapestries"

# The example of the design note.
SITE = '''
[tapestry]
name = "site"
seed = 1
until = "60s"

[hosts.router]
eth0 = "10.0.0.1/24"
eth1 = "10.1.0.1/16"
net = """
sysctl -w net.ipv4.ip_forward=1
iptables -A FORWARD -p tcp --dport 22 -j REJECT
"""

[hosts.server]
eth0 = "10.0.0.2/24"
net = "route add default gw 10.0.0.1"
strings = [{ run = "apps/site.py --port 80" }]

[hosts.client]
count = 1000
eth0 = "10.1.{i+2}/16"
net = "route add default gw 10.1.0.1"
strings = [{ call = "apps.visit:main", args = ["http://server/"], start = "{i}ms" }]

[[links]]
ends = ["server", "router.eth0"]
rate = "1gbit"
delay = "5ms"
loss = "0.1%"
queue = { kind = "red", limit = "100 packets" }

[[links]]
ends = ["client", "router.eth1"]
rate = "100mbit"
delay = "1ms"
'''

SITE_SHOWN = """\
tapestry site: seed 1, until 1m, on error stop

                                                               main
                                 site                         × 1,000
                                  ║                              ║
                         ╭────────╫─────────╮   ╭────────────────╫────────────────╮
                         │     site.py      │   │           apps.visit            │
                         ╰────────╫─────────╯   ╰────────────────╫────────────────╯
  ┌──────────────────┐   ┌────────╫─────────┐   ┌────────────────╫────────────────┐
  │      router      │   │      server      │   │     client-0 ... client-999     │
  │ eth0 10.0.0.1/24 │   │ eth0 10.0.0.2/24 │   │             × 1,000             │
  │ eth1 10.1.0.1/16 │   │                  │   │ eth0 10.1.0.2 ... 10.1.3.233/16 │
  └─────┬─────┬──────┘   └────────┬─────────┘   └────────────────┬────────────────┘
  ┌─────┴─────┴───────────────────┴──────────────────────────────┴────────────────┐
  │                          simulator: 1 link, 1 switch                          │
  └───────────────────────────────────────────────────────────────────────────────┘

host router
  eth0   10.0.0.1/24
  eth1   10.1.0.1/16
  net    sysctl -w net.ipv4.ip_forward=1
  net    iptables -A FORWARD -p tcp --dport 22 -j REJECT
host server
  eth0   10.0.0.2/24
  net    route add default gw 10.0.0.1
  weave site
    bead   __main__ of apps/site.py
    bead   lunar of server
    string runs apps/site.py --port 80, starts at 0s
hosts client-0 ... client-999 (1,000)
  eth0   10.1.0.2/16 ... 10.1.3.233/16
  net    route add default gw 10.1.0.1
  weave main
    bead   apps.visit
    bead   lunar of each host
    string calls main('http://server/'), starts at 0s ... 999ms

link server.eth0 - router.eth0: server.eth0, router.eth0; rate 1gbit, delay 5ms, loss 0.1%, queue red of 100 packets, \
mtu 1500
switch switch-2: client-0.eth0, client-1.eth0 ... router.eth1 (1,001 devices); rate 100mbit, delay 1ms, loss 0%, \
queue fifo of 1,000 packets, mtu 1500"""  # noqa: RUF001


def listed(text: str, folder: Path) -> list[str]:
    """The lines after the picture."""
    lines = as_text(parse(text, folder / "site.toml"), 100).splitlines()
    return lines[next(number for number, line in enumerate(lines) if line.startswith("host")) :]


def test_the_example_of_the_design_note() -> None:
    assert as_text(parse(SITE, TAPESTRIES / "site.toml"), 100) == SITE_SHOWN


def test_the_quickstart() -> None:
    text = as_text(read(TAPESTRIES / "quickstart.toml"), 100)
    lines = text.splitlines()
    assert lines[0] == "tapestry quickstart: seed 1, until every string has ended, on error stop"
    titles = [line for line in lines if line.startswith("host")]
    assert titles == [
        "host server",
        "host fibre-router",
        "host cable-router",
        "host mobile-router",
        "hosts fibre-0 ... fibre-399 (400)",
        "hosts cable-0 ... cable-349 (350)",
        "hosts mobile-0 ... mobile-239 (240)",
        "hosts heavy-0 ... heavy-9 (10)",
    ]
    assert "    string runs apps/site.py --port 80 --tls-port 443, starts at 0s, in the background" in lines
    assert "    string runs apps/visit.py server /huge https:/large, starts at 500ms ... 1.4s" in lines
    assert [line.partition(":")[0] for line in lines if line.startswith("switch")] == [
        "switch backbone", "switch fibre", "switch cable", "switch mobile",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("string", "bead", "text"),
    [
        ("run = \"p.py 'a b' {i}\"", "__main__ of p.py", "runs p.py 'a b' 0 ... runs p.py 'a b' 1, starts at 0s"),
        ('run = "python3 p.py"', "__main__ of p.py", "runs python3 p.py, starts at 0s"),
        ('run = "python -m json.tool -x"', "__main__ of json.tool", "runs python -m json.tool -x, starts at 0s"),
        (
            'call = "p:a.b", args = [1, "{host}"], kwargs = { k = [true] }',
            "p",
            "calls a.b(1, 'h-0', k=[True]) ... calls a.b(1, 'h-1', k=[True]), starts at 0s",
        ),
        (
            'call = "p:f", start = "1s", stop = "{i+5}s", background = true, on_error = "restart"',
            "p",
            "calls f(), starts at 1s, is stopped at 5s ... 6s, in the background, on error restart",
        ),
    ],
)
def test_a_string(tmp_path: Path, string: str, bead: str, text: str) -> None:
    (tmp_path / "p.py").write_text("")
    lines = listed(f"[hosts.h]\ncount = 2\nstrings = [{{ {string} }}]\n", tmp_path)
    assert lines[2] == f"    bead   {bead}"
    assert lines[4] == f"    string {text}"


def test_names_several_addresses_and_two_weaves_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text("")
    lines = listed(
        '[hosts.h]\nnames = ["www", "mail"]\neth0 = ["10.0.0.1/24", "10.0.1.1/24"]\n'
        'strings = [{ run = "p.py" }, { run = "p.py 2" }]\n',
        tmp_path,
    )
    assert lines == [
        "host h",
        "  names  www, mail",
        "  eth0   10.0.0.1/24, 10.0.1.1/24",
        "  weave p",
        "    bead   __main__ of p.py",
        "    bead   lunar of h",
        "    string runs p.py, starts at 0s",
        "  weave p #2",
        "    bead   __main__ of p.py",
        "    bead   lunar of h",
        "    string runs p.py 2, starts at 0s",
    ]


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ("", "rate unlimited, delay 0s, loss 0%, queue fifo of 1,000 packets, mtu 1500"),
        ('rate = "999bit"', "rate 999bit, delay 0s, loss 0%, queue fifo of 1,000 packets, mtu 1500"),
        ('rate = "1.5tbit"\nqueue = "64 kb"', "rate 1.5tbit, delay 0s, loss 0%, queue fifo of 65,536 bytes, mtu 1500"),
        (
            'loss = "2%"\nloss_burst = 4\ncorrupt = "0.1%"\nreorder = 0.5\nreorder_by = "3ms"\nduplicate = "1%"',
            "rate unlimited, delay 0s, loss 2% in rows of 4, duplicate 1%, corrupt 0.1%, reorder 50% by 3ms, "
            "queue fifo of 1,000 packets, mtu 1500",
        ),
        ("loss = 1e-7\nmtu = 9000", "rate unlimited, delay 0s, loss 1e-05%, queue fifo of 1,000 packets, mtu 9000"),
    ],
)
def test_a_link(tmp_path: Path, keys: str, text: str) -> None:
    hosts = '[hosts.a]\neth0 = "10.0.0.1/24"\n[hosts.b]\neth0 = "10.0.0.2/24"\n'
    lines = listed(f'{hosts}[[links]]\nname = "wire"\nends = ["a", "b"]\n{keys}\n', tmp_path)
    assert lines[-1] == f"link wire: a.eth0, b.eth0; {text}"


def test_the_explicit_form(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text("")
    (tmp_path / "cache.py").write_text("")
    lines = listed(
        """
        [tapestry]
        isolate = ["p", "json"]
        [modules.web]
        run = "p.py"
        isolate = []
        [modules.cache]
        module = "cache"
        share = ["HITS", "json.decoder:X"]
        [[beads]]
        name = "stack"
        module = "lunar"
        count = 2
        [[beads]]
        name = "web"
        module = "web"
        count = 4
        [[beads]]
        name = "common"
        module = "cache"
        [[weaves]]
        name = "http"
        count = 4
        beads = ["web-{i}", "common", "stack-{i//2}"]
        strings = [{ args = "{i}" }, { call = "cache:clean", start = "1s", on_error = "continue" }]
        [[weaves]]
        name = "check"
        beads = ["common", "stack-1"]
        strings = [{ call = "cache:check" }]
        """,
        tmp_path,
    )
    assert lines == [
        "hosts stack-0 ... stack-1 (2)",
        "  weave http-0 ... http-3 (4)",
        "    bead   web-0 ... web-3 (4): __main__ of p.py, isolates nothing",
        "    bead   common: cache, isolates p json, shares HITS json.decoder:X",
        "    bead   lunar of each host",
        "    string runs p.py 0 ... runs p.py 3, starts at 0s",
        "    string calls clean(), starts at 1s, on error continue",
        "  weave check (1)",
        "    bead   common: cache, isolates p json, shares HITS json.decoder:X",
        "    bead   lunar of stack-1",
        "    string calls check(), starts at 0s",
    ]


def test_a_clock_and_the_ways_to_the_outside(tmp_path: Path) -> None:
    def shown(tapestry: str, rest: str) -> list[str]:
        return as_text(parse(f"[tapestry]\n{tapestry}\n{rest}", tmp_path / "t.toml"), 100).splitlines()

    (tmp_path / "p.py").write_text("")
    host = '[hosts.a]\neth0 = "10.0.0.1/24"\n'
    served = host + 'strings = [{ run = "p.py", background = true }]\n'
    lines = shown('clock = "real"', served)
    assert lines[0] == "tapestry t: seed 1, until Ctrl-C, on error stop, clock real"
    lines = shown('speed = 2.5\nlate = "hard-limit"\nuntil = "1m"', served)
    assert lines[0] == "tapestry t: seed 1, until 1m, on error stop, clock real at speed 2.5, at most 10ms late"
    lines = shown('clock = "real"', host + 'strings = [{ run = "p.py" }]\n')
    assert lines[0] == "tapestry t: seed 1, until every string has ended, on error stop, clock real"
    lines = shown('proxy = 1080\nforward = ["8080 -> a:80", "[::1]:2222 -> [fd00::1]:22"]', served)
    assert lines[0] == "tapestry t: seed 1, until Ctrl-C, on error stop, clock real"
    assert lines[-4:] == [
        "gateway a",
        "  proxy   127.0.0.1:1080",
        "  forward 127.0.0.1:8080 -> a:80",
        "  forward [::1]:2222 -> [fd00::1]:22",
    ]
    kernel = '[kernels.left]\neth0 = "10.0.0.1/24"\nrun = "ping 10.0.0.2"\nbackground = "iperf3 -s"\n'
    assert shown('clock = "real"', kernel) == [
        "tapestry t: seed 1, until every string has ended, on error stop, clock real",
        "",
        "kernel left, namespace made for the run",
        "  eth0   10.0.0.1/24",
        "  run    ping 10.0.0.2",
        "  beside iperf3 -s",
    ]
