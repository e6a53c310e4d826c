"""Our own scripts in packetdrill's language, a rule each, against a virtual host.

They are in packetdrill/AREA/*.pkt beside this file; the same scripts run against the machine's kernel with
`weave packetdrill --kernel tests/scenarios/packetdrill`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lunar.packetdrill import options, suite
from lunar.packetdrill.cli import lunar_backend

FOLDER = Path(__file__).parent / "packetdrill"
SCRIPTS = sorted(FOLDER.rglob("*.pkt"))
AREAS = sorted({script.parent.name for script in SCRIPTS})


def test_there_are_scripts() -> None:
    assert SCRIPTS, f"no script below {FOLDER}"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_script(script: Path) -> None:
    result = suite.run(script, options.default_settings(), lunar_backend)
    assert result.error is None, f"\n{result.error}"


# Over IPv6 these say what is IPv4's alone: a cookie made of its addresses, a route to one of them, a code of its ICMP,
# an option of AF_INET, sizes of its segments.
FOR_IPV4 = re.compile(r"\bFO [0-9a-f]{16}\b|\b192\.|icmp unreachable (frag_needed|host_unreachable)|IP_RECVERR|536")


@pytest.mark.parametrize("version", [options.IPV6, options.MAPPED])
@pytest.mark.parametrize("area", AREAS)
def test_scripts_over_ipv6(area: str, version: str) -> None:
    """All of an area, in the mode that Google's suite calls so; one that is for IPv4 alone must not pass over IPv6."""
    for script in sorted((FOLDER / area).glob("*.pkt")):
        result = suite.run(script, options.default_settings(version), lunar_backend)
        if version == options.IPV6 and FOR_IPV4.search(script.read_text()):
            assert result.error is not None, script
        else:
            assert result.error is None, f"\n{result.error}"
