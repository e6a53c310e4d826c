"""A script is run: its events one after another, each at its time, over a stack under test.

The interpreter is one flow of events. A call that is to block (`0...0.2 read(...)`) runs beside it and is looked at
when the next such call comes, and at the end. What the stack sends is kept until an event expects it; what no event
expects is not looked at, as in the tool.

A relative time counts from the moment when the event before was done with. A packet may come earlier or later than its
time by the tolerance: `--tolerance_usecs`, or `--tolerance_percent` of the time since the event before, the larger one.
"""

from __future__ import annotations

import errno
import sys
import traceback
from pathlib import Path
from typing import Final

import attrs

from lunar.packet import ACK, ICMP, SYN, TCP
from lunar.packetdrill import live, packets
from lunar.packetdrill.backend import Backend, Settings, ShellError, Task
from lunar.packetdrill.calls import CallFailed, Calls
from lunar.packetdrill.code import INFO_BYTES, Snippets
from lunar.packetdrill.flows import Flow, Flows
from lunar.packetdrill.live import LivePacket
from lunar.packetdrill.packets import Mismatch, Unsupported
from lunar.packetdrill.script import (
    ABSOLUTE,
    ANY,
    Code,
    Command,
    Event,
    IcmpPacket,
    Script,
    ScriptError,
    SystemCall,
    TcpPacket,
    UdpPacket,
)

_NS: Final = 1_000_000_000
_IPPROTO_TCP: Final = 6
_TCP_INFO: Final = 11
# How long a packet is waited for after its time, so that one which is late can be told from one that does not come.
_PATIENCE_NS: Final = 1 * _NS
# How long a packet without a time may take: the tool gives a script so long.
_LIMIT_NS: Final = 180 * _NS
# How long a call may take that is not to block: one with a timeout of its own does, as epoll_wait.
_CALL_NS: Final = 20 * _NS


@attrs.define
class _Blocking:
    """A call that runs beside the script, and when it is to end."""

    event: Event
    call: SystemCall
    task: Task
    started_ns: int
    end_ns: int


