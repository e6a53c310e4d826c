"""What a host counts, as netstat -s and nstat(8) show it."""

from __future__ import annotations

from typing import final

from mypy_extensions import i64


class IpCounters:
    """Counters of one family, by the names of RFC 1213, RFC 4293 and of Linux' nstat."""

    def __init__(self) -> None:
        self.ip_in_receives: i64 = 0
        self.ip_in_hdr_errors: i64 = 0
        self.ip_in_addr_errors: i64 = 0
        self.ip_in_no_protos: i64 = 0
        self.ip_in_delivers: i64 = 0
        self.ip_in_ect0: i64 = 0  # with ECN's code points (RFC 3168): capable ...
        self.ip_in_ect1: i64 = 0
        self.ip_in_ce: i64 = 0  # ... and marked
        self.ip_out_requests: i64 = 0
        self.ip_out_no_routes: i64 = 0
        self.ip_out_discards: i64 = 0
        self.ip_forw_datagrams: i64 = 0
        self.ip_reasm_reqds: i64 = 0  # fragments that came; what came of them (RFC 4293)
        self.ip_reasm_oks: i64 = 0
        self.ip_reasm_fails: i64 = 0
        self.ip_reasm_overlaps: i64 = 0  # ReasmOverlaps: packets that were dropped because their fragments overlap
        self.ip_reasm_timeout: i64 = 0
        self.ip_frag_oks: i64 = 0  # packets that were cut, those that could not be, and the pieces
        self.ip_frag_fails: i64 = 0
        self.ip_frag_creates: i64 = 0
        self.ip_rp_filter: i64 = 0  # dropped by rp_filter
        self.ip_in_discards: i64 = 0  # dropped for what Linux does not count: not for this host, or by a source route
        self.ip_in_martian_src: i64 = 0  # of packets with an impossible source or destination, which were dropped
        self.ip_in_martian_dst: i64 = 0
        self.ip_in_mcast_pkts: i64 = 0  # for groups that the host listens to, and what it sent to groups
        self.ip_out_mcast_pkts: i64 = 0
        self.ip_out_bcast_pkts: i64 = 0
        self.icmp_in_msgs: i64 = 0
        self.icmp_in_errors: i64 = 0
        self.icmp_out_msgs: i64 = 0
        self.icmp_out_rate_limited: i64 = 0  # by the host's limit, and by that of a peer
        self.icmp_out_rate_limited_host: i64 = 0
        self.udp_in_datagrams: i64 = 0
        self.udp_out_datagrams: i64 = 0
        self.udp_no_ports: i64 = 0
        self.udp_in_errors: i64 = 0
        self.udp_rcvbuf_errors: i64 = 0
        self.udp_in_csum_errors: i64 = 0
        self.udp_ignored_multi: i64 = 0  # broadcasts and what came for groups, which no socket wanted


