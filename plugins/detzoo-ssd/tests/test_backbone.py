"""VGG16 as SSD uses it, and the face detector's backbone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from detzoo.errors import RecipeError, WeightsError
from detzoo.types import FeatureSpec
from detzoo_ssd.backbone import Vgg16Ssd, decimate
from detzoo_ssd.face_backbone import UltralightFace


def conv(module: nn.Module, path: str) -> nn.Conv2d:
    found = module.get_submodule(path)
    assert isinstance(found, nn.Conv2d)
    return found


@pytest.fixture(scope="module")
def vgg() -> Vgg16Ssd:
    return Vgg16Ssd((300, 300)).eval()


def test_maps_of_ssd300(vgg: Vgg16Ssd) -> None:
    assert vgg.out == {"s8": FeatureSpec(512, 8, (38, 38)), "s16": FeatureSpec(1024, 16, (19, 19))}
    assert Vgg16Ssd((512, 512)).out["s16"].size == (32, 32)


def test_without_ceil_the_map_is_37() -> None:
    assert Vgg16Ssd((300, 300), pool3_ceil=False).out["s8"].size == (37, 37)


def test_pool5_and_fc6(vgg: Vgg16Ssd) -> None:
    pool5, fc6, fc7 = vgg.get_submodule("body.pool5"), conv(vgg, "body.fc6.0"), conv(vgg, "body.fc7.0")
    assert isinstance(pool5, nn.MaxPool2d)
    assert (pool5.kernel_size, pool5.stride, pool5.padding) == (3, 1, 1)
    assert (fc6.kernel_size, fc6.dilation, fc6.padding) == ((3, 3), (6, 6), (6, 6))
    assert fc7.kernel_size == (1, 1)


def test_without_dilation_fc6_is_whole_and_conv5_3_a_map() -> None:
    with torch.device("meta"):
        backbone = Vgg16Ssd((300, 300), dilated=False)
    assert list(backbone.out) == ["s8", "s16", "s32"]
    assert backbone.out["s16"] == FeatureSpec(512, 16, (19, 19))
    assert backbone.out["s32"] == FeatureSpec(4096, 32, (10, 10))  # 19 cells pooled 2x2, rounded up
    assert conv(backbone, "body.fc6.0").weight.shape == (4096, 512, 7, 7)


def test_wrong_level_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(RecipeError) as error:
        Vgg16Ssd(None, levels=("s8", "s32"))
    assert str(error.value) == 'levels: there is no level "s32". Vgg16Ssd has: s8, s16'


def test_decimation_keeps_every_nth() -> None:
    fc6 = torch.arange(8 * 2 * 7 * 7).view(8, 2, 7, 7)
    small = decimate(fc6, (4, 1, 3, 3))
    assert small.shape == (2, 2, 3, 3)
    assert small[1, 1].tolist() == [[fc6[4, 1, row, column].item() for column in (0, 3, 6)] for row in (0, 3, 6)]
    with pytest.raises(WeightsError) as error:
        decimate(fc6, (4,))
    assert str(error.value) == "decimate: 1 steps for a tensor of 4 dimensions; give one for each."


def test_imagenet_weights_are_decimated(vgg: Vgg16Ssd) -> None:
    state: dict[str, Tensor] = {}
    state |= {f"features.{name}": value for name, value in vgg.get_submodule("body.features").named_parameters()}
    one = torch.zeros(1, 512 * 49).index_fill_(1, torch.tensor([3 * 7 + 6]), 1.0)
    state["classifier.0.weight"] = one.expand(4096, -1)
    state["classifier.0.bias"] = torch.arange(4096.0)
    state["classifier.3.weight"] = torch.arange(4096.0).expand(4096, 4096)
    state["classifier.3.bias"] = -torch.arange(4096.0)
    state["classifier.6.weight"] = torch.zeros(1000, 1)
    adapted = vgg.adapt_weights(state)
    del adapted["classifier.6.weight"]
    assert {k: v.shape for k, v in adapted.items()} == {k: v.shape for k, v in vgg.state_dict().items()}
    assert adapted["body.fc6.0.weight"][0, 0].tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]  # row 3, column 6 of 7x7
    assert adapted["body.fc6.0.bias"][:3].tolist() == [0, 4, 8]
    assert adapted["body.fc7.0.weight"][5, :3, 0, 0].tolist() == [0, 4, 8]
    assert adapted["body.fc7.0.bias"][-1].item() == -4092


def test_features_only_weights_leave_fc6_and_fc7(vgg: Vgg16Ssd) -> None:
    state = {"features.0.bias": torch.ones(64), "classifier.0.weight": torch.full((2, 2), torch.nan)}
    adapted = vgg.adapt_weights(state)
    del adapted["classifier.0.weight"]
    assert adapted.keys() == {
        "body.features.0.bias",
        *(f"body.fc{n}.0.{p}" for n in (6, 7) for p in ("weight", "bias")),
    }
    assert torch.equal(adapted["body.fc7.0.weight"], conv(vgg, "body.fc7.0").weight)


@pytest.mark.parametrize("outputs", [10, 4096])
def test_a_classifier_of_another_network_is_left_for_the_loader_to_reject(vgg: Vgg16Ssd, outputs: int) -> None:
    fc6 = torch.zeros(1, 1).expand(outputs, 512 * 49)  # without its bias, and without fc7
    adapted = vgg.adapt_weights({"features.0.bias": torch.ones(64), "classifier.0.weight": fc6})
    assert {name: tuple(value.shape) for name, value in adapted.items()} == {
        "body.features.0.bias": (64,),
        "body.fc6.0.weight": (outputs, 512 * 49),
    }


@pytest.mark.parametrize("rfb", [False, True])
def test_face_backbone(rfb: bool) -> None:
    backbone = UltralightFace(rfb=rfb).eval()
    with torch.no_grad():
        maps = backbone(torch.zeros(1, 3, 240, 320))
    found = {name: (feature.shape[1], tuple(feature.shape[2:])) for name, feature in maps.items()}
    assert found == {"s8": (64, (30, 40)), "s16": (128, (15, 20)), "s32": (256, (8, 10))}
    assert {name: spec.channels for name, spec in backbone.out.items()} == {"s8": 64, "s16": 128, "s32": 256}
    assert any(isinstance(m, nn.Conv2d) and m.dilation == (5, 5) for m in backbone.modules()) == rfb
