"""DINOv2 with windows against transformers' modules, and its windows and positions by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from oracle import relative, seed_by_name
from torch import Tensor
from torch.nn import functional
from transformers import Dinov2Config, Dinov2Model, RfDetrDinov2Backbone, RfDetrDinov2Config

from detzoo.errors import RecipeError, WeightsError
from detzoo.weights.backbone import load_backbone_weights
from detzoo_detr.dinov2 import DinoV2, into_windows, out_of_windows, positions_of

SMALL: dict[str, Any] = {
    "width": 32,
    "depth": 4,
    "heads": 4,
    "patch": 8,
    "positions": 6,
    "levels": ("layer1", "layer3", "layer4"),
    "global_layers": (1, 3),
}


def theirs(windows: int) -> Any:
    """Four layers, of which 1 and 3 are global: transformers makes those that give maps global."""
    settings: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": 48,
        "patch_size": 8,
        "num_windows": windows,
        "out_indices": [1, 3, 4],
    }
    model: Any = RfDetrDinov2Backbone(RfDetrDinov2Config(**settings))
    seed_by_name(model)
    return model.double().eval()


@pytest.mark.parametrize("windows", [1, 2, 3])
@pytest.mark.parametrize("side", [48, 96])
def test_maps_are_those_of_transformers(windows: int, side: int) -> None:
    """At the table's own size, and at another one."""
    oracle, ours = theirs(windows), DinoV2(windows=windows, **SMALL).double().eval()
    state = ours.adapt_weights(oracle.state_dict())
    assert set(state) - set(ours.state_dict()) == {"mask_token"}
    ours.load_state_dict({key: value for key, value in state.items() if key != "mask_token"})
    pixels = torch.randn(2, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = oracle(pixels).feature_maps
        found = list(ours(pixels).values())
    assert len(found) == len(expected) == 3
    for mine, other in zip(found, expected, strict=True):
        assert relative(mine, other) < 1e-12


def own_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers' ``Dinov2Model`` in the names of facebookresearch/dinov2, written down here once more."""
    named = {}
    for key, value in state.items():
        name = key.removeprefix("embeddings.").replace("encoder.layer.", "blocks.")
        for old, new in (
            ("position_embeddings", "pos_embed"),
            ("patch_embeddings.projection", "patch_embed.proj"),
            ("layer_scale1.lambda1", "ls1.gamma"),
            ("layer_scale2.lambda1", "ls2.gamma"),
            ("attention.o_proj", "attn.proj"),
            ("layernorm", "norm"),
        ):
            name = name.replace(old, new)
        named[name] = value
    for row in range(4):
        for end in ("weight", "bias"):
            thirds = [named.pop(f"blocks.{row}.attention.{part}_proj.{end}") for part in "qkv"]
            named[f"blocks.{row}.attn.qkv.{end}"] = torch.cat(thirds)
    return named


@pytest.mark.parametrize("names", ["transformers", "dinov2"])
def test_published_files_load(names: str, tmp_path: Path) -> None:
    """Without windows it is DINOv2; the mask of its pretraining is left out, and nothing else."""
    config = Dinov2Config(hidden_size=32, num_hidden_layers=4, num_attention_heads=4, image_size=48, patch_size=8)
    oracle: Any = Dinov2Model(config)
    seed_by_name(oracle)
    oracle.eval()
    state = oracle.state_dict()
    torch.save(own_names(state) if names == "dinov2" else state, tmp_path / "dinov2.pth")
    ours = DinoV2((48, 48), windows=1, **SMALL | {"levels": ("layer4",)}).eval()
    loaded = load_backbone_weights(ours, tmp_path / "dinov2.pth")
    assert [key.split(".")[-1] for key in loaded.dropped] == ["mask_token"]
    pixels = torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        tokens = oracle(pixels).last_hidden_state[:, 1:]
        found = ours(pixels)["layer4"].flatten(2).transpose(1, 2)
    assert relative(found, tokens) < 1e-5


def test_layers_behind_the_last_level_are_left_out(tmp_path: Path) -> None:
    whole = DinoV2(**SMALL)
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    short = DinoV2(**SMALL | {"levels": ("layer2",)})
    loaded = load_backbone_weights(short, tmp_path / "whole.pth")
    assert {key.split(".")[1] for key in loaded.dropped} == {"2", "3"}
    assert list(short.out) == ["layer2"]


def test_another_number_of_patches_is_named(tmp_path: Path) -> None:
    torch.save(DinoV2(**SMALL).state_dict(), tmp_path / "file.pth")
    with pytest.raises(WeightsError, match=r"positions \[1, 37, 32\].*\[1, 50, 32\]"):
        load_backbone_weights(DinoV2(**SMALL | {"positions": 7}), tmp_path / "file.pth")


def test_windows_of_a_grid_that_is_not_square() -> None:
    """2 x 6 cells in 2 x 2 windows: each has one row and three columns, and the class token 99."""
    cells = torch.arange(12.0).view(1, 12, 1)
    tokens = torch.cat([torch.full((1, 1, 1), 99.0), cells], dim=1)
    found = into_windows(tokens, (2, 6), 2)
    assert found.squeeze(-1).tolist() == [[99, 0, 1, 2], [99, 3, 4, 5], [99, 6, 7, 8], [99, 9, 10, 11]]
    assert out_of_windows(found, (2, 6), 2).squeeze().tolist() == [list(range(6)), list(range(6, 12))]


def test_a_window_does_not_see_the_others() -> None:
    """With no global layer, a change in the last window stays there."""
    net = DinoV2(windows=2, **SMALL | {"global_layers": ()}).eval()
    seed_by_name(net)
    pixels = torch.zeros(1, 3, 48, 48)
    other = pixels.clone()
    other[..., 40:, 40:] = 1
    with torch.no_grad():
        changed = (net(pixels)["layer4"] != net(other)["layer4"]).any(1)[0]
    assert changed[3:, 3:].all()
    assert not changed[:3].any()
    assert not changed[:, :3].any()


def test_positions_of_the_table_and_resampled() -> None:
    table = torch.randn(1, 1 + 36, 5, generator=torch.Generator().manual_seed(0))
    assert positions_of(table, (6, 6)) is table
    flat = positions_of(torch.ones_like(table), (4, 9))
    torch.testing.assert_close(flat, torch.ones(1, 1 + 36, 5))
    square = table[:, 1:].view(1, 6, 6, 5).permute(0, 3, 1, 2)
    row = functional.interpolate(square, (6, 3), mode="bicubic", antialias=True)  # rows untouched
    torch.testing.assert_close(positions_of(table, (6, 3))[0, 1:4], row[0, :, 0].T)


def test_odd_sizes_are_padded() -> None:
    """50 x 77 px of 8 px patches are 7 x 10 cells; a window needs an even number of them."""
    net = DinoV2((50, 77), **SMALL).eval()
    pixels = torch.randn(1, 3, 50, 77)
    with torch.no_grad():
        found = net(pixels)["layer4"]
        padded = net(functional.pad(pixels, (0, 3, 0, 14)))["layer4"]
    assert tuple(found.shape[2:]) == net.out["layer4"].size == (7, 10)
    assert torch.equal(found, padded[..., :7, :10])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 5}, "multiple of heads"),
        ({"global_layers": (4,)}, "layers are 0 to 3"),
        ({"levels": ("layer5",)}, "layer5"),
    ],
)
def test_what_cannot_be_built_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        DinoV2(**SMALL | change)
