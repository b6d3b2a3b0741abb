"""RTMDet's head: what levels share, where its points lie, and what distances mean."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from detzoo.components.box_coders import Edges
from detzoo.errors import RecipeError
from detzoo.testing import image_batch
from detzoo.types import FeatureSpec
from detzoo_rtmdet.head import RtmdetSepBnHead

SPECS = {"s8": FeatureSpec(6, 8, None), "s16": FeatureSpec(6, 16, None)}


def maps(batch: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "s8": torch.randn(batch, 6, 4, 6, generator=generator),
        "s16": torch.randn(batch, 6, 2, 3, generator=generator),
    }


def made(**changes: object) -> RtmdetSepBnHead:
    torch.manual_seed(0)
    return RtmdetSepBnHead(SPECS, 3, box_coder=Edges(), **({"channels": 8} | changes))  # type: ignore[arg-type]


def test_levels_share_convolutions_and_no_norms() -> None:
    """Written out: convolution, norm, SiLU, twice, with the same weights for both maps."""
    head = made(init_std=0.5).train()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    batch = image_batch(size=(32, 48))
    _, found = head(maps(), batch)
    state, expected = head.class_branch.state_dict(), []
    for level, feature in enumerate(maps().values()):
        x = feature
        for row in range(2):
            norm = {key: state[f"norms.{level}.{row}.0.{key}"] for key in ("weight", "bias")}
            seen = F.conv2d(x, state[f"convs.{row}.weight"], padding=1)
            x = F.silu(F.batch_norm(seen, None, None, **norm, training=True))
        expected.append(head.classification[level](x).permute(0, 2, 3, 1).flatten(1, 2))
    assert found.class_logits is not None
    torch.testing.assert_close(found.class_logits, torch.cat(expected, 1))
    assert sum("convs" in name for name, _ in head.named_parameters()) == 4  # two branches of two


def test_points_are_corners_of_cells() -> None:
    batch = image_batch(size=(32, 48))
    cells, _ = made()(maps(), batch)
    point = (cells.boxes[0, :, :2] + cells.boxes[0, :, 2:]) / 2
    assert point[[0, 1, 6, 24, 29]].tolist() == [[0, 0], [8, 0], [0, 8], [0, 0], [32, 16]]
    middles, _ = made(offset=0.5)(maps(), batch)
    assert ((middles.boxes[0, :, :2] + middles.boxes[0, :, 2:]) / 2)[[0, 24]].tolist() == [[4, 4], [8, 8]]


@pytest.mark.parametrize("positive", ["exp", "none"])
def test_distances_are_in_strides(positive: str) -> None:
    head = made(positive=positive)
    for conv in head.regression:
        torch.nn.init.zeros_(conv.weight)  # type: ignore[arg-type]
        with torch.no_grad():
            conv.bias.copy_(torch.tensor([0.0, 0.5, 1.0, 2.0]))  # type: ignore[operator]
    cells, found = head(maps(), image_batch(size=(32, 48)))
    said = torch.tensor([0.0, 0.5, 1.0, 2.0])
    left, top, right, bottom = (said.exp() if positive == "exp" else said).tolist()
    box = Edges().decode(found.deltas[:, :, 0], cells.boxes, cells.strides())[0, -1]  # at (32, 16), stride 16
    torch.testing.assert_close(box, torch.tensor([32 - 16 * left, 16 - 16 * top, 32 + 16 * right, 16 + 16 * bottom]))


def test_untrained_scores_are_the_prior() -> None:
    _, found = made(prior=0.02, init_std=1e-9)(maps(), image_batch(size=(32, 48)))
    assert found.class_logits is not None
    torch.testing.assert_close(found.class_logits.sigmoid(), torch.full((2, 30, 3), 0.02))


def test_depthwise_separable_convolutions_have_a_norm_each() -> None:
    head = made(depthwise=True, depth=1)
    shapes = {name: list(value.shape) for name, value in head.class_branch.named_parameters() if value.ndim == 4}
    assert shapes == {"convs.0.weight": [6, 1, 3, 3], "convs.1.weight": [8, 6, 1, 1]}
    _, found = head(maps(), image_batch(size=(32, 48)))
    assert found.deltas.shape == (2, 30, 1, 4)
    assert len(head.class_branch.norms[0]) == 2  # type: ignore[arg-type]


def test_maps_of_different_channels_are_rejected() -> None:
    with pytest.raises(RecipeError, match="one number of channels"):
        RtmdetSepBnHead(SPECS | {"s32": FeatureSpec(7, 32, None)}, 3, box_coder=Edges())
