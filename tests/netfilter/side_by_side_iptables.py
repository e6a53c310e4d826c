"""The same command lines for the machine's iptables, in a namespace that a test makes, and for a host of Lunar's."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess

import pytest

import lunar
from lunar.net_tools.errors import CommandError

_DATE = re.compile(r" on \w{3} \w{3} [ \d]\d [\d:]{8} \d{4}$", re.MULTILINE)


def missing() -> str | None:
    """Why the machine's iptables cannot be asked; None if it can."""
    if os.geteuid() != 0:
        return "it takes root to make a network namespace"
    for tool in ("unshare", "iptables-legacy", "ip6tables-legacy"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    probe = subprocess.run(
        ["unshare", "-n", "iptables-legacy", "-S"], capture_output=True, text=True, check=False, timeout=60
    )
    if probe.returncode != 0:
        return f"iptables does not work in a namespace here: {probe.stderr.strip()}"
    version = subprocess.run(["iptables-legacy", "-V"], capture_output=True, text=True, check=False).stdout
    return None if "v1.8.9 (legacy)" in version else f"outputs are those of 1.8.9, and this is {version.strip()}"


MISSING = missing()
needs_iptables = pytest.mark.skipif(MISSING is not None, reason=MISSING or "")


def machine(lines: list[str]) -> list[str]:
    """What each line prints, out and then error, run one after the other in a namespace of their own."""
    script = "\n".join(f"{_real(line)}; echo '--next'; echo '--next' >&2" for line in lines)
    command = ["unshare", "-n", "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    outs, errors = done.stdout.split("--next\n"), done.stderr.split("--next\n")
    return [without_date(out + error.rstrip("\n")) for out, error in zip(outs[:-1], errors[:-1], strict=True)]


def _real(line: str) -> str:
    words = shlex.split(line)
    tool, dash, rest = words[0].partition("-")
    return shlex.join([f"{tool}-legacy{dash}{rest}", *words[1:]])


def ours(lines: list[str]) -> list[str]:
    """The same of Lunar."""
    net = lunar.Network(seed=1)
    host = net.host("router", "10.0.0.1/24")
    said = []
    for line in lines:
        try:
            said.append(without_date(host.sh(line)))
        except CommandError as error:
            said.append(str(error).rstrip("\n"))
    return said


def without_date(text: str) -> str:
    """What a tool printed, without the times of day in its comments."""
    return _DATE.sub("", text)