@final
class Counters(IpCounters):
    """A host's counters: IPv4's, and those of what has none for each family."""

    def __init__(self) -> None:
        super().__init__()
        self.tcp_active_opens: i64 = 0
        self.tcp_passive_opens: i64 = 0
        self.tcp_attempt_fails: i64 = 0
        self.tcp_estab_resets: i64 = 0
        self.tcp_in_segs: i64 = 0
        self.tcp_out_segs: i64 = 0
        self.tcp_retrans_segs: i64 = 0
        self.tcp_in_errs: i64 = 0
        self.tcp_out_rsts: i64 = 0
        self.tcp_timeouts: i64 = 0  # TCPTimeouts: the retransmission timer fired
        self.tcp_fast_retrans: i64 = 0  # TCPFastRetrans: segments that were sent again, but not after a timeout
        self.tcp_slow_start_retrans: i64 = 0  # and those after one
        self.tcp_retrans_fail: i64 = 0
        self.tcp_lost_retransmit: i64 = 0
        self.tcp_reno_recovery: i64 = 0  # recoveries that began, without SACK and with it
        self.tcp_sack_recovery: i64 = 0
        self.tcp_sack_reneging: i64 = 0
        self.tcp_sack_reorder: i64 = 0  # reordering, by what told of it
        self.tcp_reno_reorder: i64 = 0
        self.tcp_ts_reorder: i64 = 0
        self.tcp_full_undo: i64 = 0  # recoveries and timeouts taken back, by what told that they were needless
        self.tcp_partial_undo: i64 = 0
        self.tcp_dsack_undo: i64 = 0
        self.tcp_loss_undo: i64 = 0
        self.tcp_spurious_rtos: i64 = 0  # TCPSpuriousRTOs: those by F-RTO
        self.tcp_reno_failures: i64 = 0  # timeouts by the state in which they came: DISORDER ...
        self.tcp_sack_failures: i64 = 0
        self.tcp_loss_failures: i64 = 0  # ... LOSS ...
        self.tcp_reno_recovery_fail: i64 = 0  # ... RECOVERY
        self.tcp_sack_recovery_fail: i64 = 0
        self.tcp_loss_probes: i64 = 0
        self.tcp_loss_probe_recovery: i64 = 0
        self.tcp_syn_retrans: i64 = 0
        self.tcp_dsack_recv: i64 = 0  # D-SACKs that came, below the ACK and above it; the segments of which they told
        self.tcp_dsack_ofo_recv: i64 = 0
        self.tcp_dsack_recv_segs: i64 = 0
        self.tcp_dsack_ignored_old: i64 = 0
        self.tcp_dsack_ignored_no_undo: i64 = 0
        self.tcp_dsack_ignored_dubious: i64 = 0
        self.tcp_sack_discard: i64 = 0
        self.tcp_delayed_acks: i64 = 0
        # HyStart (congestion/cubic.py): how often each test ended slow start, and the sum of cwnd there.
        self.tcp_hystart_train_detect: i64 = 0
        self.tcp_hystart_train_cwnd: i64 = 0
        self.tcp_hystart_delay_detect: i64 = 0
        self.tcp_hystart_delay_cwnd: i64 = 0
        self.tcp_listen_overflows: i64 = 0
        self.tcp_listen_drops: i64 = 0
        self.tcp_paws_estab: i64 = 0  # PAWSEstab: dropped for an old timestamp
        self.tcp_challenge_acks: i64 = 0
        self.tcp_syn_challenge: i64 = 0  # TCPSYNChallenge: of them, those that a SYN provoked
        self.tcp_req_q_full_do_cookies: i64 = 0  # TCPReqQFullDoCookies
        self.tcp_req_q_full_drop: i64 = 0  # TCPReqQFullDrop
        self.tcp_syncookies_sent: i64 = 0  # SyncookiesSent
        self.tcp_syncookies_recv: i64 = 0  # SyncookiesRecv
        self.tcp_syncookies_failed: i64 = 0  # SyncookiesFailed
        self.tcp_defer_accept_drop: i64 = 0  # TCPDeferAcceptDrop
        self.tcp_embryonic_rsts: i64 = 0  # EmbryonicRsts
        self.tcp_tw: i64 = 0  # TW: TIME-WAIT that ended by its time
        self.tcp_tw_recycled: i64 = 0  # TWRecycled: by a new connection
        self.tcp_time_wait_overflow: i64 = 0  # TCPTimeWaitOverflow: above tcp_max_tw_buckets
        self.tcp_abort_on_data: i64 = 0  # TCPAbortOnData: data for a closed socket
        self.tcp_abort_on_close: i64 = 0  # TCPAbortOnClose: closed with unread data
        self.tcp_abort_on_linger: i64 = 0  # TCPAbortOnLinger
        self.tcp_abort_on_memory: i64 = 0  # TCPAbortOnMemory: above tcp_max_orphans
        self.tcp_abort_on_timeout: i64 = 0  # TCPAbortOnTimeout
        self.tcp_md5_not_found: i64 = 0  # TCPMD5NotFound
        self.tcp_md5_unexpected: i64 = 0  # TCPMD5Unexpected
        self.tcp_md5_failure: i64 = 0  # TCPMD5Failure
        self.tcp_paws_active: i64 = 0  # PAWSActive: a SYN-ACK echoes what no SYN had
        self.tcp_fast_open_active: i64 = 0  # TCPFastOpenActive: data of our SYN were taken
        self.tcp_fast_open_active_fail: i64 = 0  # TCPFastOpenActiveFail
        self.tcp_fast_open_passive: i64 = 0  # TCPFastOpenPassive: opened by a peer's SYN with data
        self.tcp_fast_open_passive_fail: i64 = 0  # TCPFastOpenPassiveFail: its cookie was wrong
        self.tcp_fast_open_passive_alt_key: i64 = 0  # TCPFastOpenPassiveAltKey
        self.tcp_fast_open_listen_overflow: i64 = 0  # TCPFastOpenListenOverflow: too many were pending
        self.tcp_fast_open_cookie_reqd: i64 = 0  # TCPFastOpenCookieReqd
        self.tcp_fast_open_blackhole: i64 = 0  # TCPFastOpenBlackhole
        self.tcp_out_of_window_icmps: i64 = 0  # OutOfWindowIcmps: an error quotes nothing that is in flight
        self.tcp_out_of_order: i64 = 0  # TCPOFOQueue
        self.tcp_dsack_old_sent: i64 = 0  # TCPDSACKOldSent: told the peer of a duplicate of what was read or in order
        self.tcp_dsack_ofo_sent: i64 = 0  # TCPDSACKOfoSent: of what waits beyond a hole
        self.tcp_ack_compressed: i64 = 0  # TCPAckCompressed: ACKs that were gathered into one
        self.tcp_prune_called: i64 = 0  # PruneCalled: a receive buffer was full
        self.tcp_ofo_pruned: i64 = 0  # OfoPruned: what waited beyond holes was given up
        self.tcp_rcv_pruned: i64 = 0  # RcvPruned: dropped for want of receive buffer
        self.tcp_beyond_window: i64 = 0  # BeyondWindow: dropped, since its start or end is beyond the window
