"""What one acknowledgment told, as it passes from ack.py through sack.py, rack.py, recovery.py and prr.py.

One such object serves a host: an acknowledgment is dealt with before the next one comes, so each begins it anew.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

NEVER_SENT: Final = -1  # a time that is none
NOWHERE: Final = 0x7FFF_FFFF_FFFF_FFFF  # above all sequence numbers


@final
class News:
    """Counts are in segments, times in nanoseconds, sequence numbers unwrapped."""

    def __init__(self) -> None:
        self.prior_una: i64 = 0
        self.prior_high: i64 = 0  # the end of the highest segment that was known to have arrived
        self.advanced: bool = False  # snd_una moved
        self.duplicate: bool = False  # RFC 5681 (2): it says nothing new, except perhaps by its SACK option
        self.pure: bool = False  # it has no data and no new window
        self.echo: bool = False  # ECE: the network marked a packet (RFC 3168)
        self.ts_ecr: i64 = -1  # the echoed timestamp, -1 without
        # What it acknowledged by its number ...
        self.acked: i64 = 0  # segments that left the retransmission queue
        self.data_acked: bool = False  # and were no SYN
        self.retransmitted_acked: bool = False
        self.first_acked_ns: i64 = NEVER_SENT  # when the first and the last were sent of those that were sent once
        self.last_acked_ns: i64 = NEVER_SENT
        self.timer: bool = False  # the retransmission timer is to begin anew
        # ... and by its SACK option.
        self.sacked: bool = False  # something new
        self.duplicate_told: bool = False  # D-SACK, RFC 2883
        self.probe_duplicated: bool = False  # ... of the tail loss probe
        self.first_sacked_ns: i64 = NEVER_SENT  # when the first and the last were sent that it tells of and ...
        self.last_sacked_ns: i64 = NEVER_SENT  # ... that were sent once
        # Either way.
        self.original: bool = False  # something arrived that was sent before the timeout and once only (RFC 5682)
        self.lowest: i64 = NOWHERE  # the lowest segment that arrived late and was sent once only
        self.lost_again: bool = False  # a retransmission was lost

    def begin(self, una: i64, advanced: bool, ts_ecr: i64) -> None:
        """Nothing is known of it yet but its number and timestamp."""
        self.prior_una = una
        self.prior_high = una
        self.advanced = advanced
        self.duplicate = False
        self.pure = False
        self.echo = False
        self.ts_ecr = ts_ecr
        self.acked = 0
        self.data_acked = False
        self.retransmitted_acked = False
        self.first_acked_ns = NEVER_SENT
        self.last_acked_ns = NEVER_SENT
        self.timer = False
        self.sacked = False
        self.duplicate_told = False
        self.probe_duplicated = False
        self.first_sacked_ns = NEVER_SENT
        self.last_sacked_ns = NEVER_SENT
        self.original = False
        self.lowest = NOWHERE
        self.lost_again = False

    def echoes_before(self, stamp: i64) -> bool:
        """Whether it answers something that we sent before the timestamp `stamp` (RFC 3522, the Eifel detection)."""
        ecr: i64 = self.ts_ecr
        return ecr > 0 and ((ecr - stamp) & 0xFFFF_FFFF) >= 0x8000_0000
