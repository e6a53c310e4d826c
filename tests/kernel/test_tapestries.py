"""The tapestries with the machine's kernel in them: run as anybody runs them, with namespaces of a test of one's own.

Names of namespaces are in a folder, so a mount of it that only these processes see keeps them from others.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from lab import needs

import weaves
from weaves.tapestry import parse

ROOT = Path(__file__).parents[2]
WEAVE = f"{sys.executable} -m weaves.cli"
# Guards against a hang alone.
TIMEOUT_S = 120


def shell(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script of sh in the repository, which finds no namespace and leaves none."""
    whole = f"set -e; mkdir -p /run/netns; mount -t tmpfs none /run/netns\n{textwrap.dedent(script)}"
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", whole], capture_output=True, text=True, cwd=ROOT, check=False,
        timeout=TIMEOUT_S, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": _path()},
    )  # fmt: skip


def _path() -> str:
    """Where `weaves` and `lunar` come from here."""
    return str(Path(weaves.__file__).parent.parent)


pytestmark = needs("unshare", "ping")


@needs("curl", "traceroute")
def test_a_site_behind_a_tap_is_reached_by_the_programs_of_the_machine() -> None:
    done = shell(
        f"""
        ip netns add lab
        {WEAVE} run --json /run/netns/figures tapestries/tap.toml &
        until ip -n lab -6 address show tap0 2>/dev/null | grep -q 2001:db8:9::2; do sleep 0.1; done
        ip -n lab route add 10.1.0.0/24 via 10.9.0.1
        ip -n lab route add 2001:db8:1::/64 via 2001:db8:9::1
        ip netns exec lab ping -c 2 -W 20 10.1.0.10
        ip netns exec lab ping -c 2 -W 20 2001:db8:1::10
        ip netns exec lab traceroute -n -q 1 -w 20 10.1.0.10
        ip netns exec lab curl -s --retry 20 --retry-connrefused --retry-delay 1 http://10.1.0.10/
        ip netns exec lab curl -s -g 'http://[2001:db8:1::10]/'
        kill -TERM $!  # a shell's job in the background is deaf to Ctrl-C
        wait $! || true
        cat /run/netns/figures
        ip -n lab link show tap0 || echo it went with the run
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 packets transmitted, 2 received") == 2
    assert "\n 1  10.9.0.1" in done.stdout and "\n 2  10.1.0.10" in done.stdout
    assert done.stdout.count("</html>") == 2
    assert done.stdout.endswith("it went with the run\n")
    (tap,) = json.loads(done.stdout[done.stdout.index('{\n  "tapestry"') : done.stdout.rindex("}") + 1])["taps"]
    assert (tap["name"], tap["refused"], tap["state"]) == ("router.tap0", 0, "up")
    assert tap["received"] > 10 and tap["sent"] > 10


@needs("iperf3")
def test_two_kernels_measure_a_link_and_repeat_it(tmp_path: Path) -> None:
    log = tmp_path / "session"
    done = shell(
        f"""
        sed 's/-t 5/-n 200K/' tapestries/two_kernels.toml > {tmp_path}/two.toml
        {WEAVE} run --record {log} --json {tmp_path}/live.json {tmp_path}/two.toml
        {WEAVE} replay {log}
        ip netns
        """
    )
    assert done.returncode == 0, done.stderr
    assert "3 packets transmitted, 3 received" in done.stderr
    assert "iperf Done." in done.stderr
    assert done.stdout.endswith("the same digest as recorded\n")  # and no namespace
    figures = json.loads((tmp_path / "live.json").read_text())
    assert [tap["name"] for tap in figures["taps"]] == ["left.eth0", "right.eth0"]
    assert [program["exit_code"] for program in figures["programs"]] == [0, 0, None]


def test_what_cannot_be_opened_is_one_line() -> None:
    done = shell(f"ip netns add left; {WEAVE} run tapestries/two_kernels.toml || echo $?")
    assert done.stdout == "2\n"
    assert done.stderr == (
        'weave run: left: there is a network namespace "left" already; say netns = "left" to use it, or remove it '
        "with: ip netns delete left\n"
    )
    done = shell(f"{WEAVE} run tapestries/tap.toml || echo $?")
    assert done.stdout == "2\n"
    assert done.stderr == (
        'weave run: router.tap0: there is no network namespace "lab"; make it with: ip netns add lab\n'
    )


def test_a_virtual_clock_is_refused(tmp_path: Path) -> None:
    text = (ROOT / "tapestries" / "two_kernels.toml").read_text()
    path = tmp_path / "virtual.toml"
    path.write_text(text.replace('clock = "real"\n', ""))
    done = shell(f"{WEAVE} run {path} || echo $?; {WEAVE} check {path}")
    assert done.stdout.startswith("2\n") and done.stdout.endswith("no mistake found\n")
    assert "clock" in done.stderr


@pytest.mark.parametrize("name", ["tap.toml", "two_kernels.toml"])
def test_they_are_checked_without_any_rights(name: str) -> None:
    done = subprocess.run(
        ["setpriv", "--bounding-set=-all", *WEAVE.split(), "check", f"tapestries/{name}"], capture_output=True,
        text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_what_a_tap_is_in_a_tapestry() -> None:
    text = (
        'tap0 = { address = "10.9.{i}.1/24", netns = "lab-{i}" }\n'
        'tun1 = { address = "10.8.0.{i+1}/24", device = "vpn{i}", mtu = 1400, up = false }\n'
    )
    described = parse(f"[hosts.a]\ncount = 2\n{text}", "site.toml")
    first, last = (host.taps for host in described.hosts)
    assert [(tap.name, tap.device, tap.mtu, tap.up, tap.netns) for tap in last] == [
        ("tap0", "tap0", 1500, True, "lab-1"), ("tun1", "vpn1", 1400, False, None),
    ]  # fmt: skip
    assert [tap.addresses for tap in first] == [((0x0A09_0001, 24),), ((0x0A08_0001, 24),)]
