"""Augmentations: Sample -> Sample in NumPy. Boxes, masks and proposals follow; no boxes is a normal case."""

from detzoo.data.loading.transforms.affine import Affine
from detzoo.data.loading.transforms.box_filter import BoxFilter
from detzoo.data.loading.transforms.copy_paste import CopyPaste
from detzoo.data.loading.transforms.crops import Expand, IouCrop, MildCrop
from detzoo.data.loading.transforms.flips import Flip, QuarterTurn, VerticalFlip
from detzoo.data.loading.transforms.large_scale_jitter import LargeScaleJitter
from detzoo.data.loading.transforms.mixup import MixUp
from detzoo.data.loading.transforms.mosaic import Mosaic
from detzoo.data.loading.transforms.photometric import ColourJitter, HsvShift, PhotometricDistort

__all__ = [
    "Affine",
    "BoxFilter",
    "ColourJitter",
    "CopyPaste",
    "Expand",
    "Flip",
    "HsvShift",
    "IouCrop",
    "LargeScaleJitter",
    "MildCrop",
    "MixUp",
    "Mosaic",
    "PhotometricDistort",
    "QuarterTurn",
    "VerticalFlip",
]
