"""Files that a host has of its own: parameters in /proc/sys/net, /etc/hosts, /etc/resolv.conf, and what it was given.

What the kernel answers was tried in a namespace of Linux 6.18.
"""

from __future__ import annotations

import errno
import glob
import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lunar.network import Network
from lunar.sockets.fdtable import FD_BASE

FORWARD = "/proc/sys/net/ipv4/ip_forward"
RMEM = "/proc/sys/net/ipv4/tcp_rmem"
TTL = "/proc/sys/net/ipv4/ip_default_ttl"


@pytest.fixture
def net() -> Iterator[Network]:
    with Network(seed=1) as made:
        made.host("alpha", "10.0.0.1/24")
        made.host("beta", "10.0.0.2/24")
        yield made


def on_alpha(net: Network, function: Callable[..., Any], *args: Any) -> Any:
    return net.run(function, *args, on=net.hosts["alpha"])


def failure(call: Callable[[], Any]) -> str:
    try:
        call()
    except OSError as failed:
        return errno.errorcode[failed.errno or 0]
    return "none"


def write_once(path: str, text: str) -> str:
    """What one write(2) of `text` to `path` comes to: the count, or the errno."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    except OSError as failed:
        return f"open {errno.errorcode[failed.errno or 0]}"
    try:
        return str(os.write(fd, text.encode()))
    except OSError as failed:
        return errno.errorcode[failed.errno or 0]
    finally:
        os.close(fd)


# Parameters


def test_a_program_reads_a_parameter_of_its_host(net: Network) -> None:
    net.hosts["alpha"].sh("sysctl -w net.ipv4.ip_forward=1")
    texts = net.run(lambda: (Path(FORWARD).read_text(), Path(RMEM).read_text()), on=net.hosts["alpha"])
    assert texts == ("1\n", "4096\t131072\t33554432\n")
    assert net.run(lambda: Path(FORWARD).read_text(), on=net.hosts["beta"]) == "0\n"


def test_a_program_sets_a_parameter_of_its_host(net: Network) -> None:
    def main() -> None:
        Path(TTL).write_text("33")
        with open(FORWARD, "w") as file:
            print(1, file=file)

    on_alpha(net, main)
    assert net.hosts["alpha"].sh("sysctl -n net.ipv4.ip_default_ttl net.ipv4.ip_forward") == "33\n1\n"
    assert net.hosts["beta"].sh("sysctl -n net.ipv4.ip_default_ttl net.ipv4.ip_forward") == "64\n0\n"


@pytest.mark.parametrize(
    ("path", "text", "result", "value"),
    [
        (TTL, "0x21", "4", "33\n"),
        (TTL, "041", "3", "33\n"),
        (TTL, " 33\n", "4", "33\n"),
        (TTL, "33 44", "3", "33\n"),
        (TTL, "", "0", "64\n"),
        (TTL, "x", "EINVAL", "64\n"),
        (TTL, "33x", "EINVAL", "64\n"),
        (TTL, "0", "EINVAL", "64\n"),
        (TTL, "256", "EINVAL", "64\n"),
        (TTL, "99999999999", "EINVAL", "64\n"),
        (RMEM, "5000", "4", "5000\t131072\t33554432\n"),
        (RMEM, "5000 6000", "9", "5000\t6000\t33554432\n"),
        (RMEM, "5000\n6000\n80000\n", "16", "5000\t6000\t80000\n"),
        (RMEM, "5000 6000 70000 9", "16", "5000\t6000\t70000\n"),
        (RMEM, "5000 x", "EINVAL", "4096\t131072\t33554432\n"),
        (RMEM, "0 1 2", "EINVAL", "4096\t131072\t33554432\n"),
        ("/proc/sys/net/ipv4/ip_local_port_range", "5 4", "EINVAL", "32768\t60999\n"),
        ("/proc/sys/net/ipv4/ip_local_port_range", "7", "EINVAL", "32768\t60999\n"),
        ("/proc/sys/net/ipv4/tcp_congestion_control", "reno\n", "5", "reno\n"),
        ("/proc/sys/net/ipv4/tcp_congestion_control", "nope", "ENOENT", "cubic\n"),
        ("/proc/sys/net/ipv4/tcp_congestion_control", "", "0", "cubic\n"),
    ],
)
def test_what_a_write_does_is_what_it_does_in_linux(
    net: Network, path: str, text: str, result: str, value: str
) -> None:
    assert on_alpha(net, lambda: (write_once(path, text), Path(path).read_text())) == (result, value)


def test_what_cannot_be_opened(net: Network) -> None:
    def main() -> list[str]:
        return [
            write_once("/proc/sys/net/ipv4/tcp_available_congestion_control", "reno"),
            write_once("/proc/sys/net/ipv4/nope", "1"),
            write_once("/proc/sys/net/ipv4", "1"),
            failure(lambda: open("/proc/sys/net/ipv4")),
            failure(lambda: open("/proc/sys/net/ipv4/new", "w")),
            failure(lambda: os.mkdir("/proc/sys/net/ipv4/new")),
            failure(lambda: os.unlink(RMEM)),
            failure(lambda: os.listdir(RMEM)),
            failure(lambda: os.listdir("/proc/sys/net/nope")),
        ]

    assert on_alpha(net, main) == [
        "open EACCES", "open ENOENT", "open EISDIR", "EISDIR", "ENOENT", "ENOENT", "EACCES", "ENOTDIR", "ENOENT",
    ]  # fmt: skip


def test_what_the_stack_does_not_obey_has_no_file(net: Network) -> None:
    def main() -> tuple[bool, bool, bool]:
        machine_has = "/proc/sys/net/ipv4/tcp_fack"  # obeyed by nobody since Linux 4.15, and there all the same
        return Path(FORWARD).exists(), os.path.exists(machine_has), os.path.isfile(machine_has)

    assert on_alpha(net, main) == (True, False, False)


def test_folders_list_what_there_is(net: Network) -> None:
    def main() -> tuple[list[str], list[str], list[str]]:
        with os.scandir("/proc/sys/net/ipv4/conf") as entries:
            folders = sorted(entry.name for entry in entries if entry.is_dir())
        names = [path.name for path in Path("/proc/sys/net/core").iterdir()]
        return folders, names, glob.glob("/proc/sys/net/ipv4/conf/*/forwarding")

    folders, names, found = on_alpha(net, main)
    assert folders == ["all", "default", "eth0", "lo"]
    assert "somaxconn" in names
    assert sorted(found) == [f"/proc/sys/net/ipv4/conf/{name}/forwarding" for name in folders]


def test_status_is_that_of_a_file_of_proc(net: Network) -> None:
    def main() -> tuple[os.stat_result, os.stat_result, bool, bool]:
        with open(RMEM) as file:
            opened = os.fstat(file.fileno())
        return os.stat(RMEM), opened, os.access(RMEM, os.W_OK), os.access("/proc/sys/net", os.W_OK)

    named, opened, writable, folder_writable = on_alpha(net, main)
    assert (stat.filemode(named.st_mode), named.st_size) == ("-rw-r--r--", 0)
    assert opened == named
    assert (writable, folder_writable) == (True, False)


def test_a_descriptor_is_the_hosts_and_has_a_position(net: Network) -> None:
    def main() -> tuple[bool, list[Any]]:
        fd = os.open(RMEM, os.O_RDONLY)
        try:
            told = [os.read(fd, 3), os.read(fd, 100), os.read(fd, 100), os.lseek(fd, 0, os.SEEK_SET), os.read(fd, 5)]
            return fd >= FD_BASE, [*told, failure(lambda: os.write(fd, b"1"))]
        finally:
            os.close(fd)

    assert on_alpha(net, main) == (True, [b"409", b"6\t131072\t33554432\n", b"", 0, b"4096\t", "EBADF"])


def test_outside_the_machines_files_are_meant(net: Network) -> None:
    assert Path("/proc/sys/net").exists() == Path("/proc/sys/net/ipv4").exists()
    assert os.open("/dev/null", os.O_RDONLY) < FD_BASE


# Files with a text


def test_a_host_knows_the_tapestrys_names_in_etc_hosts(net: Network) -> None:
    net.hosts["beta"].add_name("www.example.org")
    text = on_alpha(net, lambda: Path("/etc/hosts").read_text())
    assert text == "127.0.0.1\tlocalhost\n10.0.0.1\talpha\n10.0.0.2\tbeta www.example.org\n"


def test_what_a_program_writes_stays_over_a_crash(net: Network) -> None:
    def main() -> str:
        with open("/etc/resolv.conf", "w") as file:
            file.write("nameserver 10.0.0.2\n")
        with open("/etc/resolv.conf", "a") as file:
            file.write("search example.org\n")
        with open("/etc/resolv.conf", "r+") as file:
            file.seek(len("nameserver "))
            file.write("10.0.0.9")
        return Path("/etc/resolv.conf").read_text()

    text = "nameserver 10.0.0.9\nsearch example.org\n"
    assert on_alpha(net, main) == text
    net.hosts["alpha"].crash()
    net.hosts["alpha"].boot()
    assert on_alpha(net, lambda: Path("/etc/resolv.conf").read_text()) == text
    assert net.run(lambda: Path("/etc/resolv.conf").read_text(), on=net.hosts["beta"]) == ""


def test_a_host_has_the_files_that_it_was_given(net: Network) -> None:
    net.hosts["alpha"].paths.put("/srv/app.conf", "port = 80\n")

    def main() -> tuple[str, int, bool]:
        return Path("/srv/app.conf").read_text(), os.stat("/srv/app.conf").st_size, os.path.exists("/srv/other.conf")

    assert on_alpha(net, main) == ("port = 80\n", 10, False)
    assert not net.run(lambda: os.path.exists("/srv/app.conf"), on=net.hosts["beta"])


def test_mode_and_times_of_a_hosts_file_are_the_hosts(net: Network, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("10.0.0.9 nine\n")
    os.utime(tmp_path / "hosts", (5, 7))
    before = os.stat("/etc/hosts")

    def work() -> None:
        shutil.copy2(tmp_path / "hosts", "/etc/hosts")
        assert os.stat("/etc/hosts").st_mtime == 7.0
        os.chmod("/etc/hosts", 0o700)
        assert stat.S_IMODE(os.stat("/etc/hosts").st_mode) == 0o700
        os.utime("/etc/hosts")
        os.chown("/etc/hosts", 0, -1)
        assert socket.gethostbyname("nine") == "10.0.0.9"
        assert failure(lambda: os.chown("/etc/hosts", 5, 5)) == "EPERM"
        assert failure(lambda: os.utime(FORWARD)) == "EPERM"
        assert failure(lambda: os.chmod("/proc/net/nothing", 0)) == "ENOENT"
        assert os.listxattr("/etc/hosts") == []
        assert failure(lambda: os.setxattr("/etc/hosts", "user.a", b"b")) == "ENOTSUP"

    on_alpha(net, work)
    after = os.stat("/etc/hosts")
    assert (after.st_mode, after.st_mtime_ns, after.st_uid) == (before.st_mode, before.st_mtime_ns, before.st_uid)


def test_a_hosts_file_is_not_moved_or_removed(net: Network, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.write_text("machine's")

    def main() -> list[str]:
        return [
            failure(lambda: os.replace(made, "/etc/hosts")),
            failure(lambda: os.rename("/etc/hosts", made)),
            failure(lambda: os.remove("/etc/hosts")),
        ]

    assert on_alpha(net, main) == ["EBUSY"] * 3
    assert made.read_text() == "machine's"


@pytest.mark.parametrize("path", ["etc/hosts", "/etc/../hosts", "/", "//etc/hosts", "/proc/sys/net/ipv4/ip_forward"])
def test_what_no_file_of_a_host_can_be(net: Network, path: str) -> None:
    with pytest.raises(ValueError, match="is not the path of a file that a host can have"):
        net.hosts["alpha"].paths.put(path, "")


# sysctl -p


def test_sysctl_loads_a_file_of_the_host(net: Network) -> None:
    alpha = net.hosts["alpha"]
    alpha.paths.put("/etc/sysctl.conf", "# ours\nnet.ipv4.ip_forward = 1\n\n; and\n-net.ipv4.nope = 1\n")
    assert alpha.sh("sysctl -p") == "net.ipv4.ip_forward = 1\n"
    assert alpha.sh("sysctl -n net.ipv4.ip_forward") == "1\n"


def test_sysctl_loads_a_file_of_the_machine(net: Network, tmp_path: Path) -> None:
    file = tmp_path / "tuning.conf"
    file.write_text("net/ipv4/tcp_sack=0\n")
    assert net.hosts["alpha"].sh(f"sysctl -p {file}") == "net.ipv4.tcp_sack = 0\n"


def test_sysctl_lists_by_pattern_and_by_folder(net: Network) -> None:
    alpha = net.hosts["alpha"]
    assert alpha.sh("sysctl -a --pattern 'tcp_[rw]mem' -N") == "net.ipv4.tcp_rmem\nnet.ipv4.tcp_wmem\n"
    assert alpha.sh("sysctl -n net.ipv4.conf.eth0.forwarding") == alpha.sh("sysctl -n net/ipv4/conf/eth0/forwarding")
    assert "net.core.somaxconn = 4096\n" in alpha.sh("sysctl net.core")
