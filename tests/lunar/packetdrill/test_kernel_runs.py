"""Scripts against the machine's kernel, and beside Lunar: results, processes, and what is shown.

Nothing here asks for a time: a busy machine may be late. The scripts expect their packets at any time.
"""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from lunar.kernel.namespace import KernelUnavailable, Namespace
from lunar.packetdrill import beside, cli, kernel_runs
from lunar.packetdrill.kernel_host import KernelHost
from lunar.packetdrill.options import default_settings

HANDSHAKE = """
    0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
   +0 setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0
   +0 bind(3, ..., ...) = 0
   +0 listen(3, 1) = 0
   +0 < S 0:0(0) win 30000 <mss 1000>
   *  > S. 0:0(0) ack 1 <mss 1460>
   +0 < . 1:1(0) ack 1 win 30000
   +0 accept(3, ..., ...) = 4
"""
WRITES = HANDSHAKE + "   +0 write(4, ..., 2000) = 2000\n   *  > P. 1:2001(2000) ack 1\n"
WRONG = HANDSHAKE + "   +0 read(99, ..., 10) = 10\n"
# What is sent at once is expected after three seconds.
LATE = "   +0 write(4, ..., 1) = 1\n   +3 > P. 1:2(1) ack 1\n"
# Its process ends while a call is blocked.
BLOCKED = HANDSHAKE + "   +0...9 read(4, ..., 10) = 10\n   +0 write(4, ..., 1) = 2\n"


def unavailable() -> str:
    """Why this machine has no namespaces or no TUN devices for us; empty if it has both."""
    try:
        KernelHost(default_settings()).close()
    except KernelUnavailable as error:
        return str(error)
    return ""


WHY_NOT = unavailable()
needs_kernel = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


def script(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.pkt"
    path.write_text(text)
    return path


@needs_kernel
def test_results_come_in_the_order_of_the_scripts(tmp_path: Path) -> None:
    paths = [script(tmp_path, *each) for each in (("a", WRITES), ("b", WRONG), ("c", BLOCKED), ("d", WRITES))]
    results = list(kernel_runs.run_all(paths, default_settings(), 2, False))
    assert [result.path for result in results] == paths
    assert [result.passed for result in results] == [True, False, False, True]
    assert results[1].error is not None and results[2].error is not None
    assert results[1].error.line == 10
    assert results[1].error.message == (
        "runtime error in read call: Expected result 10 but got -1 with errno 9 (Bad file descriptor)"
    )
    assert results[2].error.message == "runtime error in write call: Expected result 2 but got 1"


@needs_kernel
def test_what_fails_because_of_a_time_is_tried_again(tmp_path: Path) -> None:
    # Each run adds a line to a file.
    late = script(tmp_path, "late", "`echo run >> late`\n" + HANDSHAKE + LATE)
    other = script(tmp_path, "other", "`echo run >> other`\n" + WRONG)
    results = list(kernel_runs.run_all([late, other], default_settings(), 2, False, tries=2))
    assert [result.passed for result in results] == [False, False]
    assert results[0].error is not None and "timing error" in results[0].error.message
    assert tmp_path.joinpath("late").read_text() == "run\n" * 2
    assert tmp_path.joinpath("other").read_text() == "run\n"


@needs_kernel
def test_each_script_has_a_namespace_of_its_own(tmp_path: Path) -> None:
    name = "net.ipv4.tcp_syn_retries"
    sets = script(tmp_path, "sets", f"`sysctl -qw {name}=3`\n" + WRITES)
    reads = script(tmp_path, "reads", f'`test "$(sysctl -n {name})" != 3`\n' + WRITES)
    assert all(result.passed for result in kernel_runs.run_all([sets, reads], default_settings(), 1, False))


@needs_kernel
def test_what_a_script_prints_comes_before_its_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = script(tmp_path, "prints", "`echo from the shell`\n" + HANDSHAKE + "+0 %{ print(tcpi_snd_mss) }%\n")
    assert cli.main(["--kernel", str(path)]) == cli.PASSED
    assert capsys.readouterr().out == f"from the shell\n1000\nOK   [{path}]\n"


@needs_kernel
def test_both_are_shown_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--both", str(script(tmp_path, "writes", WRITES))]) == cli.PASSED
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split("  ")[0] == "Lunar" and lines[1].endswith("the machine's kernel")
    synack, data = (next(line for line in lines if what in line) for what in ("> S. 0:0(0) ack 1", "> P."))
    assert synack.count("> S. 0:0(0) ack 1 ") == 2 and " | " not in synack
    assert data.count("> P. 1:2001(2000) ack 1 ") == 2
    assert lines[-3:] == ["", "the machine's kernel: OK", ""]


def test_packets_that_differ_are_marked() -> None:
    ours = [("0.0", "< S 0:0(0)"), ("0.1", "> S. 0:0(0) ack 1 <TS val 1 ecr 2>"), ("0.2", "> . 1:1(0) ack 5")]
    theirs = [("0.0", "< S 0:0(0)"), ("0.3", "> S. 0:0(0) ack 1 <TS val 7 ecr 2>"), ("0.4", "> . 1:1(0) ack 6")]
    more = ("0.5", "> F. 1:1(0) ack 6")
    assert beside._rows(ours, [*theirs, more]) == [
        ("0.0 < S 0:0(0)", " ", "0.0 < S 0:0(0)"),
        ("0.1 > S. 0:0(0) ack 1 <TS val 1 ecr 2>", " ", "0.3 > S. 0:0(0) ack 1 <TS val 7 ecr 2>"),
        ("0.2 > . 1:1(0) ack 5", "|", "0.4 > . 1:1(0) ack 6"),
        ("", ")", "0.5 > F. 1:1(0) ack 6"),
    ]
    assert beside._rows([*ours, more], ours)[-1] == ("0.5 > F. 1:1(0) ack 6", "(", "")


def _without_rights(answer: multiprocessing.SimpleQueue[str]) -> None:
    os.setuid(65534)
    try:
        Namespace()
    except KernelUnavailable as error:
        answer.put(str(error))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody without its rights")
def test_without_the_right_to_a_namespace_the_message_says_so() -> None:
    context = multiprocessing.get_context("fork")
    answer = context.SimpleQueue()
    process = context.Process(target=_without_rights, args=(answer,))
    process.start()
    process.join()
    assert answer.get() == (
        "no network namespace: unshare(2) says Operation not permitted; this needs root (CAP_SYS_ADMIN)"
    )


def test_where_there_is_no_kernel_one_message_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_settings: object) -> KernelHost:
        raise KernelUnavailable("/dev/net/tun cannot be opened: No such file or directory")

    monkeypatch.setattr(kernel_runs, "KernelHost", refused)
    path = script(tmp_path, "writes", WRITES)
    for option in ("--kernel", "--both"):
        assert cli.main([option, str(path), str(path)]) == cli.WRONG_INPUT
        told = capsys.readouterr()
        assert told.err == "weave packetdrill: /dev/net/tun cannot be opened: No such file or directory\n"
