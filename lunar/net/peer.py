"""What a host remembers of the hosts that it has told of errors and shorter ways: how often (Linux' inet_peer).

An error may go to a peer once in an interval, and a few in a row if there were none for long; a redirect the more
rarely, the more of them have not helped. Peers are made when something is sent to them, and bounded: a flood of senders
empties the table, and each begins anew.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from lunar.net.ip import Ip

_ENTRIES: Final = 4096
_LONG_NS: Final = 60_000_000_000
_BURST: Final = 6  # intervals that can be saved up


@final
class Peer:
    """Of one address. Times in nanoseconds."""

    def __init__(self, stamp_ns: i64) -> None:
        self.saved_ns: i64 = 0  # for errors: time that had gone by without one, at the last
        self.stamp_ns: i64 = stamp_ns
        self.redirects: i64 = 0  # sent in a row, and when the last was
        self.redirect_ns: i64 = -1

    def may_be_told(self, now_ns: i64, interval_ns: i64) -> bool:
        """Whether an error may go to the peer now, at most one each `interval_ns` in the long run; it is counted."""
        # What was saved up for another purpose at this instant is not looked at again, as on Linux.
        most_ns: i64 = _BURST * interval_ns if now_ns != self.stamp_ns else self.saved_ns
        return self.may_hear(now_ns, interval_ns, most_ns)

    def may_hear(self, now_ns: i64, cost_ns: i64, most_ns: i64) -> bool:
        """Take `cost_ns` of the time that has been saved up, `most_ns` at most; False if there is not so much."""
        saved: i64 = min(self.saved_ns + now_ns - self.stamp_ns, most_ns)
        self.stamp_ns = now_ns
        allowed = saved >= cost_ns
        self.saved_ns = saved - cost_ns if allowed else saved
        return allowed

    def may_be_redirected(self, now_ns: i64, ip: Ip) -> bool:
        """Whether a redirect may go to the peer now: net.ipv4.route.redirect_number and neighbours."""
        if self.redirect_ns >= 0 and now_ns > self.redirect_ns + ip.redirect_silence_ms * 1_000_000:
            self.redirects = 0
        if self.redirects >= ip.redirect_number:
            # It does not listen. The silence begins with the last packet that could have been redirected.
            self.redirect_ns = now_ns
            return False
        wait_ns: i64 = (ip.redirect_load_ms * 1_000_000) << min(self.redirects, 11)
        if self.redirects > 0 and now_ns <= self.redirect_ns + wait_ns:
            return False
        self.redirect_ns = now_ns
        self.redirects += 1
        return True


def of(ip: Ip, address: int) -> Peer:
    """The peer with this address, made if it is new."""
    found = ip.peers.get(address)
    if found is None:
        if len(ip.peers) >= _ENTRIES:
            ip.peers.clear()
        # As if nothing had gone to it for long.
        found = Peer(ip.scheduler.now_ns - _LONG_NS)
        ip.peers[address] = found
    assert isinstance(found, Peer), "only this file puts something there"
    return found
