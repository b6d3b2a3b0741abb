"""HGNetv2 against transformers' and timm's."""

from __future__ import annotations

import pytest
import torch
from oracle import relative, seed_by_name
from timm.models import hgnet
from torch import Tensor
from transformers import HGNetV2Backbone, HGNetV2Config

from detzoo.errors import RecipeError
from detzoo_detr.dfine_names import of_backbone
from detzoo_detr.hgnet_v2 import SIZES, HgNetV2, SizeName


def theirs(size: SizeName, *, affine: bool) -> HGNetV2Backbone:
    """transformers' backbone of one of our sizes, all its stages given out."""
    stages, stem = SIZES[size].stages, SIZES[size].stem
    outputs = [stage.outputs for stage in stages]
    config = HGNetV2Config(
        stem_channels=[3, *stem],
        hidden_sizes=outputs,
        depths=[stage.layers for stage in stages],
        stage_in_channels=[stem[1], *outputs[:-1]],
        stage_mid_channels=[stage.middle for stage in stages],
        stage_out_channels=outputs,
        stage_num_blocks=[stage.blocks for stage in stages],
        stage_downsample=[row > 0 for row in range(len(stages))],
        stage_light_block=[stage.light for stage in stages],
        stage_kernel_size=[stage.kernel for stage in stages],
        stage_numb_of_layers=[stage.layers for stage in stages],
        use_learnable_affine_block=affine,
        out_indices=list(range(1, len(stages) + 1)),
    )
    model = HGNetV2Backbone(config).double().eval()
    seed_by_name(model)
    return model


@pytest.mark.parametrize(("size", "affine"), [("atto", True), ("b0", False)])
def test_maps_are_those_of_transformers(size: SizeName, affine: bool) -> None:
    oracle = theirs(size, affine=affine)
    levels = ("s4", "s8", "s16", "s32")[: len(SIZES[size].stages)]
    ours = HgNetV2(size=size, levels=levels, affine=affine).double().eval()
    renamed: dict[str, Tensor] = {}
    for key, value in oracle.state_dict().items():
        name = of_backbone(key)
        assert name is not None, key
        renamed[name] = value
    ours.body.load_state_dict(renamed)  # every parameter accounted for
    pixels = torch.rand(2, 3, 75, 97, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        found, expected = ours(pixels), oracle(pixels).feature_maps
    assert list(found) == list(levels)
    for one, other in zip(found.values(), expected, strict=True):
        assert relative(one, other) < 1e-9


@pytest.mark.parametrize("size", ["b0", "b1", "b2", "b3", "b4", "b5"])
def test_sizes_are_those_of_timm(size: SizeName) -> None:
    expected = hgnet.model_cfgs[f"hgnetv2_{size}"]
    assert list(SIZES[size].stem) == expected["stem_chs"]
    inputs = SIZES[size].stem[1]
    for row, stage in enumerate(SIZES[size].stages):
        found = [inputs, stage.middle, stage.outputs, stage.blocks, row > 0, stage.light, stage.kernel, stage.layers]
        assert found == expected[f"stage{row + 1}"]
        inputs = stage.outputs


def test_small_sizes_end_at_stride_16() -> None:
    backbone = HgNetV2((320, 320), size="pico", levels=("s16",))
    assert backbone.out["s16"].channels == 512
    assert backbone.out["s16"].size == (20, 20)
    with pytest.raises(RecipeError, match=r"HGNetv2 pico has: s4, s8, s16"):
        HgNetV2(size="pico", levels=("s32",))


def test_names_of_a_released_file_are_understood() -> None:
    """As D-FINE's PPHGNetV2_B0_stage1.pth and timm's files call them."""
    backbone = HgNetV2(size="b0")
    renamed = backbone.adapt_weights(
        {
            "stem.stem2a.conv.weight": torch.zeros(1),
            "stages.0.blocks.0.layers.2.bn.running_mean": torch.zeros(1),
            "stages.2.blocks.1.layers.0.conv2.lab.scale": torch.zeros(1),
            "stages.3.downsample.conv.weight": torch.zeros(1),
        }
    )
    own = {name.removeprefix("body.") for name in backbone.state_dict()}
    assert set(renamed) <= own
    assert "stage3.blocks.1.layers.0.1.lab.scale" in renamed
