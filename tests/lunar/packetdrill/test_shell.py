"""The command lines of scripts, on a virtual host."""

from __future__ import annotations

from pathlib import Path

import pytest

from lunar.packetdrill.backend import Settings, ShellError
from lunar.packetdrill.lunar_host import LunarHost


@pytest.fixture
def host() -> LunarHost:
    return LunarHost(Settings())


def value(host: LunarHost, name: str) -> tuple[int, ...]:
    return host.host.sysctl(name)


def test_a_file_is_read_as_it_is(host: LunarHost, tmp_path: Path) -> None:
    (tmp_path / "defaults.sh").write_text(
        '#!/bin/bash\n# Comment.\n\nip tcp_metrics flush all > /dev/null 2>&1\n'
        'sysctl -q net.ipv4.tcp_rmem="4096 540000 $((15*1024*1024))"\n'
        "sysctl -q net.ipv4.tcp_timestamps=0 net.ipv4.tcp_sack=0\n"
        "tc qdisc add dev tun0 root pfifo\n"
    )
    host.shell("./defaults.sh", tmp_path)
    assert value(host, "net.ipv4.tcp_rmem") == (4096, 540_000, 15_728_640)
    assert value(host, "net.ipv4.tcp_timestamps") == (0,)
    assert value(host, "net.ipv4.tcp_sack") == (0,)


@pytest.mark.parametrize(
    ("sum", "result"),
    [("-7 / 2", "-3"), ("-7 % 2", "-1"), ("1 << 63", str(-(2**63))), ("1 << 64", "1"), ("2 * 3 + 4", "10")],
)
def test_arithmetic_is_that_of_c(
    host: LunarHost, tmp_path: Path, capsys: pytest.CaptureFixture[str], sum: str, result: str
) -> None:
    host.shell(f"echo $(({sum}))", tmp_path)
    assert capsys.readouterr().out == f"{result}\n"


@pytest.mark.parametrize("sum", ["1 / 0", "1 % 0", "1 +", "a"])
def test_a_sum_without_a_result_is_told(host: LunarHost, tmp_path: Path, sum: str) -> None:
    with pytest.raises(ShellError, match=r"division by 0|expected arithmetic"):
        host.shell(f"echo $(({sum}))", tmp_path)


def test_what_set_sysctls_sets_is_restored(host: LunarHost, tmp_path: Path) -> None:
    before = value(host, "net.ipv4.tcp_wmem")
    host.shell(
        '../x/set_sysctls.py /proc/sys/net/ipv4/tcp_timestamps=0 \\\n /proc/sys/net/ipv4/tcp_wmem="1 2 3"', tmp_path
    )
    assert value(host, "net.ipv4.tcp_timestamps") == (0,)
    assert value(host, "net.ipv4.tcp_wmem") == (1, 2, 3)
    host.shell("/tmp/sysctl_restore_${PPID}.sh", tmp_path)
    assert value(host, "net.ipv4.tcp_timestamps") == (1,)
    assert value(host, "net.ipv4.tcp_wmem") == before


@pytest.mark.parametrize(
    ("text", "fails"),
    [
        ("true", False),
        ("false", True),
        ("false; true", False),
        ("true\nfalse", True),
        ("false || true", False),
        ("true || false", False),
        ("false && true", True),
        ("echo a b | grep 'a b' > /dev/null", False),
        ('echo "> x" | grep -q ">"', False),
        ("echo a | grep b", True),
        ("sysctl -q net.ipv4.nonsense=1", True),
        ("sysctl -q net.ipv4.nonsense=1; true", False),
        ("sysctl -e -q net.ipv4.nonsense=1", False),
    ],
)
def test_how_a_text_ends(host: LunarHost, text: str, fails: bool) -> None:
    if fails:
        with pytest.raises(ShellError, match="non-zero status 1"):
            host.shell(text, Path())
    else:
        host.shell(text, Path())


