"""The same router twice: the machine's kernel in a namespace, and a virtual host. Commands and packets go to both.

It has two devices, `ta` with 10.0.0.1/24 and 2001:db8::1/64, `tb` with 10.1.0.1/24 and 2001:db8:b::1/64, and whoever
holds it is what is behind them: a packet is written to one, and what comes out of either is read. Both are without ARP,
so packets are IP's bytes.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from lunar.kernel.namespace import KernelUnavailable, Namespace
from lunar.kernel.tun import IFF_TUN, TunDevice
from lunar.links.tap import Tap
from lunar.net_tools import conntrack_text
from lunar.net_tools.errors import CommandError
from lunar.network import Network
from lunar.packet import ICMP, ICMPV6, RST, TCP, Damaged, Frame, Packet
from lunar.wire import checksum, inet
from lunar.wire.malformed import Malformed
from weaves.scheduler import STOPPED

DEVICES: Final = ("ta", "tb")
ADDRESSES: Final = {"ta": ("10.0.0.1/24", "2001:db8::1/64"), "tb": ("10.1.0.1/24", "2001:db8:b::1/64")}
# No limits on ICMP: what is compared is which packet is answered, not how fast. No redirects for what goes back where
# it came from.
SYSCTLS: Final = (
    "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0",
    "net.ipv4.conf.all.send_redirects=0", "net.ipv4.conf.default.send_redirects=0",
    "net.ipv4.icmp_ratelimit=0", "net.ipv4.icmp_msgs_per_sec=1000000", "net.ipv4.icmp_msgs_burst=10000",
    "net.netfilter.nf_conntrack_acct=1",
    "net.ipv6.conf.all.forwarding=1", "net.ipv6.icmp.ratelimit=0", "net.ipv6.conf.all.accept_dad=0",
    "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.default.addr_gen_mode=1",
    "net.ipv6.conf.default.mldv2_unsolicited_report_interval=1",
)  # fmt: skip

Sent = list[tuple[str, bytes]]
Tracked = list[tuple[str, int]]
_TURNS: Final = 4
_QUIET_TURNS: Final = 15  # of 20 ms, after which no report is waited for
_MAC: Final = 0x0200_5E00_0001
_BUDGET: Final = 100_000
_PAUSE_NS: Final = 10_000_000
_SETTLED_NS: Final = 30_000_000_000


class KernelRouter:
    """The machine's. Raises `KernelUnavailable` where it gives this user none."""

    def __init__(self) -> None:
        self._namespace = Namespace()
        for setting in SYSCTLS:
            self._namespace.command("sysctl", "-qw", setting)
        self.devices = {name: TunDevice(self._namespace, name, IFF_TUN) for name in DEVICES}
        for name, addresses in ADDRESSES.items():
            for address in addresses:
                self._namespace.command("ip", "address", "add", address, "dev", name)
            # The kernel reports the groups of a new device, several times, and rules would count that: it is over when
            # there are any, since the reports come within milliseconds, and there are none of IPv4's groups.
            self._namespace.command("ip", "link", "set", "dev", name, "multicast", "off", "up")
        self._wait_for_reports()

    def _wait_for_reports(self) -> None:
        descriptors = [tun.descriptor for tun in self.devices.values()]
        quiet = 0
        while quiet < _QUIET_TURNS:
            ready, _, _ = select.select(descriptors, [], [], 0.02)
            quiet = 0 if ready else quiet + 1
            for descriptor in ready:
                os.read(descriptor, 70_000)

    def command(self, line: str) -> str:
        """Run a command line of iptables, ip, conntrack ...; what it prints. Raises `CommandError` with its words."""
        words = re.sub(r"^(ip6?tables)(?!-legacy)", r"\1-legacy", line)
        with self._namespace:
            done = subprocess.run(words, shell=True, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise CommandError(done.stderr.strip() or str(done.returncode))
        return done.stdout

    def send(self, device: str, packet: bytes) -> Sent:
        """Let `packet` come in at `device`; what goes out because of it, by device."""
        for tun in self.devices.values():
            tun.drain()  # what the kernel sends of itself
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(before)})
        try:
            self.devices[device].write(packet)
            out = self._read()
            turns = _TURNS
            while not out and turns:
                # Mostly all is done when `write` returns. A busy machine leaves it to a thread of this processor.
                os.sched_yield()
                out = self._read()
                turns -= 1
        finally:
            os.sched_setaffinity(0, before)
        return out

    def _read(self) -> Sent:
        out: Sent = []
        for name, tun in self.devices.items():
            while True:
                try:
                    data = os.read(tun.descriptor, 70_000)
                except BlockingIOError:
                    break
                if not _is_housekeeping(data):
                    out.append((name, data))
        return out

    def connections(self) -> str:
        """/proc/net/nf_conntrack."""
        with self._namespace:
            return Path("/proc/thread-self/net/nf_conntrack").read_text(encoding="ascii")

    def close(self) -> None:
        for device in self.devices.values():
            device.close()
        self._namespace.close()


