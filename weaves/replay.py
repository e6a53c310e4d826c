"""A recorded session once more: the same inputs at the same places of the run, in virtual time.

`Replay.run` stands in for `Scheduler.run`. It lets the scheduler go to the place of the next record of the log, which
is so many events and turns done, and there does what was done then: lets inputs in, compares a digest, ends the drive
as it ended. So the run is the recorded one, as far as its programs and its tapestry are.

Where they are not, the places do not fit any more. From there on the inputs come at their virtual times, as far as
there is one to come, and the end at its own: what changed can be looked at with the inputs that there were. Whether the
run is the recorded one is then only for the digest to say. (Of equal runs on different Pythons the places may differ,
because their asyncio takes other turns, and the digests do not.)
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import attrs

from weaves.clock import format_duration
from weaves.live_run import CANCELLED, FAILED, INTERRUPTED, LATE, REASONS, TORN
from weaves.pace import TooLate
from weaves.scheduler import BUDGET_SPENT, IDLE, REACHED, STOPPED
from weaves.session import End, Gate, Inputs, Mark, Session, SessionError

if TYPE_CHECKING:
    from weaves.supervisor import Supervisor

_REASON_OF: Final = {text: reason for reason, text in REASONS.items()}


class ReplayDiffers(RuntimeError):
    """The run that repeats a session is another than the recorded one."""


class SessionEnded(RuntimeError):
    """The session ended here, by something of the machine's."""


class CutOff(SessionEnded):
    """The log of the session goes no further: the process that wrote it was killed."""


