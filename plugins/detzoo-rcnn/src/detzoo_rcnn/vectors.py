"""The vectors on which SVMs and box regression are fitted: which there are, and how long they are."""

from __future__ import annotations

from typing import Final

import numpy as np

from detzoo.errors import RecipeError
from detzoo.runtime.near_names import nearest
from detzoo.types import FeatureSpecs
from detzoo_rcnn.window_store import WindowStore

SAMPLED: Final = 200
"""Images from which the mean norm is taken, as in ``rcnn_feature_stats.m``."""


def length_of(features: FeatureSpecs, name: str) -> int:
    """Length of a vector of the region head.

    Raises:
        RecipeError: the head has none of this name.
    """
    if name not in features:
        near = nearest(name, features, most=1)
        hint = f" ({near})" if near else ""
        raise RecipeError(f'feature: the head has no vector "{name}"{hint}. It has: {", ".join(features)}')
    return features[name].channels


def mean_norm(windows: WindowStore, name: str, *, near: bool = False) -> float:
    """Mean Euclidean norm of vectors, over the windows of up to 200 images; 1 where there are none.

    Args:
        windows: on the disk.
        name: which vector.
        near: of the windows near ground truth alone.
    """
    places = np.unique(np.linspace(0, len(windows) - 1, min(SAMPLED, len(windows))).astype(np.int64))
    norms = [np.linalg.norm(windows.read(name, int(place), near=near), axis=1) for place in places]
    together = np.concatenate([np.zeros(0, np.float32), *norms])
    mean = float(together.mean()) if len(together) else 1.0
    return mean if mean > 0 else 1.0
