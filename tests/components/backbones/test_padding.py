"""TensorFlow's SAME padding."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from detzoo.components.backbones.efficientnet import EfficientNetB0, EfficientNetLite0
from detzoo.components.backbones.mobilenet import MobileNetV2
from detzoo.components.backbones.padding import SameConv2d


@pytest.mark.parametrize(
    ("size", "kernel", "pads"),
    [
        (224, 3, (0, 1)),  # Keras: ZeroPadding2D(((0, 1), (0, 1)))
        (7, 3, (1, 1)),
        (224, 5, (1, 2)),
        (7, 5, (2, 2)),
        (1, 3, (1, 1)),
    ],
)
def test_pads_of_a_strided_convolution(size: int, kernel: int, pads: tuple[int, int]) -> None:
    torch.manual_seed(0)
    conv = SameConv2d(2, 3, kernel, stride=2)
    x = torch.randn(1, 2, size, size)
    expected = F.conv2d(F.pad(x, pads * 2), conv.weight, conv.bias, stride=2)
    assert expected.shape[-1] == -(-size // 2)
    torch.testing.assert_close(conv(x), expected)


def test_the_axes_are_padded_apart() -> None:
    conv = SameConv2d(1, 1, 3, stride=2)
    x = torch.randn(1, 1, 8, 7)
    torch.testing.assert_close(conv(x), F.conv2d(F.pad(x, (1, 1, 0, 1)), conv.weight, conv.bias, stride=2))


def test_keras_padding_changes_the_five_strided_convolutions_of_mobilenet_v2_and_no_key() -> None:
    plain, keras = MobileNetV2(last_conv=True), MobileNetV2(last_conv=True, padding="keras")
    same = [name for name, m in keras.named_modules() if isinstance(m, SameConv2d)]
    assert same == [f"body.features.{k}" for k in ("0.0", "2.conv.1.0", "4.conv.1.0", "7.conv.1.0", "14.conv.1.0")]
    assert list(plain.state_dict()) == list(keras.state_dict())
    keras.load_state_dict(plain.state_dict())
    pixels = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        a, b = plain.eval()(pixels), keras.eval()(pixels)
    assert a["s32"].shape == b["s32"].shape
    assert not torch.allclose(a["s32"], b["s32"])


def test_on_odd_sizes_three_by_three_padding_is_the_same_for_both() -> None:
    plain, keras = MobileNetV2(levels=("s2",)).eval(), MobileNetV2(levels=("s2",), padding="keras").eval()
    keras.load_state_dict(plain.state_dict())
    pixels = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        torch.testing.assert_close(plain(pixels)["s2"], keras(pixels)["s2"])


@pytest.mark.parametrize("cls", [EfficientNetB0, EfficientNetLite0])
def test_efficientnet_has_the_five_strided_convolutions_too(cls: type[EfficientNetB0 | EfficientNetLite0]) -> None:
    with torch.device("meta"):
        backbone = cls(padding="keras")
    same = [m for m in backbone.modules() if isinstance(m, SameConv2d)]
    assert [m.kernel_size[0] for m in same] == [3, 3, 5, 3, 5]
    assert sum(isinstance(m, nn.Conv2d) and max(m.stride) > 1 for m in backbone.modules()) == 5
