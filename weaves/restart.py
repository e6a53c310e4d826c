"""When a program that has ended is started again, and how long after, as systemd's Restart= and docker's --restart say.

A policy belongs to a string. A program that is started again is a new process: `Weave.renew` sees to that.
"""

from __future__ import annotations

import signal
from typing import Final, Literal, TypeAlias

import attrs

When: TypeAlias = Literal["no", "on-failure", "always"]
NO: Final = "no"
ON_FAILURE: Final = "on-failure"
ALWAYS: Final = "always"

# How long a program is dead before it is started again, unless `restart_delay` says. Longer than an instant, so that a
# program which fails at once does not keep the clock from moving. systemd's RestartSec is 100 ms; a second is easy to
# reckon with.
DELAY_NS: Final = 1_000_000_000

# Whoever is ended by one of these was asked to end: no failure, as systemd.service(5) has it for Restart=on-failure.
_CLEAN: Final = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE})


@attrs.frozen(slots=True)
class RestartPolicy:
    """When a string is started again: `when` is "no", "on-failure" or "always".

    `delay_ns` is how long after its end, above 0; `limit` is how often at most, None for no limit.
    """

    when: When = NO
    delay_ns: int = DELAY_NS
    limit: int | None = None

    def after_failure(self, restarts: int) -> bool:
        """Whether a string that has failed, and was started again `restarts` times, is to start again."""
        return self.when != NO and self._has_left(restarts)

    def after_end(self, restarts: int) -> bool:
        """The same for one that has ended well."""
        return self.when == ALWAYS and self._has_left(restarts)

    def after_signal(self, signum: int, restarts: int) -> bool:
        """The same for one that the default action of a signal has ended."""
        return (self.when == ALWAYS or (self.when == ON_FAILURE and signum not in _CLEAN)) and self._has_left(restarts)

    def _has_left(self, restarts: int) -> bool:
        return self.limit is None or restarts < self.limit


NEVER: Final = RestartPolicy()
AFTER_FAILURES: Final = RestartPolicy(ON_FAILURE)
