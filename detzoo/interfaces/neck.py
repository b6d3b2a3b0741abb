"""Neck: feature maps -> feature maps."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import nn

from detzoo.feature import Component
from detzoo.types import FeatureMaps, FeatureSpecs


class Neck(nn.Module, Component, ABC):
    """Mixes, adds or drops feature maps. Its first, positional parameter is the FeatureSpecs of what it will get."""

    kind: ClassVar[str] = "neck"
    out: FeatureSpecs
    __call__: Callable[..., FeatureMaps]

    @abstractmethod
    def forward(self, features: FeatureMaps) -> FeatureMaps:
        """Return exactly the names of ``out``, finest first; ``features`` is not changed."""
