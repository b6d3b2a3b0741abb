"""Every key of a file is accounted for."""

from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from detzoo.components.backbones.mobilenet import MobileNetV2
from detzoo.components.backbones.resnet import ResNet18
from detzoo.components.backbones.vgg import Vgg16
from detzoo.errors import WeightsError
from detzoo.interfaces import Backbone
from detzoo.types import FeatureMaps, FeatureSpec
from detzoo.weights.backbone import load_backbone_weights
from detzoo.weights.normalisation import IMAGENET


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return dict(torchvision.models.resnet18().state_dict())


def write(path: Path, state: dict[str, Tensor]) -> Path:
    save_file({k: v.contiguous() for k, v in state.items()}, path)
    return path


def fits(backbone: nn.Module, state: dict[str, Tensor]) -> bool:
    own = backbone.state_dict()
    return all(torch.equal(own[f"body.{k}"], v) for k, v in state.items() if f"body.{k}" in own)


def test_dropped_keys_are_named(published: dict[str, Tensor], tmp_path: Path) -> None:
    backbone = ResNet18(levels=("s8", "s16"))
    loaded = load_backbone_weights(backbone, write(tmp_path / "w.safetensors", published))
    assert fits(backbone, published)
    assert len(loaded.dropped) == 32
    assert all(k.startswith(("layer4.", "fc.")) for k in loaded.dropped)
    assert loaded.loaded == len(backbone.state_dict()) == len(published) - 32
    assert loaded.expects == IMAGENET
    assert len(loaded.sha256) == 64


@pytest.mark.parametrize("prefix", ["body.", "module.", "backbone.", "backbone.body.", "model.backbone.body."])
def test_prefixes_of_detectors_and_wrappers(published: dict[str, Tensor], tmp_path: Path, prefix: str) -> None:
    state = {prefix + k: v for k, v in published.items()}
    if "backbone" in prefix:
        state["head.weight"] = torch.zeros(3)
    backbone = ResNet18()
    loaded = load_backbone_weights(backbone, write(tmp_path / "w.safetensors", state))
    assert fits(backbone, published)
    assert loaded.loaded == len(backbone.state_dict())
    assert set(loaded.dropped) == {k for k in state if "fc." in k or k.startswith("head")}


def test_the_moving_average_of_a_checkpoint_is_preferred(published: dict[str, Tensor], tmp_path: Path) -> None:
    state = {f"model.backbone.body.{k}": torch.zeros_like(v) for k, v in published.items()}
    state |= {f"ema.backbone.body.{k}": v for k, v in published.items()}
    backbone = ResNet18()
    load_backbone_weights(backbone, write(tmp_path / "w.safetensors", state))
    assert fits(backbone, published)


def test_half_precision_becomes_single(published: dict[str, Tensor], tmp_path: Path) -> None:
    half = {k: v.half() if v.is_floating_point() else v for k, v in published.items()}
    backbone = ResNet18()
    load_backbone_weights(backbone, write(tmp_path / "w.safetensors", half))
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}
    assert torch.equal(backbone.state_dict()["body.conv1.weight"], half["conv1.weight"].float())


def test_frozen_norms_load_the_same_file(published: dict[str, Tensor], tmp_path: Path) -> None:
    backbone = ResNet18(norm="frozen")
    loaded = load_backbone_weights(backbone, write(tmp_path / "w.safetensors", published))
    assert fits(backbone, published)
    assert {k.rpartition(".")[2] for k in loaded.dropped if not k.startswith("fc.")} == {"num_batches_tracked"}
    old = {k: v for k, v in published.items() if not k.endswith("num_batches_tracked")}
    assert load_backbone_weights(ResNet18(), write(tmp_path / "old.safetensors", old)).loaded == len(old) - 2


def test_missing_unexpected_and_misshapen_keys_are_listed_and_nothing_changes(
    published: dict[str, Tensor], tmp_path: Path
) -> None:
    state = dict(published)
    del state["layer1.0.conv1.weight"]
    state["layer1.9.conv1.weight"] = torch.zeros(1)
    state["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    path = write(tmp_path / "w.safetensors", state)
    backbone = ResNet18()
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    with pytest.raises(WeightsError) as error:
        load_backbone_weights(backbone, path)
    assert str(error.value) == (
        f"{path} does not fit ResNet18:\n"
        "  1 missing: body.layer1.0.conv1.weight\n"
        "  1 unexpected: layer1.9.conv1.weight\n"
        "  1 of another shape: body.conv1.weight [64, 1, 7, 7] (needs [64, 3, 7, 7])\n"
        "  Check that the file belongs to this architecture, width and variant; to train from scratch set "
        "backbone.weights to null."
    )
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())


