"""traceroute(8) of Linux: which routers packets to a host go by, by packets whose time to live ends at each of them.

A program on the host's own sockets, with the three kinds of probes that are most used: datagrams to ports that nobody
listens at (the default), echo requests (-I), attempts to connect (-T). Sixteen probes are on their way at once. Left
out, and refused: -g (gates), -d, -e, -A, -M, --mtu, --back, --sport and methods of other protocols.
"""

from __future__ import annotations

import errno
import math
import select
import socket
import struct
import time
from typing import TYPE_CHECKING, Final

import attrs

from lunar.net_tools import peer
from lunar.net_tools.errors import CommandError
from lunar.net_tools.icmp_texts import mark
from lunar.net_tools.options import Options
from lunar.net_tools.programs import Program, Write

if TYPE_CHECKING:
    from lunar.host import Host

_PORT: Final = 33_434
_AT_ONCE: Final = 16
_WAIT_S: Final = 5.0
# A probe is waited for no longer than so many times as long as another of its hop took, or one of a later hop.
_HERE: Final = 3
_NEAR: Final = 10
_IPV6_UNICAST_HOPS: Final = 16
_ECHO: Final[dict[int, int]] = {socket.AF_INET: 8, socket.AF_INET6: 128}
_ECHO_REPLY: Final[dict[int, int]] = {socket.AF_INET: 0, socket.AF_INET6: 129}
_HEADER: Final = struct.Struct("!BBHHH")
_HEADERS_BYTES: Final[dict[int, int]] = {socket.AF_INET: 28, socket.AF_INET6: 48}  # IP's and UDP's, or ICMP's
_LENGTH: Final[dict[int, int]] = {socket.AF_INET: 60, socket.AF_INET6: 80}
_NS: Final = 1_000_000_000
_NAMES: Final = {
    "icmp": "I", "tcp": "T", "udp": "U", "first": "f", "interface": "i", "max-hops": "m", "sim-queries": "N",
    "port": "p", "tos": "t", "wait": "w", "queries": "q", "source": "s", "dont-fragment": "F",
}  # fmt: skip


@attrs.frozen
class _Wanted:
    name: str
    family: int
    method: str  # "udp", "icmp", "tcp"
    first: int
    hops: int
    queries: int
    at_once: int
    wait_ns: int
    port: int
    fixed_port: bool
    source: str
    device: str
    tos: int
    length: int  # 0: by the family
    numeric: bool
    whole: bool  # -F


@attrs.define(eq=False)
class _Probe:
    """One packet: when it went, and what came of it."""

    hop: int
    sent_ns: int = 0
    sock: socket.socket | None = None
    who: str = ""
    took_ns: int = -1
    mark: str = ""
    final: bool = False
    done: bool = False


def program(host: Host, words: list[str]) -> Program:
    """`traceroute [-46nIUTF] [-f N] [-m N] [-q N] [-N N] [-w S] [-p PORT] [-s ADDR] [-i DEV] [-t N] HOST [LENGTH]`."""
    options = Options("traceroute", words, "46nITUFf:i:m:N:p:t:w:q:s:", _NAMES)
    if not 1 <= len(options.operands) <= 2:
        found = f'found "{" ".join(options.operands)}"' if options.operands else "there is none"
        raise CommandError(f"traceroute: expected one destination and perhaps a length; {found}")
    name = options.operands[0]
    family = peer.family_of(host, options.has("4"), options.has("6"), name, "traceroute")
    device = options.text("i")
    if device and device not in host.devices:
        raise CommandError(f"traceroute: {device}: no such device; {host.name} has {', '.join(host.devices)}")
    method = "icmp" if options.has("I") else "tcp" if options.has("T") else "udp"
    length = 0
    if len(options.operands) == 2:
        if not options.operands[1].isdigit() or not 28 <= int(options.operands[1]) <= 65_000:
            raise CommandError(f'traceroute: length "{options.operands[1]}": expected 28 to 65000')
        length = int(options.operands[1])
    hops = options.integer("m", 30, 1, 255)
    first = options.integer("f", 1, 1, 255)
    if first > hops:
        raise CommandError("first hop out of range")
    wanted = _Wanted(
        name, family, method, first, hops,
        queries=options.integer("q", 3, 1, 10),
        at_once=options.integer("N", _AT_ONCE, 1, 255),
        wait_ns=round(options.number("w", _WAIT_S, 0, 86_400, _seconds) * _NS),
        port=options.integer("p", 80 if method == "tcp" else 53 if options.has("U") else _PORT, 1, 65535),
        fixed_port=method == "tcp" or options.has("U"),
        source=options.text("s"),
        device=device,
        tos=options.integer("t", 0, 0, 255),
        length=length,
        numeric=options.has("n"),
        whole=options.has("F"),
    )  # fmt: skip
    return Program("traceroute", lambda write: _Trace(host, wanted, write).run())


