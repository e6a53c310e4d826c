"""From tokens to a `Script`, by the grammar of the language; one function a rule, its name is the rule's.

`script := option* command? event+ command?`, and the rest where it is read. What stands in braces is read as one kind
of structure, fields with names or without: which fields a system call takes, calls.py knows.

Left out: nothing is refused for its meaning, but for a few rules that the tool has, too (a range of time is for packets
that are expected).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from lunar.packet import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG
from lunar.packetdrill import lexer
from lunar.packetdrill.lexer import Tokens
from lunar.packetdrill.script import (
    ABSOLUTE,
    ANY,
    CE,
    ECT0,
    ECT01,
    ECT1,
    ELLIPSIS,
    NO_ECN,
    RELATIVE,
    TOS,
    Array,
    Code,
    Command,
    Encapsulation,
    Event,
    Expression,
    Field,
    Function,
    IcmpPacket,
    IpInfo,
    Or,
    Packet,
    Script,
    ScriptError,
    Struct,
    SystemCall,
    TcpOption,
    TcpPacket,
    Text,
    UdpPacket,
    Word,
)

_FLAGS: Final = {
    "F": FIN, "S": SYN, "R": RST, "P": PSH, ".": ACK, "U": URG, "E": ECE, "W": CWR,
}  # fmt: skip
_ECN: Final = (NO_ECN, ECT0, ECT1, ECT01, CE)
_NO_IP_INFO: Final = IpInfo()
_ESCAPE: Final = re.compile(r"\\(x[0-9A-Fa-f]{2}|.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "0": "\0"}
# An IPv4 packet has 65535 bytes at most, of which the headers of IP and UDP (or ICMP) have 28.
_DATAGRAM_MOST: Final = 65507


def parse(text: str, path: str, define: Mapping[str, str] | None = None) -> Script:
    """The script that `text` is. `define` are the values of words. Raises `ScriptError`."""
    return _Parser(Tokens(path, text, define or {})).script()


class _Parser:
    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._kinds = tokens.kinds
        self._texts = tokens.texts
        self._at = 0

    # Steps

    def _wrong(self, what: str = "syntax error") -> ScriptError:
        return self._tokens.error(self._at, what)

    def _is(self, text: str) -> bool:
        """Whether the next token is this word or punctuation, which it then takes."""
        if self._texts[self._at] == text and self._kinds[self._at] != lexer.STRING:
            self._at += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._is(text):
            raise self._wrong()

    def _take(self, kind: str) -> str:
        if self._kinds[self._at] != kind:
            raise self._wrong()
        self._at += 1
        return self._texts[self._at - 1]

    def _field_of(self, bits: int, what: str) -> int:
        """A number for a header's field of so many bits."""
        return self._up_to((1 << bits) - 1, what)

    def _up_to(self, most: int, what: str) -> int:
        value = self._integer()
        if not 0 <= value <= most:
            self._at -= 1
            raise self._wrong(f"{what} is beyond {most}" if value > most else f"{what} is negative")
        return value

    def _integer(self) -> int:
        kind, text = self._kinds[self._at], self._texts[self._at]
        if kind == lexer.INTEGER:
            self._at += 1
            return int(text)
        if kind == lexer.HEX:
            self._at += 1
            return int(text, 16)
        raise self._wrong()

    # The whole

    def script(self) -> Script:
        options: list[tuple[str, str]] = []
        while self._kinds[self._at] == lexer.OPTION:
            name, _, value = self._take(lexer.OPTION)[2:].partition("=")
            options.append((name, value))
        init, init_line = self._command_between()
        events: list[Event] = []
        while self._kinds[self._at] not in (lexer.END, lexer.COMMAND):
            events.append(self._event())
        if not events:
            raise self._wrong()
        cleanup, cleanup_line = self._command_between()
        if self._kinds[self._at] != lexer.END:
            raise self._wrong()
        return Script(self._tokens.path, tuple(options), init, tuple(events), cleanup, init_line, cleanup_line)

    def _command_between(self) -> tuple[Command | None, int]:
        """A command before the first event or after the last one."""
        if self._kinds[self._at] != lexer.COMMAND:
            return None, 0
        line = self._tokens.line(self._at)
        return Command(self._take(lexer.COMMAND)[1:-1]), line

    def _event(self) -> Event:
        first = self._at
        time, at_ns, until_ns = self._event_time()
        action = self._action(at_ns)
        expected = isinstance(action, (TcpPacket, UdpPacket, IcmpPacket)) and action.outbound
        line = self._tokens.line(first)
        if not expected and (time == ANY or until_ns is not None):
            what = "star time" if time == ANY else "time range"
            raise ScriptError(
                self._tokens.path, line, f"semantic error: event {what} can only be used with outbound packets"
            )
        if until_ns is not None and until_ns < at_ns:
            raise ScriptError(self._tokens.path, line, "semantic error: time range is backward")
        if isinstance(action, SystemCall) and action.end_ns is not None and action.end_ns < at_ns:
            raise ScriptError(self._tokens.path, line, "semantic error: the call ends before it begins")
        return Event(line, time, at_ns, until_ns, action)

    def _event_time(self) -> tuple[str, int, int | None]:
        if self._is("*"):
            return ANY, 0, None
        relative = self._is("+")
        start = self._time()
        until: int | None = None
        if self._is("~"):
            if relative:
                self._expect("+")
            until = self._time()
        return RELATIVE if relative else ABSOLUTE, start, until

    def _time(self) -> int:
        kind, text = self._kinds[self._at], self._texts[self._at]
        if kind == lexer.INTEGER and text[0] != "-":
            self._at += 1
            return int(text) * 1_000_000_000
        if kind == lexer.FLOAT:
            self._at += 1
            whole, _, part = text.partition(".")
            return int(whole or "0") * 1_000_000_000 + int(part[:9].ljust(9, "0"))
        raise self._wrong()

    def _action(self, at_ns: int) -> Packet | SystemCall | Command | Code:
        kind, text = self._kinds[self._at], self._texts[self._at]
        if kind == lexer.PUNCTUATION and text in "<>":
            return self._packet()
        if kind == lexer.COMMAND:
            self._at += 1
            return Command(text[1:-1])
        if kind == lexer.CODE:
            self._at += 1
            return Code(text[2:-2])
        return self._system_call(at_ns)

    # Packets

    def _packet(self) -> Packet:
        outbound = self._take(lexer.PUNCTUATION) == ">"
        around: list[Encapsulation] = []
        ip = self._ip_info()
        while self._texts[self._at] in ("ipv4", "ipv6", "gre", "mpls"):
            around.append(self._encapsulation())
            ip = self._ip_info()
        headers = tuple(around)
        if self._is("udp"):
            ports = self._ports()
            self._expect("(")
            payload = self._up_to(_DATAGRAM_MOST, "the payload")
            self._expect(")")
            return UdpPacket(outbound, ip, ports, payload, headers)
        if self._is("icmp"):
            return self._icmp(outbound, ip, headers)
        ports = self._ports()
        flags = self._flags()
        seq, _, payload = self._seq()
        ack = window = urgent = None
        if self._is("ack"):
            ack = self._field_of(32, "the ACK")
        if self._is("win"):
            window = self._field_of(16, "the window")
        if self._is("urg"):
            urgent = self._field_of(16, "the urgent pointer")
        options = self._tcp_options()
        return TcpPacket(outbound, ip, ports, flags, seq, payload, ack, window, urgent, options, headers)

    def _encapsulation(self) -> Encapsulation:
        """A header up to its colon, as it is written: the addresses of IPv6 are one token."""
        first = self._at
        kind = self._texts[first]
        while self._texts[self._at] != ":":
            if self._kinds[self._at] == lexer.END:
                raise self._wrong()
            self._at += 1
        self._at += 1
        return Encapsulation(kind, " ".join(self._texts[first + 1 : self._at - 1]))

    def _ip_info(self) -> IpInfo:
        if self._texts[self._at] not in ("(", "["):
            return _NO_IP_INFO
        close = ")" if self._is("(") else "]"
        if close == "]":
            self._expect("[")
        info = IpInfo()
        while True:
            word = self._take(lexer.WORD)
            if word in _ECN:
                info = IpInfo(word, info.tos, info.ttl, info.flow_label)
            elif word == "tos":
                info = IpInfo(TOS, self._field_of(8, "the TOS"), info.ttl, info.flow_label)
            elif word == "ttl":
                info = IpInfo(info.ecn, info.tos, self._field_of(8, "the TTL"), info.flow_label)
            elif word == "flowlabel":
                info = IpInfo(info.ecn, info.tos, info.ttl, self._integer())
            else:
                self._at -= 1
                raise self._wrong()
            if not self._is(","):
                break
        self._expect(close)
        return info

    def _ports(self) -> tuple[int, int] | None:
        if self._kinds[self._at] != lexer.INTEGER or self._texts[self._at + 1] != ">":
            return None
        source = self._field_of(16, "the port")
        self._expect(">")
        return source, self._field_of(16, "the port")

    def _flags(self) -> int:
        if self._is("-"):
            return 0
        flags = 0
        if self._kinds[self._at] == lexer.WORD:
            for letter in self._texts[self._at]:
                if letter not in _FLAGS:
                    raise self._wrong("The TCP flags are not valid")
                flags |= _FLAGS[letter]
            self._at += 1
            if self._is("."):
                flags |= ACK
            return flags
        self._expect(".")
        return ACK

    def _seq(self) -> tuple[int, int, int]:
        line = self._at
        first = self._field_of(32, "the sequence number")
        self._expect(":")
        end = self._field_of(32, "the sequence number")
        self._expect("(")
        # More than a packet has, because scripts speak of what GSO sends and GRO puts together; not what no memory has.
        payload = self._field_of(24, "the payload")
        self._expect(")")
        if (first + payload) & 0xFFFF_FFFF != end & 0xFFFF_FFFF:
            raise ScriptError(
                self._tokens.path, self._tokens.line(line), "inconsistent TCP sequence numbers and payload size"
            )
        return first, end, payload

    def _tcp_options(self) -> tuple[TcpOption, ...] | None:
        # A packet ends with its event, and no event begins so.
        if not self._is("<"):
            return ()
        if self._kinds[self._at] == lexer.ELLIPSIS:
            self._at += 1
            self._expect(">")
            return None
        options = [self._tcp_option()]
        while self._is(","):
            options.append(self._tcp_option())
        self._expect(">")
        return tuple(options)

    def _tcp_option(self) -> TcpOption:
        name = self._take(lexer.WORD)
        if name in ("nop", "eol", "sackOK"):
            return TcpOption(name)
        if name in ("mss", "wscale"):
            return TcpOption(name, self._field_of(16 if name == "mss" else 8, "the option"))
        if name == "TS":
            self._expect("val")
            value = self._field_of(32, "the timestamp")
            self._expect("ecr")
            return TcpOption(name, (value, self._field_of(32, "the timestamp")))
        if name == "sack":
            blocks: list[tuple[int, int]] = []
            while self._kinds[self._at] == lexer.INTEGER:
                left = self._field_of(32, "the sequence number")
                self._expect(":")
                blocks.append((left, self._field_of(32, "the sequence number")))
            if not blocks:
                raise self._wrong()
            return TcpOption(name, tuple(blocks))
        if name in ("md5", "FO", "FOEXP"):
            return TcpOption(name, self._hex_blob(name == "md5"))
        self._at -= 1
        raise self._wrong()

    def _hex_blob(self, needed: bool) -> bytes:
        if self._kinds[self._at] not in (lexer.WORD, lexer.INTEGER):
            if needed:
                raise self._wrong()
            return b""
        try:
            value = bytes.fromhex(self._texts[self._at])
        except ValueError:
            raise self._wrong("expected an even number of hexadecimal digits") from None
        self._at += 1
        return value

    def _icmp(self, outbound: bool, ip: IpInfo, around: tuple[Encapsulation, ...]) -> IcmpPacket:
        kind = self._take(lexer.WORD)
        code = mtu = echo_id = None
        if self._kinds[self._at] == lexer.WORD and self._texts[self._at] not in ("mtu", "id"):
            code = self._take(lexer.WORD)
        if self._is("mtu"):
            mtu = self._field_of(32, "the MTU")
        if self._is("id"):
            echo_id = self._field_of(16, "the number")
        quoted: tuple[str, int, int] | None = None
        if self._is("["):
            for name in ("udp", "raw"):
                if self._is(name):
                    self._expect("(")
                    quoted = name, 0, self._up_to(_DATAGRAM_MOST, "the payload")
                    self._expect(")")
            if quoted is None:
                first, end, _ = self._seq()
                quoted = "tcp", first, end
            self._expect("]")
        return IcmpPacket(outbound, ip, kind, code, mtu, echo_id, quoted, around)

    # System calls

    def _system_call(self, at_ns: int) -> SystemCall:
        end_ns: int | None = None
        if self._kinds[self._at] == lexer.ELLIPSIS:
            self._at += 1
            end_ns = self._time()
        name = self._take(lexer.WORD)
        self._expect("(")
        arguments = () if self._is(")") else self._expressions(")")
        self._expect("=")
        result = self._expression()
        errno = note = None
        if self._kinds[self._at] == lexer.WORD:
            errno = self._take(lexer.WORD)
        if self._is("("):
            note = self._note()
        return SystemCall(name, arguments, result, errno, note, end_ns)

    def _note(self) -> str:
        words: list[str] = []
        while not self._is(")"):
            if self._kinds[self._at] == lexer.END:
                raise self._wrong()
            words.append(self._texts[self._at])
            self._at += 1
        return " ".join(words)

    def _expressions(self, close: str) -> tuple[Expression, ...]:
        items = [self._expression()]
        while self._is(","):
            items.append(self._expression())
        self._expect(close)
        return tuple(items)

    def _expression(self) -> Expression:
        first = self._operand()
        if not self._is("|"):
            return first
        parts = [first, self._operand()]
        while self._is("|"):
            parts.append(self._operand())
        return Or(tuple(parts))

    def _operand(self) -> Expression:
        kind, text = self._kinds[self._at], self._texts[self._at]
        if kind in (lexer.INTEGER, lexer.HEX):
            return self._integer()
        self._at += 1
        if kind == lexer.ELLIPSIS:
            return ELLIPSIS
        if kind == lexer.STRING:
            value = _ESCAPE.sub(_unescaped, text[1:-1])
            if self._kinds[self._at] == lexer.ELLIPSIS:
                self._at += 1
                return Text(value, True)
            return Text(value)
        if kind == lexer.WORD:
            if self._is("("):
                return Function(text, () if self._is(")") else self._expressions(")"))
            return Word(text)
        if text == "[":
            return Array(() if self._is("]") else self._expressions("]"))
        if text == "{":
            return self._struct()
        self._at -= 1
        raise self._wrong()

    def _struct(self) -> Struct:
        fields: list[Field] = []
        while not self._is("}"):
            if fields:
                self._expect(",")
            fields.append(self._field())
        return Struct(tuple(fields))

    def _field(self) -> Field:
        """`name = value`, `name(count) = value`, or a value."""
        if self._kinds[self._at] != lexer.WORD:
            return Field("", self._expression())
        name = self._texts[self._at]
        if self._texts[self._at + 1] == "=":
            self._at += 2
            return Field(name, self._expression())
        value = self._expression()
        if isinstance(value, Function) and len(value.arguments) == 1 and self._is("="):
            return Field(name, self._expression(), value.arguments[0])
        return Field("", value)


def _unescaped(found: re.Match[str]) -> str:
    letter = found[1]
    return chr(int(letter[1:], 16)) if len(letter) == 3 else _ESCAPES.get(letter, letter)
