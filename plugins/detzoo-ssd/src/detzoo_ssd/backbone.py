"""VGG16 as SSD uses it: its fully connected layers turned into convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detzoo.errors import RecipeError, WeightsError
from detzoo.interfaces import Backbone
from detzoo.types import FeatureMaps, FeatureSpec
from detzoo_ssd.initialisation import initialise

STAGES: tuple[tuple[int, ...], ...] = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Output channels of VGG16's convolutions, a pooling after each group."""


class Vgg16Ssd(Backbone):
    """VGG16 up to conv5_3, then fc6 and fc7 as convolutions.

    Args:
        dilated: paper: pool5 is 3x3 with stride 1, fc6 a 3x3 convolution with dilation 6 and 1,024 channels decimated
            from ImageNet's 7x7 x 4,096; gives conv4_3 (``s8``) and fc7 (``s16``). False is the paper's control: pool5
            2x2 with stride 2, the whole fc6 (7x7, 4,096 channels) and fc7, and conv5_3 as a map of its own; gives
            conv4_3 (``s8``), conv5_3 (``s16``) and fc7 (``s32``): about the same accuracy, 20 % slower.
        pool3_ceil: round pool3's output up, so that a 300 px input gives 38x38 cells and SSD300 its 8,732 priors
            (8,096 without).
        levels: which maps to give; null for all.

    ImageNet weights are those of torchvision's vgg16, whose fully connected layers ``adapt_state_dict`` decimates.

    Source: Liu et al. 2016, sections 3 and 3.6; weiliu89/caffe VGGNetBody; torchvision's ssd.py (``features`` has its
    indices).
    """

    def __init__(
        self,
        *,
        dilated: bool = True,
        pool3_ceil: bool = True,
        levels: list[str] | None = None,
    ) -> None:
        super().__init__()
        self.dilated = dilated
        width = 1024 if dilated else 4096
        self.features = nn.Sequential(*_vgg_layers(pool3_ceil))
        self.pool5 = nn.MaxPool2d(3, stride=1, padding=1) if dilated else nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.fc6 = nn.Conv2d(512, width, 3, padding=6, dilation=6) if dilated else nn.Conv2d(512, width, 7, padding=3)
        self.fc7 = nn.Conv2d(width, width, 1)
        initialise(self, "xavier")
        every = {"s8": FeatureSpec(512, 8.0), "s16": FeatureSpec(512, 16.0), "s32": FeatureSpec(width, 32.0)}
        if dilated:
            every = {"s8": FeatureSpec(512, 8.0), "s16": FeatureSpec(width, 16.0)}
        for name in levels or []:
            if name not in every:
                raise RecipeError(f"levels names {name!r}; vgg16_ssd gives {', '.join(every)}.")
        self.out = {name: every[name] for name in every if levels is None or name in levels}

    def forward(self, pixels: Tensor) -> FeatureMaps:
        """The maps, each after its ReLU."""
        conv4_3 = self.features[:23](pixels)
        conv5_3 = self.features[23:](conv4_3)
        fc6 = torch.relu(self.fc6(self.pool5(conv5_3)))
        fc7 = torch.relu(self.fc7(fc6))
        maps = {"s8": conv4_3, "s16": fc7} if self.dilated else {"s8": conv4_3, "s16": conv5_3, "s32": fc7}
        return {name: maps[name] for name in self.out}

    def adapt_state_dict(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """ImageNet's VGG16 in this backbone's names and shapes.

        Args:
            state: torchvision's vgg16 state dict.

        Returns:
            every tensor that this backbone can take; the 1,000-way layer is dropped.
        """
        adapted = {key: value for key, value in state.items() if key.startswith("features.")}
        if "classifier.0.weight" not in state:
            return {**adapted, **{key: value for key, value in state.items() if key.startswith(("fc6.", "fc7."))}}
        fc6 = state["classifier.0.weight"].view(4096, 512, 7, 7)
        fc7 = state["classifier.3.weight"].view(4096, 4096, 1, 1)
        biases = state["classifier.0.bias"], state["classifier.3.bias"]
        if self.dilated:
            fc6, fc7 = decimate(fc6, (4, 1, 3, 3)), decimate(fc7, (4, 4, 1, 1))
            biases = biases[0][::4], biases[1][::4]
        adapted |= {"fc6.weight": fc6, "fc6.bias": biases[0], "fc7.weight": fc7, "fc7.bias": biases[1]}
        return {key: value.contiguous() for key, value in adapted.items()}


def decimate(weight: Tensor, step: tuple[int, ...]) -> Tensor:
    """Keep every step-th slice of each dimension, starting with the first ("à trous").

    fc6's 7x7 kernel with step 3 keeps rows and columns 0, 3, 6: three taps, six pool5 cells wide, which a 3x3 kernel
    with dilation 6 spreads again over the stride-1 map; 4,096 outputs with step 4 become 1,024.

    Args:
        weight: of any shape.
        step: one a dimension.

    Returns:
        a view of ``weight``.

    Source: Chen et al. 2015 (DeepLab), section 3.1; weiliu89/caffe's VGG_ILSVRC_16_layers_fc_reduced.
    """
    if len(step) != weight.ndim:
        raise WeightsError(f"decimate: {len(step)} steps for a tensor of {weight.ndim} dimensions; give one for each.")
    return weight[tuple(slice(None, None, s) for s in step)]


def _vgg_layers(pool3_ceil: bool) -> list[nn.Module]:
    """torchvision's vgg16.features without its last pooling, so that the indices in the names agree."""
    layers: list[nn.Module] = []
    inputs = 3
    for number, stage in enumerate(STAGES, start=1):
        for outputs in stage:
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = outputs
        if number < len(STAGES):
            layers.append(nn.MaxPool2d(2, 2, ceil_mode=pool3_ceil and number == 3))
    return layers
