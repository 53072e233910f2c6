"""The one container image that every step runs in."""

import os

from i2i_unlearn import __version__

IMAGE = os.environ.get("I2I_UNLEARN_IMAGE", f"i2i-unlearn:{__version__}")
"""Read at compile time: `I2I_UNLEARN_IMAGE=registry/i2i-unlearn:tag i2i-unlearn pipeline compile`."""
