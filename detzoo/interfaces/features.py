"""What hands feature maps or vectors on: the parts behind it are built for what it declares."""

from torch import nn

from detzoo.types import FeatureSpecs


class FeatureSource(nn.Module):
    """A part whose ``out`` the build supplies as ``features`` to the parts that are built after it."""

    out: FeatureSpecs
    """Name -> channels and stride of what it gives."""
