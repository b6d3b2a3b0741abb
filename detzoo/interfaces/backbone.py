"""Backbone: pixels -> feature maps."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Final

from torch import Tensor

from detzoo.feature import Component
from detzoo.interfaces.features import FeatureSource
from detzoo.interfaces.normalisation import Normalisation
from detzoo.types import FeatureMaps

CLASSIFIER_KEYS: Final = ("fc.*", "classifier.*", "head.*", "heads.*", "last_linear.*", "AuxLogits.*", "aux*.*")
"""Classifier layers after the features in the ImageNet models of torchvision, timm and pretrainedmodels."""


class Backbone(FeatureSource, Component, ABC):
    """Turns pixels into feature maps whose channels and strides are declared beforehand.

    ``out`` maps each returned name to its FeatureSpec, finest first; the conformance kit compares it with real outputs.
    """

    kind: ClassVar[str] = "backbone"
    expects: Normalisation | None = None
    """Normalisation with which the usual published weights were trained; None if they differ or it is unknown."""
    classifier_keys: tuple[str, ...] = CLASSIFIER_KEYS
    """Globs over keys of its published state dict that a detector does not use: left out, with a log message."""
    fully_connected: tuple[str, ...] = ()
    """Fully connected layers of the published classifier without the last, by their names in published files."""
    pooled: int = 1
    """Side in cells of the map that the first of them takes; 1: the mean of the deepest map."""
    __call__: Callable[..., FeatureMaps]

    @abstractmethod
    def forward(self, pixels: Tensor) -> FeatureMaps:
        """Compute the maps.

        Args:
            pixels: float [B,3,H,W], normalised.

        Returns:
            exactly the names of ``out``, each [B,channels,~H/stride,~W/stride].
        """

    def adapt_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Convert a published state dict to this backbone's own names and shapes; by default unchanged.

        Args:
            state: of a file, prefixes such as ``model.backbone.`` removed. Only called where no key has an own name.

        Returns:
            a new dictionary. ``body.`` may be missing before its keys; a key that it keeps is left out where
            ``classifier_keys`` names it, and is an error elsewhere.
        """
        return state
