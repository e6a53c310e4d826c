"""Random TCP segments past the kernel's conntrack and Lunar's: `python tests/netfilter/conntrack_duel.py --flows 3000`.

After each segment the two must agree: on the state that a rule sees (the rules write it into the segment's TOS), on the
connection's line in `conntrack -L`, with what it has counted, and on how long it will live, within two seconds of the
machine's clock. Most flows begin with a handshake; numbers are wrong now and then by amounts that matter to a window.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path
from typing import Final

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[2])]

from routers import Pair, Tracked, why_not

from lunar.packet import ACK, AF_INET, FIN, PSH, RST, SYN, TcpSegment, set_tcp_size
from lunar.wire import ipv4

_HOSTS: Final = {"ta": 0x0A00_0002, "tb": 0x0A01_0002}
_STATES: Final = {"NEW": 4, "ESTABLISHED": 8, "RELATED": 2, "INVALID": 16}
_HANDSHAKE: Final = (("ta", SYN), ("tb", SYN | ACK), ("ta", ACK))
_FLAGS: Final = (SYN, SYN | ACK, FIN | ACK, ACK, ACK, ACK, ACK | PSH, RST, RST | ACK, RST)
_PORT: Final = 80


class Flow:
    """The segments of one connection, drawn from a seed. `next` makes one after the other."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"flow {seed}")
        rng = self._rng
        self.port = 2000 + seed % 60_000
        self._first = {"ta": rng.choice([1000, 2**32 - 50, 2**31 - 10]), "tb": rng.choice([5000, 2**32 - 30])}
        self._next = dict(self._first)
        self._windows = {"ta": rng.choice([0, 1000, 65_535]), "tb": rng.choice([0, 100, 2000, 65_535])}
        self._scales = {"ta": rng.choice([-1, 2, 7]), "tb": rng.choice([-1, 0, 3])}
        self._sacks = {"ta": rng.random() < 0.5, "tb": rng.random() < 0.5}
        self._handshake = list(_HANDSHAKE)

    def next(self) -> tuple[str, TcpSegment]:
        """A segment, and the device at which it comes in."""
        rng = self._rng
        side = rng.choice(("ta", "tb"))
        flags = rng.choice(_FLAGS) if rng.random() > 0.03 else rng.randrange(64)
        if self._handshake and rng.random() < 0.85:
            side, flags = self._handshake.pop(0)
        other = "tb" if side == "ta" else "ta"
        seq = self._first[side] if flags & SYN and rng.random() < 0.8 else self._next[side]
        if rng.random() < 0.2:
            seq += rng.choice([-1, 1, -5, 5, 100, -100, 2000, 2001, 2002, -2000, 70_000, -70_000, -seq])
        ack = self._next[other]
        if rng.random() < 0.2:
            ack += rng.choice([-1, 1, -100, 100, -66_000, -66_001, -66_002, -70_000, 1000, -ack])
        if not flags & ACK:
            ack = rng.choice([0, ack])
        size = 0 if flags & (SYN | RST) else rng.choice([0, 0, 0, 1, 100])
        window = self._windows[side] if rng.random() < 0.8 else rng.choice([0, 1, 10, 5000])
        seq, ack = seq & 0xFFFF_FFFF, ack & 0xFFFF_FFFF
        ports = (self.port, _PORT) if side == "ta" else (_PORT, self.port)
        segment = TcpSegment(
            AF_INET, _HOSTS[side], _HOSTS[other], *ports, seq, ack, flags, window, bytes(size)
        )  # fmt: skip
        if flags & SYN:
            segment.window_scale, segment.sack_permitted = self._scales[side], self._sacks[side]
        elif flags & ACK and rng.random() < 0.1:
            left = (ack + rng.choice([0, 5, 100])) & 0xFFFF_FFFF
            segment.sack_blocks = [(left, (left + rng.choice([1, 50, 200])) & 0xFFFF_FFFF)]
        set_tcp_size(segment)
        if rng.random() < 0.75 or flags & (SYN | FIN):
            self._next[side] = (seq + size + bool(flags & SYN) + bool(flags & FIN)) & 0xFFFF_FFFF
        return side, segment


def prepare(pair: Pair) -> None:
    """Let the rules of both write the state of each segment into its TOS."""
    for state, tos in _STATES.items():
        pair.command(f"iptables -t mangle -A FORWARD -m conntrack --ctstate {state} -j TOS --set-tos {tos:#x}/0xff")


def play(pair: Pair, seed: int, segments: int) -> str | None:
    """One flow through both; what the first difference was, None if there was none."""
    flow = Flow(seed)
    for number in range(segments):
        side, segment = flow.next()
        kernel, lunar = pair.send(side, ipv4.encode(segment))
        what = f"flow {seed}, segment {number} at {side}, flags {segment.flags:#x}"
        if kernel != lunar:
            return f"{what}: TOS {_tos(kernel)} of the kernel, {_tos(lunar)} of Lunar"
        difference = differ(*pair.connections())
        if difference is not None:
            return f"{what}: {difference}"
    pair.command("conntrack -F")
    return None


def differ(kernel: Tracked, lunar: Tracked) -> str | None:
    """How the connections of the two differ, None if they do not; two seconds more or less are the machine's."""
    if [line for line, _seconds in kernel] != [line for line, _seconds in lunar]:
        return f"{kernel} of the kernel, {lunar} of Lunar"
    for (line, of_kernel), (_line, of_lunar) in zip(kernel, lunar, strict=True):
        if abs(of_kernel - of_lunar) > 2:
            return f"{line} lives for {of_kernel} and {of_lunar} seconds"
    return None


def _tos(sent: list[tuple[str, bytes]]) -> list[int]:
    return [data[1] for _device, data in sent]


def main() -> int:
    """The command. The exit status is 1 if more than one flow in a hundred differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--flows", type=int, default=300, help="how many connections")
    parser.add_argument("--segments", type=int, default=8, help="of how many segments each")
    parser.add_argument("--seed", type=int, default=0, help="the first of them")
    arguments = parser.parse_args()
    reason = why_not()
    if reason is not None:
        print(f"not compared: {reason}")
        return 0
    pair = Pair()
    prepare(pair)
    different = 0
    for seed in range(arguments.seed, arguments.seed + arguments.flows):
        found = play(pair, seed, arguments.segments)
        if found is not None:
            different += 1
            print(found)
            pair.command("conntrack -F")
    print(f"{arguments.flows - different} of {arguments.flows} flows are the same on both, segment by segment")
    pair.close()
    return int(different * 100 > arguments.flows)


if __name__ == "__main__":
    sys.exit(main())
