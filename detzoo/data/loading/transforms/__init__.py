"""Augmentations: Sample -> Sample in NumPy. Boxes, masks and proposals follow; no boxes is a normal case."""

from detzoo.data.loading.transforms.crops import Expand, IouCrop, MildCrop
from detzoo.data.loading.transforms.flips import Flip, QuarterTurn, VerticalFlip
from detzoo.data.loading.transforms.photometric import ColourJitter, PhotometricDistort

__all__ = [
    "ColourJitter",
    "Expand",
    "Flip",
    "IouCrop",
    "MildCrop",
    "PhotometricDistort",
    "QuarterTurn",
    "VerticalFlip",
]
