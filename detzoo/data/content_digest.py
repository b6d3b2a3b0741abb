"""Whether two datasets say the same about their images: who corrects annotations has another dataset."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from detzoo.data.dataset import Dataset


def content_digest(dataset: Dataset) -> str:
    """SHA-256 of all annotations and of the order of the images.

    Paths are left out: data that was moved stays the same. So are pixels, which would have to be read.
    """
    index = dataset.annotations()
    content = hashlib.sha256()
    looked_for = index.federated
    others = [] if looked_for is None else [vars(looked_for.negative), vars(looked_for.not_exhaustive)]
    for arrays in [vars(index), *others]:
        for name, array in arrays.items():
            if isinstance(array, np.ndarray) and name not in ("path_bytes", "path_ends"):
                content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()
