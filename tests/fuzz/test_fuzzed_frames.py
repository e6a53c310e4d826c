"""The fuzzer in the test suite: some thousand frames into every state, and what its checks are worth.

Ten million: `python -m tests.fuzz --frames 10000000`. The parts are frames.py and states.py (what comes for TCP, and
whom it meets), network_frames.py and network_bench.py (the same for the network layer), rounds.py (a run of them).
"""

from __future__ import annotations

import random

import pytest
from frames import Aim, Frames
from network_bench import NetworkBench
from rounds import play
from states import ATTACKER, HOST, STATES, Bench, Broken

from lunar.packet import Damaged, Packet, TcpSegment
from lunar.wire import ethernet


@pytest.mark.parametrize("number", range(4))
def test_frames_into_every_state(number: int) -> None:
    played = play(7, number, 5000)
    assert not played.problem, f"{played.problem}\n  python -m tests.fuzz --seed 7 --round {number}"


def test_memory_comes_back() -> None:
    """What is collectable is collected, and no object is left of a round that is over."""
    for number in (0, 1):
        objects = [play(8, number, 500).objects for _ in range(4)]
        assert objects[1] == objects[2] == objects[3]


def test_a_round_of_the_network_layer_can_be_repeated() -> None:
    def figures() -> tuple[list[int], str]:
        bench = NetworkBench(random.Random("once more"))
        for _ in range(1500):
            bench.step()
        counters = [bench.host.ip.counters, bench.host.ip.inet6.counters]
        return [int(getattr(one, name)) for one in counters for name in dir(one) if name[0] != "_"], bench.net.digest()

    assert figures() == figures()


def test_frames_reach_all_of_the_network_layer() -> None:
    bench = NetworkBench(random.Random(6))
    for _ in range(6000):
        bench.step()
    for family in (bench.host.ip.inet, bench.host.ip.inet6):
        count = family.counters
        for name in (
            "ip_in_hdr_errors", "ip_in_addr_errors", "ip_in_no_protos", "ip_in_delivers", "ip_forw_datagrams",
            "ip_reasm_fails", "ip_reasm_timeout", "ip_frag_oks", "icmp_in_errors", "icmp_out_msgs", "udp_in_datagrams",
        ):  # fmt: skip
            assert getattr(count, name) > 0, (int(family.number), name)
    assert bench.host.ip.inet6.counters.ip_reasm_oks > 0
    assert bench.host.ip.peers


def test_a_table_that_grows_is_found() -> None:
    bench = NetworkBench(random.Random(1))
    bench.host.ip.peers.update(dict.fromkeys(range(5000), object()))
    with pytest.raises(Broken, match="the table of peers grows"):
        bench.pass_time(1)


def test_a_round_can_be_repeated() -> None:
    def figures() -> list[int]:
        bench = Bench(random.Random("once more"))
        for _ in range(2000):
            bench.step()
        counters = bench.host.ip.counters
        return [int(getattr(counters, name)) for name in dir(counters) if name[0] != "_"]

    assert figures() == figures()


def test_each_state_is_reached() -> None:
    bench = Bench(random.Random(1))
    for slot in bench.slots:
        if slot.name not in ("closed", "listen", "cookie"):
            assert slot.end() is not None, slot.name
    assert {slot.name for slot in bench.slots} == set(STATES)
    counters = bench.host.ip.counters
    assert counters.tcp_syncookies_sent > 0 and counters.tcp_fast_open_passive > 0


def test_frames_are_of_all_kinds() -> None:
    frames = Frames(random.Random(1), 0x0200_0000_0001)
    aim = Aim(ATTACKER, HOST, 20_000, 80)
    found = [ethernet.frame_of(frames.frame(aim)) for _ in range(3000)]
    kinds = {type(frame) for frame in found}
    assert {TcpSegment, Packet, Damaged} < kinds
    segments = [frame for frame in found if isinstance(frame, TcpSegment)]
    assert len(segments) > 2000
    assert len({int(segment.flags) for segment in segments}) > 60
    assert any(frame.more_fragments for frame in found if isinstance(frame, Packet))
    damaged_segments = [frame for frame in found if type(frame) is Packet and frame.protocol == 6]
    assert len(damaged_segments) > 10


# Each check can fail.


def test_a_frame_that_is_not_counted_is_found() -> None:
    bench = Bench(random.Random(1))
    bench.host.ip.counters.ip_in_delivers -= 1
    with pytest.raises(Broken, match="not counted by IP"):
        bench.finish()


def test_an_entry_that_is_left_is_found() -> None:
    bench = Bench(random.Random(1))
    bench.tables.add(HOST, 1, ATTACKER, 2, object())
    with pytest.raises(Broken, match="left in a table"):
        bench.finish()


def test_a_connection_that_is_hurt_is_found() -> None:
    bench = Bench(random.Random(1))
    bench.talk()
    bench.pass_time(10_000_000)
    bench.sent[0] ^= 1
    bench.talk()
    with pytest.raises(Broken, match="other data"):
        bench.finish()


def test_an_exception_is_told_with_its_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = iter([None] * 17)
    monkeypatch.setattr(Bench, "step", lambda self: next(steps))
    assert play(1, 0, 100).problem.startswith("StopIteration() in ")
    assert play(1, 0, 100).problem.endswith("(frame 0)")