class LunarRouter:
    """The virtual one. Each packet comes ten milliseconds of virtual time after the one before."""

    def __init__(self) -> None:
        self.network = Network(seed=1)
        self.host = self.network.host("router")
        self._taps: dict[str, Tap] = {}
        for setting in SYSCTLS:
            self.command(f"sysctl -q -e -w {setting}")
        for name, addresses in ADDRESSES.items():
            device = self.host.add_device([], name)
            self._taps[name] = device.medium = Tap(self.network.scheduler, _MAC)
            for address in addresses:
                self.command(f"ip address add {address} dev {name}")
        # What the host tells of its groups is told by then.
        self._run(self.network.scheduler.now_ns + _SETTLED_NS)

    def command(self, line: str) -> str:
        """As KernelRouter's."""
        return self.host.sh(line)

    def send(self, device: str, packet: bytes) -> Sent:
        """As KernelRouter's."""
        scheduler = self.network.scheduler
        port = self.host.devices[device]
        frame = _frame(packet)
        frame.eth_dst = port.mac
        self._run(scheduler.now_ns + _PAUSE_NS)
        port.arrive(frame)
        while scheduler.run(scheduler.now_ns, _BUDGET) == STOPPED:
            pass
        out: Sent = []
        for name, tap in self._taps.items():
            while tap.frames:
                data = _bytes(tap.frames.popleft()[1])
                if not _is_housekeeping(data):
                    out.append((name, data))
        return out

    def _run(self, until_ns: int) -> None:
        """Let time go by; what the host sends of itself meanwhile nobody sees."""
        scheduler = self.network.scheduler
        scheduler.forget_stop()
        while scheduler.run(until_ns, _BUDGET) == STOPPED:
            pass  # each frame that a tap gets stops it
        scheduler.advance(until_ns)
        for tap in self._taps.values():
            tap.frames.clear()

    def connections(self) -> str:
        """As KernelRouter's."""
        return conntrack_text.proc_file(self.host)

    def close(self) -> None:
        self.network.close()


def _frame(packet: bytes) -> Frame:
    decoded = inet.decode(packet)
    if isinstance(decoded, Malformed):
        return Damaged(0x0800 if packet[0] >> 4 == 4 else 0x86DD, packet)
    return decoded


def _bytes(frame: Frame) -> bytes:
    assert isinstance(frame, Packet), "a router sends what it could read"
    return inet.encode(frame)


def _is_housekeeping(data: bytes) -> bool:
    """Whether it is of MLD or neighbour discovery, which come when they want."""
    if data[0] >> 4 != 6:
        return False
    # MLD's have a hop-by-hop option before them.
    return data[6] == 0 or (data[6] == ICMPV6 and 130 <= data[40] <= 143)


