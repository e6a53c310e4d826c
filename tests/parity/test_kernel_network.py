"""The network layer beside the machine's kernel: the same frames to both, and answers that agree byte by byte.

Each group of probes (network_probes.py) goes to a host of the kernel's, in a namespace behind TAP devices, and to one
of Lunar's. What is left out of the comparison stands in a table there. As a program this prints the probes one by one:

    python tests/parity/test_kernel_network.py [--verbose] [GROUP ...]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pytest
from network_probes import GROUPS, LEFT_OUT, Group, compared
from network_sides import DEVICES, KernelSide, LunarSide, Sent, Side

from lunar.kernel.namespace import KernelUnavailable

ADDRESSES = ["ip addr add 10.0.0.1/24 brd + dev eth0", "ip addr add 10.1.0.1/24 brd + dev eth1"]
ADDRESSES6 = ["ip addr add 2001:db8::1/64 dev eth0 nodad", "ip addr add 2001:db8:1::1/64 dev eth1 nodad"]
NEIGHBORS = [(0, "10.0.0.2"), (0, "10.0.0.3"), (0, "10.0.0.254"), (1, "10.1.0.2"), (1, "10.1.0.3")]
NEIGHBORS6 = [(0, "2001:db8::2"), (0, "2001:db8::3"), (0, "fe80::2"), (0, "fe80::3"), (1, "2001:db8:1::2")]


def set_up(side: Side, group: Group) -> None:
    """Addresses, neighbours, and what the group wants."""
    for line in [*ADDRESSES, *(ADDRESSES6 if group.six else [])]:
        side.command(line)
    if group.resolves:
        side.resolve()
    for device, address in [*NEIGHBORS, *(NEIGHBORS6 if group.six else [])]:
        side.neighbor(device, address)
    for line in group.commands:
        side.command(line)
    if group.link_local or isinstance(side, LunarSide):
        side.settle()
    for joined in group.joins:
        side.join(joined)


def answers(side: Side, group: Group) -> list[list[Sent]]:
    """What each probe of a group brings out of a side."""
    try:
        set_up(side, group)
        return [compared(side.probe(probe.frames, probe.wait_s), group, probe) for probe in group.probes]
    finally:
        side.close()


def kernel() -> Side:
    try:
        return KernelSide()
    except KernelUnavailable as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("group", GROUPS, ids=[group.name for group in GROUPS])
def test_the_answers_are_the_kernels(group: Group) -> None:
    theirs, ours = answers(kernel(), group), answers(LunarSide(), group)
    for probe, expected, found in zip(group.probes, theirs, ours, strict=True):
        assert shown(found) == shown(expected), probe.name


def shown(frames: list[Sent]) -> list[str]:
    return [f"{DEVICES[device]} {data.hex()}" for device, data in frames]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="The network layer beside the machine's kernel, probe by probe.")
    parser.add_argument("groups", nargs="*", help="names of groups, or parts of them; all without")
    parser.add_argument("--verbose", action="store_true", help="print the frames of those that differ")
    arguments = parser.parse_args()
    good = total = 0
    for group in GROUPS:
        if arguments.groups and not any(word in group.name for word in arguments.groups):
            continue
        print(group.name)
        try:
            theirs, ours = answers(KernelSide(), group), answers(LunarSide(), group)
        except Exception as error:  # noqa: BLE001 - told, and the next group goes on
            print(f"  FAILED: {error}")
            total += len(group.probes)
            continue
        for probe, expected, found in zip(group.probes, theirs, ours, strict=True):
            same = expected == found
            total += 1
            good += same
            print(f"  {'same' if same else 'DIFFERS':8}{len(expected):3} frames  {probe.name}")
            if not same and arguments.verbose:
                for line in shown(expected):
                    print(f"      kernel {line}")
                for line in shown(found):
                    print(f"      lunar  {line}")
    print(f"{good} of {total} probes are answered as by the kernel. Not compared:")
    for field, reason in LEFT_OUT:
        print(f"  {field}: {reason}")
    return 0 if good == total else 1


if __name__ == "__main__":
    sys.exit(main())
