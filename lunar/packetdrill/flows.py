"""The connections of a run: what a script's numbers stand for on the wire.

A script has sequence numbers, timestamps and ports of its own choice; the stack under test draws its own. The first SYN
of each end tells what its first sequence number stands for: the stack's whatever it drew, the interpreter's what the
script says. The handshake has these numbers as they are; from its end on, numbers count from them. A packet without
ports belongs to the connection that began last, as in the tool.
"""

from __future__ import annotations

from typing import Final

import attrs

from lunar.packet import ACK, RST, SYN
from lunar.packetdrill.backend import Settings
from lunar.packetdrill.live import LivePacket
from lunar.packetdrill.script import TcpOption, TcpPacket
from lunar.wire.address import parse_address

_MASK: Final = 0xFFFF_FFFF
# The first port that the interpreter takes for its own end of a connection.
_FIRST_REMOTE_PORT: Final = 53_000


@attrs.define(eq=False)
class Flow:
    """One connection. `local` is the stack's end, `remote` the interpreter's; a port of 0 is not known yet."""

    local_port: int
    remote_port: int
    passive: bool  # begun by the interpreter's SYN
    # What a script calls them, if it does.
    script_ports: tuple[int, int] | None = None
    # Live minus script, of the stack's sequence numbers; None before its SYN.
    shift: int | None = None
    # The script's first sequence number of the stack, and that of the interpreter's end, if it has sent a SYN.
    first_seq: int = 0
    remote_seq: int | None = None
    handshaken: bool = False  # numbers count from the first ones, those of SYNs, too
    answered: bool = False  # something came from the interpreter's end after the first SYN
    fd: int | None = None  # the descriptor (live) that the program has of it
    # The stack's timestamps by those of the script, and the first pair of them.
    timestamps: dict[int, int] = attrs.field(factory=dict)
    first_timestamp: tuple[int, int] | None = None
    scales_echoes: bool = False

    def live_seq(self, seq: int, flags: int = ACK) -> int:
        """The stack's sequence number for one of the script, of a segment with these flags."""
        return (seq + (self.shift or 0) + (0 if self._is_as_written(flags) else self.first_seq)) & _MASK

    def script_seq(self, seq: int, flags: int = ACK) -> int:
        """The script's for one of the stack."""
        return (seq - (self.shift or 0) - (0 if self._is_as_written(flags) else self.first_seq)) & _MASK

    def live_remote(self, seq: int, flags: int = ACK) -> int:
        """The interpreter's sequence number for one of the script."""
        return (seq + (0 if self._is_as_written(flags) else self.remote_seq or 0)) & _MASK

    def script_remote(self, seq: int, flags: int = ACK) -> int:
        """The script's for one of the interpreter's end."""
        return (seq - (0 if self._is_as_written(flags) else self.remote_seq or 0)) & _MASK

    def _is_as_written(self, flags: int) -> bool:
        return flags & SYN != 0 and not self.handshaken

    def note_inbound(self, seq: int, flags: int) -> None:
        """A segment of the interpreter's end is about to go in, with the script's `seq`."""
        if self._is_as_written(flags):
            self.remote_seq = seq
        else:
            self.note_segment(flags)

    def note_segment(self, flags: int) -> None:
        """A segment of either end: the first that is no SYN, once both ends have sent one, ends the handshake."""
        if not flags & (SYN | RST) and self.shift is not None and self.remote_seq is not None:
            self.handshaken = True

    def note_timestamp(self, script: int, live: int) -> None:
        """The stack has sent `live` where the script says `script`."""
        self.timestamps[script] = live
        if self.first_timestamp is None:
            self.first_timestamp = script, live

    def live_echo(self, script: int) -> int:
        """What the interpreter echoes for the script's `script`: the value that stood for it. Of one that stood for
        none, as far from the first as the script says, if that is wanted (`--tcp_ts_ecr_scaled`). Raises `LookupError`.
        """
        if script == 0 or self.first_timestamp is None:
            return script & _MASK
        found = self.timestamps.get(script)
        if found is None:
            if not self.scales_echoes:
                raise LookupError(
                    f"unable to infer live TS ecr for script TS ecr {script};  no matching or preceding outbound TS val"
                )
            first_script, first_live = self.first_timestamp
            found = first_live + script - first_script
        return found & _MASK

    def live_options(self, options: tuple[TcpOption, ...]) -> tuple[TcpOption, ...]:
        """The options of a packet from the interpreter's end, as they go on the wire."""
        if not any(option.name in ("TS", "sack") for option in options):
            return options
        made: list[TcpOption] = []
        for option in options:
            value = option.value
            if option.name == "TS":
                made.append(TcpOption("TS", (value[0], self.live_echo(value[1]))))
            elif option.name == "sack":
                blocks = tuple((self.live_seq(left), self.live_seq(right)) for left, right in value)
                made.append(TcpOption("sack", blocks))
            else:
                made.append(option)
        return tuple(made)


