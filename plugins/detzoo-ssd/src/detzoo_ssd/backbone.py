"""VGG16 as SSD uses it: its fully connected layers turned into convolutions."""

from __future__ import annotations

from torch import Tensor, nn

from detzoo.components.backbones.feature_extractor import Tap, TappedBackbone
from detzoo.errors import WeightsError
from detzoo.interfaces import Normalisation
from detzoo_ssd.initialisation import initialise

STAGES: tuple[tuple[int, ...], ...] = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Output channels of VGG16's convolutions, a pooling after each group."""

CLASSIFIER: dict[str, tuple[str, tuple[int, ...]]] = {
    "classifier.0.weight": ("body.fc6.0.weight", (4096, 25088)),
    "classifier.0.bias": ("body.fc6.0.bias", (4096,)),
    "classifier.3.weight": ("body.fc7.0.weight", (4096, 4096)),
    "classifier.3.bias": ("body.fc7.0.bias", (4096,)),
}
"""fc6 and fc7 in torchvision's vgg16: own name, and shape there."""


class Vgg16Ssd(TappedBackbone):
    """VGG16 up to conv5_3, then fc6 and fc7 as convolutions.

    Args:
        input_size: (height, width) px, where fixed.
        levels: which maps to give; null for all.
        dilated: paper: pool5 is 3x3 with stride 1, fc6 a 3x3 convolution with dilation 6 and 1,024 channels decimated
            from ImageNet's 7x7 x 4,096; gives conv4_3 (``s8``) and fc7 (``s16``). False is the paper's control: pool5
            2x2 with stride 2, the whole fc6 (7x7, 4,096 channels) and fc7, and conv5_3 as a map of its own; gives
            conv4_3 (``s8``), conv5_3 (``s16``) and fc7 (``s32``): about the same accuracy, 20 % slower.
        pool3_ceil: round pool3's output up, so that a 300 px input gives 38x38 cells and SSD300 its 8,732 priors
            (8,096 without).

    ImageNet weights are those of torchvision's vgg16, whose fully connected layers ``adapt_weights`` decimates.

    Source: Liu et al. 2016, sections 3 and 3.2; weiliu89/caffe VGGNetBody; torchvision's ssd.py (``features`` has its
    indices).
    """

    expects: Normalisation | None = None
    """Caffe's weights, torchvision's classification weights and its "features" weights each want another one."""

    def __init__(
        self,
        input_size: tuple[int, int] | None = None,
        /,
        *,
        levels: tuple[str, ...] | None = None,
        dilated: bool = True,
        pool3_ceil: bool = True,
    ) -> None:
        body = nn.Module()
        body.features = nn.Sequential(*_vgg_layers(pool3_ceil))
        body.pool5 = nn.MaxPool2d(3, stride=1, padding=1) if dilated else nn.MaxPool2d(2, stride=2, ceil_mode=True)
        body.fc6, body.fc7 = _dilated() if dilated else _whole()
        initialise(body, "xavier")
        # 22: relu4_3; 29: relu5_3
        taps = {"s8": Tap("features.22", 8), "s16": Tap("features.29", 16), "s32": Tap("fc7", 32)}
        if dilated:
            taps = {"s8": Tap("features.22", 8), "s16": Tap("fc7", 16)}
        super().__init__(
            body,
            # without features.30, torchvision's pool5
            steps=[*(f"features.{i}" for i in range(30)), "pool5", "fc6", "fc7"],
            taps=taps,
            levels=tuple(taps) if levels is None else levels,
            input_size=input_size,
            absent=("classifier",),
        )
        self.dilated = dilated

    def adapt_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """ImageNet's VGG16 in this backbone's names and shapes.

        Args:
            state: torchvision's vgg16 state dict. Where it has no classifier, or one of NaN (torchvision's
                "features" weights, made for SSD), fc6 and fc7 keep their Xavier start.

        Returns:
            every tensor of this backbone, and what is left of the classifier.
        """
        adapted = {f"body.{key}": value for key, value in state.items() if not key.startswith("classifier.")}
        fc6 = state.get("classifier.0.weight")
        if fc6 is None or not fc6.isfinite().all():  # torchvision's "features" weights fill the classifier with NaN
            own = {key: value for key, value in self.state_dict().items() if key.startswith("body.fc")}
            return adapted | own | {key: value for key, value in state.items() if key.startswith("classifier.")}
        whole = {own: state[key] for key, (own, _) in CLASSIFIER.items() if key in state}
        if [tuple(value.shape) for value in whole.values()] != [shape for _, shape in CLASSIFIER.values()]:
            return adapted | whole  # of another network: the loader names what is missing or of another shape
        whole["body.fc6.0.weight"] = fc6.view(4096, 512, 7, 7)  # torchvision flattens channel, row, column
        whole["body.fc7.0.weight"] = whole["body.fc7.0.weight"][..., None, None]
        last = {key: value for key, value in state.items() if key.startswith("classifier.6.")}
        return adapted | (_reduced(whole) if self.dilated else whole) | last


def decimate(weight: Tensor, step: tuple[int, ...]) -> Tensor:
    """Keep every step-th slice of each dimension, starting with the first ("à trous").

    fc6's 7x7 kernel with step 3 keeps rows and columns 0, 3, 6: three taps, six pool5 cells wide, which a 3x3 kernel
    with dilation 6 spreads again over the stride-1 map; 4,096 outputs with step 4 become 1,024.

    Args:
        weight: of any shape.
        step: one per dimension.

    Returns:
        a view of ``weight``.

    Source: Chen et al. 2015 (DeepLab), section 3.1; weiliu89/caffe's VGG_ILSVRC_16_layers_fc_reduced.
    """
    if len(step) != weight.ndim:
        raise WeightsError(f"decimate: {len(step)} steps for a tensor of {weight.ndim} dimensions; give one for each.")
    return weight[tuple(slice(None, None, s) for s in step)]  # taps are kept, not averaged


def _vgg_layers(pool3_ceil: bool) -> list[nn.Module]:
    """torchvision's vgg16.features without its last pooling, so that the indices in the names agree."""
    layers: list[nn.Module] = []
    inputs = 3
    for number, stage in enumerate(STAGES, start=1):
        for outputs in stage:
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = outputs
        if number < len(STAGES):
            # 300 px: 75 cells become 38, not 37
            layers.append(nn.MaxPool2d(2, 2, ceil_mode=pool3_ceil and number == 3))
    return layers


def _dilated() -> tuple[nn.Module, nn.Module]:
    """fc6 and fc7 of the reduced VGG: 3x3 taps, six cells apart."""
    fc6 = nn.Sequential(nn.Conv2d(512, 1024, 3, padding=6, dilation=6), nn.ReLU(inplace=True))  # padding keeps 19 x 19
    return fc6, nn.Sequential(nn.Conv2d(1024, 1024, 1), nn.ReLU(inplace=True))


def _whole() -> tuple[nn.Module, nn.Module]:
    """fc6 and fc7 of the classification network, slid over the map."""
    fc6 = nn.Sequential(nn.Conv2d(512, 4096, 7, padding=3), nn.ReLU(inplace=True))
    return fc6, nn.Sequential(nn.Conv2d(4096, 4096, 1), nn.ReLU(inplace=True))


def _reduced(whole: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every fourth channel of fc6 and fc7, and every third tap of fc6."""
    steps = {"body.fc6.0.weight": (4, 1, 3, 3), "body.fc7.0.weight": (4, 4, 1, 1)}
    return {key: decimate(value, steps.get(key, (4,))).contiguous() for key, value in whole.items()}