def test_a_command_that_is_not_known_is_never_passed_over(host: LunarHost) -> None:
    with pytest.raises(ShellError, match='there is no command "frobnicate" here'):
        host.shell("frobnicate || true", Path())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("dd if=/dev/zero of={folder}/x bs=1k count=x", '"x" is not a count'),
        ("dd if=/dev/zero of={folder}/x bs=2G", "expected 1073741824 bytes at most"),
        ("dd if=/dev/zero of={folder}", "dd: {folder}: Is a directory"),
        ("rm {folder}", "rm: {folder}: Is a directory"),
        ("echo x | grep [", "grep: [: unterminated character set at position 0"),
        ("echo $((1/0))", "$((1/0)): expected arithmetic on whole numbers"),
        ("./itself.sh", "it calls itself without an end"),
        ("echo x > /sys/module/tcp_cubic/parameters/hystart", '"x" is not an integer'),
    ],
)
def test_what_a_command_cannot_do_is_its_failure(host: LunarHost, text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "itself.sh").write_text("./itself.sh\n")
    with pytest.raises(ShellError) as failed:
        host.shell(text.format(folder=tmp_path), tmp_path)
    assert told.format(folder=tmp_path) in str(failed.value)


def test_sizes_of_dd(host: LunarHost, tmp_path: Path) -> None:
    host.shell(f"dd if=/dev/zero of={tmp_path}/x bs=1k count=3", tmp_path)
    assert (tmp_path / "x").stat().st_size == 3072


def test_files(host: LunarHost, tmp_path: Path) -> None:
    host.shell(f"dd bs=2 count=3 if=/dev/zero of={tmp_path}/file status=none", Path())
    assert (tmp_path / "file").read_bytes() == bytes(6)
    host.shell(f"echo hello > {tmp_path}/file; cat {tmp_path}/file | grep hello > /dev/null", Path())
    host.shell(f"/bin/rm -f {tmp_path}/file", Path())
    assert not (tmp_path / "file").exists()
    with pytest.raises(ShellError, match="a script writes only below"):
        host.shell("echo hello > /etc/hello", Path())


def test_listening_sockets_are_in_proc(host: LunarHost) -> None:
    def listen() -> None:
        fd = host.syscalls.socket(2, 1, 6)
        host.syscalls.bind(fd, ("192.168.0.1", 8080))
        host.syscalls.listen(fd, 1)

    look = 'grep " 0A " /proc/net/tcp /proc/net/tcp6 | grep -q ":1F90"'
    with pytest.raises(ShellError):
        host.shell(look, Path())
    host.start(listen).result()
    host.shell(look, Path())


def test_routes_devices_and_modules(host: LunarHost) -> None:
    host.shell("ip route change 192.0.2.1 via 192.168.0.2 dev tun0 advmss 600 mtu lock 640 initcwnd 11", Path())
    route = host.host.ip.inet.routes.lookup(0xC000_0201)
    assert route is not None
    assert (route.advmss, route.mtu, route.mtu_locked, route.initcwnd) == (600, 640, True, 11)
    assert host.device.gso
    host.shell("ethtool -K tun0 gso off tso off", Path())
    assert not host.device.gso
    host.shell("tc qdisc delete dev tun0 root 2>/dev/null ; tc qdisc add dev tun0 root pfifo limit 0", Path())
    assert host.device.queue_packets == 0
    host.shell("echo 1 > /sys/module/tcp_cubic/parameters/hystart_detect", Path())
    assert host.host.tcp.tables.sysctls.cubic_hystart_detect == 1
    with pytest.raises(ShellError, match="no such parameter"):
        host.shell("echo 1 > /sys/module/tcp_cubic/parameters/nonsense", Path())


def test_counters(host: LunarHost) -> None:
    host.shell("nstat > /dev/null", Path())
    with pytest.raises(ShellError):
        host.shell("nstat | grep TcpActiveOpens", Path())
    host.host.ip.counters.tcp_active_opens += 1
    host.shell("nstat | grep TcpActiveOpens > /dev/null", Path())
