"""What a host remembers of its peers from one connection to the next: Linux' tcp_metrics, as far as fast open needs it.

An entry is for a pair of addresses. There are at most ENTRIES_MAX of them; the one that was not used for the longest
time goes. `ip tcp_metrics flush all` is `flush`.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

# A bound of our own: Linux' table has a size by the machine's memory, and chains of five entries.
ENTRIES_MAX: Final = 4096


@final
class PeerMetrics:
    """What is known of one peer. RFC 7413 section 4.1.3."""

    def __init__(self) -> None:
        self.cookie: bytes = b""  # b"" for none
        self.experimental: bool = False  # it came in the experiment's option, and goes back in it
        self.mss: i64 = 0  # that its SYN-ACK told; 0 for none
        # Which option to ask for a cookie by: 0, or 2 when the other was tried in vain: that of RFC 7413; 1: the
        # experiment's, once.
        self.try_experimental: i64 = 0
        self.syn_losses: i64 = 0  # how often in a row nothing came back from a SYN with data
        self.last_syn_loss_ns: i64 = 0


@final
class Metrics:
    """The peers of one host."""

    def __init__(self) -> None:
        self.peers: dict[int, PeerMetrics] = {}  # by remote address << 128 | local address, the last used last
        # How often in a row fast opens were given up for a while, and since when they are (fast_open.py).
        self.pauses: i64 = 0
        self.paused_ns: i64 = 0

    def find(self, local: int, remote: int) -> PeerMetrics | None:
        """What is known of the pair; None when nothing is."""
        return self.peers.get((remote << 128) | local)

    def entry(self, local: int, remote: int) -> PeerMetrics:
        """The pair's entry, made if there is none, and now the one that was used last."""
        key = (remote << 128) | local
        found = self.peers.pop(key, None)
        if found is None:
            found = PeerMetrics()
            if len(self.peers) >= ENTRIES_MAX:
                del self.peers[next(iter(self.peers))]
        self.peers[key] = found
        return found

    def flush(self) -> None:
        """Forget all peers."""
        self.peers.clear()
