"""Makes beside.py importable: the tests of this folder have no package (importlib mode)."""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
