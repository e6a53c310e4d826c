"""A recorded live session repeats: the same digest, the same steps, the same times, however the machine's were.

session.log is a session that was recorded by one build, and is repeated by each: `make test` runs this suite in both. A
change of what the stack sends makes it another run, as it changes the digests beside it; renew it in the same way:

    python tests/determinism/test_replay.py
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lunar
from tests.determinism.live_session import Session as LiveSession
from tests.determinism.live_session import session
from weaves.clock import parse_duration
from weaves.replay import CutOff
from weaves.session import End, Inputs, Session

GOLDEN = Path(__file__).with_name("session.log")
GOLDEN_MESSAGES = 40
SPEED = 20  # of the sessions that have no reason for another: most of their time is waiting for links and timers


def repeated(path: Path, **options: Any) -> tuple[str, float, int, list[tuple[float, str]]]:
    """The end of a replay of the session that was recorded to `path`."""
    with session(replay=path, **options) as again:
        again.run()
        return again.end()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("speed", "messages"), [(1, 15), (10, 60), (1000, 60)])
def test_a_session_repeats(tmp_path: Path, speed: float, messages: int, seed: int) -> None:
    log = tmp_path / "session"
    with session(speed=speed, record=log, seed=seed, messages=messages) as live:
        received = live.run()
        end = live.end()
    recorded = Session(log)
    assert (recorded.inputs, recorded.cut_off) == (messages, False)
    assert received > 0
    assert sum(what.startswith("got") for _, what in end[3]) == messages
    assert repeated(log, messages=messages) == end
    assert repeated(log, messages=messages) == end  # and leaves the log as it is


def test_sessions_differ(tmp_path: Path) -> None:
    # Otherwise there would be nothing to log.
    digests = set()
    for number in range(5):
        with session(speed=SPEED, record=tmp_path / str(number)) as live:
            live.run()
            digests.add(live.net.digest())
    assert len(digests) > 1


def test_the_garbage_collector_has_run_in_it(tmp_path: Path) -> None:
    # What closes the sockets of `_talk` is the collector, by the count of events and turns.
    with session(speed=100, record=tmp_path / "log", messages=120) as live:
        live.run()
        assert live.net.scheduler.collected_at > 0
        end = live.end()
    assert repeated(tmp_path / "log", messages=120) == end


def test_several_runs_of_one_network(tmp_path: Path) -> None:
    def all_of(made: LiveSession) -> list[Any]:
        found: list[Any] = []
        made.net.run(until="30ms")
        found.append((made.net.digest(), made.net.now))
        found.append(made.run())
        found.append((made.net.digest(), made.net.now))
        made.net.run(until=made.net.now + 0.05)
        return [*found, made.end()]

    with session(speed=SPEED, record=tmp_path / "log") as live:
        expected = all_of(live)
    with session(replay=tmp_path / "log") as again:
        assert all_of(again) == expected
    assert sum(isinstance(item, End) for item in Session(tmp_path / "log").items()) >= 3


def test_awaited_in_a_loop_of_ones_own(tmp_path: Path) -> None:
    async def main(**network: Any) -> Any:
        with session(**network) as made:
            received = await made.net.run_async(made._talk, on=made.client)
            return received, made.end()

    expected = asyncio.run(main(speed=SPEED, record=tmp_path / "log"))
    assert asyncio.run(main(replay=tmp_path / "log")) == expected


@pytest.mark.parametrize("after", [0, 1, 17, 40])
def test_a_session_that_ctrl_c_ended(tmp_path: Path, after: int) -> None:
    log = tmp_path / "log"
    with session(speed=SPEED, record=log, interrupt_after=after) as live:
        with pytest.raises(KeyboardInterrupt):
            live.run()
        end = live.end()
    assert Session(log).inputs <= after  # what was on its way may have come too late
    for _ in range(2):
        with session(replay=log) as again:
            with pytest.raises(KeyboardInterrupt):
                again.run()
            assert again.end() == end


def test_a_run_after_ctrl_c(tmp_path: Path) -> None:
    def both(made: LiveSession) -> Any:
        with pytest.raises(KeyboardInterrupt):
            made.run()
        middle = made.net.digest()
        made.net.run(until=made.net.now + 0.02)
        return middle, made.end()

    with session(speed=SPEED, record=tmp_path / "log", interrupt_after=20) as live:
        expected = both(live)
    with session(replay=tmp_path / "log") as again:
        assert both(again) == expected


def test_a_task_that_was_cancelled(tmp_path: Path) -> None:
    async def main(cancel: Callable[[LiveSession, asyncio.Task[Any]], None], **network: Any) -> Any:
        with session(**network) as made:
            running = asyncio.create_task(made.net.run_async(made._talk, on=made.client))
            cancel(made, running)
            with pytest.raises(asyncio.CancelledError):
                await running
            return made.end()

    def when_ten_came(made: LiveSession, running: asyncio.Task[Any]) -> None:
        def look() -> None:
            if len(made.heard) < 10:
                asyncio.get_running_loop().call_soon(look)
            else:
                running.cancel()

        look()

    expected = asyncio.run(main(when_ten_came, speed=SPEED, record=tmp_path / "log"))
    assert asyncio.run(main(lambda _made, _running: None, replay=tmp_path / "log")) == expected


def test_a_session_that_was_too_late(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with session(speed=SPEED, late="hard-limit", late_limit=1e-9, record=log) as live:
        with pytest.raises(lunar.TooLate, match="behind the machine's clock; late_limit is 1ns") as late:
            live.run()
        end = live.end()
    with session(replay=log) as again:
        with pytest.raises(lunar.TooLate) as repeated_late:
            again.run()
        assert again.end() == end
    assert str(repeated_late.value) == str(late.value)


def test_a_log_that_was_cut_off(tmp_path: Path) -> None:
    log, cut = tmp_path / "log", tmp_path / "cut"
    with session(speed=SPEED, record=log) as live:
        live.run()
        end = live.end()
    data = log.read_bytes()
    seen = set()
    for part in (0.3, 0.6, 0.9, 0.99):
        cut.write_bytes(data[: int(len(data) * part)])
        recorded = Session(cut)
        with session(replay=cut) as again:
            try:
                again.run()  # all that was lost may be how it ended
            except CutOff as error:
                assert str(error) == f"{cut}: was cut off here: it is repeated as far as it goes"
                assert again.net.now == recorded.now_ns / 1e9
            _, now, _, heard = again.end()
        # As far as it goes it is the same run. The last input may have had company that was lost.
        before = [(at, what) for at, what in end[3] if at < now]
        assert [(at, what) for at, what in heard if at < now] == before
        seen.add(recorded.inputs)
    assert len(seen) > 2


# What is not the same any more


def test_programs_that_changed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with session(speed=SPEED, record=log, messages=40) as live:
        live.run()
    with session(replay=log, messages=40) as again:
        again.net.start(again.client, asyncio.sleep, 0.001)  # one that was not there
        with pytest.raises(lunar.ReplayDiffers, match="log: it differs from the recorded run") as differs:
            again.run()
        assert "the first difference is between 0s and " in str(differs.value)
        # The inputs came all the same, so that one can look at what is different now.
        assert sum(what.startswith("came") for _, what in again.heard) > 0


def test_a_run_that_is_longer_and_one_that_is_shorter(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with session(speed=SPEED, record=log, messages=20) as live:
        live.run()
    with session(replay=log, messages=21) as again, pytest.raises(lunar.ReplayDiffers):
        again.run()
    over = pytest.raises(lunar.ReplayDiffers, match="it differs from the recorded run: it was over at")
    with session(replay=log, messages=19) as again, over:
        again.run()
    with session(replay=log, messages=20) as again:
        again.run()
        with pytest.raises(lunar.ReplayDiffers, match=r"log: it differs from the recorded run, which ends here$"):
            again.net.run(until="1h")


def test_another_network(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with session(speed=SPEED, record=log, messages=5) as live:
        live.run()
    with lunar.Network(replay=log) as net:
        net.host("client", "10.0.0.1/24")
        with pytest.raises(lunar.SessionError, match='another tapestry: its input 0 is "pipe", and here it is nothing'):
            net.run(until="1s")
    with pytest.raises(lunar.SessionError, match="was recorded with seed 1, and here it is 2"):
        lunar.Network(seed=2, replay=log)


def test_marks_say_where_it_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weaves.live_run._MARK_EVERY_NS", 0)
    monkeypatch.setattr("weaves.live_run._MARK_COSTS", 0)
    log = tmp_path / "log"
    with session(clock="real", record=log, messages=15) as live:
        live.run()
        end = live.end()
    assert repeated(log, messages=15) == end
    with session(replay=log, messages=15) as again:
        again.net.at("50ms", lambda: again.net.start(again.client, asyncio.sleep, 0))
        with pytest.raises(lunar.ReplayDiffers) as differs:
            again.run()
    words = str(differs.value).split()
    since, to = words[words.index("between") + 1], words[words.index("between") + 3]
    assert 0 < parse_duration(since) <= 50_000_000 <= parse_duration(to)


# Interpreted and compiled


def test_a_session_of_another_build() -> None:
    recorded = Session(GOLDEN)
    end = recorded.end
    assert end is not None
    with session(replay=GOLDEN, messages=GOLDEN_MESSAGES) as again:
        again.run()
        assert again.net.digest() == end.digest


def test_the_session_of_another_build_is_worth_it() -> None:
    items = list(Session(GOLDEN).items())
    assert sum(len(item.inputs) for item in items if isinstance(item, Inputs)) == GOLDEN_MESSAGES
    assert isinstance(items[-1], End)
    assert items[-1].steps > 2_048  # the collector has run in it


def renew() -> None:
    """Write session.log anew."""
    with session(speed=SPEED, record=GOLDEN, messages=GOLDEN_MESSAGES) as live:
        live.run()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    renew()
