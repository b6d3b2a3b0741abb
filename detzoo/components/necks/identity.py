"""The neck that does nothing."""

from __future__ import annotations

from detzoo.interfaces import Neck
from detzoo.types import FeatureMaps, FeatureSpecs


class Identity(Neck):
    """Hands the backbone's maps on, untouched.

    Args:
        features: what it will get, and give.
    """

    def __init__(self, features: FeatureSpecs, /) -> None:
        super().__init__()
        self.out = dict(features)

    def forward(self, features: FeatureMaps) -> FeatureMaps:
        """The same maps."""
        return {name: features[name] for name in self.out}
