"""Same seed and tapestry, same digest: run after run, compiled or interpreted, on any Python, whatever the hash seed.

digests.json has the digest of each tapestry beside this file. `make test` runs this suite in both builds, so equality
with it shows that they agree. A change of what the stack sends changes the digests, and is meant to be seen here; once
it is understood, renew them:

    python tests/determinism/test_digests.py

Sizes of TLS handshakes depend on OpenSSL, so the digest of tls.toml is noted with OpenSSL's version. One that is not
there yet is added by the same command.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
GOLDEN = HERE / "digests.json"
QUICKSTART = HERE.parents[1] / "tapestries" / "quickstart.toml"
NAMES = sorted(path.stem for path in HERE.glob("*.toml"))
TIMEOUT_S = 120


def environment() -> dict[str, str]:
    """Ours, with a PYTHONPATH that holds in any folder, and without a hash seed."""
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    fixed = {key: value for key, value in os.environ.items() if key != "PYTHONHASHSEED"}
    return {**fixed, "PYTHONPATH": os.pathsep.join(paths)}


# Made at import, while the current folder is the one that a relative PYTHONPATH means.
ENVIRONMENT = environment()


def key_of(name: str) -> str:
    """The key of a tapestry in digests.json."""
    major, minor = ssl.OPENSSL_VERSION_INFO[:2]
    return f"tls, OpenSSL {major}.{minor}" if name == "tls" else name


def run(name: str, *options: str, **more: str) -> dict[str, Any]:
    """The figures of a run in a process of its own."""
    safe_path = ["-P"] if sys.flags.safe_path else []
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        command = [
            sys.executable, *safe_path, "-m", "weaves.cli", "run", f"{name}.toml", "--quiet", "--json", str(figures),
        ]  # fmt: skip
        done = subprocess.run(
            [*command, *options], env={**ENVIRONMENT, **more}, cwd=HERE, capture_output=True, text=True,
            timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(figures.read_text())
        return found


@pytest.mark.parametrize("name", NAMES)
def test_a_digest_is_the_golden_one(name: str) -> None:
    digests = {
        "as it is": run(name)["digest"],
        "once more, with another hash seed": run(name, PYTHONHASHSEED="12345")["digest"],
        "through bytes": run(name, "--through-bytes")["digest"],
    }
    assert len(set(digests.values())) == 1, digests
    assert run(name, "--seed", "1000")["digest"] != digests["as it is"]
    golden = json.loads(GOLDEN.read_text())
    if key_of(name) not in golden and name == "tls":
        pytest.skip(f"no digest for {ssl.OPENSSL_VERSION} in digests.json; this file says how to add it")
    assert digests["as it is"] == golden[key_of(name)]


def test_the_tapestries_are_worth_it() -> None:
    # What the golden digests stand for: losses, drops, retransmissions, restarts, crashes, and hosts that still run at
    # the end.
    routers, crowd, blocking, tls, life = (run(name) for name in ("routers", "crowd", "blocking", "tls", "life"))
    assert routers["tcp"]["retransmissions"] > 10
    assert sum(link["lost"] for link in routers["links"]) > 10
    assert sum(link["queue_drops"] for link in routers["links"]) > 0
    assert crowd["hosts"] == 100
    assert crowd["packets"] > 1000
    assert 0 < crowd["strings"]["running"] < 100
    assert crowd["virtual_s"] == 30
    assert blocking["strings"]["restarts"] > 5
    assert blocking["strings"]["ended"] >= 5
    assert life["tcp"]["resets_sent"] > 50
    assert life["strings"]["restarts"] > 10
    assert life["strings"]["killed"] > 10
    assert tls["tcp"]["connections"] == 4
    assert tls["tcp"]["retransmissions"] > 0


def test_the_order_of_files_on_disk_and_the_folder_do_not_matter(tmp_path: Path) -> None:
    # The same tapestry, elsewhere and under another name.
    for file in ("crowd.py", "crowd.toml"):
        (tmp_path / file).write_bytes((HERE / file).read_bytes())
    (tmp_path / "crowd.toml").rename(tmp_path / "other.toml")
    safe_path = ["-P"] if sys.flags.safe_path else []
    done = subprocess.run(
        [sys.executable, *safe_path, "-m", "weaves.cli", "run", str(tmp_path / "other.toml"), "--quiet"],
        env=ENVIRONMENT, cwd="/", capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == f"digest   {run('crowd')['digest']}"


def test_the_quickstart_with_fewer_hosts_gives_one_digest() -> None:
    # In this process, once after the other: nothing of the first run may be left for the second to see.
    pytest.importorskip("aiohttp")
    import weaves
    from weaves.tapestry import parse

    counts = re.compile(r"^count = (\d+)$", re.MULTILINE)
    text, groups = counts.subn(lambda found: f"count = {2 + int(found[1]) // 100}", QUICKSTART.read_text())
    assert groups == 4
    description = parse(text, QUICKSTART)
    assert len(description.hosts) == 4 + 6 + 5 + 4 + 2
    digests = []
    for through_bytes in (False, False, True):
        tapestry = weaves.load(description, through_bytes=through_bytes)
        try:
            tapestry.run_blocking()
            assert tapestry.ok
            digests.append(tapestry.network.digest())
        finally:
            tapestry.close()
    assert digests[0] == digests[1] == digests[2]


def renew() -> None:
    """Write digests.json anew; digests for other versions of OpenSSL are kept."""
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    for name in NAMES:
        digest = run(name)["digest"]
        if golden.get(key_of(name)) != digest:
            print(f"{key_of(name)}: {golden.get(key_of(name))} -> {digest}")
        golden[key_of(name)] = digest
    GOLDEN.write_text(json.dumps(golden, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    renew()
