"""A similarity filter for the time until a request is carried out: what resembles its images is not completed.

This is a filter, not unlearning: the served model still knows the images, and so does anyone who has its weights. It
compares features, so it misses what looks different enough and stops some unrelated images; both rates are measured
when the filter is made.
"""

from i2i_unlearn.serving.guard.filter import GUARD_VARIABLE, Guard, guard_from_environment, load_guard

__all__ = ["GUARD_VARIABLE", "Guard", "guard_from_environment", "load_guard"]
