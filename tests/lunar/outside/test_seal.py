"""The seal of a link with a key: agreement from any start, and what is refused."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from lunar.outside.seal import (
    BAD_TAG,
    CONFIRM,
    HELD,
    OVERHEAD_BYTES,
    REPLAYED,
    SHORT,
    Agreement,
    Seal,
    shared_key,
)

KEY = shared_key("a text of many letters")


def chance(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


def seal(seed: int, key: bytes = KEY) -> Seal:
    return Seal(key, chance(seed))


def talk(a: Seal, b: Seal, most: int = 20) -> tuple[list[bytes], list[bytes]]:
    """Carry replies between both until none is left; the frames that came out at a and at b."""
    at_a: list[bytes] = []
    at_b: list[bytes] = []
    for _ in range(most):
        for source, target, found in ((a, b, at_b), (b, a, at_a)):
            for datagram in source.take_replies():
                if (frame := target.open(datagram)) is not None:
                    found.append(frame)
        if not a.replies and not b.replies:
            return at_a, at_b
    raise AssertionError("the two do not come to an end")


def joined() -> tuple[Seal, Seal]:
    a, b = seal(1), seal(2)
    a.ask()
    talk(a, b)
    return a, b


def carry(source: Seal, target: Seal, *frames: bytes) -> list[bytes | None]:
    return [target.open(datagram) for datagram in source.seal(list(frames))]


@pytest.mark.parametrize("who", ["a", "b", "both"])
def test_whoever_asks_first_both_agree(who: str) -> None:
    a, b = seal(1), seal(2)
    if who in ("a", "both"):
        a.ask()
    if who in ("b", "both"):
        b.ask()
    talk(a, b)
    assert carry(a, b, b"frame one", b"frame two") == [b"frame one", b"frame two"]
    assert carry(b, a, b"answer") == [b"answer"]
    assert a.agreements == b.agreements == 1


def test_a_datagram_is_as_much_longer_as_it_is_said() -> None:
    a, _ = joined()
    assert len(a.seal([b"x" * 100])[0]) == 100 + OVERHEAD_BYTES


def test_frames_wait_for_the_agreement_and_only_so_many() -> None:
    a, b = seal(1), seal(2)
    frames = [b"frame %d" % number for number in range(HELD + 3)]
    assert a.seal(frames) == []
    _, at_b = talk(a, b)
    assert at_b == frames[:HELD]
    assert a.unsent == 3


@pytest.mark.parametrize("lost", range(6))
def test_any_one_greeting_may_be_lost(lost: int) -> None:
    a, b = seal(1), seal(2)
    numbers = itertools.count()
    got: dict[str, list[bytes]] = {"a": [], "b": []}
    for _ in range(12):
        # Both have something to send all the time, as hosts do.
        for name, source, target in (("b", a, b), ("a", b, a)):
            for datagram in [*source.seal([b"to " + name.encode()]), *source.take_replies()]:
                if next(numbers) != lost and (frame := target.open(datagram)) is not None:
                    got[name].append(frame)
    assert set(got["a"]) == {b"to a"}
    assert set(got["b"]) == {b"to b"}
    assert min(len(got["a"]), len(got["b"])) >= 8


def test_one_side_that_starts_again_is_joined_again() -> None:
    a, b = joined()
    carry(a, b, b"before")
    fresh = seal(3)
    fresh.ask()
    talk(fresh, b)
    assert carry(fresh, b, b"after") == [b"after"]
    assert carry(b, fresh, b"back") == [b"back"]


def test_a_side_that_starts_again_and_hears_first_is_joined_again() -> None:
    a, _ = joined()
    fresh = seal(3)  # its first ask was lost; the other side goes on sending
    assert carry(a, fresh, b"for who was before") == [None]
    assert fresh.reason == BAD_TAG
    talk(fresh, a)
    assert carry(a, fresh, b"after") == [b"after"]


def test_another_key_comes_to_no_agreement() -> None:
    a, b = seal(1), seal(2, shared_key("another text of letters"))
    a.ask()
    b.ask()
    talk(a, b)
    assert a.agreement is None
    assert b.agreement is None


def test_a_frame_is_taken_once() -> None:
    a, b = joined()
    datagram = a.seal([b"frame"])[0]
    assert b.open(datagram) == b"frame"
    assert b.open(datagram) is None
    assert b.reason == REPLAYED


def test_each_bit_counts() -> None:
    a, b = joined()
    datagram = a.seal([b"frame"])[0]
    for bit in range(8 * len(datagram)):
        changed = bytearray(datagram)
        changed[bit >> 3] ^= 1 << (bit & 7)
        assert b.open(bytes(changed)) is None
        assert b.reason in (BAD_TAG, SHORT)
    assert b.open(datagram) == b"frame"


def test_what_comes_back_to_its_sender_is_refused() -> None:
    a, _ = joined()
    assert a.open(a.seal([b"frame"])[0]) is None
    assert a.reason == BAD_TAG
    a.take_replies()
    a.ask()
    for datagram in a.take_replies():
        assert a.open(datagram) is None
        assert a.reason == REPLAYED
    assert not a.replies


def test_no_one_agrees_with_itself_by_reflections() -> None:
    a = seal(1)
    a.ask()
    heard = a.take_replies()
    for _ in range(10):
        for datagram in heard:
            a.open(datagram)
        heard += a.take_replies()
    assert a.agreement is None


def test_nothing_of_an_earlier_run_is_taken() -> None:
    a, b = seal(1), seal(2)
    recorded: list[bytes] = []
    a.ask()
    for _ in range(5):
        for source, target in ((a, b), (b, a)):
            for datagram in source.take_replies():
                recorded.append(datagram)
                target.open(datagram)
    recorded += a.seal([b"an order to pay"])
    fresh = seal(3)
    for _ in range(3):
        assert [fresh.open(datagram) for datagram in recorded] == [None] * len(recorded)
        fresh.take_replies()
    assert fresh.agreement is None


def test_what_was_withheld_of_a_run_before_does_not_push_out_the_present_one() -> None:
    a, b = seal(1), seal(2)
    a.ask()
    for datagram in a.take_replies():
        b.open(datagram)
    for datagram in b.take_replies():
        a.open(datagram)
    # a has agreed, and says so; its confirm and a frame are kept by somebody on the way. Then a starts again.
    withheld = [*a.take_replies(), *a.seal([b"old"])]
    assert withheld[0][0] == CONFIRM
    fresh = seal(3)
    fresh.ask()
    talk(fresh, b)
    assert carry(fresh, b, b"new") == [b"new"]
    agreement = b.agreement
    assert [b.open(datagram) for datagram in withheld] == [None] * len(withheld)
    assert b.agreement is agreement
    assert carry(fresh, b, b"newer") == [b"newer"]


def test_replayed_asks_leave_the_link_working() -> None:
    a, b = seal(1), seal(2)
    a.ask()
    asks = a.take_replies()
    for datagram in asks:
        b.open(datagram)
    talk(a, b)
    for number in range(20):
        for datagram in asks:
            b.open(datagram)
        frame = b"frame %d" % number
        assert carry(a, b, frame) == [frame]
        talk(a, b)


def test_what_is_under_way_at_a_new_agreement_is_taken() -> None:
    a, b = joined()
    under_way = a.seal([b"slow"])
    a.ask()
    talk(a, b)
    assert a.agreements == 2
    assert b.open(under_way[0]) == b"slow"
    assert carry(a, b, b"of the new") == [b"of the new"]
    assert b.open(a.seal([b"again"])[0]) == b"again"
    assert b.open(under_way[0]) is None  # from then on the old keys are gone


def test_what_is_missing_is_known_by_the_numbers() -> None:
    a, b = joined()
    datagrams = a.seal([b"%d" % number for number in range(10)])
    for number in (0, 1, 5, 9, 5):
        b.open(datagrams[number])
    assert b.missing == 6
    a.ask()
    talk(a, b)
    carry(a, b, b"new")
    assert b.missing == 6


def test_bytes_by_chance_are_refused() -> None:
    _, b = joined()
    rng = random.Random(5)
    for _ in range(5000):
        size = rng.choice([0, 1, 7, 8, 23, 24, 55, 56, 57, 200])
        data = rng.randbytes(size)
        if size:
            data = bytes([rng.choice([0, 1, 2, 3, 4, 255])]) + data[1:]
        assert b.open(data) is None
        assert b.reason in (SHORT, BAD_TAG)
        assert len(b.take_replies()) <= 1
    assert b.agreements == 1


def test_replies_to_a_flood_of_asks_are_few() -> None:
    a, b = seal(1), seal(2)
    asks: list[bytes] = []
    for _ in range(100):
        a.ask()
        asks += a.take_replies()
    for datagram in asks:
        b.open(datagram)
    assert len(b.replies) == 4


def test_the_two_directions_have_two_keys() -> None:
    one = Agreement(KEY, b"a" * 16, b"b" * 16)
    other = Agreement(KEY, b"b" * 16, b"a" * 16)
    datagram = one.seal(b"frame")
    assert other.verifies(datagram)
    assert not one.verifies(datagram)


def test_a_way_that_reorders_does_not_make_the_sides_agree_again_and_again() -> None:
    a, b = joined()
    rng = random.Random(7)
    ways: list[tuple[Seal, Seal, list[tuple[int, bytes]], list[bytes]]] = [(a, b, [], []), (b, a, [], [])]
    b.open(bytes([3]) + bytes(60))  # somebody's, with a wrong tag: b asks
    for now in range(300):
        for source, target, under_way, got in ways:
            datagrams = [*source.seal([b"%d" % now]), *source.take_replies()]
            under_way += [(now + rng.randrange(1, 6), datagram) for datagram in datagrams]
            due = sorted(entry for entry in under_way if entry[0] <= now)
            under_way[:] = [entry for entry in under_way if entry[0] > now]
            got += [frame for _, datagram in due if (frame := target.open(datagram)) is not None]
    assert a.agreements + b.agreements <= 2 * 3
    for _, _, under_way, got in ways:
        assert len(got) >= 300 - len(under_way) - 10
