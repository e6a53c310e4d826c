"""`ip rule`: which tables are asked for whose packets, as ip-rule(8) shows and sets it. The model is lunar/net/rule.py.

Left out, and refused: rules for l3mdev, tunnel identifiers, realms, `suppress_ifgroup`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lunar.net import fib
from lunar.net.rule import BLACKHOLE, GOTO, NOP, PROHIBIT, TABLE_MAIN, TO_TABLE, UNREACHABLE, Rule, Rules
from lunar.net_tools.errors import CommandError
from lunar.net_tools.ip import names
from lunar.net_tools.ip.shown import Row, shown
from lunar.net_tools.ip.words import Style, Words, parse_prefix
from lunar.packet import AF_INET
from lunar.wire.address import address_text

if TYPE_CHECKING:
    from lunar.host import Host

_ACTIONS: Final = {"blackhole": BLACKHOLE, "unreachable": UNREACHABLE, "prohibit": PROHIBIT, "nop": NOP}
_PROTOCOLS: Final = {"icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "ipv6-icmp": 58, "sctp": 132}
_BOOT: Final = 3
_EXPECTED: Final = (
    "not, from, to, tos, fwmark, iif, oif, uidrange, ipproto, sport, dport, priority, protocol, table, goto, "
    f"suppress_prefixlength, {', '.join(_ACTIONS)}"
)
_MOST: Final = 0xFFFF_FFFF


def run(host: Host, style: Style, words: Words) -> str:
    """`ip rule [show [SELECTOR]]`, `ip rule add|del RULE`, `ip rule flush`."""
    action = words.choose(("show", "list", "lst", "add", "delete", "flush"), "show")
    words.what = f"ip rule {action}"
    if action in ("show", "list", "lst"):
        return _show(host, style, words)
    number = style.family or _family_in(words) or AF_INET
    family = host.ip.family(number)
    rules = fib.rules(family)
    if action == "flush":
        words.end()
        rules.flush()
    elif action == "add":
        rule, said = _read(words, number)
        if not said:
            raise CommandError(f"{words.what}: a rule says something; expected {_EXPECTED}")
        if rule.action == GOTO and rule.priority >= 0 and rule.target <= rule.priority:
            raise CommandError("Error: Backward goto not supported.")
        try:
            rules.add(rule)
        except FileExistsError:
            raise CommandError("RTNETLINK answers: File exists") from None
    else:
        rule, said = _read(words, number)
        found = next((one for one in rules.rules if _fits(one, rule, said)), None)
        if found is None or not said:
            raise CommandError("RTNETLINK answers: No such file or directory")
        rules.remove(found)
    host.ip.route_changes.changed()
    return ""


def _family_in(words: Words) -> int:
    """The family that an address of the command tells."""
    ahead = Words(words.what, words.rest)
    while ahead:
        if ahead.takes("from", "to") and ahead and ahead.now not in ("all", "any", "default"):
            return parse_prefix(ahead.now, 0)[0]
        ahead.take()
    return 0


def _read(words: Words, family: int) -> tuple[Rule, set[str]]:
    """The rule that the words say, and which of its fields."""
    rule = Rule(32 if family == AF_INET else 128, -1, TO_TABLE, TABLE_MAIN)
    said: set[str] = set()
    while words:
        if words.takes("not"):
            rule.inverted = True
            said.add("inverted")
        elif words.takes("from"):
            _, rule.src, rule.src_prefix = words.prefix(family)
            said.add("src")
        elif words.takes("to"):
            _, rule.dst, rule.dst_prefix = words.prefix(family)
            said.add("dst")
        elif words.takes("tos", "dsfield"):
            rule.tos = words.number("TOS", 0, 255)
            if rule.tos & ~0x1C:
                raise CommandError("Error: Invalid tos.")
            said.add("tos")
        elif words.takes("fwmark"):
            mark, slash, mask = words.take("a mark").partition("/")
            rule.mark = Words(words.what, [mark]).number("mark", 0, _MOST)
            rule.mask = Words(words.what, [mask]).number("mask", 0, _MOST) if slash else _MOST
            said.add("mark")
        elif words.takes("iif", "dev"):
            rule.iif = words.take("a device")
            said.add("iif")
        elif words.takes("oif"):
            rule.oif = words.take("a device")
            said.add("oif")
        elif words.takes("uidrange"):
            rule.uid_first, rule.uid_last = _range(words, _MOST)
            said.add("uid")
        elif words.takes("ipproto"):
            rule.protocol = names.number(_PROTOCOLS, words.take("a protocol"), "ipproto", 255)
            said.add("protocol")
        elif words.takes("sport"):
            rule.sport_first, rule.sport_last = _range(words, 65535)
            said.add("sport")
        elif words.takes("dport"):
            rule.dport_first, rule.dport_last = _range(words, 65535)
            said.add("dport")
        elif words.takes("priority", "preference", "order", short=3):
            rule.priority = words.number("priority", 0, _MOST)
            said.add("priority")
        elif words.takes("protocol"):
            rule.proto = names.protocol_number(words.take("a protocol"))
            said.add("proto")
        elif words.takes("lookup", "table"):
            rule.table = names.table_number(words.take("a table"))
            said.add("table")
        elif words.takes("suppress_prefixlength", "sup_pl"):
            rule.suppress_prefix = words.number("prefix length", 0, int(rule.bits))
            said.add("suppress")
        elif words.takes("goto"):
            rule.action, rule.target = GOTO, words.number("priority", 0, _MOST)
            said.add("action")
        elif words.now in _ACTIONS:
            rule.action = _ACTIONS[words.take()]
            said.add("action")
        else:
            raise words.refuse(_EXPECTED)
    if rule.action != TO_TABLE:
        rule.table = 0
    return rule, said


def _range(words: Words, most: int) -> tuple[int, int]:
    first, dash, last = words.take("a number or two, joined by -").partition("-")
    low = Words(words.what, [first]).number("number", 0, most, 10)
    high = Words(words.what, [last]).number("number", 0, most, 10) if dash else low
    if high < low:
        raise CommandError(f"{words.what}: {first}-{last}: expected the lower number first")
    return low, high


def _fits(one: Rule, wanted: Rule, said: set[str]) -> bool:
    """Whether `one` has all that was said of the rule to delete."""
    pairs = {
        "inverted": one.inverted == wanted.inverted,
        "src": (one.src, one.src_prefix) == (wanted.src, wanted.src_prefix),
        "dst": (one.dst, one.dst_prefix) == (wanted.dst, wanted.dst_prefix),
        "tos": one.tos == wanted.tos,
        "mark": (one.mark, one.mask) == (wanted.mark, wanted.mask),
        "iif": one.iif == wanted.iif,
        "oif": one.oif == wanted.oif,
        "uid": (one.uid_first, one.uid_last) == (wanted.uid_first, wanted.uid_last),
        "protocol": one.protocol == wanted.protocol,
        "sport": (one.sport_first, one.sport_last) == (wanted.sport_first, wanted.sport_last),
        "dport": (one.dport_first, one.dport_last) == (wanted.dport_first, wanted.dport_last),
        "priority": one.priority == wanted.priority,
        "proto": one.proto == wanted.proto,
        "table": one.table == wanted.table,
        "suppress": one.suppress_prefix == wanted.suppress_prefix,
        "action": (one.action, one.target) == (wanted.action, wanted.target),
    }
    return all(pairs[name] for name in said)


# Showing


def _show(host: Host, style: Style, words: Words) -> str:
    number = style.family or _family_in(words) or AF_INET
    wanted, said = _read(words, number)
    family = host.ip.family(number)
    # Looking at them does not make them.
    rules = family.rules if family.rules is not None else Rules(family.bits)
    rows = [_row(rule, number, style) for rule in rules.rules if _fits(rule, wanted, said)]
    return shown(rows, style, _text)


def _row(rule: Rule, family: int, style: Style) -> Row:
    row: Row = {"priority": int(rule.priority)}
    if rule.inverted:
        row["not"] = None
    row |= _prefix("src", "srclen", family, rule.src, int(rule.src_prefix), int(rule.bits)) or {"src": "all"}
    row |= _prefix("dst", "dstlen", family, rule.dst, int(rule.dst_prefix), int(rule.bits))
    if rule.tos:
        row["tos"] = f"0x{int(rule.tos):02x}"
    if rule.mask:
        row["fwmark"] = f"0x{int(rule.mark):x}"
        if rule.mask != _MOST:
            row["fwmask"] = f"0x{int(rule.mask):x}"
    row |= {"iif": rule.iif} if rule.iif else {}
    row |= {"oif": rule.oif} if rule.oif else {}
    if rule.uid_first >= 0:
        row |= {"uid_start": int(rule.uid_first), "uid_end": int(rule.uid_last)}
    if rule.protocol:
        row["ipproto"] = names.name(_PROTOCOLS, int(rule.protocol))
    for name, first, last in (
        ("sport", int(rule.sport_first), int(rule.sport_last)), ("dport", int(rule.dport_first), int(rule.dport_last)),
    ):  # fmt: skip
        if first >= 0:
            row |= {name: first} if first == last else {f"{name}_start": first, f"{name}_end": last}
    if rule.action == TO_TABLE:
        row["table"] = names.name(names.TABLES, int(rule.table))
        if rule.suppress_prefix >= 0:
            row["suppress_prefixlen"] = int(rule.suppress_prefix)
    elif rule.action == GOTO:
        row["goto"] = int(rule.target)
    elif rule.action == NOP:
        row["nop"] = None
    else:
        row["action"] = names.name(_ACTIONS, int(rule.action))
    if style.details or rule.proto not in (2, _BOOT):
        row["protocol"] = names.name(names.PROTOCOLS, int(rule.proto))
    return row


def _prefix(name: str, length: str, family: int, address: int, prefix: int, bits: int) -> Row:
    if not prefix:
        return {}
    row: Row = {name: address_text(family, address)}
    return row if prefix == bits else row | {length: prefix}


def _text(row: Row) -> str:
    text = f"{row['priority']}:\t{'not ' if 'not' in row else ''}from {row['src']}"
    text += f"/{row['srclen']} " if "srclen" in row else " "
    if "dst" in row:
        text += f"to {row['dst']}" + (f"/{row['dstlen']} " if "dstlen" in row else " ")
    text += f"tos {row['tos']} " if "tos" in row else ""
    if "fwmark" in row:
        text += f"fwmark {row['fwmark']}" + (f"/{row['fwmask']} " if "fwmask" in row else " ")
    for name in ("iif", "oif"):
        text += f"{name} {row[name]} " if name in row else ""
    text += f"uidrange {row['uid_start']}-{row['uid_end']} " if "uid_start" in row else ""
    text += f"ipproto {row['ipproto']} " if "ipproto" in row else ""
    for name in ("sport", "dport"):
        if name in row:
            text += f"{name} {row[name]} "
        elif f"{name}_start" in row:
            text += f"{name} {row[f'{name}_start']}-{row[f'{name}_end']} "
    if "table" in row:
        text += f"lookup {row['table']} "
        text += f"suppress_prefixlength {row['suppress_prefixlen']} " if "suppress_prefixlen" in row else ""
    elif "goto" in row:
        text += f"goto {row['goto']} "
    else:
        text += "nop " if "nop" in row else f"{row['action']} "
    text += f"proto {row['protocol']} " if "protocol" in row else ""
    return text.rstrip(" ") + "\n"