def _seconds(text: str) -> float:
    """The first of -w's three numbers; how much sooner others end a wait is always as by default."""
    return float(text.partition(",")[0])


class _Trace:
    """One run of the tool."""

    def __init__(self, host: Host, wanted: _Wanted, write: Write) -> None:
        self._wanted = wanted
        self._write = write
        self._ident = host.new_pid() & 0xFFFF
        self._probes: list[_Probe] = []
        self._last_hop = wanted.hops
        self._printed = 0
        self._echo: socket.socket | None = None
        self._named: dict[str, str] = {}

    def run(self) -> None:
        wanted = self._wanted
        self._peer = peer.find(wanted.name, wanted.family, "traceroute")
        self._family = self._peer.family
        length = max(wanted.length or _LENGTH[self._family], _HEADERS_BYTES[self._family])
        self._data = bytes(0x40 + at % 0x40 for at in range(length - _HEADERS_BYTES[self._family]))
        self._write(
            f"traceroute to {self._peer.name} ({self._peer.address}), {wanted.hops} hops max, {length} byte packets\n"
        )
        self._poll = select.poll()
        self._by_fd: dict[int, _Probe] = {}
        try:
            if wanted.method == "icmp":
                self._echo = self._socket(socket.SOCK_RAW)
                self._poll.register(self._echo, select.POLLIN)
            self._go()
        finally:
            for probe in self._probes:
                self._close(probe)
            if self._echo is not None:
                self._echo.close()

    def _go(self) -> None:
        """Send, hear, and print each hop as soon as all of its probes are done, until the last."""
        wanted = self._wanted
        while True:
            now = time.monotonic_ns()
            self._give_up(now)
            if self._print():
                return
            waiting = [probe for probe in self._probes if not probe.done]
            total = (self._last_hop - wanted.first + 1) * wanted.queries
            if len(waiting) < wanted.at_once and len(self._probes) < total:
                self._send(now)
                continue
            until = min((self._deadline(probe) for probe in waiting), default=now)
            for fd, events in self._poll.poll(max(0, math.ceil((until - now) / 1_000_000))):
                self._hear(fd, events)

    def _deadline(self, probe: _Probe) -> int:
        """Until when a probe is waited for."""
        longest = self._wanted.wait_ns
        for other in self._probes:
            if other.took_ns >= 0 and other.hop >= probe.hop:
                times = _HERE if other.hop == probe.hop else _NEAR
                longest = min(longest, max(times * other.took_ns, 1_000_000))
        return probe.sent_ns + longest

    def _give_up(self, now: int) -> None:
        for probe in self._probes:
            if not probe.done and self._deadline(probe) <= now:
                self._end(probe)

    # Probes

    def _socket(self, kind: int) -> socket.socket:
        protocol = 0
        if kind == socket.SOCK_RAW:
            protocol = socket.IPPROTO_ICMP if self._family == socket.AF_INET else socket.IPPROTO_ICMPV6
        sock = socket.socket(self._family, kind, protocol)
        inet = self._family == socket.AF_INET
        try:
            peer.hear_errors(sock, self._family)
            if self._wanted.tos:
                level = socket.IPPROTO_IP if inet else socket.IPPROTO_IPV6
                sock.setsockopt(level, socket.IP_TOS if inet else socket.IPV6_TCLASS, self._wanted.tos)
            if self._wanted.whole and inet:
                sock.setsockopt(socket.IPPROTO_IP, peer.IP_MTU_DISCOVER, peer.PMTUDISC["do"])
            if self._wanted.device:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._wanted.device.encode())
            if self._wanted.source:
                sock.bind((self._wanted.source, 0))
        except OSError as error:
            sock.close()
            raise CommandError(f"traceroute: {error.strerror}") from None
        return sock

    def _set_ttl(self, sock: socket.socket, hop: int) -> None:
        if self._family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hop)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_UNICAST_HOPS, hop)

    def _send(self, now: int) -> None:
        wanted = self._wanted
        number = len(self._probes)
        probe = _Probe(wanted.first + number // wanted.queries, now)
        self._probes.append(probe)
        if wanted.method == "icmp":
            self._send_echo(probe, number + 1)
            return
        sock = probe.sock = self._socket(socket.SOCK_STREAM if wanted.method == "tcp" else socket.SOCK_DGRAM)
        self._set_ttl(sock, probe.hop)
        sock.setblocking(False)
        self._by_fd[sock.fileno()] = probe
        self._poll.register(sock, select.POLLOUT if wanted.method == "tcp" else select.POLLIN)
        port = wanted.port if wanted.fixed_port else (wanted.port + number) & 0xFFFF
        try:
            sock.connect(self._peer.at(port))
            if wanted.method == "udp":
                sock.send(self._data)
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno in (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EACCES, errno.EINVAL):
                raise CommandError(f"connect: {error.strerror}") from None
            self._hear(sock.fileno(), select.POLLERR)

    def _send_echo(self, probe: _Probe, sequence: int) -> None:
        assert self._echo is not None
        self._set_ttl(self._echo, probe.hop)
        head = _HEADER.pack(_ECHO[self._family], 0, 0, self._ident, sequence)
        if self._family == socket.AF_INET:
            sum_ = peer.checksum(head + self._data)
            head = _HEADER.pack(_ECHO[self._family], 0, sum_, self._ident, sequence)
        try:
            self._echo.sendto(head + self._data, self._peer.sockaddr)
        except OSError as error:
            if error.errno in (errno.ENETUNREACH, errno.EACCES, errno.EINVAL):
                raise CommandError(f"connect: {error.strerror}") from None

    # What comes back

    def _hear(self, fd: int, events: int) -> None:
        if self._echo is not None:
            self._hear_echo()
            return
        probe = self._by_fd.get(fd)
        if probe is None or probe.sock is None:
            return
        report = peer.next_report(probe.sock)
        if report is not None and report.origin != peer.SO_EE_ORIGIN_LOCAL:
            self._reported(probe, report)
            return
        if self._wanted.method == "tcp":
            if report is None and events & (select.POLLOUT | select.POLLHUP | select.POLLERR):
                number = probe.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if number in (0, errno.ECONNREFUSED):
                    self._answered(probe, self._peer.address, "", final=True)
                else:
                    self._end(probe)
        elif events & select.POLLIN:
            self._answered(probe, self._peer.address, "", final=True)

    def _hear_echo(self) -> None:
        assert self._echo is not None
        while True:
            report = peer.next_report(self._echo)
            if report is None:
                break
            if len(report.quoted) >= _HEADER.size and report.origin != peer.SO_EE_ORIGIN_LOCAL:
                kind, _, _, ident, sequence = _HEADER.unpack_from(report.quoted)
                if kind == _ECHO[self._family] and ident == self._ident and 1 <= sequence <= len(self._probes):
                    self._reported(self._probes[sequence - 1], report)
        while True:
            try:
                data, _, _, source = self._echo.recvmsg(65_536, 256, socket.MSG_DONTWAIT)
            except OSError:
                return
            if self._family == socket.AF_INET:
                data = data[(data[0] & 0x0F) * 4 :]
            if len(data) < _HEADER.size:
                continue
            kind, _, _, ident, sequence = _HEADER.unpack_from(data)
            if kind == _ECHO_REPLY[self._family] and ident == self._ident and 1 <= sequence <= len(self._probes):
                self._answered(self._probes[sequence - 1], str(source[0]), "", final=True)

    def _reported(self, probe: _Probe, report: peer.Report) -> None:
        over = 11 if self._family == socket.AF_INET else 3  # the time to live, which is what was wanted
        text = mark(self._family, report.kind, report.code, report.info)
        self._answered(probe, report.who, text, final=report.kind != over)

    def _answered(self, probe: _Probe, who: str, text: str, *, final: bool) -> None:
        if probe.done:
            return
        probe.who, probe.mark, probe.final = who, text, final
        probe.took_ns = time.monotonic_ns() - probe.sent_ns
        if final:
            self._last_hop = min(self._last_hop, probe.hop)
        self._end(probe)

    def _end(self, probe: _Probe) -> None:
        probe.done = True
        self._close(probe)

    def _close(self, probe: _Probe) -> None:
        if probe.sock is not None:
            self._by_fd.pop(probe.sock.fileno(), None)
            self._poll.unregister(probe.sock)
            probe.sock.close()
            probe.sock = None

    # What is printed

    def _print(self) -> bool:
        """Print the hops that are complete. Whether that was the last."""
        wanted = self._wanted
        while True:
            start = self._printed * wanted.queries
            of_hop: list[_Probe] = self._probes[start : start + wanted.queries]
            if len(of_hop) < wanted.queries or not all(probe.done for probe in of_hop):
                return False
            self._printed += 1
            self._write(f"{self._hop_text(of_hop)}\n")
            if of_hop[0].hop >= self._last_hop:
                return True

    def _hop_text(self, probes: list[_Probe]) -> str:
        text = f"{probes[0].hop:2} "
        before = ""
        for probe in probes:
            if probe.took_ns < 0:
                text += " *"
                continue
            if probe.who != before:
                before = probe.who
                text += f" {self._name(probe.who)}"
            text += f"  {probe.took_ns / 1_000_000:.3f} ms" + (f" {probe.mark}" if probe.mark else "")
        return text

    def _name(self, address: str) -> str:
        if self._wanted.numeric:
            return address
        if address not in self._named:
            self._named[address] = f"{peer.name_of(address) or address} ({address})"
        return self._named[address]

