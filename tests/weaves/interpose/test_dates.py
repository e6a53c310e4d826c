"""`datetime` inside a weave: the class is the one it was, and tells virtual time."""

from __future__ import annotations

import copyreg
import datetime
import pickle
import sys
import types
import warnings
from collections.abc import Callable
from datetime import UTC, date, timedelta, timezone
from typing import Any

import pytest
from lonely_hosts import World

START = datetime.datetime(2000, 1, 1, tzinfo=UTC)
early = datetime.datetime.now


class Stamp(datetime.datetime):
    """A subclass with a `fromtimestamp` that the real `now` would not call."""

    @classmethod
    def fromtimestamp(cls, *_args: Any) -> Any:
        raise AssertionError("now() asks its own")


def test_now_is_virtual_inside_and_real_outside_at_the_same_moment(world: World, outside: Any) -> None:
    world.net.run(until=1.25)
    inside, machine = world.run(lambda: (datetime.datetime.now(UTC), outside(lambda: datetime.datetime.now(UTC))))
    assert inside == START + timedelta(seconds=1.25)
    assert machine.year > 2020


def test_a_method_that_was_captured_is_virtual_too(world: World, outside: Any) -> None:
    inside, machine = world.run(lambda: (early(UTC), outside(lambda: early(UTC))))
    assert inside == START
    assert machine.year > 2020


def test_now_is_local_without_a_zone_and_in_a_zone_with_one(world: World) -> None:
    zone = timezone(timedelta(hours=2))

    def look() -> tuple[Any, ...]:
        return datetime.datetime.now(), datetime.datetime.now(tz=zone), datetime.datetime.now(None)

    local, zoned, same = world.run(look)
    assert local == same == datetime.datetime.fromtimestamp(START.timestamp())
    assert (zoned.hour, zoned.utcoffset(), zoned) == (2, timedelta(hours=2), START)


def test_now_is_cut_to_microseconds(world: World) -> None:
    world.net.run(until=0.000_001_999)
    assert world.run(datetime.datetime.now, UTC) == START + timedelta(microseconds=1)


@pytest.mark.parametrize("name", ["utcnow", "today"])
def test_the_other_ways_to_ask(world: World, outside: Any, name: str) -> None:
    world.net.run(until=1.25)
    ask: Callable[[], Any] = getattr(datetime.datetime, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        inside, machine = world.run(lambda: (ask(), outside(ask)))
    expected = START + timedelta(seconds=1.25)
    assert inside == (expected.replace(tzinfo=None) if name == "utcnow" else expected.astimezone().replace(tzinfo=None))
    assert machine.year > 2020


def test_the_date(world: World, outside: Any) -> None:
    world.net.run(until=36 * 3600)
    inside, machine = world.run(lambda: (date.today(), outside(date.today)))
    assert inside == (START + timedelta(hours=36)).astimezone().date()
    assert machine.year > 2020


def test_a_subclass_gets_its_own_kind(world: World) -> None:
    inside = world.run(Stamp.now, UTC)
    assert type(inside) is Stamp
    assert inside == START
    assert type(Stamp.now(UTC)) is Stamp


def test_the_class_is_the_one_it_was(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # Twisted, if a test has run it, pickles all methods in its own way.
    monkeypatch.delitem(copyreg.dispatch_table, types.MethodType, raising=False)
    now = world.run(datetime.datetime.now)
    assert type(now) is datetime.datetime
    assert isinstance(now, date)
    assert pickle.loads(pickle.dumps(now)) == now
    assert pickle.loads(pickle.dumps(datetime.datetime.now)) == datetime.datetime.now
    assert datetime.datetime.now.__name__ == "now"


def test_a_wrong_zone_is_refused_as_ever(world: World) -> None:
    with pytest.raises(TypeError, match="tzinfo"):
        world.run(datetime.datetime.now, "Europe/Vienna")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="utcnow is deprecated since Python 3.12")
def test_the_warning_of_utcnow_names_who_calls_it() -> None:
    with pytest.warns(DeprecationWarning, match="utcnow") as caught:
        datetime.datetime.utcnow()
    assert caught[0].filename == __file__
