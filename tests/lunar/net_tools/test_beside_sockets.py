"""ss(8), netstat(8) and /proc/net beside the real ones: one program opens its sockets here and on the machine's kernel.

What the program's sockets got by chance (ports, inodes, numbers of processes and descriptors) is taken away, and lines
are sorted: in which order the kernel's tables have them depends on hashes.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from beside import Ground, common, ground

# A listener of each family, connections in several states, datagrams, a raw socket, Unix sockets.
PROGRAM = '''
import socket
import time

FIN_WAIT_2 = b"\\x05"
opened = []


def listen(family, address, backlog=5):
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(address)
    sock.listen(backlog)
    opened.append(sock)
    return sock


def connect(family, address, listener):
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.connect(address)
    accepted, _ = listener.accept()
    opened.extend([sock, accepted])
    return sock, accepted


def datagrams(family, address, peer=None):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if peer is None:
        sock.bind(address)
    else:
        sock.connect(peer)
    opened.append(sock)


def open_all():
    web = listen(socket.AF_INET, ("0.0.0.0", 80))
    both = listen(socket.AF_INET6, ("::", 8080))
    mail = listen(socket.AF_INET, ("127.0.0.1", 25), 7)
    listen(socket.AF_INET6, ("::1", 26))
    datagrams(socket.AF_INET, ("0.0.0.0", 53))
    datagrams(socket.AF_INET6, ("2001:db8::1", 5353))
    datagrams(socket.AF_INET, None, ("10.0.0.9", 99))
    client, _ = connect(socket.AF_INET, ("10.0.0.1", 80), web)
    client.send(b"x" * 100)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connect(socket.AF_INET6, ("2001:db8::1", 8080), both)
    connect(socket.AF_INET, ("127.0.0.1", 8080), both)
    half, _ = connect(socket.AF_INET, ("127.0.0.1", 25), mail)
    half.shutdown(socket.SHUT_WR)
    while half.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) != FIN_WAIT_2:
        time.sleep(0.01)  # until the FIN is acknowledged
    opened.append(socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
    unix = socket.socket(socket.AF_UNIX)
    unix.bind("\\0name")
    unix.listen(3)
    opened.extend([unix, *socket.socketpair()])
'''

COMMANDS = """
ss -tan
ss -tln
ss -tn
ss -uan
ss -wan
ss -xa
ss -tuna
ss -tna4
ss -tna6
ss -H -tan
ss -tan state listening
ss -tan exclude listening
ss -tan sport = :80
ss -tan ( dport = :80 or sport = :25 )
ss -tan src 10.0.0.1
ss -tan dst 127.0.0.1
ss -tan not dst 127.0.0.1
ss -tano
ss -ta
ss -tlp
ss -tan state nonsense
netstat -tan
netstat -tun
netstat -ltn
netstat -an
netstat -x
netstat -lx
netstat -tane
netstat -tanp
netstat -tanW
cat /proc/net/tcp
cat /proc/net/tcp6
cat /proc/net/udp
cat /proc/net/udp6
cat /proc/net/raw
"""


def without_chance(text: str) -> list[str]:
    """The lines of a text without what is different in each run, sorted; columns without their width."""
    text = re.sub(r"users:\(\(.*?\)\)", "users", common(text))
    text = re.sub(r"\b\d+/(python\S*|a)\b", "PROGRAM", text)
    text = re.sub(r"(?<=:)(3[2-9]|4\d|5\d|60)\d{3}\b", "PORT", text)
    text = re.sub(r"keepalive,\d+min", "keepalive,TIME", text)
    text = re.sub(r"(?<=[: ])(7|8|9|A|B|C|D|E)[0-9A-F]{3}(?= )", "PORT", text)  # in hexadecimal: from 32768 on
    text = re.sub(r"02:[0-9A-F]{8}", "02:TIME", text)
    # The number in a table of the kernel's, an inode, an address in memory, and what follows that.
    text = re.sub(r"^ *\d+: ", "", text, flags=re.MULTILINE)
    text = re.sub(r"( 0 +0 )(\d+) \d [0-9a-f]{16}.*$", r"\1INODE", text, flags=re.MULTILINE)
    text = re.sub(r"\b\d{5,}\b", "INODE", text)
    return sorted(" ".join(line.split()) for line in text.splitlines())


@pytest.fixture
def both() -> Ground:
    return ground("ip", "ss", "netstat")


def test_the_sockets_of_one_program(both: Ground) -> None:
    for side in (both.kernel, both.ours):
        for line in ("ip addr add 10.0.0.1/24 dev eth0", "ip addr add 2001:db8::1/64 dev eth0 nodad"):
            assert side(line) == ""
    lines = list(filter(None, COMMANDS.splitlines()))
    try:
        kernel = _on_the_kernel(both, lambda: [both.kernel(line) for line in lines])
        ours = _on_our_host(both, lambda: [_ours(both, line) for line in lines])
        differ = [
            "\n".join([line, "--- the kernel's", *without_chance(theirs), "--- ours", *without_chance(own)])
            for line, theirs, own in zip(lines, kernel, ours, strict=True)
            if without_chance(theirs) != without_chance(own)
        ]
        assert not differ, "\n".join(differ)
    finally:
        both.close()


def _on_the_kernel(both: Ground, then: Callable[[], list[str]]) -> list[str]:
    program = f"{PROGRAM}\nopen_all()\nprint('ready', flush=True)\ninput()\n"
    with both.there():
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return then()
    finally:
        process.communicate("\n")


def _on_our_host(both: Ground, then: Callable[[], list[str]]) -> list[str]:
    names: dict[str, object] = {}
    exec(compile(PROGRAM, "<program>", "exec"), names)

    def main() -> list[str]:
        names["open_all"]()  # type: ignore[operator]
        return then()

    found: list[str] = both.net.run(main, on=both.first)
    return found


def _ours(both: Ground, line: str) -> str:
    if line.startswith("cat "):
        with open(line.split()[1]) as file:
            return file.read()
    return both.ours(line)
