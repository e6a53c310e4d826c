"""The machine's kernel pings a Lunar host over a TAP device: both ask for each other by ARP or neighbour discovery.

Lunar's time stands still meanwhile: it answers at the instant at which a frame comes.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess

import pytest
from taps import MAC

import lunar
from lunar.kernel.namespace import Namespace
from lunar.kernel.tun import IFF_TAP, TunDevice
from lunar.links.tap import Tap
from lunar.wire import ethernet

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces are root's"),
    pytest.mark.skipif(not os.path.exists("/dev/net/tun"), reason="this machine has no TUN devices"),
    pytest.mark.skipif(shutil.which("ping") is None, reason="ping(8) is not installed"),
]


@pytest.mark.parametrize(
    ("own", "address"), [("10.0.0.1/24", "10.0.0.2/24"), ("2001:db8::1/64", "2001:db8::2/64")], ids=["IPv4", "IPv6"]
)
def test_the_kernel_pings_a_host(own: str, address: str) -> None:
    namespace = Namespace()
    device = TunDevice(namespace, "tap0", IFF_TAP)
    namespace.command("sysctl", "-qw", "net.ipv6.conf.tap0.accept_dad=0")
    namespace.command("ip", "addr", "add", address, "dev", "tap0")
    namespace.command("ip", "link", "set", "tap0", "up")
    net = lunar.Network(seed=1, arp=True)
    host = net.host("host", own)
    eth0 = host.devices["eth0"]
    tap = Tap(net.scheduler, 0)
    eth0.medium = tap
    with namespace:
        ping = subprocess.Popen(
            ["ping", "-n", "-c", "3", "-i", "0.2", "-W", "10", own.partition("/")[0]],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
    while ping.poll() is None:
        if not select.select([device.descriptor], [], [], 0.05)[0]:
            continue
        eth0.arrive(ethernet.frame_of(os.read(device.descriptor, 1 << 16)))
        while net.scheduler.turns or net.scheduler.next_ns() <= net.scheduler.now_ns:
            net.scheduler.run(net.scheduler.now_ns, 1000)
        while tap.frames:
            device.write(ethernet.encode(tap.frames.popleft()[1]))
    assert ping.stdout is not None
    printed = ping.stdout.read()
    # What the kernel sends while its device is still coming up may be lost: one packet, not more.
    assert any(f"3 packets transmitted, {received} received" in printed for received in (2, 3)), printed
    # The kernel has found it by its answer, and it has learned of the kernel by the question.
    neighbors = namespace.command("ip", "neigh", "show", "dev", "tap0")
    assert f"{own.partition('/')[0]} lladdr {ethernet.mac_text(MAC)}" in neighbors
    assert address.partition("/")[0] in host.sh("ip neigh")
    device.close()
    namespace.close()