class Runner:
    """One run of one script over `backend`."""

    def __init__(self, script: Script, settings: Settings, backend: Backend, verbose: bool = False) -> None:
        self._script = script
        self._settings = settings
        self._backend = backend
        self._verbose = verbose
        self._flows = Flows(settings)
        self._calls = Calls(backend, settings, self._flows)
        self._snippets = Snippets(script.path)
        self._folder = Path(script.path).resolve().parent
        self._start_ns = 0
        self._before_ns = 0  # the time of the event before, of the script's own clock
        self._absolute_ns = 0  # the last time that the script gives as such
        self._blocking: _Blocking | None = None

    def run(self) -> None:
        """Raises `ScriptError` with the first thing that is wrong."""
        script = self._script
        if script.init is not None:
            self._command(script.init, script.init_line)
        self._start_ns = self._backend.now_ns()
        self._calls.begin()
        try:
            for event in script.events:
                self._event(event)
            self._finish_blocking()
        finally:
            if script.cleanup is not None:
                self._clean_up(script)

    def _clean_up(self, script: Script) -> None:
        """What a script does at its end is done after a failure, too, and then is not what is told."""
        assert script.cleanup is not None
        failing = sys.exc_info()[0] is not None
        try:
            self._command(script.cleanup, script.cleanup_line)
        except ScriptError:
            if not failing:
                raise

    def _now_ns(self) -> int:
        """The script's clock."""
        return self._backend.now_ns() - self._start_ns

    def _wrong(self, event: Event, what: str) -> ScriptError:
        return ScriptError(self._script.path, event.line, what)

    def _event(self, event: Event) -> None:
        base_ns = 0 if event.time == ABSOLUTE else self._now_ns()
        at_ns = base_ns + event.at_ns
        action = event.action
        if event.time == ABSOLUTE:
            if at_ns < self._absolute_ns:
                raise self._wrong(
                    event,
                    f"semantic error: its time, {at_ns / _NS:.6f} sec, lies before that of an event above it, "
                    f"{self._absolute_ns / _NS:.6f} sec",
                )
            self._absolute_ns = at_ns
        if isinstance(action, (TcpPacket, UdpPacket, IcmpPacket)) and action.outbound:
            self._expect(event, at_ns, base_ns)
            self._before_ns = at_ns if event.time != ANY else self._now_ns()
            return
        self._backend.sleep_until(self._start_ns + at_ns)
        if isinstance(action, SystemCall):
            self._system_call(event, action, base_ns, at_ns)
        elif isinstance(action, Command):
            self._command(action, event.line)
        elif isinstance(action, Code):
            self._code(event, action)
        else:
            self._inject(event, at_ns)
        self._before_ns = at_ns
        blocking = self._blocking
        if blocking is not None and blocking.task.done:
            self._finish_blocking()

    # Packets

    def _inject(self, event: Event, at_ns: int) -> None:
        spec = event.action
        if isinstance(spec, (TcpPacket, UdpPacket, IcmpPacket)) and spec.around:
            raise self._wrong(event, f"error handling packet: {spec.around[0].kind} headers are not supported")
        try:
            if isinstance(spec, TcpPacket):
                flow = self._flows.for_inbound(spec)
                if flow is None:
                    raise Unsupported("no connection for this packet: no SYN came before it")
                data = packets.inbound_tcp(spec, flow, self._flows)
            elif isinstance(spec, UdpPacket):
                data = packets.inbound_udp(spec, self._flows)
            else:
                assert isinstance(spec, IcmpPacket)
                data = packets.inbound_icmp(spec, self._flows.last, self._flows)
        except (Unsupported, LookupError) as wrong:
            raise self._wrong(event, f"error handling packet: {wrong}") from None
        if self._verbose:
            print(f"inbound injected packet: {packets.script_text(spec, at_ns)}")
        self._backend.inject(data, self._settings.mss)

    def _expect(self, event: Event, at_ns: int, base_ns: int) -> None:
        spec = event.action
        assert isinstance(spec, (TcpPacket, UdpPacket, IcmpPacket))
        if spec.around:
            raise self._wrong(event, f"error handling packet: {spec.around[0].kind} headers are not supported")
        end_ns = _LIMIT_NS + self._now_ns()
        if event.time != ANY:
            last_ns = at_ns if event.until_ns is None else base_ns + event.until_ns
            end_ns = last_ns + max(self._tolerance_ns(at_ns), _PATIENCE_NS)
        packet = self._next(event, spec, end_ns)
        if isinstance(spec, TcpPacket) and 0 < packet.payload < spec.payload and not self._settings.strict_segments:
            packet = self._put_together(event, spec, packet, at_ns, end_ns)
        self._compare(event, spec, packet, at_ns, base_ns)

    def _next(self, event: Event, spec: TcpPacket | UdpPacket | IcmpPacket, end_ns: int) -> LivePacket:
        """The next packet of the connection that the script speaks of."""
        while True:
            sent = self._backend.sent(self._start_ns + end_ns)
            if sent is None:
                raise self._wrong(event, "error handling packet: Timed out waiting for packet")
            packet = live.parse(sent.data, sent.at_ns - self._start_ns)
            if packet is None:
                continue
            meant = self._is_meant(spec, packet)
            if self._verbose:
                # Before it is compared, and with the script's numbers if it can have them.
                flow = self._flows.of_live(packet)
                if isinstance(spec, TcpPacket) and meant and packet.protocol == TCP:
                    flow = self._flow_of(spec, packet)
                print(f"outbound sniffed packet: {packets.live_text(packet, flow, packet.at_ns)}")
            if meant:
                return packet

    def _put_together(
        self, event: Event, spec: TcpPacket, first: LivePacket, at_ns: int, end_ns: int
    ) -> LivePacket:
        """Segments that follow each other, as one, up to what the script expects: how large each is, is the stack's to
        decide. It has the first's sequence number and all else of the last.
        """
        if spec.flags & SYN:
            return first
        whole = first
        parts = [first]
        flow = self._flows.of_live(first)
        while whole.payload < spec.payload:
            part = self._next(event, spec, end_ns)
            parts.append(part)
            following = (whole.seq + whole.payload) & 0xFFFF_FFFF
            payload = whole.payload + part.payload
            wrong = ""
            if part.seq != following:
                script, actual = (seq if flow is None else flow.script_seq(seq) for seq in (following, part.seq))
                wrong = f"live packet field tcp_seq: expected: {script} ({script:#x}) vs actual: {actual} ({actual:#x})"
            elif part.payload < min(first.payload, spec.payload - whole.payload):
                wrong = (
                    f"fragment payload: expected {min(first.payload, spec.payload - whole.payload)} bytes vs actual "
                    f"{part.payload} bytes; total payload: expected {spec.payload} bytes vs actual {payload} bytes"
                )
            if wrong:
                lines = [f"error handling packet: {wrong}", f"   script packet: {packets.script_text(spec, at_ns)}"]
                lines += [
                    f"actual #{number} packet: {packets.live_text(one, flow, one.at_ns)}"
                    for number, one in enumerate(parts)
                ]
                raise self._wrong(event, "\n".join(lines))
            whole = attrs.evolve(
                part, seq=first.seq, payload=payload, total_length=whole.total_length + part.payload
            )
        return whole

    def _is_meant(self, spec: TcpPacket | UdpPacket | IcmpPacket, packet: LivePacket) -> bool:
        """Whether a packet of the stack is of the connection that the script speaks of. Others pass by."""
        if isinstance(spec, UdpPacket):
            return packet.protocol != TCP
        if isinstance(spec, IcmpPacket):
            return True
        if packet.protocol != TCP:
            return packet.protocol == ICMP
        flow = self._flows.for_outbound(spec)
        if flow is None:
            return self._flows.is_new(packet)
        return self._flows.of_live(packet) is flow

    def _compare(
        self, event: Event, spec: TcpPacket | UdpPacket | IcmpPacket, packet: LivePacket, at_ns: int, base_ns: int
    ) -> None:
        flow: Flow | None = None
        try:
            if isinstance(spec, TcpPacket):
                flow = self._flow_of(spec, packet)
                packets.compare_tcp(spec, packet, flow, self._settings.tcp_ts_tick_usecs, self._tick_tolerance(at_ns))
            elif isinstance(spec, UdpPacket):
                packets.compare_udp(spec, packet, self._flows)
            else:
                packets.compare_icmp(spec, packet)
            self._check_time(event, packet, at_ns, base_ns)
        except Unsupported as unsupported:
            raise self._wrong(event, f"error handling packet: {unsupported}") from None
        except Mismatch as mismatch:
            raise self._wrong(
                event,
                f"error handling packet: {mismatch}\n"
                f"script packet: {packets.script_text(spec, at_ns)}\n"
                f"actual packet: {packets.live_text(packet, flow, packet.at_ns)}",
            ) from None

    def _flow_of(self, spec: TcpPacket, packet: LivePacket) -> Flow:
        flow = self._flows.of_live(packet)
        if flow is None:
            flow = self._flows.begin_active(spec, packet)
        if flow.shift is None and (packet.flags & SYN or not flow.passive):
            if spec.flags & SYN:
                flow.shift = (packet.seq - spec.seq) & 0xFFFF_FFFF
                flow.first_seq = spec.seq
        elif packet.flags & (SYN | ACK) == SYN and spec.flags & SYN and not flow.answered:
            # Another attempt of the same socket, with another first number.
            flow.shift = (packet.seq - spec.seq) & 0xFFFF_FFFF
        if flow.shift is None:
            # A RST in answer to what belongs to no connection has the number that was acknowledged.
            flow.shift = 0
        return flow

    def _tolerance_ns(self, at_ns: int) -> int:
        passed_ns = max(0, at_ns - self._before_ns)
        return max(self._settings.tolerance_usecs * 1000, int(passed_ns * self._settings.tolerance_percent / 100))

    def _tick_tolerance(self, at_ns: int) -> int:
        """How far the stack's timestamps may be from what the script says, in microseconds, so long after its begin."""
        settings = self._settings
        return max(settings.tolerance_usecs, int(at_ns / 1000 * settings.tolerance_percent / 100))

    def _check_time(self, event: Event, packet: LivePacket, at_ns: int, base_ns: int) -> None:
        if event.time == ANY:
            return
        tolerance_ns = self._tolerance_ns(at_ns)
        actual_ns = packet.at_ns
        if event.until_ns is not None:
            last_ns = base_ns + event.until_ns
            if at_ns - tolerance_ns <= actual_ns <= last_ns + tolerance_ns:
                return
            if event.time == ABSOLUTE:
                raise Mismatch(
                    f"timing error: expected outbound packet in time range {at_ns / _NS:.6f}~{last_ns / _NS:.6f} sec "
                    f"but happened at {actual_ns / _NS:.6f} sec"
                )
            raise Mismatch(
                f"timing error: expected outbound packet in relative time range +{event.at_ns / _NS:.6f}~"
                f"+{event.until_ns / _NS:.6f} sec but happened at {(actual_ns - base_ns) / _NS:+.6f} sec"
            )
        if abs(actual_ns - at_ns) > tolerance_ns:
            raise Mismatch(
                f"timing error: expected outbound packet at {at_ns / _NS:.6f} sec but happened at "
                f"{actual_ns / _NS:.6f} sec; tolerance {tolerance_ns / _NS:.6f} sec"
            )

    # System calls

    def _system_call(self, event: Event, call: SystemCall, base_ns: int, at_ns: int) -> None:
        if call.end_ns is not None:
            self._finish_blocking()
            task = self._backend.start(lambda: self._calls.run(call))
            self._blocking = _Blocking(event, call, task, at_ns, base_ns + call.end_ns)
            return
        task = self._backend.start(lambda: self._calls.run(call))
        if not self._backend.wait(task, self._backend.now_ns() + _CALL_NS):
            raise self._wrong(
                event, f"runtime error in {call.name} call: it blocks, and nothing that is to come here can wake it"
            )
        self._result(event, call, task)

    def _result(self, event: Event, call: SystemCall, task: Task) -> None:
        try:
            task.result()
        except CallFailed as failed:
            raise self._wrong(event, f"runtime error in {call.name} call: {failed}") from None

    def _finish_blocking(self) -> None:
        """Wait for the call that runs beside, if there is one, and look at how and when it ended."""
        blocking, self._blocking = self._blocking, None
        if blocking is None:
            return
        event, call = blocking.event, blocking.call
        passed_ns = max(0, blocking.end_ns - blocking.started_ns)
        tolerance_ns = max(
            self._settings.tolerance_usecs * 1000, int(passed_ns * self._settings.tolerance_percent / 100)
        )
        until_ns = self._start_ns + blocking.end_ns + max(tolerance_ns, _PATIENCE_NS)
        if not self._backend.wait(blocking.task, max(until_ns, self._backend.now_ns())):
            raise self._wrong(
                event,
                f"timing error: expected system call return at {blocking.end_ns / _NS:.6f} sec "
                f"but it blocks still at {self._now_ns() / _NS:.6f} sec",
            )
        self._result(event, call, blocking.task)
        ended_ns = blocking.task.ended_ns - self._start_ns
        if abs(ended_ns - blocking.end_ns) > tolerance_ns:
            raise self._wrong(
                event,
                f"timing error: expected system call return at {blocking.end_ns / _NS:.6f} sec but happened at "
                f"{ended_ns / _NS:.6f} sec; tolerance {tolerance_ns / _NS:.6f} sec",
            )

    # Command lines and code

    def _command(self, command: Command, line: int) -> None:
        try:
            complaints = self._backend.shell(command.text, self._folder)
            if complaints and self._verbose:
                print(complaints, end="")
        except ShellError as error:
            raise ScriptError(self._script.path, line, str(error)) from None

    def _code(self, event: Event, code: Code) -> None:
        try:
            self._snippets.run(code, event.line, self._info(event))
        except ScriptError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a script's own code raises is its failure
            said = traceback.format_exception_only(error)[-1].strip()
            frames = traceback.extract_tb(error.__traceback__)
            line = next((frame.lineno for frame in reversed(frames) if frame.filename == self._script.path), None)
            where = "" if line is None or line == event.line else f" (line {line})"
            raise self._wrong(event, f"error in Python code: {said}{where}") from None

    def _info(self, event: Event) -> bytes | None:
        """TCP_INFO of the connection that the script is about; None if the program has none."""
        flow = self._flows.last
        fd = flow.fd if flow is not None and flow.fd is not None else self._calls.last_fd
        if fd is None or not self._calls.is_open(fd):
            return None
        task = self._backend.start(lambda: self._backend.syscalls.getsockopt(fd, _IPPROTO_TCP, _TCP_INFO, INFO_BYTES))
        self._backend.wait(task, self._backend.now_ns())
        try:
            info: bytes = task.result()
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "?")
            raise self._wrong(event, f"error in Python code: no TCP_INFO of the socket: {name}") from None
        return info
