"""ping(8): echo requests in virtual time, and what comes back of them.

A program on the host's own raw sockets, with the options that say what is sent and when. What it prints is as iputils
prints it. Left out, and refused: flood and adaptive pings, record route and time stamps in the header, node
information, patterns, names by -a.
"""

from __future__ import annotations

import ipaddress
import math
import select
import socket
import struct
import time
from typing import TYPE_CHECKING, Any, Final

import attrs

from lunar.net_tools import peer
from lunar.net_tools.errors import CommandError
from lunar.net_tools.icmp_texts import error_text
from lunar.net_tools.options import Options
from lunar.net_tools.programs import Program, Write

if TYPE_CHECKING:
    from lunar.host import Host

_ECHO: Final[dict[int, int]] = {socket.AF_INET: 8, socket.AF_INET6: 128}
_ECHO_REPLY: Final[dict[int, int]] = {socket.AF_INET: 0, socket.AF_INET6: 129}
_HEADER: Final = struct.Struct("!BBHHH")
_HEADERS_BYTES: Final = 28  # of IPv4 and ICMP, which the first line counts
# A time stamp goes along if there is room for it; without it no time is told, as with the real tool.
_STAMP: Final = struct.Struct("!QQ")
_LARGEST: Final = 65_507
_LINGER_S: Final = 10  # how long it waits for the first reply after the last request, by default
_NS: Final = 1_000_000_000
_ICMP_FILTER: Final = 1  # setsockopt at SOL_RAW
_SOL_RAW: Final = 255
_IPV6_RECVHOPLIMIT: Final = 51
_IPV6_HOPLIMIT: Final = 52
_IPV6_UNICAST_HOPS: Final = 16
_IPV6_MULTICAST_HOPS: Final = 18
_SO_MARK: Final = 36


@attrs.frozen
class _Wanted:
    """What the command line says."""

    name: str
    family: int
    count: int  # 0: without end
    interval_ns: int
    size: int
    linger_ns: int
    deadline_ns: int  # 0: none
    ttl: int  # 0: the host's
    tos: int
    mark: int
    source: str
    device: str
    discover: int  # -1: the host's
    numeric: bool
    quiet: bool
    stamps: bool
    outstanding: bool
    broadcast: bool


def program(host: Host, words: list[str]) -> Program:
    """`ping [-46] [-bDnOq] [-c N] [-i S] [-I DEV|ADDR] [-m MARK] [-M do|want|dont] [-Q TOS] [-s N] [-t TTL] [-w S]
    [-W S] DESTINATION`.
    """
    options = Options("ping", words, "46bDnOqc:i:I:m:M:Q:s:t:w:W:")
    if len(options.operands) != 1:
        found = f'found "{" ".join(options.operands)}"' if options.operands else "there is none"
        raise CommandError(f"ping: expected one destination; {found}")
    (name,) = options.operands
    if options.has("4") and options.has("6"):
        raise CommandError("ping: only one of -4 and -6")
    family = peer.family_of(host, options.has("4"), options.has("6"), name, "ping")
    discover = options.text("M")
    if discover and discover not in peer.PMTUDISC:
        raise CommandError(f'ping: -M "{discover}": expected do, want or dont')
    source = options.text("I")
    device = ""
    if source and not source[0].isdigit() and ":" not in source:
        source, device = "", source
        if device not in host.devices:
            raise CommandError(f"ping: {device}: no such device; {host.name} has {', '.join(host.devices)}")
    wanted = _Wanted(
        name,
        family,
        count=options.integer("c", 0, 1, 2**31 - 1),
        interval_ns=round(options.number("i", 1, 0, 2**31 / 1000, float) * _NS),
        size=options.integer("s", 56, 0, _LARGEST),
        linger_ns=round(options.number("W", _LINGER_S, 0, 2**31 / 1000, float) * _NS),
        deadline_ns=round(options.number("w", 0, 1, 2**31 / 1000, float) * _NS),
        ttl=options.integer("t", 0, 1, 255),
        tos=int(options.number("Q", 0, 0, 255, _with_base)),
        mark=int(options.number("m", 0, 0, 2**32 - 1, _with_base)),
        source=source,
        device=device,
        discover=peer.PMTUDISC.get(discover, -1),
        numeric=options.has("n"),
        quiet=options.has("q"),
        stamps=options.has("D"),
        outstanding=options.has("O"),
        broadcast=options.has("b"),
    )
    if wanted.interval_ns == 0:
        raise CommandError("ping: -i 0 is not supported; expected a time between requests")
    endless = not (wanted.count or wanted.deadline_ns)
    return Program("ping", lambda write: _Ping(host, wanted, write).run(), endless)


