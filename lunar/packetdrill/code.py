"""`%{ }%` in scripts: Python that looks at what TCP_INFO tells of the connection.

Each field of `struct tcp_info` (linux/tcp.h, tcp(7)) is a name, as are the constants that its values are compared with.
All pieces of a script share one namespace. What a piece prints goes where prints go; what it raises is told with the
script's line. The tool gathers all pieces and runs them at the script's end; here each runs at its time, so that the
first thing that is wrong is told first.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from lunar.packetdrill.script import Code

# Bytes to ask for: more than Linux 6.18 has.
INFO_BYTES: Final = 512

# Names and formats of the fields in order; "4" and such are fields of so many bits of one byte, low bits first.
_FIELDS: Final = (
    "state B", "ca_state B", "retransmits B", "probes B", "backoff B", "options B", "wscales B", "fast_open_flags B",
    "rto I", "ato I", "snd_mss I", "rcv_mss I", "unacked I", "sacked I", "lost I", "retrans I", "fackets I",
    "last_data_sent I", "last_ack_sent I", "last_data_recv I", "last_ack_recv I", "pmtu I", "rcv_ssthresh I", "rtt I",
    "rttvar I", "snd_ssthresh I", "snd_cwnd I", "advmss I", "reordering I", "rcv_rtt I", "rcv_space I",
    "total_retrans I", "pacing_rate Q", "max_pacing_rate Q", "bytes_acked Q", "bytes_received Q", "segs_out I",
    "segs_in I", "notsent_bytes I", "min_rtt I", "data_segs_in I", "data_segs_out I", "delivery_rate Q", "busy_time Q",
    "rwnd_limited Q", "sndbuf_limited Q", "delivered I", "delivered_ce I", "bytes_sent Q", "bytes_retrans Q",
    "dsack_dups I", "reord_seen I", "rcv_ooopack I", "snd_wnd I", "rcv_wnd I", "rehash I", "total_rto H",
    "total_rto_recoveries H", "total_rto_time I",
)  # fmt: skip
_NAMES: Final = tuple(field.split()[0] for field in _FIELDS)
_INFO: Final = struct.Struct("<" + "".join(field.split()[1] for field in _FIELDS))

# linux/tcp.h and linux/tcp_states.h.
CONSTANTS: Final[dict[str, int]] = {
    "TCP_ESTABLISHED": 1, "TCP_SYN_SENT": 2, "TCP_SYN_RECV": 3, "TCP_FIN_WAIT1": 4, "TCP_FIN_WAIT2": 5,
    "TCP_TIME_WAIT": 6, "TCP_CLOSE": 7, "TCP_CLOSE_WAIT": 8, "TCP_LAST_ACK": 9, "TCP_LISTEN": 10, "TCP_CLOSING": 11,
    "TCP_NEW_SYN_RECV": 12,
    "TCP_CA_Open": 0, "TCP_CA_Disorder": 1, "TCP_CA_CWR": 2, "TCP_CA_Recovery": 3, "TCP_CA_Loss": 4,
    "TCPI_OPT_TIMESTAMPS": 1, "TCPI_OPT_SACK": 2, "TCPI_OPT_WSCALE": 4, "TCPI_OPT_ECN": 8, "TCPI_OPT_ECN_SEEN": 16,
    "TCPI_OPT_SYN_DATA": 32,
    "TCP_INFINITE_SSTHRESH": 0x7FFF_FFFF,
}  # fmt: skip


def names_of(info: bytes) -> dict[str, int]:
    """The `tcpi_` names of the bytes of a `struct tcp_info`. What an older kernel does not tell is 0."""
    values = _INFO.unpack_from(info.ljust(_INFO.size, b"\0"))
    names = {f"tcpi_{name}": value for name, value in zip(_NAMES, values, strict=True)}
    names["tcpi_snd_wscale"] = names["tcpi_wscales"] & 0xF
    names["tcpi_rcv_wscale"] = names.pop("tcpi_wscales") >> 4
    flags = names.pop("tcpi_fast_open_flags")
    names["tcpi_delivery_rate_app_limited"] = flags & 1
    names["tcpi_fastopen_client_fail"] = flags >> 1 & 3
    return names


class Snippets:
    """The pieces of code of one run."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._names: dict[str, Any] = dict(CONSTANTS)

    def run(self, code: Code, line: int, info: bytes | None) -> None:
        """Run `code`, which stands in `line`. Raises what it raises, `SyntaxError` as well."""
        if info is not None:
            self._names.update(names_of(info))
        # Its lines keep the numbers that they have in the script, for tracebacks.
        source = "\n" * (line - 1 + code.text[: len(code.text) - len(code.text.lstrip())].count("\n"))
        # A last line that says it goes on has nothing to go on with here.
        text = code.text.strip().rstrip("\\")
        exec(compile(source + text, self._path, "exec"), self._names)
