"""Two kernels joined by a link of ours, and switches of kernels and virtual hosts: what a link does to frames of any
kind, and that a session of theirs is repeated by its log.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from dpkt.pcap import Reader
from lab import free_name, needs

import lunar
from lunar.kernel.namespace import Namespace
from lunar.links.link import Wire
from lunar.links.red import RedLimits
from lunar.links.switch import Switch
from lunar.outside.kernel import Kernel
from lunar.outside.kernel_device import KernelDevice
from weaves.live_run import CannotOpen

pytestmark = needs("ping")

LEFT, RIGHT = "10.0.0.1", "10.0.0.2"


class Pair:
    """The kernels `left` and `right`, on a link with the traits that are said."""

    def __init__(self, *, record: Path | None = None, replay: Path | None = None, **traits: Any) -> None:
        self.net = lunar.Network(seed=1, clock=None if replay else "real", record=record, replay=replay)
        self.namespaces = [Namespace(), Namespace()]
        self.left, self.right = (
            self.net.kernel(name, f"{address}/24", netns=namespace)
            for name, address, namespace in zip(("left", "right"), (LEFT, RIGHT), self.namespaces, strict=True)
        )
        self.net.link(self.left, self.right, **traits)
        self.said: list[str] = []
        self.net.supervisor.trace.subscribe_changes(lambda _time, name, what: self.said.append(f"{name}: {what}"))

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.net.close()
        for namespace in self.namespaces:
            namespace.close()

    @property
    def wires(self) -> list[Wire]:
        (wires,) = self.net.wires.values()
        return wires

    def does(self, command: str) -> int | None:
        """Run `command` on the left, as long as it takes; its exit code."""
        program = self.left.start(command)
        self.net.run()
        return program.exit_code


def ping(count: int = 3, wait_s: int = 20) -> str:
    return f"ping -n -c {count} -i 0.05 -W {wait_s} {RIGHT}"


def frames(folder: Path, name: str) -> dict[bytes, int]:
    """The echo messages in a capture, with the virtual time in nanoseconds at which each was there."""
    found = {}
    with (folder / f"{name}-eth0.pcap").open("rb") as file:
        for seconds, data in Reader(file):
            if data[12:14] == b"\x08\x00" and data[23] == 1:
                found[data] = round(seconds * 1_000_000_000)
    return found


def test_a_frame_is_there_when_it_has_been_sent_and_has_travelled(tmp_path: Path) -> None:
    with Pair(rate="8mbit", delay="10ms") as pair:
        pair.net.capture(tmp_path)
        assert pair.does(ping(1)) == 0
    left, right = frames(tmp_path, "left"), frames(tmp_path, "right")
    assert len(left) == len(right) == 2
    for data in left:
        # 98 bytes at a microsecond a byte, and the delay; a capture's times are floats, right to a microsecond.
        assert abs(abs(left[data] - right[data]) - (98_000 + 10_000_000)) < 1_000


def test_frames_are_lost_and_doubled_and_overtaken() -> None:
    with Pair(loss=1.0) as pair:
        assert pair.does(ping(1, 1)) == 1
        assert pair.wires[0].dropped_loss > 0
    with Pair(duplicate=1.0) as pair:
        assert pair.does(ping(3)) == 0
        assert any("DUP!" in line for line in pair.said)
        assert all(wire.duplicated > 0 for wire in pair.wires)
    with Pair(reorder=1.0, reorder_by="1ms") as pair:
        assert pair.does(ping(3)) == 0
        assert all(wire.held_back > 0 for wire in pair.wires)


def test_a_bit_is_flipped_in_what_carries_ip_alone() -> None:
    with Pair(corrupt=1.0) as pair:
        assert pair.does(ping(2, 1)) == 1
        # The requests came to nothing, by checksums; the neighbour was found, as ARP has none.
        assert pair.wires[0].corrupted >= 2
        assert "lladdr" in pair.namespaces[0].command("ip", "neigh", "show", RIGHT)


def connected(namespace: Namespace) -> socket.socket:
    with namespace:
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setblocking(False)
    return made


async def transfer(pair: Pair, size: int) -> tuple[bytes, bytes]:
    """SHA-256 of what the left has sent, and of what the right has got."""
    with pair.namespaces[1]:
        listener = socket.create_server((RIGHT, 5001))
    listener.setblocking(False)
    loop = asyncio.get_running_loop()
    data = random.Random(1).randbytes(size)

    async def receive() -> bytes:
        taken, _ = await loop.sock_accept(listener)
        digest = hashlib.sha256()
        with taken:
            while some := await loop.sock_recv(taken, 65536):
                digest.update(some)
        return digest.digest()

    receiving = asyncio.ensure_future(receive())
    with connected(pair.namespaces[0]) as sender:
        await loop.sock_connect(sender, (RIGHT, 5001))
        await loop.sock_sendall(sender, data)
    got = await receiving
    listener.close()
    return hashlib.sha256(data).digest(), got


def transferred(pair: Pair, size: int = 300_000) -> bool:
    """Whether a transfer from the left arrives at the right as it was sent, while the network runs."""

    async def main() -> tuple[bytes, bytes]:
        net = pair.net
        net.supervisor.await_one_more()  # a run without a string goes on until it is cancelled
        running = asyncio.ensure_future(net.run_async())
        try:
            while not all(end.is_open for kernel in net.kernels.values() for end in kernel.devices.values()):
                await asyncio.sleep(0)
                assert not running.done(), running.result()
            return await transfer(pair, size)
        finally:
            running.cancel()

    sent, got = asyncio.run(main())
    return sent == got


@pytest.mark.parametrize(
    "traits",
    [
        {"loss": "2%"},
        {"corrupt": "2%"},
        {"duplicate": "5%"},
        {"reorder": "5%", "reorder_by": "2ms"},
        {"rate": "20mbit", "delay": "2ms", "queue": 10},
    ],
    ids=["loss", "corrupt", "duplicate", "reorder", "queue"],
)
def test_a_transfer_of_kernels_is_intact(traits: dict[str, Any]) -> None:
    with Pair(**traits) as pair:
        assert transferred(pair)
        assert sum(wire.packets for wire in pair.wires) > 200


def test_a_queue_with_early_marks_tells_the_kernels() -> None:
    with Pair(rate="20mbit", delay="2ms", queue=200, red=RedLimits(2, 8, False, 0.5, 1.0, ecn=True)) as pair:
        for namespace in pair.namespaces:
            namespace.sysctl("net.ipv4.tcp_ecn", "1")
        assert transferred(pair, 500_000)
        marked = pair.wires[0].marked
        assert marked > 0
        counters = pair.namespaces[1].command("cat", "/proc/thread-self/net/netstat")
        names, values = [line.split() for line in counters.splitlines() if line.startswith("IpExt:")]
        found = dict(zip(names, values, strict=True))
        # Their checksums were right, or the kernel would not have taken them for TCP.
        assert int(found["InCEPkts"]) == marked


def test_a_cable_is_pulled_and_plugged_in_again() -> None:
    with Pair() as pair:
        pair.net.plug("left.eth0 - right.eth0", False)
        assert pair.does(ping(1, 1)) == 1
        assert [wire.packets for wire in pair.wires] == [0, 0]
        pair.net.plug("left.eth0 - right.eth0", True)
        assert pair.does(ping(1)) == 0


def test_a_session_of_kernels_is_repeated_by_its_log(tmp_path: Path) -> None:
    log = tmp_path / "session"
    with Pair(record=log, rate="20mbit", delay="1ms", loss="1%", corrupt="1%") as pair:
        for program in ("ping -n -c 10 -i 0.02 -s 1000 -W 1 10.0.0.2", "ping -n -c 5 -i 0.02 -W 1 10.0.0.2"):
            pair.left.start(program)
        pair.net.run()
        digest = pair.net.digest()
        folded = [wire.lane.folded for wire in pair.wires]
    assert min(folded) > 20
    with Pair(replay=log, rate="20mbit", delay="1ms", loss="1%", corrupt="1%") as pair:
        programs = [
            pair.left.start(program)
            for program in ("ping -n -c 10 -i 0.02 -s 1000 -W 1 10.0.0.2", "ping -n -c 5 -i 0.02 -W 1 10.0.0.2")
        ]
        pair.net.run()
        assert pair.net.digest() == digest
        assert [wire.lane.folded for wire in pair.wires] == folded
        assert all(program.exit_code is not None for program in programs)
        # Nothing of the machine was touched.
        assert "eth0" not in pair.namespaces[0].command("ip", "link")


def test_kernels_and_virtual_hosts_are_on_one_switch() -> None:
    with Pair() as pair:
        net = pair.net
        namespaces = [Namespace() for _ in range(3)]
        kernels = [
            net.kernel(f"kernel{number}", f"10.1.0.{number}/24", netns=namespaces[number - 1]) for number in (1, 2, 3)
        ]
        hosts = [net.host(f"host{number}", f"10.1.0.{number}/24") for number in (11, 12)]
        switch = net.link(*kernels, *hosts, delay="1ms")
        assert isinstance(switch, Switch)
        text = " && ".join(f"ping -n -c 1 -W 20 10.1.0.{number}" for number in (2, 3, 11, 12))
        programs = [kernels[0].start(f"sh -c '{text}'")]
        printed: list[str] = []

        def from_a_host() -> None:
            printed.extend(hosts[0].sh(f"ping -c 1 -W 20 10.1.0.{number}") for number in (1, 2, 3, 12))

        net.start(hosts[0], from_a_host)
        net.run()
        assert [program.exit_code for program in programs] == [0]
        assert all("1 received" in text for text in printed) and len(printed) == 4
        # It has learned who is behind which port, and sends what is for one of them to nobody else.
        ends = [kernel.devices["eth0"] for kernel in kernels]
        assert {switch.learned[end.mac] for end in ends} == {end.doorway for end in ends}
        net.close()
        for namespace in namespaces:
            namespace.close()


def test_what_a_program_prints_and_how_it_ends_is_told() -> None:
    with Pair() as pair:
        first = pair.left.start("sh -c 'echo one; echo two >&2; exit 3'")
        killed = pair.right.start("sh -c 'kill -40 $$'")
        beside = pair.right.start("sleep 1000", background=True)
        pair.net.run()
        assert (first.exit_code, beside.exit_code, killed.exit_code) == (3, None, -40)
        assert [line for line in pair.said if line.startswith("left")] == [
            "left: one", "left: two", "left: sh -c 'echo one; echo two >&2; exit 3': ended with exit code 3",
        ]  # fmt: skip
        assert [line for line in pair.said if line.startswith("right")] == [
            "right: sh -c 'kill -40 $$': ended by signal 40",  # it has no name
        ]
        programs = pair.net.outside_figures()["programs"]
        assert sorted(figures["exit_code"] or 0 for figures in programs) == [-40, 0, 3]


def test_a_namespace_is_made_for_the_run_and_goes_with_it() -> None:
    name = free_name("made")
    with lunar.Network(clock="real") as net:
        kernel: Kernel = net.kernel(name, "10.0.0.1/24", net=["ip address add 10.5.0.1/24 dev lo"])
        net.link(kernel, net.host("host", "10.0.0.2/24"))
        seen = kernel.start("ip -o -4 address")
        net.run()
        assert seen.exit_code == 0
        assert "10.5.0.1" in Namespace.named(name).command("ip", "address")
    assert name not in subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout


def test_what_is_wrong_with_a_kernel_is_said() -> None:
    name = free_name("taken")
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        with lunar.Network(clock="real") as net:
            net.kernel(name, "10.0.0.1/24")
            with pytest.raises(CannotOpen, match=f'is a network namespace "{name}" already; say netns = "{name}"'):
                net.run(until="1s")
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
    with Pair() as pair:
        pair.left.start("no-such-program --at all")
        with pytest.raises(CannotOpen, match="left: no-such-program --at all: No such file or directory"):
            pair.net.run()
    net = lunar.Network(clock="real")
    left, right = net.kernel("a", "10.0.0.1/24"), net.kernel("b", "10.0.0.2/24")
    with pytest.raises(ValueError, match="arp is off, but a kernel asks"):
        net.link(left, right, arp=False)
    with pytest.raises(ValueError, match="kernel a has no device eth1"):
        net.link("a.eth1", "b")
    net.link("a.eth0", right)
    with pytest.raises(ValueError, match="kernel a has no device that is free"):
        net.link(left, right)
    tun = net.tap(net.host("host"), "10.3.0.1/24", name="tun0")
    assert isinstance(tun, KernelDevice) and not net.hosts["host"].devices["tun0"].arp
