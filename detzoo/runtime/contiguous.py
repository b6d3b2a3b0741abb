"""Arrays that torch takes."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Kind = TypeVar("Kind", bound=np.generic)


def contiguous(array: NDArray[Kind]) -> NDArray[Kind]:
    """The array itself where it is C-contiguous and no stride is negative, else a copy.

    ``np.ascontiguousarray`` calls a mirrored axis of a single element contiguous, and leaves its stride negative, which
    ``torch.from_numpy`` rejects: an image that is 1 px wide, flipped.
    """
    return array if array.flags.c_contiguous and min(array.strides, default=0) >= 0 else array.copy(order="C")
