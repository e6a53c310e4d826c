"""The queue of a device itself, as tc(8) names and numbers it. Read tc.py for what such a queue does here."""

from __future__ import annotations

from typing import Any

import attrs

from lunar.net.device import Device


@attrs.define
class Queue:
    """A queue: its `kind`, its `handle` (the number before the colon), and what it was told besides."""

    kind: str = "noqueue"
    handle: int = 0
    settings: dict[str, Any] = attrs.field(factory=dict)


_NONE = Queue()


def queue_of(device: Device) -> Queue:
    """The queue that `device` was given, or the one that stands for none."""
    found = device.queue
    return found if isinstance(found, Queue) else _NONE
