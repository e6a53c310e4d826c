"""The log of a session: what is written is read, and what is damaged, cut off or of somebody else is told as that."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weaves.session import End, Gate, Inputs, Item, Mark, Session, SessionError, session_of
from weaves.session_log import MAGIC, SessionLog, content_hash, header

END = {"how": "reached", "digest": "d2"}


def written(path: Path) -> list[Item]:
    """A session with something of everything, and what is in it."""
    log = SessionLog(path)
    log.begin(header(7))
    log.gate("left")
    log.gate("rechts \udcff")
    log.note(10, 0, b"one")
    log.note(10, 1, b"")
    log.flush(3, 9)
    log.flush(4, 11)  # nothing has come
    log.mark(5, 12, "d1")
    log.note(20, 1, bytes(70_000))
    log.end(8, 20, END)
    log.close()
    return [
        Gate(0, "left"),
        Gate(1, "rechts \udcff"),
        Inputs(3, 9, ((10, 0, b"one"), (10, 1, b""))),
        Mark(5, 12, "d1"),
        Inputs(8, 20, ((20, 1, bytes(70_000)),)),
        End(8, 20, "reached", "d2"),
    ]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    items = written(tmp_path / "log")
    session = Session(tmp_path / "log")
    assert list(session.items()) == items
    assert list(session.items()) == items  # once more
    assert (session.inputs, session.now_ns, session.end, session.cut_off) == (3, 20, items[-1], False)
    assert (session.seed, session.tapestry, session.options) == (7, None, {})
    assert session.summary() == "3 inputs in 20ns of virtual time"


def test_a_new_log_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        SessionLog(tmp_path / "log").close()
    finally:
        os.umask(before)
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_the_header_says_what_was_run(tmp_path: Path) -> None:
    tapestry = tmp_path / "site.toml"
    tapestry.write_text("[hosts.a]\n")
    log = SessionLog(tmp_path / "log")
    log.begin(header(7, tapestry, {"until": 5}))
    log.close()
    session = Session(tmp_path / "log")
    assert (session.tapestry, session.options) == (str(tapestry), {"until": 5})
    assert session.differences(content_hash(tapestry), "site.toml") == []
    tapestry.write_text("[hosts.b]\n")
    assert session.differences(content_hash(tapestry), "site.toml") == [
        "site.toml is not what it was when the session was recorded"
    ]


def test_what_is_otherwise_now_is_told(tmp_path: Path) -> None:
    log = SessionLog(tmp_path / "log")
    log.begin({**header(7), "weave": "0.0.1", "python": "3.4"})
    log.end(1, 1, {**END, "hangs": 1})
    log.close()
    told = "; ".join(Session(tmp_path / "log").differences("", ""))
    assert "recorded by version 0.0.1" in told
    assert "recorded on Python 3.4" in told
    assert "the watchdog has stopped something" in told


def test_the_seed_has_to_be_the_same(tmp_path: Path) -> None:
    written(tmp_path / "log")
    assert session_of(tmp_path / "log", 7).seed == 7
    with pytest.raises(SessionError, match="log: was recorded with seed 7, and here it is 8"):
        session_of(tmp_path / "log", 8)


# A process that is killed


def test_a_log_is_readable_wherever_it_is_cut_off(tmp_path: Path) -> None:
    items = written(tmp_path / "log")
    data = (tmp_path / "log").read_bytes()
    cut = tmp_path / "cut"
    seen = set()
    for length in [*range(1, 700), *range(len(data) - 300, len(data))]:
        cut.write_bytes(data[:length])
        try:
            session = Session(cut)
        except SessionError as error:
            assert str(error) == f"{cut}: was cut off before the run began: there is nothing to replay"
            continue
        assert session.cut_off
        found = list(session.items())
        assert found == items[: len(found)]
        seen.add(len(found))
    assert seen == set(range(len(items) + 1))
    cut.write_bytes(data)
    assert not Session(cut).cut_off


def test_what_was_flushed_is_there_at_once(tmp_path: Path) -> None:
    log = SessionLog(tmp_path / "log")
    log.begin(header(1))
    log.gate("left")
    log.note(10, 0, b"one")
    log.flush(3, 9)
    session = Session(tmp_path / "log")  # of a process that goes on, or was killed here
    assert (session.inputs, session.cut_off) == (1, True)
    assert session.summary() == "1 input in 10ns of virtual time, cut off: its process was killed"
    log.close()


# Damage


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    written(tmp_path / "log")
    data = (tmp_path / "log").read_bytes()
    bad = tmp_path / "bad"
    for at in [*range(400), *range(len(data) - 120, len(data))]:
        bad.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        with pytest.raises(SessionError, match=r"bad: is (damaged at byte [\d,]+|not a session|a session in format)"):
            Session(bad)


def test_where_the_damage_is_is_told(tmp_path: Path) -> None:
    written(tmp_path / "log")
    data = (tmp_path / "log").read_bytes()
    at = data.index(b"left")
    (tmp_path / "log").write_bytes(data[:at] + b"LEFT" + data[at + 4 :])
    with pytest.raises(SessionError, match=f"log: is damaged at byte {at - 4} or behind it"):
        Session(tmp_path / "log")


@given(data=st.binary(max_size=300), magic=st.booleans())
def test_random_bytes_are_an_error_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, magic: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "random.log"
    path.write_bytes(MAGIC + data if magic else data)
    with pytest.raises(SessionError, match=r"random\.log: "):
        Session(path)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty; expected a session that was recorded"),
        (b"weave session 1\n", "was cut off before the run began: there is nothing to replay"),
        (b"weave session 2\n....", "is a session in format 2; this weave reads format 1"),
        (b"[tapestry]\nname = 'x'\n", "is not a session that `weave run --record` wrote"),
        (b"\x7fELF", "is not a session that `weave run --record` wrote"),
    ],
)
def test_a_file_of_somebody_else(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "log").write_bytes(data)
    with pytest.raises(SessionError) as error:
        Session(tmp_path / "log")
    assert str(error.value) == f"{tmp_path / 'log'}: {said}"


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        Session(tmp_path / "log")
    assert error.value.filename == str(tmp_path / "log")
    with pytest.raises(SessionError, match="is not a file; expected a session"):
        Session(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SessionError, match="is not a file; expected a session"):  # and nobody waits for a writer
        Session(tmp_path / "pipe")


# A disk that is full


def test_a_folder_and_a_full_disk_at_once(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="cannot record the session: Is a directory") as error:
        SessionLog(tmp_path)
    assert error.value.filename == str(tmp_path)
    with pytest.raises(OSError, match="cannot record the session: No space left on device"):
        SessionLog("/dev/full")


WRITES: list[Callable[[SessionLog], None]] = [
    lambda log: log.flush(4, 11),
    lambda log: log.mark(4, 11, "d"),
    lambda log: log.end(4, 11, END),
    lambda log: log.gate("right"),
]


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("room", [0, 1, 20])
def test_a_disk_that_fills_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[SessionLog], None], room: int
) -> None:
    log = SessionLog(tmp_path / "log")
    log.begin(header(1))
    log.gate("left")
    log.note(5, 0, b"early")
    log.flush(1, 4)
    log.note(10, 0, b"late")
    real = os.write
    left = room

    def full(descriptor: int, data: bytes) -> int:
        nonlocal left
        if not left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = real(descriptor, data[:left])
        left -= done
        return done

    monkeypatch.setattr("weaves.session_log.os.write", full)
    with pytest.raises(OSError, match="cannot record the session: No space left on device") as error:
        write(log)
    assert error.value.filename == str(tmp_path / "log")
    # It is told once; what is there is readable, as of a process that was killed.
    write(log)
    log.note(11, 0, b"more")
    log.close()
    session = Session(tmp_path / "log")
    assert session.cut_off
    assert [item for item in session.items() if isinstance(item, Inputs)] == [Inputs(1, 4, ((5, 0, b"early"),))]


def test_a_write_in_parts_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr("weaves.session_log.os.write", lambda descriptor, data: real(descriptor, data[:5]))
    assert written(tmp_path / "log") == list(Session(tmp_path / "log").items())
