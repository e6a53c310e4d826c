"""What a connection asks its congestion control, and when.

`CongestionControl` is the whole interface; its methods are those of Linux' `tcp_congestion_ops`, fewer and by plainer
names. Subclass it, in interpreted code too, give the class a `name`, and register it (registry.py) or set it as
`Tcp.congestion` of a host. Most algorithms need two methods, `on_ack` and `on_loss`. They read the connection `tcb` and
change it by `tcb.set_cwnd`, `tcb.set_ssthresh`, `tcb.pacing_rate`. Helpers are in cwnd.py. The order within one ACK:
`on_sample`, then what the ACK means for loss (`on_loss`, `on_state`, `on_undo`), then `control` or `on_ack`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from mypy_extensions import i64, mypyc_attr

if TYPE_CHECKING:
    from lunar.tcp.loss.rate import Sample
    from lunar.tcp.tcb import Tcb

# RFC 5681 (3.1): the initial ssthresh is arbitrarily high.
INFINITE_SSTHRESH: Final = 0x7FFF_FFFF

# What `on_event` is told of.
TX_START: Final = 0  # data goes out, and nothing was in flight
CWND_RESTART: Final = 1  # after an idle time cwnd is about to start again
COMPLETE_CWR: Final = 2  # a reduction of cwnd is over: recovery, or the answer to ECN
TIMEOUT: Final = 3  # the retransmission timer fired
ECN_NO_CE: Final = 4  # a segment came without the mark of congestion, and ECN is in use
ECN_IS_CE: Final = 5  # a segment came with it


@mypyc_attr(allow_interpreted_subclasses=True)
class CongestionControl:
    """The algorithm of one connection. `tcb.cwnd` and `tcb.ssthresh` count segments; times are nanoseconds.

    The class is called without arguments, once for each socket; `start` tells it that the connection begins.
    """

    name: ClassVar[str] = ""  # as in TCP_CONGESTION: at most 15 characters of ASCII, without a space
    needs_pacing: ClassVar[bool] = False  # send at `tcb.pacing_rate`, in bytes a second, rather than in bursts
    needs_ecn: ClassVar[bool] = False  # negotiate ECN whatever tcp_ecn says, and mark all segments as capable of it
    echoes_each_mark: ClassVar[bool] = False  # as a receiver tell the peer of each mark of congestion (RFC 8257)
    full_control: ClassVar[bool] = False  # `control` sets cwnd and the pacing rate: no `on_ack`, no PRR, no decay
    restricted: ClassVar[bool] = False  # a program may choose it only where tcp_allowed_congestion_control names it

    def start(self, tcb: Tcb) -> None:
        """The handshake is complete, or the program has chosen this algorithm on a connection: begin."""

    def stop(self, tcb: Tcb) -> None:
        """The connection is over, or another algorithm takes its place."""

    def on_sample(self, tcb: Tcb, sample: Sample) -> None:
        """An ACK came: `sample.acked` segments left the queue; `sample.rtt_ns` is -1 where it measured no RTT."""

    def on_ack(self, tcb: Tcb, acked: i64) -> None:
        """`acked` segments were newly delivered; grow. Not called while cwnd is being reduced."""
        raise NotImplementedError

    def on_loss(self, tcb: Tcb) -> i64:
        """The network lost or marked something: the new ssthresh. Asked once for each window that had it."""
        raise NotImplementedError

    def on_undo(self, tcb: Tcb) -> i64:
        """The loss was none (reordering, a spurious timeout): the cwnd to go back to."""
        return max(tcb.cwnd, tcb.prior_cwnd)

    def on_state(self, tcb: Tcb, state: i64) -> None:
        """`tcb.ca_state` is about to become `state`: OPEN, DISORDER, CWR, RECOVERY or LOSS of tcb.py."""

    def on_event(self, tcb: Tcb, event: i64) -> None:
        """One of the events above: TX_START ... ECN_IS_CE."""

    def control(self, tcb: Tcb, sample: Sample) -> None:
        """The last step of every ACK with `full_control`: set cwnd and the pacing rate, in any state; see bbr.py."""

    def min_tso_segs(self, tcb: Tcb) -> i64:
        """The least number of segments to send at once where pacing sizes bursts; 0 for the host's tcp_min_tso_segs."""
        return 0

    def send_buffer_factor(self, tcb: Tcb) -> i64:
        """How many congestion windows the send buffer grows to hold."""
        return 2

    def info(self, tcb: Tcb) -> dict[str, int]:
        """Numbers of the algorithm's own, which TCP_CC_INFO gives as 32 bits each, in this order."""
        return {}
