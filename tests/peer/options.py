"""What two ends have agreed on, as the capture shows it beside what their sysctls allow.

An option of the SYN is the client's wish, one of the SYN-ACK the answer, which never says more than was asked. What was
agreed on must then be used, and nothing else: timestamps in each segment, SACK where something came early, ECT on data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bed import Outcome
from wire import ACK, CE, CWR, ECE, RST, SYN, Segment, came_early

_HEADERS = {4: 40, 6: 60}
ECT = 2


@dataclass(frozen=True)
class End:
    """What one end allows. `mtu` is that of its way out."""

    sack: bool
    timestamps: bool
    wscale: bool
    ecn: int
    cookies: bool
    mtu: int

    @classmethod
    def of(cls, sysctls: Mapping[str, Any], mtu: int) -> End:
        """From the values that differ from the default."""

        def value(name: str, default: int) -> int:
            return int(sysctls.get(f"net.ipv4.{name}", default))

        return cls(
            bool(value("tcp_sack", 1)), bool(value("tcp_timestamps", 1)), bool(value("tcp_window_scaling", 1)),
            value("tcp_ecn", 2), value("tcp_syncookies", 1) == 2, mtu,
        )  # fmt: skip


def agreed(outcome: Outcome, ours: End, kernel: End, client_is_us: bool) -> Iterator[str]:
    """What is wrong with the connection of a transfer. The capture is that of our device."""
    client, server = (ours, kernel) if client_is_us else (kernel, ours)
    if len(outcome.at_us) != 1:
        yield f"{len(outcome.at_us)} connections in the capture"
        return
    (segments,) = outcome.at_us
    # What the link lost was sent all the same: where the client is.
    syns = [
        each for one in (outcome.at_us if client_is_us else outcome.at_kernel) for each in one
        if each.flags & SYN and not each.flags & ACK
    ]  # fmt: skip
    answers = [each for each in segments if each.flags & SYN and each.flags & ACK]
    if not syns or not answers:
        yield "no handshake in the capture"
        return
    syn, answer = syns[0], answers[-1]
    headers = _HEADERS[outcome.flow.family]
    stateless = server.cookies and not (client.timestamps and server.timestamps)
    timestamps = client.timestamps and server.timestamps
    # A SYN that was lost is repeated without ECN (tcp_ecn_fallback), and what a cookie cannot hold is not agreed on.
    ecn = client.ecn in (1, 3) and server.ecn > 0
    facts = {
        "MSS of the SYN": (syn.mss, client.mtu - headers),
        "MSS of the SYN-ACK": (answer.mss, server.mtu - headers),
        "SACK in the SYN": (syn.sack_ok, client.sack),
        "SACK in the SYN-ACK": (answer.sack_ok, client.sack and server.sack and not stateless),
        "timestamps in the SYN": (syn.timestamps, client.timestamps),
        "timestamps in the SYN-ACK": (answer.timestamps, timestamps),
        "window scale in the SYN": (syn.wscale is not None, client.wscale),
        "window scale in the SYN-ACK": (
            answer.wscale is not None, client.wscale and server.wscale and not stateless
        ),
        "ECN in the SYN": (syn.flags & (ECE | CWR), ECE | CWR if client.ecn in (1, 3) else 0),
    }  # fmt: skip
    if len(syns) == 1:
        facts["ECN in the SYN-ACK"] = answer.flags & (ECE | CWR), ECE if ecn and not stateless else 0
    for what, (is_so, should) in facts.items():
        if is_so != should:
            yield f"{what}: {is_so}, expected {should}"
    yield from _used(outcome, segments, timestamps, answer.sack_ok, bool(answer.flags & ECE))


def _used(outcome: Outcome, segments: list[Segment], timestamps: bool, sack: bool, ecn: bool) -> Iterator[str]:
    rest = [each for each in segments if not each.flags & (SYN | RST)]
    if any(each.timestamps is not timestamps for each in rest):
        yield f"segments {'without' if timestamps else 'with'} timestamps"
    blocks = {from_us: any(each.sack for each in rest if each.from_us is from_us) for from_us in (True, False)}
    if not sack and any(blocks.values()):
        yield "SACK blocks that nobody agreed on"
    for from_us, capture in ((True, outcome.at_us), (False, outcome.at_kernel)):
        early = any(came_early(one, not from_us) for one in capture)
        told = any(each.sack for one in capture for each in one if each.from_us is from_us)
        if sack and early and not told:
            yield f"no SACK blocks of {'ours' if from_us else 'the kernel'} though data came early"
    data = [each for each in rest if each.size]
    if not ecn and any(each.ecn for each in data):
        yield "ECT that nobody agreed on"
    if ecn and not all(any(each.ecn & ECT for each in data if each.from_us is side) for side in _sides(data)):
        yield "no ECT on data"


def _sides(data: list[Segment]) -> set[bool]:
    return {each.from_us for each in data}


def marks(outcomes: list[Outcome]) -> Iterator[str]:
    """What is wrong with the answers to a queue's marks: each receiver of one says ECE, some sender then CWR."""
    reduced = dict.fromkeys((True, False), False)
    for outcome in outcomes:
        for from_us, capture in ((True, outcome.at_kernel), (False, outcome.at_us)):
            for segments in capture:
                marked = [at for at, each in enumerate(segments) if each.from_us is from_us and each.ecn == CE]
                if not marked:
                    continue
                later = segments[marked[0] :]
                if not any(each.flags & ECE for each in later if each.from_us is not from_us):
                    yield f"{outcome.flow.name}: no ECE for a mark"
                reduced[from_us] |= any(each.flags & CWR for each in later if each.from_us is from_us)
    for from_us, seen in reduced.items():
        if not seen:
            yield f"no CWR of {'ours' if from_us else 'the kernel'}"
