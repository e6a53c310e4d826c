"""iptables-save and iptables-restore against the machine's: what is left of the tables, and what is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from side_by_side_iptables import needs_iptables, without_date

import lunar
from lunar.net_tools.errors import CommandError

SITE = """# a comment
*nat
:PREROUTING ACCEPT [7:8]
:POSTROUTING ACCEPT [0:0]
:maps - [0:0]
[3:4] -A PREROUTING -i eth0 -j maps
-A maps -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.2:8080
COMMIT
*filter
:INPUT DROP [1:2]
:FORWARD ACCEPT [0:0]
:two - [0:0]
:one - [0:0]
-A INPUT -m comment --comment "two words \\"quoted\\"" -j ACCEPT
[5:6] -A one -s 10.0.0.0/8,192.168.0.0/16 -g two
-I INPUT 1 -j LOG --log-prefix "a: "
-N three
-F one
-P FORWARD DROP
COMMIT
"""
# Options, and texts that are given one after the other; then all is compared.
CASES: dict[str, list[tuple[str, str]]] = {
    "a site": [("", SITE)],
    "with counters": [("-c", SITE)],
    "twice": [("", SITE), ("", SITE)],
    "added to": [("", SITE), ("-n", "*filter\n-A INPUT -j DROP\n:one - [0:0]\n-A one -j RETURN\nCOMMIT\n")],
    "tried only": [("", SITE), ("-t", "*filter\n-A INPUT -j REJECT\nCOMMIT\n")],
    "one table of it": [("-T filter", SITE)],
    "no option": [("", "*filter\n-A INPUT -p tcp --dport 99999 -j ACCEPT\nCOMMIT\n")],
    "no target": [("", "*filter\n-A INPUT -j NOTHING\nCOMMIT\n")],
    "no chain": [("", SITE), ("", "*filter\n-A nothing -j ACCEPT\nCOMMIT\n")],
    "a chain twice": [("", "*filter\n:one - [0:0]\n:one - [0:0]\nCOMMIT\n")],
    "no table": [("", "*nothing\nCOMMIT\n")],
    "another table": [("", "*filter\n-A INPUT -t nat -j ACCEPT\nCOMMIT\n")],
    "no beginning": [("", "-A INPUT -j ACCEPT\nCOMMIT\n")],
    "no end": [("", SITE), ("", "*filter\n-A INPUT -j ACCEPT\n")],
    "no policy": [("", "*filter\n:INPUT\nCOMMIT\n")],
    "a wrong policy": [("", "*filter\n:INPUT NOTHING [0:0]\nCOMMIT\n")],
    "a policy without counters": [("", "*filter\n:INPUT DROP\nCOMMIT\n")],
    "what the kernel refuses": [("", SITE), ("", "*filter\n-A INPUT -m tcp -j REJECT\nCOMMIT\n")],
    "other quotes": [("", "*filter\n-A INPUT -j LOG --log-prefix 'a'\n-A INPUT -m comment --comment 'a b'\nCOMMIT\n")],
    "quotes in a word": [("", '*filter\n-A INPUT -m comment --comment a"b c"d -j DROP\nCOMMIT\n')],
    "a word": [("", "*filter\n-A INPUT -j ACCEPT\nword\nCOMMIT\n")],
    "words behind": [("", SITE + "word\n")],
    "circles": [("", "*filter\n:a - [0:0]\n:b - [0:0]\n-A INPUT -j a\n-A a -j b\n-A b -j a\nCOMMIT\n")],
}


def machine(steps: list[tuple[str, str]]) -> list[str]:
    """What iptables-legacy-restore says of each text, and then iptables-save -c."""
    script = [
        f"iptables-legacy-restore {options} <<'END' 2>&1\n{text}END\necho ---" for options, text in steps
    ] + ["iptables-legacy-save -c"]
    command = ["unshare", "-n", "sh", "-c", "\n".join(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return [without_date(part).strip() for part in done.stdout.split("---\n")]


def ours(steps: list[tuple[str, str]]) -> list[str]:
    """The same of Lunar."""
    host = lunar.Network(seed=1).host("router", "10.0.0.1/24")
    said = []
    for options, text in steps:
        try:
            said.append(host.sh(f"iptables-restore {options}", stdin=text))
        except CommandError as error:
            said.append(str(error))
    return [without_date(part).strip() for part in (*said, host.sh("iptables-save -c"))]


def by_table(save: str) -> list[str]:
    """The tables of a save, sorted: the kernel lists them in the order in which they were first used."""
    return sorted(table.strip() for table in save.split("# Generated"))


@needs_iptables
@pytest.mark.parametrize("name", CASES)
def test_a_text_is_restored_as_by_the_real_tool(name: str) -> None:
    real, own = machine(CASES[name]), ours(CASES[name])
    assert own[:-1] == real[:-1]
    assert by_table(own[-1]) == by_table(real[-1])


@needs_iptables
def test_what_was_saved_is_restored() -> None:
    first = lunar.Network(seed=1).host("router", "10.0.0.1/24")
    first.sh("iptables-restore -c", stdin=SITE)
    saved = first.sh("iptables-save -c")
    second = lunar.Network(seed=1).host("router", "10.0.0.1/24")
    second.sh("iptables-restore -c", stdin=saved)
    assert second.sh("iptables-save -c") == saved


def test_rules_come_from_a_file_of_the_host_or_else_of_the_machine(tmp_path: Path) -> None:
    host = lunar.Network(seed=1).host("one", "10.0.0.1/24")
    host.paths.put("/etc/iptables/rules.v4", "*filter\n-A INPUT -s 10.0.0.7 -j DROP\nCOMMIT\n")
    host.sh("iptables-restore /etc/iptables/rules.v4")
    assert "-A INPUT -s 10.0.0.7/32 -j DROP" in host.sh("iptables -S")
    (tmp_path / "rules").write_bytes(b"*filter\n-A INPUT -s 10.0.0.8 -m comment --comment \xff -j DROP\nCOMMIT\n")
    host.sh(f"iptables-restore {tmp_path}/rules")
    assert "-A INPUT -s 10.0.0.8/32" in host.sh("iptables -S")
    with pytest.raises(CommandError, match=r"^Can't open /nothing: No such file or directory$"):
        host.sh("iptables-restore /nothing")
    with pytest.raises(CommandError, match="there is nothing to read"):
        host.sh("iptables-restore")
