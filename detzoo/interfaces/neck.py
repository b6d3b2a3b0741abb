"""Neck: feature maps -> feature maps."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from detzoo.feature import Component
from detzoo.interfaces.features import FeatureSource
from detzoo.types import FeatureMaps


class Neck(FeatureSource, Component, ABC):
    """Mixes, adds or drops feature maps. Its first, positional parameter is the FeatureSpecs of its inputs."""

    kind: ClassVar[str] = "neck"
    __call__: Callable[..., FeatureMaps]

    @abstractmethod
    def forward(self, features: FeatureMaps) -> FeatureMaps:
        """Return exactly the names of ``out``, finest first; ``features`` is not changed."""
