"""The seal on the datagrams of a link that has a key: who sealed them, for which run, and each only once.

    ask, confirm   kind (1 or 2), 7 bytes of 0 | session of the sender, 16 | session that it answers, 16 | tag, 16
    frame          kind (3), sequence number, 7 bytes | the Ethernet frame | tag, 16

A tag is keyed BLAKE2b (RFC 7693) of all that stands before it. That of asks and confirms has a key made from the shared
one; those of frames one for each direction, made from the shared key, the session of the sender and that of the
receiver. So what was recorded in another run, or comes back to who sent it, has a wrong tag.

A session is 16 random bytes, good for one agreement. Each side offers one, in an `ask`, and takes the other's once that
side answers the one that is offered now: only somebody with the key who has just heard of it can. Then it offers
another.

    A: ask a1, answers nothing ->                 B does not know whether this is old
                               <- B: ask b1, answers a1       A: so B is there now. (a1, b1) it is; A offers a2 next
    A: confirm a1, answers b1  ->                 B: so A is there now. (b1, a1); B offers b2 next

Whichever side is started again asks anew, and so does one that gets frames whose tag it cannot verify; no clock is
needed, and nothing is kept on a disk. The agreement before is still taken for what is under way, until another one
comes: a frame that was overtaken by those of the new one is no reason to ask again.

What it protects from: frames made up, changed, or sent again by who has no key, in this run or from an earlier one.
What it does not: frames can be read by others; whoever is on the way can still lose, delay or reorder them; and two
links of one key could be joined crosswise, so each should have its own.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final, final

from mypy_extensions import i64

from lunar.outside.replay_window import ReplayWindow

ASK: Final = 1
CONFIRM: Final = 2
FRAME: Final = 3

SESSION_BYTES: Final = 16
TAG_BYTES: Final = 16
HEADER_BYTES: Final = 8
# How much longer a datagram is than its frame.
OVERHEAD_BYTES: Final = 24
_GREETING_BYTES: Final = 56  # an ask or a confirm: 8 + 16 + 16 + 16
# To greetings that come at once.
_MOST_REPLIES: Final = 4
_NOBODY: Final = b"\0" * 16
# So many frames are kept until the sides have agreed: what a host sends at first, before it waits for an answer.
HELD: Final = 64

# Why a datagram was not taken, or that it was no frame.
NO_FRAME: Final = 0
SHORT: Final = 1
BAD_TAG: Final = 2
REPLAYED: Final = 3


@final
class Agreement:
    """Two sessions, one of each side, and the keys that follow from them."""

    def __init__(self, key: bytes, own: bytes, other: bytes) -> None:
        self.own: bytes = own
        self.other: bytes = other
        self._out: Any = blake2b(key=_derived(key, own + other), digest_size=16)
        self._in: Any = blake2b(key=_derived(key, other + own), digest_size=16)
        self._next: i64 = 0
        self.window: ReplayWindow = ReplayWindow()

    def seal(self, frame: bytes) -> bytes:
        """The datagram for `frame`."""
        # Kind and number in one: the number stays below 2**56 for longer than any run.
        head = ((3 << 56) | int(self._next)).to_bytes(8, "big") + frame
        self._next += 1
        tag = self._out.copy()
        tag.update(head)
        digest: bytes = tag.digest()
        return head + digest

    def verifies(self, datagram: bytes) -> bool:
        """Whether the tag of a frame is right."""
        tag = self._in.copy()
        tag.update(memoryview(datagram)[:-16])
        return hmac.compare_digest(tag.digest(), datagram[-16:])


@final
class Seal:
    """One side of a link. `key` is the shared one, of 32 bytes; `random(n)` gives n bytes that nobody can guess.

    Datagrams that it wants sent besides those of frames are in `replies`; whoever calls it takes them from there.
    """

    def __init__(self, key: bytes, random: Callable[[int], bytes]) -> None:
        self._key: bytes = key
        self._random: Callable[[int], bytes] = random
        self._greeting: Any = blake2b(key=_derived(key, b"greeting"), digest_size=16)
        self._offer: bytes = random(16)
        self.agreement: Agreement | None = None
        self._before: Agreement | None = None
        self.replies: list[bytes] = []
        self._held: list[bytes] = []
        self._asked: bool = False  # since somebody last took the replies
        self.reason: i64 = NO_FRAME  # of the last datagram that gave no frame
        self.agreements: i64 = 0
        self.unsent: i64 = 0  # frames that were to be sent before there was an agreement, beyond those that are held
        self._missing_before: i64 = 0

    @property
    def missing(self) -> int:
        """How many frames the other side has sealed that never came, as far as their numbers tell."""
        missing = int(self._missing_before)
        for one in (self.agreement, self._before):
            if one is not None:
                missing += one.window.missing
        return missing

    def take_replies(self) -> list[bytes]:
        """What is to be sent besides frames, which are then forgotten."""
        replies = self.replies
        self.replies = []
        self._asked = False
        return replies

    def ask(self, answered: bytes = _NOBODY) -> None:
        """Want an agreement; once until the replies are taken, unless it answers somebody."""
        if self._asked and answered == _NOBODY:
            return
        self._asked = True
        self._greet(ASK, self._offer, answered)

    def seal(self, frames: list[bytes]) -> list[bytes]:
        """The datagrams for `frames`. As long as there is no agreement they are held, and the other side is asked."""
        agreement = self.agreement
        if agreement is None:
            for frame in frames:
                if len(self._held) < HELD:
                    self._held.append(frame)
                else:
                    self.unsent += 1
            self.ask()
            return []
        return [agreement.seal(frame) for frame in frames]

    def open(self, datagram: bytes) -> bytes | None:
        """The frame in `datagram`; None where there is none, and `reason` says why. Never raises."""
        if len(datagram) < OVERHEAD_BYTES:
            self.reason = SHORT
            return None
        if datagram[0] != FRAME:
            self.reason = self._greeted(datagram)
            return None
        agreement = self.agreement
        if agreement is None or not agreement.verifies(datagram):
            agreement = self._before
            if agreement is None or not agreement.verifies(datagram):
                # Perhaps of an agreement that one side does not know of: it was started again, or a confirm was lost.
                self.ask()
                self.reason = BAD_TAG
                return None
        if not agreement.window.take(int.from_bytes(datagram[1:8], "big")):
            self.reason = REPLAYED
            return None
        return datagram[8:-16]

    def _greeted(self, datagram: bytes) -> i64:
        kind = datagram[0]
        if len(datagram) != _GREETING_BYTES or (kind != ASK and kind != CONFIRM):
            return SHORT if len(datagram) < _GREETING_BYTES else BAD_TAG
        tag = self._greeting.copy()
        tag.update(memoryview(datagram)[:-16])
        if not hmac.compare_digest(tag.digest(), datagram[-16:]):
            return BAD_TAG
        other, answered = datagram[8:24], datagram[24:40]
        agreement = self.agreement
        if other == self._offer or (agreement is not None and other == agreement.own):
            return REPLAYED  # it is ours, sent back
        if answered == self._offer:
            self._agree(other)
        elif kind == CONFIRM:
            return NO_FRAME  # of an agreement that is there already, or is over
        elif len(self.replies) >= _MOST_REPLIES:
            return NO_FRAME  # a flood of what was recorded; who is there asks again
        elif agreement is not None and other == agreement.other:
            # The other side has not heard that we agreed.
            self._greet(CONFIRM, agreement.own, agreement.other)
        else:
            self.ask(other)
        return NO_FRAME

    def _agree(self, other: bytes) -> None:
        """The other side has answered what is offered now, so it is there now."""
        if self._before is not None:
            self._forget_before()
        self._before = self.agreement
        agreement = Agreement(self._key, self._offer, other)
        self.agreement = agreement
        self.agreements += 1
        self._offer = self._random(16)
        self._greet(CONFIRM, agreement.own, other)
        for frame in self._held:
            self.replies.append(agreement.seal(frame))
        self._held = []

    def _forget_before(self) -> None:
        before = self._before
        if before is not None:
            self._missing_before += before.window.missing
            self._before = None

    def _greet(self, kind: i64, own: bytes, other: bytes) -> None:
        message = bytes([kind]) + b"\0" * 7 + own + other
        tag = self._greeting.copy()
        tag.update(message)
        self.replies.append(message + tag.digest())


def shared_key(text: str) -> bytes:
    """The key of 32 bytes that both sides make from the same text."""
    return blake2b(text.encode(), digest_size=32, person=b"lunar udp link").digest()


def _derived(key: bytes, purpose: bytes) -> bytes:
    return blake2b(purpose, key=key, digest_size=32).digest()
