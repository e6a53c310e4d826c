"""One network after the other: how it ended, and the least that a failing one needs to fail."""

from __future__ import annotations

import traceback
from typing import NamedTuple

import plans
from invariants import Broken
from worlds import Figures, World


class Outcome(NamedTuple):
    """What came of a network: its figures, or what was wrong with it."""

    number: int
    without: tuple[str, ...]
    figures: Figures | None
    problem: str


def attempt(number: int, without: tuple[str, ...] = ()) -> Outcome:
    """Run network `number`."""
    world = None
    try:
        world = World(plans.draw(number, without))
        return Outcome(number, without, world.run(), "")
    except Broken as error:
        return Outcome(number, without, None, str(error))
    except Exception as error:  # noqa: BLE001 - whatever the stack raises is a finding, and the others go on
        last = traceback.extract_tb(error.__traceback__)[-1]
        return Outcome(number, without, None, f"{error!r} in {last.filename}:{last.lineno}")
    finally:
        if world is not None:
            world.close()


def smaller(failure: Outcome) -> Outcome:
    """The same failure with as many features taken out as can be; the message may change, but not its beginning."""
    found = failure
    wanted = kind(failure.problem)
    for name in plans.not_plain(plans.draw(failure.number)):
        again = attempt(failure.number, (*found.without, name))
        if again.figures is None and kind(again.problem) == wanted:
            found = again
    return found


def kind(problem: str) -> str:
    """What problems that may be the same have in common: the text before the figures."""
    return problem.split(":", maxsplit=1)[0].split("(", maxsplit=1)[0]
