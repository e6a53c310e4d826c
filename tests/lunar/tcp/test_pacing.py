"""Pacing: when records go that are not to go in bursts."""

from __future__ import annotations

from tcp_scenario import LOCAL, Scenario, established, ms

from lunar.sockets import options

SOL_SOCKET = 1
SO_MAX_PACING_RATE = 47


def paced(rate: int) -> Scenario:
    """A connection limited to `rate` bytes a second, whose device takes records whole."""
    t = established(mss=1000)
    t.host.device.gso = True
    assert options.set_bytes(t.sock, SOL_SOCKET, SO_MAX_PACING_RATE, rate.to_bytes(4, "little")) == 0
    t.sock.cwnd = 40
    return t


def test_the_first_ten_segments_are_free() -> None:
    t = paced(100_000)
    t.write(b"x" * 20_000)
    for _ in range(5):
        t.sends(at=0, size=2000)
    # The fifth makes ten: 2000 bytes take 20 ms.
    t.sends(at=ms(20), size=2000)
    t.sends(at=ms(40), size=2000)
    t.sends_nothing(until=ms(59))


def test_who_was_held_up_catches_up_by_half() -> None:
    t = paced(100_000)
    t.write(b"x" * 10_000)
    t.forget()
    t.gets(at=ms(100), ack=LOCAL + 10_001)
    t.write(b"x" * 6000)
    t.sends(at=ms(100), size=2000)
    t.sends(at=ms(110), size=2000)  # 20 ms, less half for the time in which nothing was sent
    t.sends(at=ms(130), size=2000)


def test_a_device_with_fq_paces_at_the_rate_of_cwnd() -> None:
    t = established(mss=1000)
    t.host.device.gso = True
    t.host.device.paces = True
    t.sock.route = None
    t.write(b"x" * 10_000)
    assert t.forget() == 5
    t.gets(at=ms(100), ack=LOCAL + 2001)
    # cwnd 12 in 100 ms, twice that in slow start: 240 kB/s. 4000 bytes may go, two segments take 8.33 ms, and the time
    # since the last is worth half.
    t.write(b"x" * 10_000)
    t.sends(at=ms(100), size=2000)
    t.sends(at=ms(100) + 4_166_667, size=2000)


def test_retransmissions_are_paced_too() -> None:
    t = paced(100_000)
    t.sock.sack_ok = False
    t.write(b"x" * 10_000)
    t.forget()
    t.run(ms(300))
    assert t.forget() == 1  # the timeout's
    t.gets(at=ms(305), ack=LOCAL + 1001)
    # cwnd is two; a segment took 10 ms, less half for the silence before.
    t.sends(at=ms(305), size=1000)
    t.sends_nothing(until=ms(309))
    t.sends(at=ms(315), size=1000)


def test_the_option() -> None:
    t = established()

    def get(size: int) -> int:
        return int.from_bytes(options.get_bytes(t.sock, SOL_SOCKET, SO_MAX_PACING_RATE, size) or b"", "little")

    assert get(4) == 0xFFFF_FFFF and get(8) == 2**64 - 1
    assert options.set_bytes(t.sock, SOL_SOCKET, SO_MAX_PACING_RATE, (5_000_000_000).to_bytes(8, "little")) == 0
    assert get(8) == 5_000_000_000 and get(4) == 0xFFFF_FFFF
    assert t.sock.info().max_pacing_rate == 5_000_000_000
    assert options.set_bytes(t.sock, SOL_SOCKET, SO_MAX_PACING_RATE, b"\xff" * 4) == 0
    assert get(8) == 2**64 - 1


def test_a_paced_connection_leaves_no_timer() -> None:
    t = paced(1000)
    t.write(b"x" * 20_000)
    t.sock.linger_on = True
    t.sock.close()
    assert t.live_events() == 0 and t.host.is_empty()
