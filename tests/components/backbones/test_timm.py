"""The adapter around timm."""

import sys

import pytest
import torch

from detzoo.components.backbones.timm import Timm
from detzoo.errors import RecipeError
from detzoo.weights.backbone import load_backbone_weights

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:timm")


def test_a_missing_timm_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(RecipeError) as error:
        Timm(model="resnet18")
    assert str(error.value) == (
        "backbone timm needs the package timm, which is not installed: pip install detzoo[timm]"
    )


def test_declared_maps_are_the_real_ones() -> None:
    pytest.importorskip("timm")
    for size in [(96, 160), (128, 64)]:
        backbone = Timm(size, model="resnet18", levels=("s4", "s32")).eval()
        with torch.no_grad():
            maps = backbone(torch.randn(1, 3, *size))
        assert [(k, v.shape[1], tuple(v.shape[2:])) for k, v in maps.items()] == [
            ("s4", 64, (size[0] // 4, size[1] // 4)),
            ("s32", 512, (size[0] // 32, size[1] // 32)),
        ]
        assert {k: (s.channels, s.stride, s.size) for k, s in backbone.out.items()} == {
            k: (v.shape[1], float(k[1:]), tuple(v.shape[2:])) for k, v in maps.items()
        }


def test_unknown_models_and_levels_are_refused_with_the_nearest() -> None:
    timm = pytest.importorskip("timm")
    with pytest.raises(RecipeError) as error:
        Timm(model="resnet18x")
    told = f'model: timm {timm.__version__} has no model "resnet18x"; did you mean "resnet18'
    assert str(error.value).startswith(told)
    with pytest.raises(RecipeError) as error:
        Timm(model="resnet18", levels=("s64",))
    assert str(error.value).startswith('levels: there is no level "s64"')
    assert str(error.value).endswith('timm model "resnet18" has: s2, s4, s8, s16, s32')


@pytest.mark.parametrize("model", ["resnet18", "mobilenetv3_small_050", "efficientnet_b0"])
def test_a_whole_models_state_dict_loads(model: str, tmp_path: object) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    whole = timm.create_model(model, pretrained=False).eval()
    path = f"{tmp_path}/weights.pth"
    torch.save(whole.state_dict(), path)
    backbone = Timm(model=model, levels=("s16",)).eval()
    loaded = load_backbone_weights(backbone, path)
    assert loaded.loaded > 50
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        index = [info["reduction"] for info in timm.create_model(model, features_only=True).feature_info].index(16)
        wanted = whole.forward_intermediates(pixels, intermediates_only=True, indices=None)
    got = backbone(pixels)["s16"]
    assert any(w.shape == got.shape and torch.allclose(w, got, atol=1e-5) for w in wanted), index
