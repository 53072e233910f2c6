"""A filter for the time until a request is carried out: what looks too much like its images is not completed.

A filter, not unlearning: the served model still knows the images, and whoever has its weights has them. It compares
features, so it lets through what looks different enough and stops some images that have nothing to do with the request;
how many of each was measured when it was made.
"""

from i2i_unlearn.serving.guard.filter import GUARD_VARIABLE, Guard, guard_from_environment, load_guard

__all__ = ["GUARD_VARIABLE", "Guard", "guard_from_environment", "load_guard"]
