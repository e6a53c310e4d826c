"""Random rule sets and packets past the machine's iptables and Lunar's: `python tests/netfilter/duel.py --sets 300`.

For each set both routers get the same rules and the same packets. What each packet becomes has to be the same, byte for
byte less the identification of what the router itself makes; and in the end what `iptables-save -c` prints, counters
included, and the table of connections. What is not drawn, because it cannot be compared, is named in random_rules.py.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[2])]

from conntrack_duel import differ
from random_rules import TABLES, RuleSet, undo
from random_traffic import Traffic
from routers import Pair, Sent, why_not

from lunar.packet import ICMP, TCP, UDP
from lunar.wire import ipv4
from lunar.wire.address import ipv4_text
from lunar.wire.malformed import Malformed

PACKETS: Final = 60
# Two connections would have been the same, and one got another port by chance: from there on the two routers differ.
CHANCE: Final = "a port was drawn"


def play(pair: Pair, seed: int) -> str | None:
    """One set; what was different first, None if nothing was."""
    for command in undo():
        pair.command(command)
    rules = RuleSet(seed)
    for command in rules.commands:
        pair.command(command)
    traffic = Traffic(seed)
    for number in range(PACKETS):
        device, packet = traffic.next()
        kernel, lunar = pair.send(device, packet)
        if kernel != lunar:
            if without_ports(kernel) == without_ports(lunar):
                return CHANCE
            return (
                f"set {seed}, packet {number}: {said([(device, packet)])} becomes\n    {said(kernel)} in the kernel,"
                f"\n    {said(lunar)} in Lunar"
            )
        traffic.heard(kernel)
    for table in TABLES:
        saved = pair.output(f"iptables-save -c -t {table}")
        if saved[0] != saved[1]:
            unlike = [pair for pair in zip(*saved, strict=False) if pair[0] != pair[1]]
            return f"set {seed}, table {table}:\n    {unlike}"
    difference = differ(*pair.connections())
    return f"set {seed}: {difference}" if difference is not None else None


def without_ports(sent: Sent) -> Sent:
    """The packets without ports, ICMP's identifier and the checksums that cover them, and without what errors quote."""
    return [(device, _without(data)) for device, data in sent]


def _without(data: bytes) -> bytes:
    body = bytearray(data[20:])
    if data[9] == ICMP:
        if body[0] in (0, 8, 13, 14):
            body[2:6] = bytes(4)
        else:
            del body[2:]
    elif data[9] in (TCP, UDP):
        check = 16 if data[9] == TCP else 6
        body[0:4] = bytes(4)
        body[check : check + 2] = bytes(2)
    return data[:20] + bytes(body)


def said(sent: Sent) -> str:
    """Packets in a line."""
    words = []
    for device, data in sent:
        packet = ipv4.decode(data)
        if isinstance(packet, Malformed):
            words.append(f"{device}: {packet} {data.hex()}")
            continue
        fields = " ".join(
            f"{name}={getattr(packet, name)}"
            for name in ("ttl", "tos", "sport", "dport", "flags", "seq", "ack", "type", "code")
            if hasattr(packet, name)
        )
        words.append(
            f"{device}: {type(packet).__name__} {ipv4_text(packet.src)} > {ipv4_text(packet.dst)} {fields} {data.hex()}"
        )
    return "; ".join(words) or "nothing"


def main() -> int:
    """The command. The exit status is 1 if a set differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--sets", type=int, default=300, help="how many rule sets")
    parser.add_argument("--seed", type=int, default=0, help="the first of them")
    parser.add_argument("--show", action="store_true", help="the rules of those that differ")
    arguments = parser.parse_args()
    reason = why_not()
    if reason is not None:
        print(f"not compared: {reason}")
        return 0
    different = short = 0
    pair = Pair()
    for seed in range(arguments.seed, arguments.seed + arguments.sets):
        found = play(pair, seed)
        if found is None:
            continue
        if found == CHANCE:
            short += 1
            continue
        different += 1
        print(found)
        if arguments.show:
            print("\n".join(RuleSet(seed).commands))
    pair.close()
    print(
        f"{arguments.sets - different} of {arguments.sets} sets are the same on both, {PACKETS} packets each; "
        f"{short} of them as far as a port that was drawn by chance"
    )
    return int(different != 0)


if __name__ == "__main__":
    sys.exit(main())
