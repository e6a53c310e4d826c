"""Makes two_hosts.py importable (importlib mode has no packages), and gives each test its two hosts."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterator

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from two_hosts import TwoHosts


@pytest.fixture
def hosts() -> Iterator[TwoHosts]:
    """A server and a client, 5 ms apart, on a link without a rate or loss."""
    made = TwoHosts()
    yield made
    made.net.close()
