"""Speed and quality, measured. Never asserted in tests: the machine is noisy."""

import importlib.util
import sys
from pathlib import Path

_found = importlib.util.find_spec("i2i_unlearn")
if _found is None or _found.origin is None:  # a GPU box may have the source tree alone, or package data without code
    sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