def test_another_architectures_file_lists_ten_keys_at_most(published: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as error:
        load_backbone_weights(Vgg16(), write(tmp_path / "w.safetensors", published))
    lines = str(error.value).splitlines()
    assert lines[1].startswith("  26 missing: body.features.0.weight, body.features.0.bias, ")
    assert lines[1].endswith(" and 16 more")
    assert lines[1].count("body.") == 10
    assert "unexpected" in lines[2]


def test_another_width_is_a_matter_of_shapes(tmp_path: Path) -> None:
    path = write(tmp_path / "w.safetensors", dict(torchvision.models.mobilenet_v2(width_mult=0.5).state_dict()))
    with pytest.raises(WeightsError, match=r"of another shape: body\.features\.0\.0\.weight \[16, 3, 3, 3\] \(needs"):
        load_backbone_weights(MobileNetV2(), path)


def test_values_that_are_not_finite_are_refused(published: dict[str, Tensor], tmp_path: Path) -> None:
    state = dict(published) | {"bn1.weight": torch.full((64,), float("nan"))}
    path = write(tmp_path / "w.safetensors", state)
    with pytest.raises(WeightsError) as error:
        load_backbone_weights(ResNet18(), path)
    assert str(error.value) == (
        f"{path} holds values that cannot be weights: body.bn1.weight: 64 of 64 values are NaN or infinite. "
        "The file is damaged, or its training diverged."
    )


class Plain(Backbone):
    """A third party's: nothing but the interface."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4)
        self.out = {"s2": FeatureSpec(4, 2)}

    def forward(self, pixels: Tensor) -> FeatureMaps:
        return {"s2": self.norm(self.conv(pixels))}


class Named(Plain):
    """Whose own layer has a name that classifiers usually have."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Conv2d(4, 4, 1)


class Translating(Plain):
    """Whose published file calls the convolution otherwise."""

    def adapt_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {key.replace("stem.", "conv.").replace("bn.", "norm."): value for key, value in state.items()}


@pytest.mark.parametrize("prefix", ["", "module.", "backbone."])
def test_a_plain_backbone_takes_a_usual_file_and_tells_the_classifier(
    prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    given = {prefix + key: value for key, value in Plain().state_dict().items()}
    classifier = {prefix + "fc.weight": torch.zeros(10, 4), prefix + "fc.bias": torch.zeros(10)}
    path, backbone = write(tmp_path / "w.safetensors", given | classifier), Plain()
    with caplog.at_level("INFO", "detzoo.weights"):
        loaded = load_backbone_weights(backbone, path)
    assert torch.equal(backbone.conv.weight, given[prefix + "conv.weight"])
    assert (loaded.loaded, set(loaded.dropped), loaded.expects) == (7, set(classifier), None)
    assert all(key in caplog.text for key in classifier)
    write(path, given | classifier | {prefix + "neck.weight": torch.zeros(1)})
    with pytest.raises(WeightsError, match=rf"1 unexpected: {prefix}neck\.weight"):
        load_backbone_weights(backbone, path)


def test_an_own_layer_is_loaded_whatever_its_name(tmp_path: Path) -> None:
    given, backbone = Named(), Named()
    loaded = load_backbone_weights(backbone, write(tmp_path / "w.safetensors", given.state_dict()))
    assert torch.equal(backbone.fc.weight, given.fc.weight)
    assert loaded.dropped == ()
    del (state := given.state_dict())["fc.weight"]
    with pytest.raises(WeightsError, match=r"1 missing: fc\.weight"):
        load_backbone_weights(backbone, write(tmp_path / "part.safetensors", state))


@pytest.mark.parametrize("prefix", ["", "model.backbone."])
def test_foreign_names_are_translated_and_own_ones_left_alone(prefix: str, tmp_path: Path) -> None:
    own = Plain().state_dict()
    foreign = {key.replace("conv.", "stem.").replace("norm.", "bn."): value for key, value in own.items()}
    for state in (foreign | {"head.weight": torch.zeros(2)}, {prefix + key: value for key, value in own.items()}):
        backbone = Translating()
        loaded = load_backbone_weights(backbone, write(tmp_path / "w.safetensors", state))
        assert torch.equal(backbone.conv.weight, own["conv.weight"])
        assert set(loaded.dropped) == {key for key in state if key.startswith("head.")}