def why_not() -> str | None:
    """Why the machine's router cannot be had, None if it can."""
    try:
        router = KernelRouter()
    except (KernelUnavailable, OSError) as reason:
        return str(reason)
    try:
        router.command("iptables -t nat -L")
        router.command("conntrack -C")
    except CommandError as reason:
        return f"iptables-legacy or conntrack: {reason}"
    finally:
        router.close()
    return None


class Pair:
    """Both routers, told the same. What they do is compared less what `unlike` names."""

    def __init__(self) -> None:
        self.kernel = KernelRouter()
        self.lunar = LunarRouter()

    def command(self, line: str) -> bool:
        """Give both the command; whether they took it. They may refuse it, but both."""
        taken = []
        for router in (self.kernel, self.lunar):
            try:
                router.command(line)
                taken.append(True)
            except CommandError as refused:
                taken.append(False)
                why = refused
        if taken[0] != taken[1]:
            who = "the kernel's iptables" if taken[1] else "Lunar"
            raise AssertionError(f"{who} refuses {line!r}: {why}")
        return taken[0]

    def send(self, device: str, packet: bytes) -> tuple[Sent, Sent]:
        """Let both have a packet: what each sends because of it, made comparable."""
        kernel, lunar = (
            sorted(_comparable(one, packet) for one in router.send(device, packet)) for router in self.routers
        )  # fmt: skip
        return kernel, lunar

    def output(self, line: str) -> tuple[list[str], list[str]]:
        """What a command prints on both, line by line, less the comments with the time of day."""
        kernel, lunar = (
            [one for one in router.command(line).splitlines() if not one.startswith("#")] for router in self.routers
        )  # fmt: skip
        return kernel, lunar

    @property
    def routers(self) -> tuple[KernelRouter, LunarRouter]:
        return self.kernel, self.lunar

    def connections(self) -> tuple[Tracked, Tracked]:
        """The lines of /proc/net/nf_conntrack, sorted, each without its seconds, and those beside it."""
        kernel, lunar = (sorted(map(_split, router.connections().splitlines())) for router in self.routers)
        return kernel, lunar

    def close(self) -> None:
        for router in self.routers:
            router.close()


def _split(line: str) -> tuple[str, int]:
    found = _SECONDS.match(line)
    assert found is not None, line
    return f"{found[1]} {found[3]}", int(found[2])


# Family, protocol and its number, the seconds, the rest.
_SECONDS: Final = re.compile(r"(\S+ +\d+ \S+ +\d+) (\d+) (.*)")


def _comparable(sent: tuple[str, bytes], cause: bytes) -> tuple[str, bytes]:
    """Without the identification of what the router itself has made, which is of no meaning and drawn by chance.

    The header's checksum becomes that without it. Its own packets are those with its addresses as their source, and,
    whatever source rules have given them, ICMP's errors, TCP's resets, and an echo reply other than `cause`. In IPv6 it
    is the flow label.
    """
    device, data = sent
    if data[0] >> 4 == 6:
        own = data[8:24] in _OWN or (data[6] == TCP and data[53] & RST != 0)
        if own or (data[6] == ICMPV6 and data[40] in (1, 2, 3, 4, 129) and data[40:44] != cause[40:44]):
            data = data[:1] + bytes([data[1] & 0xF0]) + bytes(2) + data[4:]
        return device, data
    own = data[12:16] in _OWN or (data[9] == TCP and data[33] & RST != 0)
    own = own or (data[9] == ICMP and (data[20] in _ERRORS or (data[20] == 0 and data[4:6] != cause[4:6])))
    if own:
        header = data[:4] + bytes(2) + data[6:10] + bytes(2) + data[12:20]
        data = header[:10] + checksum.internet(header).to_bytes(2, "big") + header[12:] + data[20:]
    return device, data


_ERRORS: Final = (3, 11, 12)


_OWN: Final = {
    ip_address(address.partition("/")[0]).packed for addresses in ADDRESSES.values() for address in addresses
}
