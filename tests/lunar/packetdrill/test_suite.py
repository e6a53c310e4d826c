"""Folders of scripts, the table of what came of them, and the command."""

from __future__ import annotations

from pathlib import Path

import pytest

import weaves.cli
from lunar.packetdrill import cli, options, suite
from lunar.packetdrill.script import ScriptError
from lunar.packetdrill.suite import Result

PASSES = "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n"
FAILS = PASSES + "+0 socket(..., SOCK_STREAM, IPPROTO_UDP) = 4\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "one").mkdir()
    (tmp_path / "two" / "deep").mkdir(parents=True)
    (tmp_path / "one" / "good.pkt").write_text(PASSES)
    (tmp_path / "one" / "bad.pkt").write_text(FAILS)
    (tmp_path / "two" / "deep" / "good.pkt").write_text(PASSES)
    (tmp_path / "two" / "only-v6.pkt").write_text(PASSES)
    return tmp_path


def test_a_folder_is_told_by_its_folders(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([str(folder)]) == cli.FAILED
    assert capsys.readouterr().out == (
        f"FAIL [{folder}/one/bad.pkt]\n"
        f"{folder}/one/bad.pkt:2: runtime error in socket call: Expected non-negative result but got -1 with errno 93 "
        "(Protocol not supported)\n"
        f"OK   [{folder}/one/good.pkt]\n"
        f"OK   [{folder}/two/deep/good.pkt]\n"
        "\n"
        "folder    passed  failed  total\n"
        "one            1       1      2\n"
        "two/deep       1       0      1\n"
        "all            2       1      3\n"
        "\n"
        "one/bad.pkt:2: runtime error in socket call: Expected non-negative result but got -1 with errno 93 "
        "(Protocol not supported)\n"
    )


def test_a_failure_that_is_linux_own_is_told_as_such() -> None:
    path = Path("/x/gtests/net/tcp/shutdown/shutdown-rdwr-write-queue-close.pkt")
    told = (
        "error handling packet: timing error: expected outbound packet at {} sec but happened at {} sec; "
        "tolerance 0.004000 sec"
    )
    late = Result(path, ScriptError(str(path), 25, told.format("0.030606", "0.047762") + "\nscript packet: ..."))
    other_line = Result(path, ScriptError(str(path), 26, told.format("0.030606", "0.047762")))
    other_path = Result(path.with_name("x.pkt"), late.error)
    assert suite.table([late, other_line, other_path], Path("/x")) == (
        "folder                   passed  failed  total\n"
        "gtests/net/tcp/shutdown       0       3      3\n"
        "all                           0       3      3\n"
        "Of those that failed Linux 6.18 fails 1 in the same words.\n"
        "\n"
        f"gtests/net/tcp/shutdown/{path.name}:{late.reason}\n"
        "    as on Linux 6.18: the FIN waits until cwnd has room for it, and leaves by the tail loss probe\n"
        f"gtests/net/tcp/shutdown/{path.name}:{other_line.reason}\n"
        f"gtests/net/tcp/shutdown/x.pkt:{late.reason}"
    )


def test_folders_absolute_and_relative(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert cli.main(["-q", "one", str(folder / "two")]) == cli.FAILED
    assert "two/deep       1       0      1" in capsys.readouterr().out


def test_one_script_has_no_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = folder / "one" / "good.pkt"
    assert cli.main(["-q", str(script)]) == cli.PASSED
    assert capsys.readouterr().out == ""
    assert cli.main([str(script)]) == cli.PASSED
    assert capsys.readouterr().out == f"OK   [{script}]\n"


def test_several_processes_tell_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main([str(folder)])
    alone = capsys.readouterr().out
    cli.main(["--jobs", "2", str(folder)])
    assert capsys.readouterr().out == alone


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "expected a script or a folder with some"),
        (["/nowhere"], "/nowhere: there is no such script or folder"),
        (["--nonsense=1", "x"], "there is no option --nonsense"),
        (["--mtu=abc", "x"], "bad --mtu 'abc': expected a whole number that is not negative"),
        (["--ip_version=ipx", "x"], "bad --ip_version 'ipx': expected ipv4, ipv6 or ipv4-mapped-ipv6"),
        (["--mtu=0", "x"], "bad --mtu '0': expected 68 to 65535 bytes"),
        (["--bind_port=65536", "x"], "bad --bind_port '65536': expected a port, 1 to 65535"),
        (["--tolerance_percent=nan", "x"], "bad --tolerance_percent 'nan': expected a number that is not negative"),
        (["-D", "A", "x"], "bad --define 'A': expected NAME=VALUE"),
        (["-D", "=3", "x"], "bad --define '=3': expected NAME=VALUE"),
    ],
)
def test_wrong_input(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == cli.WRONG_INPUT
    assert capsys.readouterr().err == f"weave packetdrill: {told}\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--jobs", "0"], "argument --jobs: '0' is not a count; expected 1 or more"),
        (["--kernel", "--tries", "-1"], "argument --tries: '-1' is not a count; expected 1 or more"),
        (["--kernel", "--both"], "argument --both: not allowed with argument --kernel"),
    ],
)
def test_wrong_words(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, "x"])
    assert ended.value.code == cli.WRONG_INPUT
    assert capsys.readouterr().err == f"weave packetdrill: {told}; weave packetdrill --help says more\n"


