"""The figures of a network, as `weave run` prints them and `--json` writes them: counted by the stack, summed here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lunar.host import Host
from lunar.links.link import Wire


def totals(hosts: Iterable[Host], wires: dict[str, list[Wire]]) -> dict[str, int]:
    """`hosts`, and `packets`: frames that wires took, counted at each hop."""
    return {
        "hosts": sum(1 for _ in hosts),
        "packets": sum(int(wire.packets) for group in wires.values() for wire in group),
    }


def links(wires: dict[str, list[Wire]]) -> list[dict[str, Any]]:
    """For each link, both directions together: packets and bytes taken, what impairments did, mean queueing."""
    return [_link(name, group) for name, group in wires.items()]


def _link(name: str, wires: list[Wire]) -> dict[str, Any]:
    packets = sum(int(wire.packets) for wire in wires)
    queueing_ns = sum(int(wire.queueing_ns) for wire in wires)
    return {
        "name": name,
        "packets": packets,
        "bytes": sum(int(wire.bytes) for wire in wires),
        "lost": sum(int(wire.dropped_loss) for wire in wires),
        "duplicated": sum(int(wire.duplicated) for wire in wires),
        "corrupted": sum(int(wire.corrupted) for wire in wires),
        "held_back": sum(int(wire.held_back) for wire in wires),
        "queue_drops": sum(int(wire.dropped_queue) for wire in wires),
        "marked": sum(int(wire.marked) for wire in wires),
        "mean_queueing_s": queueing_ns / packets / 1e9 if packets else 0.0,
        "peak_queue_packets": max(int(wire.peak_packets) for wire in wires),
    }


def tcp(hosts: Iterable[Host]) -> dict[str, int]:
    """TCP of all hosts. A connection is counted where it was opened (RFC 1213, tcpActiveOpens)."""
    counters = [one for host in hosts for one in (host.past_counters, host.ip.counters)]
    return {
        "connections": sum(int(one.tcp_active_opens) for one in counters),
        "attempts_failed": sum(int(one.tcp_attempt_fails) for one in counters),
        "segments_sent": sum(int(one.tcp_out_segs) for one in counters),
        "retransmissions": sum(int(one.tcp_retrans_segs) for one in counters),
        "timeouts": sum(int(one.tcp_timeouts) for one in counters),
        "resets_sent": sum(int(one.tcp_out_rsts) for one in counters),
    }