class Flows:
    """All connections of one run, the last one begun at the end."""

    def __init__(self, settings: Settings) -> None:
        self.local_ip: Final = parse_address(settings.local_ip)[1]
        self.remote_ip: Final = parse_address(settings.remote_ip)[1]
        self.is_ipv6: Final = ":" in settings.local_ip  # on the wire; mapped addresses are IPv4 there
        self._bind_port: Final = settings.bind_port
        self._connect_port: Final = settings.connect_port
        self._scales_echoes: Final = settings.tcp_ts_ecr_scaled
        self._flows: list[Flow] = []
        self._next_remote_port = _FIRST_REMOTE_PORT
        # The stack's port and the interpreter's of the last datagram, and those of the first that comes in before.
        self.datagram_ports: tuple[int, int] = settings.bind_port, _FIRST_REMOTE_PORT
        # The descriptor that connects, until its SYN is seen.
        self.connecting: int | None = None
        # Whether somebody has begun to listen since the last SYN that had no ports: the next one begins a connection,
        # and those after it are of this connection.
        self.listens = False

    @property
    def last(self) -> Flow | None:
        """The connection that began last."""
        return self._flows[-1] if self._flows else None

    def for_inbound(self, spec: TcpPacket) -> Flow | None:
        """The connection that a packet of the script for the stack belongs to; a SYN may begin one."""
        local, remote = (spec.ports[1], spec.ports[0]) if spec.ports else (0, 0)
        flow = self._by_script(local, remote)
        if spec.flags & (SYN | ACK) == SYN and (flow is None or (self.listens and not spec.ports)):
            return self._begin_passive(local, remote)
        if flow is not None and flow.shift is not None and not spec.flags & SYN:
            flow.answered = True
        return flow

    def _begin_passive(self, local: int, remote: int) -> Flow:
        self.listens = False
        flow = Flow(local or self._bind_port, remote or self._next_remote_port, True)
        if not remote:
            self._next_remote_port += 1
        if local or remote:
            flow.script_ports = local, remote
        flow.scales_echoes = self._scales_echoes
        self._flows.append(flow)
        return flow

    def for_outbound(self, spec: TcpPacket) -> Flow | None:
        """The connection that an expected packet belongs to; None for a SYN that begins one."""
        local, remote = spec.ports or (0, 0)
        flow = self._by_script(local, remote)
        if spec.flags & (SYN | ACK) == SYN and self.connecting is not None:
            return None
        return flow

    def _by_script(self, local: int, remote: int) -> Flow | None:
        if not local and not remote:
            return self.last
        for flow in reversed(self._flows):
            if flow.script_ports == (local, remote):
                return flow
        return None

    def begin_active(self, spec: TcpPacket, live: LivePacket) -> Flow:
        """A connection that the stack has begun by `live`."""
        flow = Flow(live.sport, live.dport, False, spec.ports)
        flow.fd = self.connecting
        flow.scales_echoes = self._scales_echoes
        self.connecting = None
        self._flows.append(flow)
        return flow

    def is_new(self, live: LivePacket) -> bool:
        """Whether `live` is a SYN that begins a connection which nobody knows yet."""
        return live.flags & (SYN | ACK) == SYN and self.of_live(live) is None

    def of_live(self, live: LivePacket) -> Flow | None:
        """The connection that a packet of the stack belongs to."""
        for flow in reversed(self._flows):
            if flow.local_port == live.sport and flow.remote_port == live.dport:
                return flow
        return None

    def has(self, fd: int) -> bool:
        """Whether the descriptor is of a connection that was begun."""
        return any(flow.fd == fd for flow in self._flows)

    def note_closed(self, fd: int) -> None:
        """The number is free for another."""
        for flow in self._flows:
            if flow.fd == fd:
                flow.fd = None
        if self.connecting == fd:
            self.connecting = None

    def note_accepted(self, fd: int, remote_port: int) -> None:
        """The program has the connection with this port as `fd`."""
        for flow in self._flows:
            if flow.remote_port == remote_port and flow.passive:
                flow.fd = fd
