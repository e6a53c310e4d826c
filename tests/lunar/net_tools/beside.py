"""The same command lines on the machine's kernel, with the real tools, and on a host of ours: a ground to compare on.

Two namespaces stand for two hosts, joined by two links (veth); so they are two hosts of Lunar. Hardware addresses are
set, IPv6 makes no addresses by itself, and devices have no ARP, as ours have none unless they are told to.

What the two cannot have in common is taken away before they are compared (`DIFFERENT`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Final

import pytest

import lunar
from lunar.kernel.namespace import KernelUnavailable, Namespace
from lunar.net_tools import CommandError

# What is not compared, with the reason, and what stands for it on both sides.
DIFFERENT: Final = (
    (r"(\w+)@if\d+( *)", r"\1\2", "a veth names its peer"),
    (r"^(eth\d) {9,}", r"\1             ", "and so does -br"),
    (r" link-netns(?:id)? \S+", "", "where its peer is"),
    (r'"link_index":\d+,', "", "the same in JSON"),
    (r',"link_netnsid":\d+', "", "the same in JSON"),
    (r'\n *"link_index": \d+,', "", "the same in JSON that is indented"),
    (r',\n *"link_netnsid": \d+', "", "the same in JSON that is indented"),
    (r"_lft \d+sec", "_lft SECONDS", "the machine's time goes by"),
    (r'_life_time":\d{1,6}\b', '_life_time":SECONDS', "the same in JSON"),
    (r"^multicast ff00::/8 dev \S+ table local.*\n", "", "groups go by their device here, without a route"),
)
# How often the kernel is asked whether a device is up, until a test that needs it is let fail.
_LOOKS: Final = 1000


class Ground:
    """Two hosts twice: `kernel(line)` and `ours(line)` run a command line on the first, and give what it prints."""

    def __init__(self) -> None:
        self._a, self._b = Namespace(), Namespace()
        peer = f"/proc/{os.getpid()}/fd/{self._b._descriptor}"
        for namespace in (self._a, self._b):
            namespace.sysctl("net.ipv6.conf.default.addr_gen_mode", "1")
        for number in (0, 1):
            self._a.command(
                "ip", "link", "add", f"eth{number}", "address", f"02:00:00:00:00:0{number + 1}", "type", "veth",
                "peer", "name", f"eth{number}", "address", f"02:00:00:00:00:0{number + 3}", "netns", peer,
            )  # fmt: skip
            for namespace in (self._a, self._b):
                namespace.command("ip", "link", "set", f"eth{number}", "arp", "off", "up")
        for namespace in (self._a, self._b):
            for number in (0, 1):
                # The kernel sees a moment later that the other end is up.
                for _ in range(_LOOKS):
                    if namespace.command("ip", "-br", "link", "show", f"eth{number}").split()[1] == "UP":
                        break
        self.net = lunar.Network(seed=1)
        self.first, second = self.net.host("a"), self.net.host("b")
        for number in (0, 1):
            self.first.add_device([], f"eth{number}")
            self.first.sh(f"sysctl -w net.ipv6.conf.eth{number}.addr_gen_mode=1")
        for number in (0, 1):
            second.add_device([], f"eth{number}")
            self.net.link(f"a.eth{number}", f"b.eth{number}")

    def kernel(self, line: str) -> str:
        with self._a:
            done = subprocess.run(line.split(), capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def there(self) -> Namespace:
        """The first host on the kernel, for a `with`: what is started within it is there."""
        return self._a

    def ours(self, line: str) -> str:
        try:
            return self.first.sh(line)
        except CommandError as error:
            return f"{error}\n"

    def close(self) -> None:
        self._a.close()
        self._b.close()
        self.net.close()


def ground(*tools: str) -> Ground:
    """A new one; the test is skipped where the machine has not got what it takes."""
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    try:
        return Ground()
    except KernelUnavailable as error:
        pytest.skip(str(error))


def common(text: str) -> str:
    """What both sides can have in common."""
    for pattern, replacement, _reason in DIFFERENT:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text
