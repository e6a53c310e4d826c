"""A sample of the matrix (matrix.py plays all of it): the machine's kernel and a virtual host over a TAP device.

In real time, but nothing here is measured by it: what is compared are data, logs and options.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import exchanges
import pytest
import transfers

from lunar.kernel.namespace import KernelUnavailable

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces are root's"),
    pytest.mark.skipif(not os.path.exists("/dev/net/tun"), reason="this machine has no TUN devices"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="ip(8) is not installed"),
]

# Each setting, link and congestion control at least once.
_SAMPLE = (
    "all on, 5% lost, cubic",
    "no SACK here, reordered, cubic",
    "no SACK there, 1% lost, reno",
    "no timestamps here, 5% lost, cubic",
    "no timestamps there, doubled, reno",
    "no window scale here, doubled, cubic",
    "no window scale there, reordered, reno",
    "ECN asked for here, 1% lost, cubic",
    "ECN asked for there, nothing lost, reno",
    "all off, doubled, cubic",
    "SYN cookies there",
    "marked by a queue",
    "a narrow link on the path",
)


@pytest.mark.parametrize("row", exchanges.rows(), ids=lambda row: row.name)
def test_exchanges(row: exchanges.Row, tmp_path: Path) -> None:
    try:
        result = exchanges.play(row, tmp_path)
    except KernelUnavailable as missing:
        pytest.skip(str(missing))
    assert not result.wrong


@pytest.mark.parametrize("row", [row for row in transfers.rows() if row.name in _SAMPLE], ids=lambda row: row.name)
def test_transfers(row: transfers.Row, tmp_path: Path) -> None:
    try:
        result = transfers.play(row, tmp_path)
    except KernelUnavailable as missing:
        pytest.skip(str(missing))
    assert not result.wrong


def test_the_sample_is_of_the_matrix() -> None:
    assert {row.name for row in transfers.rows()} >= set(_SAMPLE)
