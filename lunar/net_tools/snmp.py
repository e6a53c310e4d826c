"""A host's counters by their names in Linux' SNMP tables (RFC 1213, RFC 4293), for who shows them.

The tables' columns are those of Linux 6.18, in its order. What this stack does not count is 0 there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lunar.tcp.tcb import CLOSE_WAIT, ESTABLISHED

if TYPE_CHECKING:
    from lunar.host import Host

# How the attributes of `Counters` that are not of RFC 1213 are called; of the others the words are joined.
NAMES: Final = {
    "ip_in_ect0": "IpExtInECT0Pkts",
    "ip_in_ect1": "IpExtInECT1Pkts",
    "ip_in_ce": "IpExtInCEPkts",
    "ip_reasm_oks": "IpReasmOKs",
    "ip_frag_oks": "IpFragOKs",
    "ip_reasm_overlaps": "IpExtReasmOverlaps",
    "ip_in_mcast_pkts": "IpExtInMcastPkts",
    "ip_out_mcast_pkts": "IpExtOutMcastPkts",
    "ip_out_bcast_pkts": "IpExtOutBcastPkts",
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

def linux_name(attribute: str) -> str:
    """What Linux calls a counter: "ip_in_receives" is IpInReceives."""
    return NAMES.get(attribute) or "".join(word.capitalize() for word in attribute.split("_"))


def values(host: Host) -> dict[str, int]:
    """All counters of a host by Linux' names; IPv6's are Ip6..., Icmp6..., Udp6..."""
    found = {linux_name(name): value for name, value in _of(host.ip.counters)}
    for name, value in _of(host.ip.inet6.counters):
        group = name.partition("_")[0].capitalize()
        rest = linux_name(name)
        for prefix in ("TcpExtIP", "IpExt", group):
            rest = rest.removeprefix(prefix)
        found[f"{group}6{rest}"] = value
    return found


def _of(counters: Any) -> list[tuple[str, int]]:
    return [(name, int(getattr(counters, name))) for name in dir(counters) if name[0] != "_"]


# /proc/net/snmp: what each group has, in Linux' order.
SNMP: Final = {
    "Ip": (
        "Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards "
        "InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs "
        "FragFails FragCreates OutTransmits"
    ),
    "Icmp": (
        "InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds InParmProbs InSrcQuenchs InRedirects InEchos "
        "InEchoReps InTimestamps InTimestampReps InAddrMasks InAddrMaskReps OutMsgs OutErrors OutRateLimitGlobal "
        "OutRateLimitHost OutDestUnreachs OutTimeExcds OutParmProbs OutSrcQuenchs OutRedirects OutEchos OutEchoReps "
        "OutTimestamps OutTimestampReps OutAddrMasks OutAddrMaskReps"
    ),
    "Tcp": (
        "RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs "
        "OutSegs RetransSegs InErrs OutRsts InCsumErrors"
    ),
    "Udp": (
        "InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors"
    ),
    "UdpLite": (
        "InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors"
    ),
}
# /proc/net/netstat, but for what is not TCP's or IP's own.
NETSTAT: Final = {
    "TcpExt": (
        "SyncookiesSent SyncookiesRecv SyncookiesFailed EmbryonicRsts PruneCalled RcvPruned OfoPruned "
        "OutOfWindowIcmps LockDroppedIcmps ArpFilter TW TWRecycled TWKilled PAWSActive PAWSEstab BeyondWindow "
        "TSEcrRejected PAWSOldAck PAWSTimewait DelayedACKs DelayedACKLocked DelayedACKLost ListenOverflows "
        "ListenDrops TCPHPHits TCPPureAcks TCPHPAcks TCPRenoRecovery TCPSackRecovery TCPSACKReneging TCPSACKReorder "
        "TCPRenoReorder TCPTSReorder TCPFullUndo TCPPartialUndo TCPDSACKUndo TCPLossUndo TCPLostRetransmit "
        "TCPRenoFailures TCPSackFailures TCPLossFailures TCPFastRetrans TCPSlowStartRetrans TCPTimeouts "
        "TCPLossProbes TCPLossProbeRecovery TCPRenoRecoveryFail TCPSackRecoveryFail TCPRcvCollapsed "
        "TCPBacklogCoalesce TCPDSACKOldSent TCPDSACKOfoSent TCPDSACKRecv TCPDSACKOfoRecv TCPAbortOnData "
        "TCPAbortOnClose TCPAbortOnMemory TCPAbortOnTimeout TCPAbortOnLinger TCPAbortFailed TCPMemoryPressures "
        "TCPMemoryPressuresChrono TCPSACKDiscard TCPDSACKIgnoredOld TCPDSACKIgnoredNoUndo TCPSpuriousRTOs "
        "TCPMD5NotFound TCPMD5Unexpected TCPMD5Failure TCPSackShifted TCPSackMerged TCPSackShiftFallback "
        "TCPBacklogDrop PFMemallocDrop TCPMinTTLDrop TCPDeferAcceptDrop IPReversePathFilter TCPTimeWaitOverflow "
        "TCPReqQFullDoCookies TCPReqQFullDrop TCPRetransFail TCPRcvCoalesce TCPOFOQueue TCPOFODrop TCPOFOMerge "
        "TCPChallengeACK TCPSYNChallenge TCPFastOpenActive TCPFastOpenActiveFail TCPFastOpenPassive "
        "TCPFastOpenPassiveFail TCPFastOpenListenOverflow TCPFastOpenCookieReqd TCPFastOpenBlackhole "
        "TCPSpuriousRtxHostQueues BusyPollRxPackets TCPAutoCorking TCPFromZeroWindowAdv TCPToZeroWindowAdv "
        "TCPWantZeroWindowAdv TCPSynRetrans TCPOrigDataSent TCPHystartTrainDetect TCPHystartTrainCwnd "
        "TCPHystartDelayDetect TCPHystartDelayCwnd TCPACKSkippedSynRecv TCPACKSkippedPAWS TCPACKSkippedSeq "
        "TCPACKSkippedFinWait2 TCPACKSkippedTimeWait TCPACKSkippedChallenge TCPWinProbe TCPKeepAlive TCPMTUPFail "
        "TCPMTUPSuccess TCPDelivered TCPDeliveredCE TCPAckCompressed TCPZeroWindowDrop TCPRcvQDrop TCPWqueueTooBig "
        "TCPFastOpenPassiveAltKey TcpTimeoutRehash TcpDuplicateDataRehash TCPDSACKRecvSegs TCPDSACKIgnoredDubious "
        "TCPMigrateReqSuccess TCPMigrateReqFailure TCPPLBRehash TCPAORequired TCPAOBad TCPAOKeyNotFound TCPAOGood "
        "TCPAODroppedIcmps"
    ),
    "IpExt": (
        "InNoRoutes InTruncatedPkts InMcastPkts OutMcastPkts InBcastPkts OutBcastPkts InOctets OutOctets "
        "InMcastOctets OutMcastOctets InBcastOctets OutBcastOctets InCsumErrors InNoECTPkts InECT1Pkts InECT0Pkts "
        "InCEPkts ReasmOverlaps"
    ),
}


def rows(host: Host, table: dict[str, str]) -> dict[str, dict[str, int]]:
    """The groups of a table with the values of their columns."""
    known = {name.lower(): value for name, value in values(host).items()}
    known |= {name.lower(): value for name, value in _settings(host).items()}
    return {
        group: {column: known.get((group + column).lower(), 0) for column in columns.split()}
        for group, columns in table.items()
    }


def _settings(host: Host) -> dict[str, int]:
    """What stands among the counters and is none."""
    inet, sysctls = host.ip.inet, host.tcp.tables.sysctls
    established = sum(
        1 for row in host.tcp.tables.connections.values() for end in row.values()
        if getattr(end, "state", 0) in (ESTABLISHED, CLOSE_WAIT)
    )  # fmt: skip
    return {
        "IpForwarding": 1 if inet.forwarding else 2,
        "IpDefaultTTL": int(inet.hop_limit),
        "IpOutTransmits": int(inet.counters.ip_out_requests + inet.counters.ip_forw_datagrams),
        "TcpRtoAlgorithm": 1,
        "TcpRtoMin": int(sysctls.tcp_rto_min_us) // 1000,
        "TcpRtoMax": 120_000,
        "TcpMaxConn": -1,
        "TcpCurrEstab": established,
    }


def proc_text(host: Host, table: dict[str, str]) -> str:
    """The table as /proc/net has it: two lines a group."""
    text = ""
    for group, columns in rows(host, table).items():
        text += f"{group}: {' '.join(columns)}\n{group}: {' '.join(map(str, columns.values()))}\n"
    return text
