"""`datetime.datetime.now` and `utcnow` inside a weave.

They are methods of a class that is written in C and cannot be set. They are replaced in the class's own dictionary, so
that the class is still the same one: `isinstance`, subclasses, pickles and names captured early hold. `today` of
`date` and `datetime` asks `time.time`, and needs nothing here.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Any

from weaves.here import here
from weaves.interpose.replace import Replacements


def install(replacements: Replacements) -> None:
    """Interpose the two."""
    now = _now()
    replacements.put_class_method(datetime, "now", now)
    replacements.put_class_method(datetime, "utcnow", _utcnow(now))


def _now() -> Callable[..., datetime]:
    real: Any = datetime.__dict__["now"]
    # A subclass may have another `fromtimestamp`; the real `now` does not ask it either.
    fromtimestamp: Any = datetime.__dict__["fromtimestamp"]

    def now(cls: type[datetime], tz: tzinfo | None = None) -> Any:
        weave = here.weave
        if weave is None:
            return real.__get__(None, cls)(tz)
        # Whole microseconds, cut off as the real one does; a float holds them exactly until the year 2255.
        microseconds = (weave.scheduler.now_ns + weave.epoch_ns) // 1000
        return fromtimestamp.__get__(None, cls)(microseconds / 1_000_000, tz)

    return now


def _utcnow(now: Callable[..., datetime]) -> Callable[..., datetime]:
    def utcnow(cls: type[datetime]) -> datetime:
        if sys.version_info >= (3, 12):
            # The real one would name this file as the place that has to change.
            message = (
                "datetime.datetime.utcnow() is deprecated and scheduled for removal in a future version. "
                "Use timezone-aware objects to represent datetimes in UTC: datetime.datetime.now(datetime.UTC)."
            )
            warnings.warn(message, DeprecationWarning, stacklevel=2)
        return now(cls, UTC).replace(tzinfo=None)

    return utcnow
