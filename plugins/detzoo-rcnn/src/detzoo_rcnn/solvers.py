"""scikit-learn's solvers, imported without a trace: its import uses Python's global random generator."""

from __future__ import annotations

import random

_state = random.getstate()

from sklearn.exceptions import ConvergenceWarning  # noqa: E402  # between saving and restoring the generator
from sklearn.linear_model import Ridge  # noqa: E402
from sklearn.svm import LinearSVC  # noqa: E402

random.setstate(_state)

__all__ = ["ConvergenceWarning", "LinearSVC", "Ridge"]
