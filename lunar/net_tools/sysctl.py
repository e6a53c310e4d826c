"""sysctl(8): read and set the parameters that this stack obeys. One that it does not obey is an error.

`PARAMETERS` is the one table of them: where each is kept, how many values it has, and what they may be. All but those
of congestion control are integers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import attrs

from lunar.net_tools.errors import CommandError, parsed
from lunar.tcp.congestion import registry
from lunar.tcp.opening import fast_accept

if TYPE_CHECKING:
    from lunar.host import Host

_INT_MAX: Final = 2**31 - 1


def _of_ip(host: Host) -> object:
    return host.ip


def _of_inet(host: Host) -> object:
    return host.ip.inet


def _of_tcp(host: Host) -> object:
    return host.tcp.tables.sysctls


@attrs.frozen
class Parameter:
    """One parameter: integers from `smallest` to `largest`, in the attributes of the object that `owner` finds."""

    owner: Callable[[Host], object]
    attributes: tuple[str, ...]
    smallest: int
    largest: int

    def read(self, host: Host) -> tuple[Any, ...]:
        owner = self.owner(host)
        return tuple(int(getattr(owner, name)) for name in self.attributes)

    def parse(self, name: str, text: str) -> list[Any]:
        """The values in `text`, checked. Raises `CommandError`."""
        count = len(self.attributes)
        words = text.split() or [""]
        if len(words) != count:
            wanted = "an integer" if count == 1 else f"{count} integers"
            raise CommandError(f"sysctl: {name}={text.strip()}: expected {wanted}")
        try:
            values = [parsed(_integer, word, "an integer") for word in words]
        except CommandError as wrong:
            raise CommandError(f"sysctl: {name}={text.strip()}: {wrong}") from None
        for value, word in zip(values, words, strict=True):
            if not self.smallest <= value <= self.largest:
                raise CommandError(f"sysctl: {name}={word}: expected {self.smallest} to {self.largest}")
        return values

    def write(self, host: Host, values: list[Any]) -> None:
        owner = self.owner(host)
        for name, value in zip(self.attributes, values, strict=True):
            setattr(owner, name, bool(value) if isinstance(getattr(owner, name), bool) else value)

    def shown(self, values: tuple[Any, ...]) -> str:
        """The values as a command prints them."""
        return "\t".join(map(str, values))


@attrs.frozen
class _PingGroups(Parameter):
    """net.ipv4.ping_group_range: Linux keeps its "nobody" for a range that is none."""

    def write(self, host: Host, values: list[Any]) -> None:
        super().write(host, values if values[0] <= values[1] else [1, 0])


@attrs.frozen
class _PortRange(Parameter):
    """net.ipv4.ip_local_port_range: the first is not above the last."""

    def parse(self, name: str, text: str) -> list[Any]:
        values = super().parse(name, text)
        if values[0] > values[1]:
            raise CommandError(f"sysctl: {name}={text.strip()}: expected the lower port first")
        return values


@attrs.frozen
class _Congestion(Parameter):
    """Names of congestion controls: the default, those that programs may choose, those that there are."""

    def parse(self, name: str, text: str) -> list[Any]:
        words = text.split()
        if name == "net.ipv4.tcp_available_congestion_control":
            raise CommandError(f"sysctl: {name} can only be read")
        if name == "net.ipv4.tcp_congestion_control" and len(words) != 1:
            raise CommandError(f"sysctl: {name}={text.strip()}: expected one name")
        for word in words:
            try:
                registry.find(word)
            except LookupError as unknown:
                raise CommandError(f"sysctl: {name}={word}: {unknown.args[0]}") from None
        return words

    def read(self, host: Host) -> tuple[Any, ...]:
        tables = host.tcp.tables
        if self.attributes == ("congestion",):
            return (tables.congestion.name,)
        return tuple(registry.allowed(tables) if self.attributes else registry.names())

    def write(self, host: Host, values: list[Any]) -> None:
        tables = host.tcp.tables
        if self.attributes == ("congestion",):
            tables.congestion = registry.find(values[0])
        else:
            tables.congestion_allowed = list(values)

    def shown(self, values: tuple[Any, ...]) -> str:
        return " ".join(values)


@attrs.frozen
class _FastOpenKeys(Parameter):
    """net.ipv4.tcp_fastopen_key: four words in hexadecimal joined by "-"; two keys of those by ",". Not numbers."""

    def read(self, host: Host) -> tuple[Any, ...]:
        keys = fast_accept.host_keys(host.tcp.tables)
        return tuple(int.from_bytes(keys[at : at + 4], "little") for at in range(0, len(keys), 4))

    def write(self, host: Host, values: list[Any]) -> None:
        host.tcp.tables.sysctls.tcp_fastopen_key = b"".join(value.to_bytes(4, "little") for value in values)

    def shown(self, values: tuple[Any, ...]) -> str:
        keys = (values[at : at + 4] for at in range(0, len(values), 4))
        return ",".join("-".join(f"{word:08x}" for word in key) for key in keys)

    def parse(self, name: str, text: str) -> list[Any]:
        keys = text.strip().split(",")
        words = [word for key in keys for word in key.split("-")]
        if len(keys) > 2 or any(not re.fullmatch(r"[0-9a-fA-F]{1,8}(-[0-9a-fA-F]{1,8}){3}", key) for key in keys):
            raise CommandError(f"sysctl: {name}={text.strip()}: expected xxxxxxxx-xxxxxxxx-xxxxxxxx-xxxxxxxx, or two")
        return [int(word, 16) for word in words]


def _tcp(name: str, smallest: int, largest: int) -> Parameter:
    return Parameter(_of_tcp, (name,), smallest, largest)


def _tcp_sizes(name: str) -> Parameter:
    """The least, the default and the largest size of a buffer."""
    return Parameter(_of_tcp, (f"{name}_min", f"{name}_default", f"{name}_max"), 1, _INT_MAX)


PARAMETERS: Final[dict[str, Parameter]] = {
    "net.core.somaxconn": _tcp("somaxconn", 0, _INT_MAX),
    "net.ipv4.ip_default_ttl": Parameter(_of_inet, ("hop_limit",), 1, 255),
    "net.ipv4.ip_local_port_range": _PortRange(_of_ip, ("local_port_first", "local_port_last"), 1, 65535),
    "net.ipv4.tcp_abort_on_overflow": _tcp("tcp_abort_on_overflow", 0, 1),
    "net.ipv4.tcp_challenge_ack_limit": _tcp("tcp_challenge_ack_limit", 0, _INT_MAX),
    "net.ipv4.tcp_fin_timeout": _tcp("tcp_fin_timeout", 0, _INT_MAX),
    "net.ipv4.tcp_invalid_ratelimit": _tcp("tcp_invalid_ratelimit", 0, _INT_MAX),
    "net.ipv4.tcp_max_orphans": _tcp("tcp_max_orphans", 0, _INT_MAX),
    "net.ipv4.tcp_max_syn_backlog": _tcp("tcp_max_syn_backlog", 0, _INT_MAX),
    "net.ipv4.tcp_max_tw_buckets": _tcp("tcp_max_tw_buckets", 0, _INT_MAX),
    "net.ipv4.tcp_rfc1337": _tcp("tcp_rfc1337", 0, 1),
    "net.ipv4.tcp_tw_reuse": _tcp("tcp_tw_reuse", 0, 2),
    "net.ipv4.tcp_tw_reuse_delay": _tcp("tcp_tw_reuse_delay", 1, 60_000),
    "net.ipv4.ip_forward": Parameter(_of_inet, ("forwarding",), 0, 1),
    "net.ipv4.ip_no_pmtu_disc": Parameter(_of_ip, ("no_pmtu_disc",), 0, 3),
    "net.ipv4.ping_group_range": _PingGroups(_of_ip, ("ping_group_first", "ping_group_last"), 0, _INT_MAX),
    "net.ipv4.route.min_pmtu": Parameter(_of_ip, ("route_min_pmtu",), 68, _INT_MAX),
    "net.ipv4.route.mtu_expires": Parameter(_of_ip, ("route_mtu_expires",), 0, _INT_MAX),
    "net.ipv4.tcp_allowed_congestion_control": _Congestion(_of_tcp, ("congestion_allowed",), 0, 0),
    "net.ipv4.tcp_available_congestion_control": _Congestion(_of_tcp, (), 0, 0),
    "net.ipv4.tcp_base_mss": _tcp("tcp_base_mss", 48, 65535),
    "net.ipv4.tcp_comp_sack_delay_ns": _tcp("tcp_comp_sack_delay_ns", 0, _INT_MAX),
    "net.ipv4.tcp_comp_sack_nr": _tcp("tcp_comp_sack_nr", 0, 255),
    "net.ipv4.tcp_congestion_control": _Congestion(_of_tcp, ("congestion",), 0, 0),
    "net.ipv4.tcp_dsack": _tcp("tcp_dsack", 0, 1),
    "net.ipv4.tcp_keepalive_intvl": _tcp("tcp_keepalive_intvl", 1, 32767),
    "net.ipv4.tcp_keepalive_probes": _tcp("tcp_keepalive_probes", 1, 127),
    "net.ipv4.tcp_keepalive_time": _tcp("tcp_keepalive_time", 1, 32767),
    "net.ipv4.tcp_ecn": _tcp("tcp_ecn", 0, 2),
    "net.ipv4.tcp_ecn_fallback": _tcp("tcp_ecn_fallback", 0, 1),
    "net.ipv4.tcp_min_rtt_wlen": _tcp("tcp_min_rtt_wlen", 0, 86_400),
    "net.ipv4.tcp_early_retrans": _tcp("tcp_early_retrans", 0, 4),
    "net.ipv4.tcp_frto": _tcp("tcp_frto", 0, 2),
    "net.ipv4.tcp_max_reordering": _tcp("tcp_max_reordering", 1, _INT_MAX),
    "net.ipv4.tcp_min_snd_mss": _tcp("tcp_min_snd_mss", 48, 1400),
    "net.ipv4.tcp_min_tso_segs": _tcp("tcp_min_tso_segs", 1, 0xFFFF),
    "net.ipv4.tcp_fastopen": _tcp("tcp_fastopen", -(2**31), _INT_MAX),
    "net.ipv4.tcp_fastopen_blackhole_timeout_sec": _tcp("tcp_fastopen_blackhole_timeout_sec", 0, _INT_MAX),
    "net.ipv4.tcp_fastopen_key": _FastOpenKeys(_of_tcp, ("tcp_fastopen_key",), 0, 2**32 - 1),
    "net.ipv4.tcp_moderate_rcvbuf": _tcp("tcp_moderate_rcvbuf", 0, 1),
    "net.ipv4.tcp_mtu_probe_floor": _tcp("tcp_mtu_probe_floor", 48, 65535),
    "net.ipv4.tcp_mtu_probing": _tcp("tcp_mtu_probing", 0, 2),
    "net.ipv4.tcp_notsent_lowat": _tcp("tcp_notsent_lowat", 0, 0xFFFF_FFFF),
    "net.ipv4.tcp_orphan_retries": _tcp("tcp_orphan_retries", 0, 255),
    "net.ipv4.tcp_pacing_ca_ratio": _tcp("tcp_pacing_ca_ratio", 0, 1000),
    "net.ipv4.tcp_pacing_ss_ratio": _tcp("tcp_pacing_ss_ratio", 0, 1000),
    "net.ipv4.tcp_probe_interval": _tcp("tcp_probe_interval", 0, _INT_MAX),
    "net.ipv4.tcp_probe_threshold": _tcp("tcp_probe_threshold", 0, 65535),
    "net.ipv4.tcp_recovery": _tcp("tcp_recovery", 0, 255),
    "net.ipv4.tcp_reordering": _tcp("tcp_reordering", 1, 300),
    "net.ipv4.tcp_retrans_collapse": _tcp("tcp_retrans_collapse", 0, 1),
    "net.ipv4.tcp_retries1": _tcp("tcp_retries1", 0, 255),
    "net.ipv4.tcp_retries2": _tcp("tcp_retries2", 0, 255),
    "net.ipv4.tcp_rmem": _tcp_sizes("tcp_rmem"),
    "net.ipv4.tcp_rto_min_us": _tcp("tcp_rto_min_us", 1, _INT_MAX),
    "net.ipv4.tcp_sack": _tcp("tcp_sack", 0, 1),
    "net.ipv4.tcp_slow_start_after_idle": _tcp("tcp_slow_start_after_idle", 0, 1),
    "net.ipv4.tcp_stdurg": Parameter(_of_ip, ("tcp_stdurg",), 0, 1),
    "net.ipv4.tcp_syncookies": _tcp("tcp_syncookies", 0, 2),
    "net.ipv4.tcp_syn_linear_timeouts": _tcp("tcp_syn_linear_timeouts", 0, 127),
    "net.ipv4.tcp_syn_retries": _tcp("tcp_syn_retries", 1, 127),
    "net.ipv4.tcp_synack_retries": _tcp("tcp_synack_retries", 0, 255),
    "net.ipv4.tcp_thin_linear_timeouts": _tcp("tcp_thin_linear_timeouts", 0, 1),
    "net.ipv4.tcp_timestamps": _tcp("tcp_timestamps", 0, 2),
    "net.ipv4.tcp_tso_rtt_log": _tcp("tcp_tso_rtt_log", 0, 255),
    "net.ipv4.tcp_tso_win_divisor": _tcp("tcp_tso_win_divisor", 0, _INT_MAX),
    "net.ipv4.tcp_window_scaling": _tcp("tcp_window_scaling", 0, 1),
    "net.ipv4.tcp_wmem": _tcp_sizes("tcp_wmem"),
    # Linux has these in /sys/module/tcp_cubic/parameters.
    "tcp_cubic.hystart": Parameter(_of_tcp, ("cubic_hystart",), 0, 1),
    "tcp_cubic.hystart_detect": Parameter(_of_tcp, ("cubic_hystart_detect",), 0, 3),
    "tcp_cubic.hystart_low_window": Parameter(_of_tcp, ("cubic_hystart_low_window",), 0, _INT_MAX),
}


def run(host: Host, words: list[str]) -> str:
    """`sysctl -a`, `sysctl [-n] NAME`, `sysctl [-w] [-n] [-q] [-e] NAME=VALUE`; several at once."""
    if words == ["-a"]:
        return "".join(f"{name} = {_shown(host, name)}\n" for name in sorted(PARAMETERS))
    options: set[str] = set()
    while words and words[0] in ("-w", "-n", "-q", "-e"):
        options.add(words[0])
        words = words[1:]
    if not words:
        raise CommandError("sysctl: a parameter is missing; expected NAME or NAME=VALUE")
    if len(words) == 3 and words[1] == "=":
        words = ["".join(words)]
    parameters: list[tuple[str, list[Any] | None]] = []
    for word in words:
        name, equals, value = word.partition("=")
        name = name.strip().replace("/", ".")
        if name not in PARAMETERS:
            if "-e" in options:
                continue  # asked for: what is not known is passed over
            raise CommandError(f'sysctl: this stack does not obey "{name}"; "sysctl -a" lists what it obeys')
        if "-w" in options and not equals:
            raise CommandError(f"sysctl: -w {word}: expected NAME=VALUE")
        parameters.append((name, PARAMETERS[name].parse(name, value) if equals else None))
    # All words are good: only now does anything change.
    printed = ""
    for name, numbers in parameters:
        if numbers is not None:
            PARAMETERS[name].write(host, numbers)
            if "-q" in options:
                continue
        printed += f"{_shown(host, name)}\n" if "-n" in options else f"{name} = {_shown(host, name)}\n"
    return printed


def _shown(host: Host, name: str) -> str:
    parameter = PARAMETERS[name]
    return parameter.shown(parameter.read(host))


def _integer(text: str) -> int:
    """As the kernel reads one: 0x for hexadecimal."""
    return int(text, 16 if text.lower().startswith("0x") else 10)


def read(host: Host, name: str) -> tuple[Any, ...]:
    """The value of a parameter, of a few parameters several. Raises `LookupError` for one that is not obeyed here."""
    if name not in PARAMETERS:
        raise LookupError(name)
    return PARAMETERS[name].read(host)


def write(host: Host, name: str, values: tuple[Any, ...]) -> None:
    """Set a parameter. Raises `LookupError`, and `ValueError` for a value that it cannot have."""
    if name not in PARAMETERS:
        raise LookupError(name)
    try:
        parameter = PARAMETERS[name]
        parameter.write(host, parameter.parse(name, parameter.shown(values)))
    except CommandError as refused:
        raise ValueError(str(refused)) from None
