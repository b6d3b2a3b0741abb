"""The hybrid encoder against transformers' RTDetrHybridEncoder, its sines in plain loops, and RepVGG's folding."""

from __future__ import annotations

import math
import re

import pytest
import torch
from oracle import relative, seed_by_name
from torch import Tensor, nn
from transformers import RTDetrConfig
from transformers.models.rt_detr.modeling_rt_detr import RTDetrHybridEncoder

from detzoo.errors import RecipeError
from detzoo.types import FeatureSpec
from detzoo_detr.hybrid_encoder import HybridEncoder, RepVggBlock, cell_sines

WIDTH = 32
SPECS = {"s8": FeatureSpec(24, 8), "s16": FeatureSpec(40, 16), "s32": FeatureSpec(56, 32)}
NAMES = (
    (r"encoder_input_proj\.(\d)", lambda found: f"entries.{['s8', 's16', 's32'][int(found[1])]}"),
    (r"encoder\.aifi\.0\.", lambda found: "attention.s32."),
    (r"self_attn\.([qkvo])_proj", lambda found: f"attention.{dict(q='query', k='key', v='value', o='out')[found[1]]}"),
    (r"self_attn_layer_norm", lambda found: "norm"),
    (r"mlp\.fc(\d)", lambda found: f"feed_forward.linear{found[1]}"),
    (r"final_layer_norm", lambda found: "feed_forward.norm"),
    (r"encoder\.lateral_convs\.(\d)", lambda found: f"laterals.{['s16', 's8'][int(found[1])]}"),
    (r"encoder\.fpn_blocks\.(\d)", lambda found: f"top_down.{['s16', 's8'][int(found[1])]}"),
    (r"encoder\.downsample_convs\.(\d)", lambda found: f"downsamplings.{['s8', 's16'][int(found[1])]}"),
    (r"encoder\.pan_blocks\.(\d)", lambda found: f"bottom_up.{['s8', 's16'][int(found[1])]}"),
    (r"bottlenecks\.(\d)\.conv(\d)", lambda found: f"blocks.{found[1]}.{['spatial', 'pointwise'][int(found[2]) - 1]}"),
    (r"\.conv([123])\.", lambda found: f".{['main', 'short', 'merge'][int(found[1]) - 1]}."),
    (r"\.conv\.", lambda found: ".0."),
    (r"\.norm\.(weight|bias|running_mean|running_var|num)", lambda found: f".1.{found[1]}"),
)


class Oracle(nn.Module):
    """The two parts of transformers' model that are one neck here, under its names."""

    def __init__(self, config: RTDetrConfig) -> None:
        super().__init__()
        self.encoder_input_proj = nn.ModuleList(
            nn.Sequential(nn.Conv2d(spec.channels, WIDTH, 1, bias=False), nn.BatchNorm2d(WIDTH))
            for spec in SPECS.values()
        )
        self.encoder = RTDetrHybridEncoder(config)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        entered = [entry(one) for entry, one in zip(self.encoder_input_proj, maps, strict=True)]
        left: list[Tensor] = self.encoder(entered).last_hidden_state
        return left


def ours_and_theirs(expansion: float) -> tuple[HybridEncoder, Oracle]:
    config = RTDetrConfig(
        encoder_hidden_dim=WIDTH,
        encoder_ffn_dim=48,
        encoder_attention_heads=4,
        encoder_layers=2,
        hidden_expansion=expansion,
        attn_implementation="eager",
    )
    theirs = Oracle(config).double().eval()
    seed_by_name(theirs)
    ours = HybridEncoder(SPECS, channels=WIDTH, feedforward=48, heads=4, layers=2, expansion=expansion).double().eval()
    state = {}
    for key, value in theirs.state_dict().items():
        own = key
        for pattern, replacement in NAMES[:-3] if "aifi" in key else NAMES:
            own = re.sub(pattern, replacement, own)
        state[own] = value
    ours.load_state_dict(state)  # strictly: every tensor has its place
    return ours, theirs


def maps(height: int, width: int) -> list[Tensor]:
    source = torch.Generator().manual_seed(0)
    sizes = [(-(-height // s.stride), -(-width // s.stride)) for s in SPECS.values()]
    return [
        torch.randn(2, spec.channels, int(h), int(w), generator=source, dtype=torch.float64)
        for spec, (h, w) in zip(SPECS.values(), sizes, strict=True)
    ]


@pytest.mark.parametrize("expansion", [1.0, 0.5])
def test_every_map_is_transformers(expansion: float) -> None:
    ours, theirs = ours_and_theirs(expansion)
    given = maps(96, 160)
    with torch.no_grad():
        found, expected = ours(dict(zip(SPECS, given, strict=True))), theirs(list(given))
    for name, other in zip(SPECS, expected, strict=True):
        assert relative(found[name], other) < 1e-9, name


def test_maps_that_are_not_halves() -> None:
    """38, 19 and 10 cells of a 300 px input: transformers doubles the coarse map, and fails."""
    ours, _ = ours_and_theirs(1.0)
    with torch.no_grad():
        found = ours(dict(zip(SPECS, maps(300, 300), strict=True)))
    assert [one.shape[-1] for one in found.values()] == [38, 19, 10]


@pytest.mark.parametrize("positions", ["own", "release"])
def test_sines_in_plain_loops(positions: str) -> None:
    rows, columns, width = 3, 5, 8
    found = cell_sines(torch.zeros(1, width, rows, columns, dtype=torch.float64), positions)  # type: ignore[arg-type]
    expected = []
    for cell in range(rows * columns):
        row, column = (cell // columns, cell % columns) if positions == "own" else (cell // rows, cell % rows)
        encoded = []
        for place in (row, column):
            angles = [place / 10_000 ** (i / (width / 4)) for i in range(width // 4)]
            encoded += [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
        expected.append(encoded)
    torch.testing.assert_close(found[0], torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_both_ways_agree_on_square_maps() -> None:
    square = torch.zeros(1, 16, 4, 4)
    assert torch.equal(cell_sines(square, "own"), cell_sines(square, "release"))


def test_a_folded_block_is_one_convolution() -> None:
    block = RepVggBlock(6).double().eval()
    seed_by_name(block)
    x = torch.randn(2, 6, 5, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    merged = block.merged()
    assert sum(isinstance(part, nn.Conv2d) for part in merged.modules()) == 1
    assert not any(isinstance(part, nn.BatchNorm2d) for part in merged.modules())
    torch.testing.assert_close(merged(x), block(x), rtol=1e-12, atol=1e-12)


def test_a_map_that_is_not_there() -> None:
    with pytest.raises(RecipeError, match=r"no map s64; maps: s8, s16, s32"):
        HybridEncoder(SPECS, channels=WIDTH, attended=("s64",))


def test_without_attention() -> None:
    neck = HybridEncoder(SPECS, channels=WIDTH, heads=4, layers=0)
    assert not len(neck.attention)
    assert all(spec.channels == WIDTH for spec in neck.out.values())
