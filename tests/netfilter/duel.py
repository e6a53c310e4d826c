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
from random_rules import TABLES, RuleSet, six, undo
from random_traffic import Traffic
from routers import Pair, Sent, why_not

from lunar.packet import AF_INET, AF_INET6, ICMP, ICMPV6, TCP, UDP
from lunar.wire import inet
from lunar.wire.address import address_text
from lunar.wire.malformed import Malformed

PACKETS: Final = 60
# Two connections would have been the same, and one got another port by chance: from there on the two routers differ.
CHANCE: Final = "a port was drawn"


def play(pair: Pair, seed: int, family: int = AF_INET) -> str | None:
    """One set; what was different first, None if nothing was."""
    in_words = six if family == AF_INET6 else str
    for command in [*undo(), *RuleSet(seed).commands]:
        pair.command(in_words(command))
    traffic = Traffic(seed, family)
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
        saved = pair.output(in_words(f"iptables -save -c -t {table}").replace(" -save", "-save"))
        if saved[0] != saved[1]:
            unlike = [lines for lines in zip(*saved, strict=False) if lines[0] != lines[1]]
            return f"set {seed}, table {table}:\n    {unlike}"
    difference = differ(*pair.connections())
    return f"set {seed}: {difference}" if difference is not None else None


def without_ports(sent: Sent) -> Sent:
    """The packets without ports, ICMP's identifier and the checksums that cover them, and without what errors quote."""
    return [(device, _without(data)) for device, data in sent]


def _without(data: bytes) -> bytes:
    start, protocol = (20, data[9]) if data[0] >> 4 == 4 else (40, data[6])
    body = bytearray(data[start:])
    if protocol in (ICMP, ICMPV6):
        if body[0] in (0, 8, 13, 14, 128, 129):
            body[2:6] = bytes(4)
        else:
            del body[2:]
    elif protocol in (TCP, UDP):
        check = 16 if protocol == TCP else 6
        body[0:4] = bytes(4)
        body[check : check + 2] = bytes(2)
    return data[:start] + bytes(body)


def said(sent: Sent) -> str:
    """Packets in a line."""
    words = []
    for device, data in sent:
        packet = inet.decode(data)
        if isinstance(packet, Malformed):
            words.append(f"{device}: {packet} {data.hex()}")
            continue
        fields = " ".join(
            f"{name}={getattr(packet, name)}"
            for name in ("ttl", "tos", "sport", "dport", "flags", "seq", "ack", "type", "code")
            if hasattr(packet, name)
        )
        words.append(
            f"{device}: {type(packet).__name__} {address_text(packet.family, packet.src)} > "
            f"{address_text(packet.family, packet.dst)} {fields} {data.hex()}"
        )
    return "; ".join(words) or "nothing"


def main() -> int:
    """The command. The exit status is 1 if a set differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--sets", type=int, default=300, help="how many rule sets")
    parser.add_argument("--seed", type=int, default=0, help="the first of them")
    parser.add_argument("--six", action="store_true", help="the same sets with ip6tables and IPv6")
    parser.add_argument("--show", action="store_true", help="the rules of those that differ")
    arguments = parser.parse_args()
    reason = why_not()
    if reason is not None:
        print(f"not compared: {reason}")
        return 0
    different = short = 0
    pair = Pair()
    for seed in range(arguments.seed, arguments.seed + arguments.sets):
        found = play(pair, seed, AF_INET6 if arguments.six else AF_INET)
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