def _with_base(text: str) -> int:
    return int(text, 0)


class _Ping:
    """One run of the tool. Times are of the host's monotonic clock, in nanoseconds."""

    def __init__(self, host: Host, wanted: _Wanted, write: Write) -> None:
        self._wanted = wanted
        self._write = write
        self._ident = host.new_pid() & 0xFFFF
        self._times_ns: list[int] = []
        self._sent_ns: dict[int, int] = {}
        self._seen: set[int] = set()
        self._sent = self._received = self._repeated = self._errors = 0
        self._started_ns = self._last_ns = 0
        self._pipe = 0

    def run(self) -> None:
        self._peer = peer.find(self._wanted.name, self._wanted.family, "ping")
        if self._wanted.device and not self._peer.scope and self._peer.family == socket.AF_INET6:
            # Of an address that means something on one link only, -I says on which.
            self._peer = attrs.evolve(self._peer, scope=socket.if_nametoindex(self._wanted.device))
        self._family = self._peer.family
        self._numeric = self._wanted.numeric or self._peer.numeric
        with self._open() as sock:
            self._sock = sock
            self._announce()
            try:
                self._go()
            finally:  # also when it is killed, as by Ctrl-C
                self._summary()

    def _open(self) -> socket.socket:
        wanted = self._wanted
        protocol = socket.IPPROTO_ICMP if self._family == socket.AF_INET else socket.IPPROTO_ICMPV6
        sock = socket.socket(self._family, socket.SOCK_RAW, protocol)
        try:
            self._set_up(sock)
        except OSError as error:
            sock.close()
            if error.errno == 13 and not wanted.broadcast:  # EACCES
                raise CommandError(
                    "ping: Do you want to ping broadcast? Then -b. If not, check your local firewall rules"
                ) from None
            raise CommandError(f"ping: {self._doing}: {error.strerror}") from None
        return sock

    def _set_up(self, sock: socket.socket) -> None:
        wanted = self._wanted
        inet = self._family == socket.AF_INET
        level = socket.IPPROTO_IP if inet else socket.IPPROTO_IPV6
        self._doing = "setsockopt"
        peer.hear_errors(sock, self._family)
        if inet:
            sock.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", ~(1 << _ECHO_REPLY[socket.AF_INET]) & 0xFFFFFFFF))
        else:
            sock.setsockopt(level, _IPV6_RECVHOPLIMIT, 1)
        if wanted.ttl:
            if ipaddress.ip_address(self._peer.address.partition("%")[0]).is_multicast:
                sock.setsockopt(level, socket.IP_MULTICAST_TTL if inet else _IPV6_MULTICAST_HOPS, wanted.ttl)
            else:
                sock.setsockopt(level, socket.IP_TTL if inet else _IPV6_UNICAST_HOPS, wanted.ttl)
        if wanted.tos:
            sock.setsockopt(level, socket.IP_TOS if inet else socket.IPV6_TCLASS, wanted.tos)
        if wanted.mark:
            sock.setsockopt(socket.SOL_SOCKET, _SO_MARK, wanted.mark)
        if wanted.discover >= 0:
            sock.setsockopt(level, peer.IP_MTU_DISCOVER if inet else peer.IPV6_MTU_DISCOVER, wanted.discover)
        if wanted.broadcast:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._doing = f"SO_BINDTODEVICE {wanted.device}"
        if wanted.device:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, wanted.device.encode())
        self._doing = "bind"
        if wanted.source:
            sock.bind((wanted.source, 0))
        # As the real one, by a socket that sends nothing: whether there is a way, and from which address.
        self._doing = "connect"
        with socket.socket(self._family, socket.SOCK_DGRAM) as probe:
            if wanted.device:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, wanted.device.encode())
            if wanted.broadcast:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            if wanted.source:
                probe.bind((wanted.source, 0))
            probe.connect(self._peer.at(1025))
            self._source = probe.getsockname()[0]

    def _announce(self) -> None:
        wanted = self._wanted
        of = f" from {self._source} {wanted.device}:" if wanted.source or wanted.device else ""
        if self._family == socket.AF_INET:
            size = f"{wanted.size}({wanted.size + _HEADERS_BYTES}) bytes of data."
            self._write(f"PING {self._peer.name} ({self._peer.address}){of} {size}\n")
        else:
            shown = self._peer.address
            if "%" in self._peer.name:
                shown = peer.with_scope(self._peer.sockaddr)
            if not self._numeric:
                shown = self._named(shown)
            self._write(f"PING {self._peer.name}({shown}){of} {wanted.size} data bytes\n")

    def _named(self, address: str) -> str:
        """How an address is shown: with its name, if there is one and names are wanted."""
        name = "" if self._numeric else peer.name_of(address)
        return f"{name} ({address})" if name else address

    # The requests

    def _go(self) -> None:
        wanted = self._wanted
        self._started_ns = self._last_ns = now = time.monotonic_ns()
        end = now + wanted.deadline_ns if wanted.deadline_ns else None
        next_ns = now
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        # With a deadline, -c is how many replies it waits for.
        to_send = 0 if wanted.deadline_ns else wanted.count
        while True:
            now = time.monotonic_ns()
            if wanted.count and self._received + (0 if wanted.deadline_ns else self._errors) >= wanted.count:
                return
            if wanted.deadline_ns and self._errors:
                return
            if end is not None and now >= end:
                return
            more = not to_send or self._sent < to_send
            if more and now >= next_ns:
                if wanted.outstanding and self._sent and self._sent & 0xFFFF not in self._seen:
                    self._write(f"no answer yet for icmp_seq={self._sent & 0xFFFF}\n")
                self._send(now)
                next_ns += wanted.interval_ns
                continue
            limit = next_ns if more else self._last_ns + self._patience_ns()
            if not more and now >= limit:
                return
            until = limit if end is None else min(limit, end)
            # Of poll's milliseconds a part is not lost: it waits to the end of the last one and not less.
            if poll.poll(math.ceil((until - now) / 1_000_000)):
                self._hear()

    def _patience_ns(self) -> int:
        """How long it waits after the last request."""
        if self._times_ns:
            return max(2 * max(self._times_ns), self._wanted.interval_ns)
        return self._wanted.linger_ns

    def _send(self, now: int) -> None:
        self._sent += 1
        sequence = self._sent & 0xFFFF
        self._sent_ns[sequence] = now
        self._seen.discard(sequence)
        self._last_ns = now
        size = self._wanted.size
        stamp = _STAMP.pack(now // _NS, now % _NS) if size >= _STAMP.size else b""
        data = stamp + bytes(at & 0xFF for at in range(len(stamp), size))
        head = _HEADER.pack(_ECHO[self._family], 0, 0, self._ident, sequence)
        if self._family == socket.AF_INET:
            head = _HEADER.pack(_ECHO[self._family], 0, peer.checksum(head + data), self._ident, sequence)
        try:
            self._sock.sendto(head + data, self._peer.sockaddr)
        except OSError as error:
            self._hear_errors()
            if error.errno != 90:  # EMSGSIZE, which the error queue tells of
                self._errors += 1
                self._say(f"ping: sendmsg: {error.strerror}")

    # What comes back

    def _hear(self) -> None:
        while True:
            try:
                data, items, _, source = self._sock.recvmsg(65_536, 512, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                if not self._hear_errors():
                    return
                continue
            self._reply(data, items, source)

    def _reply(self, data: bytes, items: list[Any], source: tuple[Any, ...]) -> None:
        now = time.monotonic_ns()
        ttl = 0
        if self._family == socket.AF_INET:
            ttl = data[8]
            data = data[(data[0] & 0x0F) * 4 :]
        else:
            for level, kind, value in items:
                if (level, kind) == (socket.IPPROTO_IPV6, _IPV6_HOPLIMIT):
                    ttl = int.from_bytes(value[:4], "little")
        if len(data) < _HEADER.size:
            return
        kind, _, _, ident, sequence = _HEADER.unpack_from(data)
        if kind != _ECHO_REPLY[self._family] or ident != self._ident or sequence not in self._sent_ns:
            return
        repeated = sequence in self._seen
        self._seen.add(sequence)
        self._acknowledged(sequence)
        took = None
        if len(data) - _HEADER.size >= _STAMP.size:
            seconds, rest = _STAMP.unpack_from(data, _HEADER.size)
            took = now - (seconds * _NS + rest)
        if repeated:
            self._repeated += 1
        else:
            self._received += 1
        if took is not None:
            self._times_ns.append(took)
        if not self._wanted.quiet:
            who = self._named(peer.with_scope(source))
            shown = f" ttl={ttl}" if ttl else ""
            shown += f" time={_shown_time(took)} ms" if took is not None else ""
            self._say(f"{len(data)} bytes from {who}: icmp_seq={sequence}{shown}{' (DUP!)' if repeated else ''}")

    def _hear_errors(self) -> bool:
        """Tell of what the error queue has. Whether there was something."""
        report = peer.next_report(self._sock)
        if report is None:
            return False
        if report.origin == peer.SO_EE_ORIGIN_LOCAL:
            self._errors += 1
            if report.number == 90 and not self._wanted.quiet:
                self._say(f"ping: local error: message too long, mtu={report.info}")
            return True
        if len(report.quoted) < _HEADER.size:
            return True
        kind, _, _, ident, sequence = _HEADER.unpack_from(report.quoted)
        if kind != _ECHO[self._family] or ident != self._ident:
            return True
        self._errors += 1
        self._acknowledged(sequence)
        if not self._wanted.quiet:
            text = error_text(self._family, report.kind, report.code, report.info)
            self._say(f"From {self._named(report.who)} icmp_seq={sequence} {text}")
        return True

    def _acknowledged(self, sequence: int) -> None:
        behind = (self._sent - sequence) & 0xFFFF
        if behind <= 0x7FFF:
            self._pipe = max(self._pipe, behind + 1)

    def _say(self, text: str) -> None:
        stamp = ""
        if self._wanted.stamps:
            now = time.time_ns()
            stamp = f"[{now // _NS}.{now % _NS // 1000:06d}] "
        self._write(f"{stamp}{text}\n")

    def _summary(self) -> None:
        text = f"\n--- {self._peer.name} ping statistics ---\n"
        text += f"{self._sent} packets transmitted, {self._received} received"
        if self._repeated:
            text += f", +{self._repeated} duplicates"
        if self._errors:
            text += f", +{self._errors} errors"
        if self._sent:
            # With %g, as C prints it: 33.3333%.
            lost = (self._sent - self._received) * 100 / self._sent
            text += f", {lost:g}% packet loss, time {(self._last_ns - self._started_ns) // 1_000_000}ms"
        text += "\n"
        if self._received and self._times_ns:
            times = self._times_ns
            mean = sum(times) // len(times)
            deviation = math.isqrt(max(0, sum(one * one for one in times) // len(times) - mean * mean))
            shown = (min(times), mean, max(times), deviation)
            text += "rtt min/avg/max/mdev = "
            text += "/".join(f"{value // 1_000_000}.{value // 1000 % 1000:03d}" for value in shown)
            text += " ms"
            text += f", pipe {self._pipe}" if self._pipe > 1 else ""
        elif self._pipe > 1:
            text += f"pipe {self._pipe}"
        self._write(f"{text}\n")


def _shown_time(ns: int) -> str:
    """Milliseconds with as many digits as iputils shows."""
    micros = ns // 1000
    if micros >= 99_950:
        return f"{(micros + 500) // 1000}"
    if micros >= 9_995:
        return f"{(micros + 50) // 1000}.{(micros + 50) // 100 % 10}"
    if micros >= 1_000:
        return f"{(micros + 5) // 1000}.{(micros + 5) // 10 % 100:02d}"
    return f"{micros // 1000}.{micros % 1000:03d}"