class Interrupted(KeyboardInterrupt):
    """The session was interrupted here, by signal `signum`."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


@attrs.frozen(slots=True)
class Verdict:
    """What a replay came to: whether it was the `same` run, and a sentence of that.

    `recorded` is the digest at the end of the session, "" where nobody knows it.
    """

    same: bool
    text: str
    recorded: str


class Replay:
    """Repeats `session` by the run of `supervisor`."""

    def __init__(self, supervisor: Supervisor, session: Session) -> None:
        self.session = session
        self._supervisor = supervisor
        self._scheduler = supervisor.scheduler
        self._items = session.items()
        self._next: Inputs | Mark | End | None = None
        self._exact = True  # the places fit
        self._agreed_ns = 0  # until then
        self._difference = ""
        self._cut_off = False
        self._end: End | None = None  # that the run has come to; None within a drive
        self._is_between = True  # two drives

    # For drivers

    def run(self, until_ns: int, budget: int) -> int:
        """As `Scheduler.run`. At the end of a drive of the session it gives the same reason, or raises what was raised.

        Raises `CutOff` where the log ends; `SessionError` if the session is of another tapestry, and `ReplayDiffers` if
        it has no such drive.
        """
        # Whatever the scheduler calls may stay behind with all of this (runner.py), and then another call goes on from
        # here. So the place is found out anew each time.
        if self._is_between:
            # Not before: gates may be made between two runs.
            self._is_between = False
            self._end = None
            self._step()
        while True:
            item = self._next
            if item is None:
                return self._run_out(until_ns, budget)
            if self._exact and self._is_at(item):
                if isinstance(item, End):
                    return self._finish(item)
                self._do(item)
                continue
            if budget <= 0:
                return BUDGET_SPENT
            before = self._steps()
            most = min(budget, item.steps - before) if self._exact else budget
            reason = self._run(min(item.now_ns, until_ns), most)
            budget -= self._steps() - before
            if reason == STOPPED:
                if self._exact and isinstance(item, End) and self._steps() == item.steps:
                    continue
                return STOPPED
            if reason == BUDGET_SPENT or (self._exact and self._steps() == item.steps):
                continue
            if until_ns < item.now_ns:
                return reason  # it was not to go so far this time
            if self._exact:
                self._differs(item)
                continue
            if self._scheduler.now_ns < item.now_ns:
                self._scheduler.advance(item.now_ns)
            if isinstance(item, End):
                return self._finish(item)
            self._do(item)

    def _run(self, until_ns: int, budget: int) -> int:
        watchdog = self._supervisor.watchdog
        return self._scheduler.run(until_ns, budget) if watchdog is None else watchdog.run(until_ns, budget)

    def _steps(self) -> int:
        return int(self._scheduler.fired + self._scheduler.turns_taken)

    def _is_at(self, item: Inputs | Mark | End) -> bool:
        """Whether the run is at the place of `item`, also with its clock. If it cannot come there, it differs."""
        steps, now_ns = self._steps(), int(self._scheduler.now_ns)
        if steps < item.steps:
            return False
        if isinstance(item, End) and item.how == TORN:
            return True
        if steps == item.steps and now_ns < item.now_ns:
            # The driver had waited, and nothing was to do meanwhile.
            if not self._scheduler.turns and self._scheduler.next_ns() > item.now_ns:
                self._scheduler.advance(item.now_ns)
                return True
        elif steps == item.steps and now_ns == item.now_ns:
            return True
        self._differs(item)
        return False

    def _do(self, item: Inputs | Mark) -> None:
        if isinstance(item, Mark):
            if item.digest and self._exact and not self._difference and self._supervisor.digest() != item.digest:
                self._note(item.now_ns)
        else:
            gates = self._supervisor.gates.gates
            for at_ns, number, data in item.inputs:
                if number >= len(gates):
                    raise self.session.error(f"has an input of gate {number}, which there is not")
                try:
                    gates[number].post(data, max(at_ns, int(self._scheduler.now_ns) + 1))
                except (ValueError, OverflowError) as error:
                    raise self.session.error(f"has an input for {gates[number].name} that is none: {error}") from error
        self._agree(item)
        self._step()

    def _finish(self, end: End) -> int:
        """The drive ends as it did."""
        self._is_between = True
        self._end = end
        if end.digest and end.how != TORN:
            if self._supervisor.digest() == end.digest:
                self._difference = ""  # by other places, perhaps, but the same run
            elif not self._difference:
                self._note(end.now_ns)
        self._agree(end)
        if end.how in _REASON_OF:
            return _REASON_OF[end.how]
        if end.how == LATE:
            raise TooLate(end.told)
        if end.how == INTERRUPTED:
            raise Interrupted(end.signum)
        if end.how == CANCELLED:
            raise asyncio.CancelledError
        assert end.how in (FAILED, TORN), "a session ends in a way that it can end in"
        raise Interrupted(end.signum) if end.signum else SessionEnded(f"the session ended here: {end.told}")

    def _run_out(self, until_ns: int, budget: int) -> int:
        if self.session.closed:
            since = f"; {self._difference}" if self._difference else ""
            raise ReplayDiffers(f"{self.session.path}: it differs from the recorded run, which ends here{since}")
        reason = self._run(min(until_ns, self.session.now_ns), budget)
        if reason in (REACHED, IDLE) and until_ns > self.session.now_ns:
            self._cut_off = True
            raise CutOff(f"{self.session.path}: was cut off here: it is repeated as far as it goes")
        return reason

    def _step(self) -> None:
        """To the next record."""
        for item in self._items:
            if not isinstance(item, Gate):
                self._next = item
                return
            self._check(item)
        self._next = None

    def _check(self, gate: Gate) -> None:
        names = [one.name for one in self._supervisor.gates.gates]
        here = f'"{names[gate.number]}"' if gate.number < len(names) else "nothing"
        if here != f'"{gate.name}"':
            raise self.session.error(
                f'is of another tapestry: its input {gate.number} is "{gate.name}", and here it is {here}'
            )

    # What it comes to

    def _agree(self, item: Inputs | Mark | End) -> None:
        if not self._difference and not isinstance(item, Inputs) and item.digest:
            self._agreed_ns = item.now_ns

    def _differs(self, item: Inputs | Mark | End) -> None:
        self._exact = False
        if not self._difference:
            self._note(max(item.now_ns, int(self._scheduler.now_ns)))

    def _note(self, now_ns: int) -> None:
        since, to = format_duration(self._agreed_ns), format_duration(now_ns)
        self._difference = f"the first difference is between {since} and {to} of virtual time"

    def verdict(self) -> Verdict:
        """Whether this was the recorded run, now that a drive of it is over."""
        now = format_duration(int(self._scheduler.now_ns))
        end = self._end
        if self._cut_off or (end is None and self._next is None and self.session.cut_off):
            if self._difference:
                return Verdict(False, f"it differs from the recorded run: {self._difference}", "")
            return Verdict(True, f"it was cut off at {now}; it is repeated up to there, no difference was found", "")
        if end is None:
            text = f"it differs from the recorded run: it was over at {now}"
            return Verdict(False, f"{text}; {self._difference}" if self._difference else text, self._recorded)
        if self._difference:
            text = f"it differs from the recorded run, whose digest is {end.digest or 'not known'}: {self._difference}"
            return Verdict(False, text, end.digest)
        if end.how == TORN:
            text = "it ended in the middle of a turn; it is repeated up to there, no difference was found"
            return Verdict(True, text, "")
        return Verdict(True, "the same digest as recorded", end.digest)

    def last_verdict(self) -> Verdict:
        """As `verdict`, where no other drive is to come."""
        last = self.session.end
        if self._end is not None and self._end is not last and self._end != last:
            assert last is not None, "there is one at least"
            now, until = format_duration(int(self._scheduler.now_ns)), format_duration(last.now_ns)
            text = f"it differs from the recorded run: it was over at {now}, and the recorded one at {until}"
            return Verdict(False, text, last.digest)
        return self.verdict()

    @property
    def _recorded(self) -> str:
        return "" if self.session.end is None else self.session.end.digest

    def check(self) -> None:
        """Raise `ReplayDiffers`, if a drive that is over was not the recorded one."""
        verdict = self.verdict()
        if not verdict.same:
            raise ReplayDiffers(f"{self.session.path}: {verdict.text}")


__all__ = ["CutOff", "Interrupted", "Replay", "ReplayDiffers", "SessionEnded", "SessionError", "Verdict"]
