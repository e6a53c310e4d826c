"""arping(8) of iputils: who has this address, asked by ARP; and an own address told to all who know another (-U, -A).

A program on a packet socket of the host, in virtual time. A device without `arp` is refused, as one with IFF_NOARP.
"""

from __future__ import annotations

import select
import socket
import time
from typing import TYPE_CHECKING, Final

import attrs

from lunar.net.device import Device
from lunar.net_tools.errors import CommandError, parsed
from lunar.net_tools.options import Options
from lunar.net_tools.peer import NAME_SERVERS_TAKE_TIME
from lunar.net_tools.programs import Program, Write
from lunar.packet import AF_INET, BROADCAST_MAC, ArpMessage
from lunar.wire import arp
from lunar.wire.address import ipv4_text, parse_ipv4
from lunar.wire.ethernet import mac_text
from lunar.wire.malformed import Malformed

if TYPE_CHECKING:
    from lunar.host import Host

_REQUEST: Final = 1
_REPLY: Final = 2
_ETH_P_ARP: Final = 0x0806
_TO_ALL: Final = 1  # PACKET_BROADCAST, of a packet socket's address
_NS: Final = 1_000_000_000


@attrs.frozen
class _Wanted:
    """What the command line says."""

    target: int
    source: int
    device: Device
    count: int  # 0: without end
    interval_ns: int
    deadline_ns: int  # 0: none
    first_only: bool
    quiet: bool
    broadcasts: bool
    tests: bool  # -D: whether anybody has the address
    answers: bool  # -A: as answers, and not as questions
    tells: bool  # -U or -A


def program(host: Host, words: list[str]) -> Program:
    """`arping [-AbDfqU] [-c N] [-w S] [-i S] [-I DEV] [-s SOURCE] DESTINATION`."""
    options = Options("arping", words, "AbDfqUc:w:i:I:s:")
    if len(options.operands) != 1:
        raise CommandError("arping: expected one destination")
    (name,) = options.operands
    target = _address(host, name)
    device = _device(host, options.text("I"), target)
    tells = options.has("U") or options.has("A")
    source = _source(host, options, device, target, tells)
    count = options.integer("c", 0, 1, 2**31 - 1)
    wanted = _Wanted(
        target=target,
        source=source,
        device=device,
        count=count,
        interval_ns=round(options.number("i", 1, 0.001, 86_400, float) * _NS),
        deadline_ns=round(options.number("w", 0, 0.001, 86_400, float) * _NS),
        first_only=options.has("f") or options.has("D"),
        quiet=options.has("q"),
        broadcasts=options.has("b"),
        tests=options.has("D"),
        answers=options.has("A"),
        tells=tells,
    )
    return Program("arping", lambda write: _Arping(wanted, write).run(), count == 0 and not wanted.deadline_ns)


def _address(host: Host, name: str) -> int:
    try:
        return parse_ipv4(name)
    except ValueError:
        pass
    try:
        return parse_ipv4(host.getaddrinfo(name, None, AF_INET)[0][4][0])
    except (OSError, UnicodeError):
        raise CommandError(f"arping: {name}: Name or service not known") from None
    except RuntimeError:
        raise CommandError(f"arping: {name}: {NAME_SERVERS_TAKE_TIME}") from None


def _device(host: Host, name: str, target: int) -> Device:
    if name:
        device = host.devices.get(name)
        if device is None:
            raise CommandError(f"arping: Device {name} not available.")
    else:
        route = host.ip.inet.routes.lookup(target)
        if route is None:
            raise CommandError("arping: Suitable device could not be determined. Please, use option -I.")
        device = route.device
    if device.name == "lo" or not device.arp:
        raise CommandError(f'Interface "{device.name}" is not ARPable')
    return device


def _source(host: Host, options: Options, device: Device, target: int, tells: bool) -> int:
    """In whose name it asks."""
    given = options.text("s")
    source = parsed(parse_ipv4, given, "an IPv4 address") if given else 0
    if options.has("D"):
        return source
    if tells:
        source = source or target
    if source:
        if source not in host.ip.local:
            raise CommandError("arping: bind: Cannot assign requested address")
        return source
    for own in device.addresses:
        if own.family == AF_INET and own.covers(target):
            return own.address
    return device.primary_address()


class _Arping:
    """One run of it."""

    def __init__(self, wanted: _Wanted, write: Write) -> None:
        self.wanted = wanted
        self.write = write
        self.to = BROADCAST_MAC
        self.sent = self.broadcasts = self.received = 0
        self.sent_ns = 0

    def run(self) -> None:
        wanted = self.wanted
        self._say(f"ARPING {ipv4_text(wanted.target)} from {ipv4_text(wanted.source)} {wanted.device.name}\n")
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ARP)) as sock:
            sock.bind((wanted.device.name, _ETH_P_ARP))
            began = due = time.monotonic_ns()
            while True:
                now = time.monotonic_ns()
                if wanted.deadline_ns and now - began >= wanted.deadline_ns:
                    break
                if now >= due:
                    if wanted.count and self.sent >= wanted.count:
                        break
                    self._ask(sock)
                    due = now + wanted.interval_ns
                until = min(due, began + wanted.deadline_ns) if wanted.deadline_ns else due
                if select.select([sock], [], [], max(until - now, 0) / _NS)[0]:
                    self._hear(*sock.recvfrom(2048))
                    if self.received and wanted.first_only:
                        break
        self._say(
            f"Sent {self.sent} probes ({self.broadcasts} broadcast(s))\nReceived {self.received} response(s)\n"
        )

    def _say(self, text: str) -> None:
        if not self.wanted.quiet:
            self.write(text)

    def _ask(self, sock: socket.socket) -> None:
        wanted = self.wanted
        mac = int(wanted.device.mac)
        operation = _REPLY if wanted.answers else _REQUEST
        asked = mac if wanted.answers else BROADCAST_MAC
        message = ArpMessage(operation, mac, wanted.source, asked, wanted.target)
        to = self.to.to_bytes(6, "big")
        sock.sendto(arp.encode(message), (wanted.device.name, _ETH_P_ARP, 0, 0, to))
        self.sent += 1
        self.broadcasts += self.to == BROADCAST_MAC
        self.sent_ns = time.monotonic_ns()

    def _hear(self, data: bytes, address: tuple[str, int, int, int, bytes]) -> None:
        wanted = self.wanted
        message = arp.decode(data)
        if isinstance(message, Malformed) or message.sender_ip != wanted.target or wanted.tells:
            return
        own = int(wanted.device.mac)
        if wanted.tests:
            # Whoever has the address, or wants it as well.
            if message.sender_mac == own:
                return
        elif message.operation != _REPLY or message.target_ip != wanted.source or message.target_mac != own:
            return
        self.received += 1
        kind = "Broadcast" if address[2] == _TO_ALL else "Unicast"
        what = "reply" if message.operation == _REPLY else "request"
        spent = (time.monotonic_ns() - self.sent_ns) / 1_000_000
        mac = mac_text(int(message.sender_mac))
        self._say(f"{kind} {what} from {ipv4_text(message.sender_ip)} [{mac}]  {spent:.3f}ms\n")
        if not wanted.broadcasts:
            self.to = int(message.sender_mac)
