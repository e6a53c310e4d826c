"""Makes the modules of this folder importable: its tests have no package (importlib mode)."""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
