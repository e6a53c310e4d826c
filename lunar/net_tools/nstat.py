"""nstat(8): the counters of a host that have moved since it was last asked, by their names in Linux' SNMP tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lunar.net_tools.errors import CommandError

if TYPE_CHECKING:
    from lunar.host import Host

# How the attributes of `Counters` that are not of RFC 1213 are called; of the others the words are joined.
_NAMES: Final = {
    "ip_in_ect0": "IpExtInECT0Pkts",
    "ip_in_ect1": "IpExtInECT1Pkts",
    "ip_in_ce": "IpExtInCEPkts",
    "ip_reasm_oks": "IpReasmOKs",
    "ip_frag_oks": "IpFragOKs",
    "ip_rp_filter": "TcpExtIPReversePathFilter",
    "tcp_hystart_train_detect": "TcpExtTCPHystartTrainDetect",
    "tcp_hystart_train_cwnd": "TcpExtTCPHystartTrainCwnd",
    "tcp_hystart_delay_detect": "TcpExtTCPHystartDelayDetect",
    "tcp_hystart_delay_cwnd": "TcpExtTCPHystartDelayCwnd",
    "tcp_timeouts": "TcpExtTCPTimeouts",
    "tcp_fast_retrans": "TcpExtTCPFastRetrans",
    "tcp_slow_start_retrans": "TcpExtTCPSlowStartRetrans",
    "tcp_retrans_fail": "TcpExtTCPRetransFail",
    "tcp_lost_retransmit": "TcpExtTCPLostRetransmit",
    "tcp_reno_recovery": "TcpExtTCPRenoRecovery",
    "tcp_sack_recovery": "TcpExtTCPSackRecovery",
    "tcp_sack_reneging": "TcpExtTCPSACKReneging",
    "tcp_sack_reorder": "TcpExtTCPSACKReorder",
    "tcp_reno_reorder": "TcpExtTCPRenoReorder",
    "tcp_ts_reorder": "TcpExtTCPTSReorder",
    "tcp_full_undo": "TcpExtTCPFullUndo",
    "tcp_partial_undo": "TcpExtTCPPartialUndo",
    "tcp_dsack_undo": "TcpExtTCPDSACKUndo",
    "tcp_loss_undo": "TcpExtTCPLossUndo",
    "tcp_spurious_rtos": "TcpExtTCPSpuriousRTOs",
    "tcp_reno_failures": "TcpExtTCPRenoFailures",
    "tcp_sack_failures": "TcpExtTCPSackFailures",
    "tcp_loss_failures": "TcpExtTCPLossFailures",
    "tcp_reno_recovery_fail": "TcpExtTCPRenoRecoveryFail",
    "tcp_sack_recovery_fail": "TcpExtTCPSackRecoveryFail",
    "tcp_loss_probes": "TcpExtTCPLossProbes",
    "tcp_loss_probe_recovery": "TcpExtTCPLossProbeRecovery",
    "tcp_syn_retrans": "TcpExtTCPSynRetrans",
    "tcp_dsack_recv": "TcpExtTCPDSACKRecv",
    "tcp_dsack_ofo_recv": "TcpExtTCPDSACKOfoRecv",
    "tcp_dsack_recv_segs": "TcpExtTCPDSACKRecvSegs",
    "tcp_dsack_ignored_old": "TcpExtTCPDSACKIgnoredOld",
    "tcp_dsack_ignored_no_undo": "TcpExtTCPDSACKIgnoredNoUndo",
    "tcp_dsack_ignored_dubious": "TcpExtTCPDSACKIgnoredDubious",
    "tcp_sack_discard": "TcpExtTCPSACKDiscard",
    "tcp_delayed_acks": "TcpExtDelayedACKs",
    "tcp_listen_overflows": "TcpExtListenOverflows",
    "tcp_listen_drops": "TcpExtListenDrops",
    "tcp_paws_estab": "TcpExtPAWSEstab",
    "tcp_challenge_acks": "TcpExtTCPChallengeACK",
    "tcp_out_of_order": "TcpExtTCPOFOQueue",
    "tcp_rcv_pruned": "TcpExtRcvPruned",
    "tcp_prune_called": "TcpExtPruneCalled",
    "tcp_ofo_pruned": "TcpExtOfoPruned",
    "tcp_beyond_window": "TcpExtBeyondWindow",
    "tcp_dsack_old_sent": "TcpExtTCPDSACKOldSent",
    "tcp_dsack_ofo_sent": "TcpExtTCPDSACKOfoSent",
    "tcp_ack_compressed": "TcpExtTCPAckCompressed",
    "tcp_out_of_window_icmps": "TcpExtOutOfWindowIcmps",
    "tcp_fast_open_active": "TcpExtTCPFastOpenActive",
    "tcp_fast_open_active_fail": "TcpExtTCPFastOpenActiveFail",
    "tcp_fast_open_passive": "TcpExtTCPFastOpenPassive",
    "tcp_fast_open_passive_fail": "TcpExtTCPFastOpenPassiveFail",
    "tcp_fast_open_passive_alt_key": "TcpExtTCPFastOpenPassiveAltKey",
    "tcp_fast_open_listen_overflow": "TcpExtTCPFastOpenListenOverflow",
    "tcp_fast_open_cookie_reqd": "TcpExtTCPFastOpenCookieReqd",
    "tcp_fast_open_blackhole": "TcpExtTCPFastOpenBlackhole",
    "tcp_paws_active": "TcpExtPAWSActive",
    "tcp_syn_challenge": "TcpExtTCPSYNChallenge",
    "tcp_req_q_full_do_cookies": "TcpExtTCPReqQFullDoCookies",
    "tcp_req_q_full_drop": "TcpExtTCPReqQFullDrop",
    "tcp_syncookies_sent": "TcpExtSyncookiesSent",
    "tcp_syncookies_recv": "TcpExtSyncookiesRecv",
    "tcp_syncookies_failed": "TcpExtSyncookiesFailed",
    "tcp_defer_accept_drop": "TcpExtTCPDeferAcceptDrop",
    "tcp_embryonic_rsts": "TcpExtEmbryonicRsts",
    "tcp_tw": "TcpExtTW",
    "tcp_tw_recycled": "TcpExtTWRecycled",
    "tcp_time_wait_overflow": "TcpExtTCPTimeWaitOverflow",
    "tcp_abort_on_data": "TcpExtTCPAbortOnData",
    "tcp_abort_on_close": "TcpExtTCPAbortOnClose",
    "tcp_abort_on_linger": "TcpExtTCPAbortOnLinger",
    "tcp_abort_on_memory": "TcpExtTCPAbortOnMemory",
    "tcp_abort_on_timeout": "TcpExtTCPAbortOnTimeout",
    "tcp_md5_not_found": "TcpExtTCPMD5NotFound",
    "tcp_md5_unexpected": "TcpExtTCPMD5Unexpected",
    "tcp_md5_failure": "TcpExtTCPMD5Failure",
}


def run(host: Host, words: list[str]) -> str:
    """`nstat`, `nstat -n` (forget what was), `nstat -a` (absolute values), `nstat -z` (zeros, too)."""
    unknown = [word for word in words if word not in ("-n", "-a", "-z", "-az")]
    if unknown:
        raise CommandError(f'nstat: "{unknown[0]}" is not supported; expected -a, -n or -z')
    counters = host.ip.counters
    values = {name: int(getattr(counters, name)) for name in dir(counters) if name[0] != "_"}
    before = {} if "-a" in words or "-az" in words else host.nstat_before
    host.nstat_before = values
    if "-n" in words:
        return ""
    zeros = any("z" in word for word in words)
    lines = ["#kernel\n"]
    for name, value in values.items():
        moved = value - before.get(name, 0)
        if moved or zeros:
            shown = _NAMES.get(name) or "".join(word.capitalize() for word in name.split("_"))
            lines.append(f"{shown:32}{moved:<16}0.0\n")
    return "".join(lines)
