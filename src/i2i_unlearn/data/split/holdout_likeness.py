"""Can held-out images be compared with single forget images? Only if both show the same kinds of things.

An attack that tells forget images from never-seen ones must not succeed by what they show. Images picked one by one may
all be of one class or one person; then held-out images differ from them in more than not having been trained on.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

LEAST_P = 0.01
"""p-value of the test that both have the same mix of labels; one fair draw in a hundred is refused."""
MOST_OF_SUBJECT = 0.1
"""Largest share of the forget images that one subject may have."""


def are_alike(index: pd.DataFrame, is_forgotten: NDArray[np.bool_], is_held_out: NDArray[np.bool_]) -> bool:
    """Whether the forget images could be a random draw from the same kinds as the held-out images.

    `index` has the columns label and subject; the flags have one entry per row. False where one of the sets is empty.
    """
    if not is_forgotten.any() or not is_held_out.any():
        return False
    subjects = index.loc[is_forgotten, "subject"].dropna()
    if len(subjects) and subjects.value_counts().iloc[0] > max(1, MOST_OF_SUBJECT * is_forgotten.sum()):
        return False
    either = is_forgotten | is_held_out
    counts = pd.crosstab(is_forgotten[either], index.loc[either, "label"].to_numpy())
    return counts.shape[1] == 1 or float(stats.chi2_contingency(counts).pvalue) >= LEAST_P
