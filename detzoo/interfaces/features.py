"""Parts that output feature maps or vectors; the parts after them are built for what they declare."""

from torch import nn

from detzoo.types import FeatureSpecs


class FeatureSource(nn.Module):
    """A part whose ``out`` is passed as ``features`` to the parts that are built after it."""

    out: FeatureSpecs
    """Name -> channels and stride of its outputs."""
