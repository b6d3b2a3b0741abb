"""Backbone: pixels -> feature maps."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from detzoo.feature import Component
from detzoo.interfaces.features import FeatureSource
from detzoo.types import FeatureMaps


class Backbone(FeatureSource, Component, ABC):
    """Turns pixels into feature maps whose channels and strides are declared beforehand.

    ``out`` maps each returned name to its FeatureSpec, finest first; the conformance kit compares it with real outputs.
    """

    kind: ClassVar[str] = "backbone"
    __call__: Callable[..., FeatureMaps]

    @abstractmethod
    def forward(self, pixels: Tensor) -> FeatureMaps:
        """Compute the maps.

        Args:
            pixels: float [B,3,H,W], normalised.

        Returns:
            exactly the names of ``out``, each [B,channels,~H/stride,~W/stride].
        """
