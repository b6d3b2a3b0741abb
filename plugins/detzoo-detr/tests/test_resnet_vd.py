"""ResNet-vd against transformers' RTDetrResNetBackbone, with files named as RT-DETR's release names them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from oracle import relative, seed_by_name
from torch import Tensor, nn
from transformers import RTDetrResNetConfig
from transformers.models.rt_detr.modeling_rt_detr_resnet import RTDetrResNetBackbone

from detzoo.errors import WeightsError
from detzoo.weights.backbone import load_backbone_weights
from detzoo_detr.resnet_vd import BLOCKS, ResNetVd

DEPTHS = [18, *(pytest.param(depth, marks=pytest.mark.slow) for depth in (34, 50, 101))]
RELEASE = (  # from transformers' names, written from its conversion script: not the plugin's own table
    (r"embedder\.embedder\.0", "conv1.conv1_1"),
    (r"embedder\.embedder\.1", "conv1.conv1_2"),
    (r"embedder\.embedder\.2", "conv1.conv1_3"),
    (r"encoder\.stages\.(\d)\.layers\.(\d+)\.", r"res_layers.\1.blocks.\2."),
    (r"layer\.0\.", "branch2a."),
    (r"layer\.1\.", "branch2b."),
    (r"layer\.2\.", "branch2c."),
    (r"shortcut\.1\.", "short.conv."),
    (r"shortcut\.", "short."),
    ("convolution", "conv"),
    ("normalization", "norm"),
)


def oracle(depth: int) -> RTDetrResNetBackbone:
    basic = depth < 50
    config = RTDetrResNetConfig(
        hidden_sizes=[64, 128, 256, 512] if basic else [256, 512, 1024, 2048],
        depths=list(BLOCKS[depth]),
        layer_type="basic" if basic else "bottleneck",
        out_indices=[1, 2, 3, 4],  # strict dataclasses hide it
    )
    model = RTDetrResNetBackbone(config)
    seed_by_name(model)
    model.train(False)
    return model


def released(model: nn.Module) -> dict[str, Tensor]:
    state = {}
    for key, value in model.state_dict().items():
        if not key.endswith("num_batches_tracked"):  # files that come from PaddlePaddle have none
            name = key
            for pattern, replacement in RELEASE:
                name = re.sub(pattern, replacement, name)
            state[name] = value
    return state


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_map_is_transformers(depth: int, tmp_path: Path) -> None:
    model = oracle(depth)
    state = released(model)
    assert {  # read off the release's presnet.py
        "conv1.conv1_1.conv.weight",
        "conv1.conv1_3.norm.running_var",
        "res_layers.0.blocks.0.short.conv.weight",
        "res_layers.1.blocks.0.short.conv.conv.weight",
        "res_layers.3.blocks.1.branch2b.norm.bias",
    } <= state.keys()
    torch.save(state | {"fc.weight": torch.zeros(1000, 512)}, tmp_path / "released.pth")
    ours = ResNetVd(depth=depth, levels=("s4", "s8", "s16", "s32")).eval()  # type: ignore[arg-type]
    found = load_backbone_weights(ours, tmp_path / "released.pth")
    assert (found.loaded, found.dropped) == (len(state), ("fc.weight",))
    pixels = torch.rand(2, 3, 75, 130, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        maps, expected = ours.double()(pixels), model.double()(pixels).feature_maps
    for one, other, (name, spec) in zip(maps.values(), expected, ours.out.items(), strict=True):
        assert relative(one, other) < 1e-9, name
        assert one.shape[1] == spec.channels


def test_a_key_that_nobody_knows_is_an_error(tmp_path: Path) -> None:
    torch.save({"res_layers.0.blocks.0.branch2d.conv.weight": torch.zeros(1)}, tmp_path / "released.pth")
    with pytest.raises(WeightsError, match="branch2d"):
        load_backbone_weights(ResNetVd(depth=18, levels=("s4",)), tmp_path / "released.pth")


def test_frozen_norms_have_nothing_to_learn() -> None:
    frozen, trained = (ResNetVd(depth=18, levels=("s4",), norm=norm) for norm in ("frozen", "batch"))
    assert all(parameter.ndim == 4 for parameter in frozen.parameters())
    assert sum(parameter.ndim == 1 for parameter in trained.parameters()) == 2 * (3 + 2 * 2 + 1)
