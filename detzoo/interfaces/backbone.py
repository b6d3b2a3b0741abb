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
"""What comes behind the features in the ImageNet classifiers of torchvision, timm and pretrainedmodels."""


class Backbone(FeatureSource, Component, ABC):
    """Turns pixels into feature maps whose channels and strides are declared beforehand.

    ``out`` maps each returned name to its FeatureSpec, finest first; the conformance kit compares it with real outputs.
    """

    kind: ClassVar[str] = "backbone"
    expects: Normalisation | None = None
    """Normalisation under which the usual published weights were trained; None where they differ, or nobody said."""
    classifier_keys: tuple[str, ...] = CLASSIFIER_KEYS
    """Globs over keys of its published state dict that a detector does not use: they are left out, and told."""
    fully_connected: tuple[str, ...] = ()
    """Layers of the published classifier, ReLUs between them and its last left out, as published files name them."""
    pooled: int = 1
    """Side, cells, of the map that the first of them takes; 1: the classifier looks at the mean of the deepest map."""
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
        """A published state dict under this backbone's own names and shapes; unchanged unless it says otherwise.

        Args:
            state: of a file, prefixes such as ``model.backbone.`` taken off; called where no key is an own name.

        Returns:
            a new dictionary. ``body.`` may be missing before its keys; what it leaves alone is left out where
            ``classifier_keys`` names it, and is an error elsewhere.
        """
        return state
