"""tapestries/udp_server.toml and udp_client.toml, in two processes; and what happens when one of them is not there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import weaves
from lunar.kernel.namespace import KernelUnavailable, Namespace
from tests.lunar.outside.ports import free_ports
from weaves import cli
from weaves.loader import load

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(weaves.__file__).parent.parent), "PYTHONHASHSEED": "0"}
WEAVE = [sys.executable, "-m", "weaves.cli"]
# Guards against what hangs, in seconds of the machine's clock.
LIMIT_S = 120


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the tapestries with ports that are free."""
    shutil.copytree(ROOT / "tapestries" / "apps", tmp_path / "apps")
    first, second = free_ports(2)
    for name in ("udp_server.toml", "udp_client.toml"):
        text = (ROOT / "tapestries" / name).read_text()
        (tmp_path / name).write_text(text.replace("8192", str(first)).replace("8193", str(second)))
    return tmp_path


@contextmanager
def weave(folder: Path, *words: str, prefix: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    """A process of `weave`; it is ended if it has not ended by itself."""
    process = subprocess.Popen(
        [*prefix, *WEAVE, *words], cwd=folder, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    guard = threading.Timer(LIMIT_S, process.kill)
    guard.start()
    try:
        yield process
    finally:
        guard.cancel()
        if process.poll() is None:
            process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Its exit code, and what it has written."""
    out, err = process.communicate(timeout=LIMIT_S)
    return process.returncode, out, err


def told(process: subprocess.Popen[str], text: str) -> None:
    """Wait until the process has written a line with `text`, on standard output."""
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"{text!r} was not told")


def figures(path: Path) -> dict[str, Any]:
    """Of the one UDP link."""
    (link,) = json.loads(path.read_text())["udp_links"]
    found: dict[str, Any] = link
    return found


def test_both_check_without_opening_anything(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("udp_server.toml", "udp_client.toml"):
        assert cli.main(["check", str(folder / name)]) == 0
        assert "no mistake found" in capsys.readouterr().out
    tapestry = load(folder / "udp_client.toml")
    (link,) = tapestry.network.udp_links  # type: ignore[attr-defined]
    assert not link.socket.opened
    tapestry.close()


def test_what_they_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", str(ROOT / "tapestries" / "udp_server.toml")]) == 0
    assert (
        "link server.eth0 - 127.0.0.1:8193: server.eth0 and udp 127.0.0.1:8192 to 127.0.0.1:8193; rate 1gbit, "
        "delay 0s, loss 0%, queue fifo of 1,000 packets, mtu 1458"
    ) in capsys.readouterr().out
    assert cli.main(["show", str(ROOT / "tapestries" / "udp_client.toml")]) == 0
    assert (
        "switch switch-1: client-0.eth0, client-1.eth0, client-2.eth0 and udp 127.0.0.1:8193 to 127.0.0.1:8192;"
    ) in capsys.readouterr().out


def test_the_picture_has_the_way_out(tmp_path: Path) -> None:
    for name in ("udp_server", "udp_client"):
        picture = tmp_path / f"{name}.svg"
        assert cli.main(["show", str(ROOT / "tapestries" / f"{name}.toml"), "--svg", str(picture)]) == 0
    assert "server.eth0 - udp 127.0.0.1:8192 to 127.0.0.1:8193: 1gbit" in (tmp_path / "udp_server.svg").read_text()
    assert "3 devices - udp 127.0.0.1:8193 to 127.0.0.1:8192: 1gbit" in (tmp_path / "udp_client.svg").read_text()


@pytest.mark.parametrize("first", ["server", "client"])
def test_two_processes(folder: Path, first: str) -> None:
    words = {name: ("run", f"udp_{name}.toml", "--json", f"{name}.json") for name in ("server", "client")}
    second = "client" if first == "server" else "server"
    with weave(folder, *words[first]) as one:
        if first == "client":
            told(one, "10.0.0.1 is not there yet")
        with weave(folder, *words[second]) as two:
            client, server = (two, one) if first == "server" else (one, two)
            code, out, err = ended(client)
            assert code == 0, err
            assert out.count("200 messages to 10.0.0.1 and back") == 3
            server.send_signal(signal.SIGINT)
            code, out, err = ended(server)
            assert code == 130, err
            for address in ("10.0.0.11", "10.0.0.12", "10.0.0.13"):
                assert f"bytes for {address}" in out
    ours, theirs = figures(folder / "client.json"), figures(folder / "server.json")
    assert ours["frames_in"] >= 600
    assert theirs["frames_in"] >= 600
    if first == "client":
        assert ours["refused"] > 0
    for one in (ours, theirs):
        assert one["short"] == one["long"] == one["foreign"] == one["bad_tag"] == 0


def test_a_port_that_is_taken_is_told_in_a_line(folder: Path) -> None:
    with weave(folder, "run", "udp_server.toml") as first:
        told(first, "listening on port 7")
        with weave(folder, "run", "udp_server.toml") as second:
            code, _, err = ended(second)
    assert code == 2
    assert err.startswith("weave run: UDP link server.eth0 - 127.0.0.1:")
    assert err.endswith(": Address already in use\n")
    assert err.count("\n") == 1


def test_a_key_file_that_others_may_read_is_a_mistake_of_the_tapestry(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "udp_server.toml"
    text = path.read_text().replace(" }\n", ', key_file = "link.key" }\n')
    path.write_text(text)
    line = text[: text.index("key_file")].count("\n") + 1
    (folder / "link.key").write_text("a text of many letters\n")
    (folder / "link.key").chmod(0o644)
    assert cli.main(["check", str(path)]) == 2
    told = capsys.readouterr().err
    assert f"udp_server.toml:{line}: [[links]] udp.key_file: " in told
    assert "has mode 0644; expected one that its owner alone may read (0600)" in told
    (folder / "link.key").chmod(0o600)
    assert cli.main(["check", str(path)]) == 0


def test_in_a_network_namespace(folder: Path) -> None:
    """Two runs in a namespace, beside the machine's own network: the ports there are free."""
    if shutil.which("nsenter") is None:
        pytest.skip("nsenter of util-linux is not installed")
    try:
        namespace = Namespace()
    except KernelUnavailable as why:
        pytest.skip(str(why))
    shutil.copy(ROOT / "tapestries" / "udp_server.toml", folder)
    shutil.copy(ROOT / "tapestries" / "udp_client.toml", folder)
    there = ("nsenter", f"--net=/proc/{os.getpid()}/fd/{namespace._descriptor}")
    with weave(folder, "run", "udp_server.toml", prefix=there) as server:
        with weave(folder, "run", "udp_client.toml", prefix=there) as client:
            code, out, err = ended(client)
        assert code == 0, err
        assert out.count("200 messages") == 3
        server.send_signal(signal.SIGTERM)
        assert ended(server)[0] == 143
    namespace.close()


def test_a_session_over_a_link_with_a_key_is_repeated_where_the_key_is_not(folder: Path) -> None:
    key = folder / "link.key"
    key.touch(0o600)
    key.write_text("a text of many letters\n")
    for name in ("udp_server.toml", "udp_client.toml"):
        path = folder / name
        text = path.read_text().replace(" }\n", ', key_file = "link.key" }\n')
        path.write_text(text.replace("count 200", "count 20"))
    with weave(folder, "run", "udp_server.toml") as server:
        with weave(folder, "run", "udp_client.toml", "--record", "session", "--json", "live.json") as client:
            code, out, err = ended(client)
        assert code == 0, err
        server.send_signal(signal.SIGTERM)
        ended(server)
    key.unlink()
    with weave(folder, "replay", "session", "--json", "again.json") as process:
        code, again, err = ended(process)
    assert code == 0, err
    live, repeated = (json.loads((folder / name).read_text()) for name in ("live.json", "again.json"))
    assert repeated["digest"] == live["digest"]
    assert [line for line in again.splitlines() if "messages" in line] == [
        line for line in out.splitlines() if "messages" in line
    ]
    assert live["udp_links"][0]["keyed"]
    assert live["udp_links"][0]["frames_in"] > 0
    assert repeated["udp_links"][0]["frames_in"] == 0
