"""Two networks of Caffe's time: the reference CaffeNet, and the ZF net of SPP-net and Faster R-CNN."""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from detzoo.components.backbones.feature_extractor import Tap, TappedBackbone
from detzoo.interfaces import Normalisation
from detzoo.weights.normalisation import CAFFE


class LrnWithinChannel(nn.Module):
    """Local response normalisation over a window of the same channel: x (1 + alpha mean(x^2))^-beta.

    Args:
        size: side of the window, cells; an odd number.
        alpha: weight of the mean of squares. Cells outside the map count as zeros.
        beta: exponent.

    Source: Caffe, LRNLayer with WITHIN_CHANNEL.
    """

    def __init__(self, size: int, *, alpha: float, beta: float) -> None:
        super().__init__()
        self.size, self.alpha, self.beta = size, alpha, beta

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x, float [B,C,h,w]."""
        energy = F.avg_pool2d(x * x, self.size, stride=1, padding=self.size // 2)  # padding counts, as in Caffe
        return x * (1 + self.alpha * energy) ** -self.beta


class CaffeNet(TappedBackbone):
    """The BVLC reference CaffeNet: AlexNet in one column, with groups, and normalisation after pooling.

    Source: Krizhevsky et al. 2012; BVLC caffe, models/bvlc_reference_caffenet. Modules are named as Caffe's layers
    (``conv1.weight``, ..., and ``fc6``, ``fc7``, ``fc8`` of the classifier, which is not kept). Poolings round up as
    Caffe's do. Its weights want BGR pixels in 0..255 minus the mean, and std 1.

    Args:
        input_size: (height, width) px, where fixed.
        levels: of ``s4`` (relu1, 96 channels), ``s8`` (relu2, 256), ``s16`` (relu5, 256), ``s32`` (pool5, 256).
        padded: conv1 padded by 5, pool1 and pool2 by 1, as Fast R-CNN's copy, so that cell i looks at px 16 i; else
            none of them is (the published network, R-CNN: 227 px become 13 cells, 6 after pool5).
    """

    name: ClassVar[str] = "caffenet"
    expects: Normalisation | None = CAFFE
    fully_connected = ("fc6", "fc7")
    pooled = 6

    def __init__(
        self,
        input_size: tuple[int, int] | None = None,
        /,
        *,
        levels: tuple[str, ...] = ("s8", "s16", "s32"),
        padded: bool = True,
    ) -> None:
        side = int(padded)
        body = _chain(
            conv1=nn.Conv2d(3, 96, 11, stride=4, padding=5 * side),
            relu1=nn.ReLU(inplace=True),
            pool1=nn.MaxPool2d(3, stride=2, padding=side, ceil_mode=True),
            # across channels; torch also divides alpha by the size
            norm1=nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0),
            conv2=nn.Conv2d(96, 256, 5, padding=2, groups=2),  # two groups: AlexNet's two GPUs
            relu2=nn.ReLU(inplace=True),
            pool2=nn.MaxPool2d(3, stride=2, padding=side, ceil_mode=True),
            norm2=nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0),
            conv3=nn.Conv2d(256, 384, 3, padding=1),
            relu3=nn.ReLU(inplace=True),
            conv4=nn.Conv2d(384, 384, 3, padding=1, groups=2),
            relu4=nn.ReLU(inplace=True),
            conv5=nn.Conv2d(384, 256, 3, padding=1, groups=2),
            relu5=nn.ReLU(inplace=True),
            pool5=nn.MaxPool2d(3, stride=2, ceil_mode=True),
        )
        super().__init__(
            body,
            steps=[name for name, _ in body.named_children()],
            taps={"s4": Tap("relu1", 4), "s8": Tap("relu2", 8), "s16": Tap("relu5", 16), "s32": Tap("pool5", 32)},
            levels=levels,
            input_size=input_size,
            absent=_CLASSIFIER,
        )


class Zf5(TappedBackbone):
    """The five convolutions of Zeiler and Fergus' net, as SPP-net and Faster R-CNN have them.

    Source: Zeiler and Fergus 2014 (arXiv:1311.2901), figure 3; py-faster-rcnn, models/pascal_voc/ZF (whose
    normalisation is within channels, before pooling). Modules are named as Caffe's layers; ``fc6`` and ``fc7`` belong
    to the classifier, which is not kept. Poolings round up as Caffe's do. Its weights want BGR pixels in 0..255 minus
    the mean, and std 1.

    Args:
        input_size: (height, width) px, where fixed.
        levels: of ``s2`` (relu1, 96 channels), ``s4`` (pool1, 96), ``s8`` (relu2, 256), ``s16`` (relu5, 256).
    """

    expects: Normalisation | None = CAFFE
    fully_connected = ("fc6", "fc7")
    pooled = 6

    def __init__(
        self, input_size: tuple[int, int] | None = None, /, *, levels: tuple[str, ...] = ("s4", "s8", "s16")
    ) -> None:
        body = _chain(
            conv1=nn.Conv2d(3, 96, 7, stride=2, padding=3),
            relu1=nn.ReLU(inplace=True),
            norm1=LrnWithinChannel(3, alpha=5e-5, beta=0.75),  # before pooling, where CaffeNet has it behind
            pool1=nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
            conv2=nn.Conv2d(96, 256, 5, stride=2, padding=2),
            relu2=nn.ReLU(inplace=True),
            norm2=LrnWithinChannel(3, alpha=5e-5, beta=0.75),
            pool2=nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
            conv3=nn.Conv2d(256, 384, 3, padding=1),
            relu3=nn.ReLU(inplace=True),
            conv4=nn.Conv2d(384, 384, 3, padding=1),
            relu4=nn.ReLU(inplace=True),
            conv5=nn.Conv2d(384, 256, 3, padding=1),
            relu5=nn.ReLU(inplace=True),
        )
        super().__init__(
            body,
            steps=[name for name, _ in body.named_children()],
            taps={"s2": Tap("relu1", 2), "s4": Tap("pool1", 4), "s8": Tap("relu2", 8), "s16": Tap("relu5", 16)},
            levels=levels,
            input_size=input_size,
            absent=("pool5", "pool5_spm6", *_CLASSIFIER),  # the classifier's last pooling, and SPP-net's
        )


_CLASSIFIER = ("fc6", "fc7", "fc8")


def _chain(**layers: nn.Module) -> nn.Sequential:
    """The layers under their names; convolutions start as He's, so that they also learn from scratch."""
    for layer in layers.values():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return nn.Sequential(OrderedDict(layers))