def test_a_folder_without_scripts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([str(tmp_path)]) == cli.WRONG_INPUT
    assert capsys.readouterr().err == f"weave packetdrill: there are no scripts (*.pkt) for IPv4 in {tmp_path}\n"


@pytest.mark.parametrize(
    ("version", "local", "mtu", "level"),
    [
        ("ipv4", "192.168.0.1", 1500, "SOL_IP"), ("ipv6", "fd3d:0a0b:17d6::1", 1520, "SOL_IPV6"),
        ("ipv4-mapped-ipv6", "192.168.0.1", 1500, "SOL_IPV6"),
    ],
)  # fmt: skip
def test_a_mode_brings_the_suites_addresses(version: str, local: str, mtu: int, level: str) -> None:
    settings = options.default_settings(version)
    assert (settings.local_ip, settings.mtu, settings.define["CMSG_LEVEL_IP"]) == (local, mtu, level)


def test_a_script_may_choose_the_mode_and_its_addresses() -> None:
    given = options.default_settings("ipv4")
    own = options.apply(given, [("local_ip", "fd::1"), ("ip_version", "ipv6"), ("remote_ip", "10.0.0.9")])
    # IPv4's addresses are left aside then.
    assert (own.ip_version, own.local_ip, own.remote_ip, own.mtu) == ("ipv6", "fd::1", "fd3d:fa7b:d17d::1", 1520)


def test_scripts_of_the_other_family_are_left_out(folder: Path) -> None:
    (folder / "two" / "only-v4.pkt").write_text(PASSES)
    names = {version: [path.name for path in suite.find([folder], version)] for version in ("ipv4", "ipv6")}
    assert names["ipv4"] == ["bad.pkt", "good.pkt", "good.pkt", "only-v4.pkt"]
    assert names["ipv6"] == ["bad.pkt", "good.pkt", "good.pkt", "only-v6.pkt"]


def test_a_scripts_options_hold_over_those_of_the_command(tmp_path: Path) -> None:
    script = tmp_path / "x.pkt"
    script.write_text("--mtu=1400\n--tolerance_usecs=9\n" + PASSES)
    given = options.apply(options.default_settings(), [("mtu", "1300"), ("speed", "10")])
    _, settings = suite.load(script, given)
    assert (settings.mtu, settings.tolerance_usecs, settings.speed) == (1400, 9, 10)


def test_a_definition_is_a_word_of_the_script(tmp_path: Path) -> None:
    script = tmp_path / "x.pkt"
    script.write_text("0 socket(..., KIND, IPPROTO_TCP) = 3\n")
    settings = options.apply(options.default_settings(), [("define", "KIND=SOCK_STREAM")])
    assert suite.run(script, settings, cli.lunar_backend).passed


def test_what_cannot_be_read_is_a_result(tmp_path: Path) -> None:
    result = suite.run(tmp_path / "none.pkt", options.default_settings(), cli.lunar_backend)
    assert str(result.error) == f"{tmp_path}/none.pkt: No such file or directory"


def test_it_is_a_command_of_weave(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = folder / "one" / "good.pkt"
    assert weaves.cli.main(["packetdrill", str(script)]) == cli.PASSED
    assert capsys.readouterr().out == f"OK   [{script}]\n"


def test_verbose_shows_packets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "x.pkt"
    script.write_text(
        "`sysctl -q net.ipv4.nonsense=1; true`\n"
        + PASSES + "+0 fcntl(3, F_SETFL, O_RDWR|O_NONBLOCK) = 0\n+0 connect(3, ..., ...) = -1\n+0 > S 0:0(0) <...>\n"
        "+.1 < S. 0:0(0) ack 1 win 1000 <mss 1000>\n"
    )
    assert cli.main(["-v", str(script)]) == cli.PASSED
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('sysctl: this stack does not obey "net.ipv4.nonsense"')
    assert lines[1].startswith("outbound sniffed packet:  0.000000 S ")
    assert lines[2] == "inbound injected packet:  0.100000 S. 0:0(0) ack 1 win 1000 <mss 1000>"
