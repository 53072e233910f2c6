"""Speed and quality, measured. Never asserted in tests: the machine is noisy."""

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("i2i_unlearn") is None:  # a GPU box may have the source tree alone
    sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
