"""The names of DEIMv2's release: every tensor of both kinds of network comes back; what does not fit is rejected."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest
import torch
from dfine_oracle import CLASSES, OURS_DEIMV2, small_deimv2
from safetensors.torch import save_file
from torch import Tensor

from detzoo.builder import build
from detzoo.errors import WeightsError
from detzoo.interfaces import Detector
from detzoo.weights.detector import convert_weights
from detzoo_detr.dfine_converters import from_transformers

State = dict[str, Tensor]
WRITTEN = (
    (r"^model\.conv_encoder\.model\.embedder\.", "backbone.stem."),
    (r"^model\.conv_encoder\.model\.encoder\.", "backbone."),
    (r"^(backbone\..+)\.convolution\.", r"\1.conv."),
    (r"^(backbone\..+)\.normalization\.", r"\1.bn."),
    (r"^model\.(?:conv_encoder\.encoder_|encoder_|encoder\.)input_proj\.", "encoder.input_proj."),
    (r"^model\.encoder\.aifi\.", "encoder.encoder."),
    (r"^(encoder\.encoder\..+)\.mlp\.layers\.0\.", r"\1.linear1."),
    (r"^(encoder\.encoder\..+)\.mlp\.layers\.1\.", r"\1.linear2."),
    (r"^(encoder\.encoder\..+)\.self_attn_layer_norm\.", r"\1.norm1."),
    (r"^(encoder\.encoder\..+)\.final_layer_norm\.", r"\1.norm2."),
    (r"^model\.encoder\.down_conv([12])\.conv\.", r"encoder.down_sample\1.1."),
    (r"^model\.encoder\.down_conv([12])\.norm\.", r"encoder.down_sample\1.2."),
    (r"^model\.encoder\.bi_fusion_conv\.", "encoder.bi_fusion.cv."),
    (r"^model\.encoder\.downsample_convs\.(\d+)\.conv([12])\.", r"encoder.downsample_convs.\1.0.cv\2."),
    (r"^model\.encoder\.", "encoder."),
    (r"_block(s\.\d+)?\.conv1\.", r"_block\1.cv1."),
    (r"_block(s\.\d+)?\.conv2\.", r"_block\1.cv4."),
    (r"\.csp_rep1\.conv2\.", ".cv2.1."),
    (r"\.csp_rep2\.conv2\.", ".cv3.1."),
    (r"\.csp_rep1\.", ".cv2.0."),
    (r"\.csp_rep2\.", ".cv3.0."),
    (r"^model\.decoder\.class_embed\.", "decoder.dec_score_head."),
    (r"^model\.decoder\.bbox_embed\.", "decoder.dec_bbox_head."),
    (r"^model\.decoder\.(pre_bbox_head|query_pos_head)\.", r"decoder.\1."),
    (r"^model\.decoder\.(layers|lqe_layers|up$|reg_scale$)", r"decoder.decoder.\1"),
    (r"^model\.(enc_|denoising_)", r"decoder.\1"),
    (r"\.encoder_attn\.", ".cross_attn."),
    (r"\.self_attn_layer_norm\.weight", ".norm1.scale"),
    (r"\.encoder_attn_layer_norm\.weight", ".norm2.scale"),
    (r"\.final_layer_norm\.weight", ".norm3.scale"),
    (r"\.gateway\.norm\.weight", ".gateway.norm.scale"),
    (r"\.o_proj\.", ".out_proj."),
    (r"\.mlp\.down_proj\.", ".swish_ffn.w3."),
)
"""transformers' names -> the release's: its conversion script, read backwards."""
JOINED = (
    (r"(.+\.self_attn)\.([qkv])_proj\.(weight|bias)", "{0}.in_proj_{2}", "qkv"),
    (r"(.+)\.mlp\.(gate|up)_proj\.(weight|bias)", "{0}.swish_ffn.w12.{2}", ("gate", "up")),
)
KINDS = {"deimv2_n_coco": False, "deimv2_atto_coco": True}
"""Recipe -> a lite encoder, no gateway, one box head."""


def released(state: State) -> State:
    """As the release calls them: heads once, self-attention and gated parts joined, counters and computed cells."""
    made: State = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        if re.match(r"(class|bbox)_embed\.|model\.enc_output\.", key):
            continue
        name = key
        for pattern, replacement in WRITTEN:
            name = re.sub(pattern, replacement, name)
        for pattern, joined, _ in JOINED:
            if found := re.fullmatch(pattern, name):
                parts.setdefault(joined.format(*found.groups()), {})[found[2]] = value
                break
        else:
            made[name] = value.clone()
    for _, joined, order in JOINED:
        end = joined.format("", "", "").rstrip(".")
        made |= {name: torch.cat([one[part] for part in order]) for name, one in parts.items() if end in name}
    for name in ("up", "reg_scale"):
        made[f"decoder.{name}"] = made[f"decoder.decoder.{name}"].clone()
    norms = [name for name in made if name.endswith("running_var")]
    made |= {name.replace("running_var", "num_batches_tracked"): torch.tensor(7) for name in norms}
    return made | {"decoder.anchors": torch.zeros(1, 60, 4), "decoder.valid_mask": torch.ones(1, 60, 1)}


def ours(recipe: str) -> Detector:
    sizes = {"head.decoder.heads": 4, "head.decoder.layers": 3, "head.decoder.feedforward": 48}
    neck = {} if KINDS[recipe] else {"neck.heads": 4, "neck.feedforward": 48}
    torch.manual_seed(0)
    changes = OURS_DEIMV2 | sizes | neck | {"head.decoder.project_cells": False}
    return build(recipe, overrides=changes, num_classes=CLASSES, weights=None)


@functools.cache
def theirs(recipe: str) -> State:
    """transformers' weights for a recipe."""
    return dict(small_deimv2(lite=KINDS[recipe]).state_dict())


@pytest.fixture(scope="module", params=list(KINDS))
def case(request: pytest.FixtureRequest) -> tuple[str, State]:
    return request.param, theirs(request.param)


def test_every_tensor_of_the_release_has_its_place(case: tuple[str, State], tmp_path: Path) -> None:
    recipe, state = case
    detector = ours(recipe)
    expected = from_transformers({key: value for key, value in state.items() if "enc_output" not in key}, detector)
    save_file(released(state), tmp_path / "model.safetensors")
    convert_weights(detector, tmp_path / "model.safetensors", source="deimv2")
    own = {key: value for key, value in detector.state_dict().items() if not key.endswith("num_batches_tracked")}
    assert own.keys() == {key for key in expected if not key.endswith("num_batches_tracked")}
    for key, value in own.items():
        assert torch.equal(value, expected[key]), key


NAMED = {
    "deimv2_n_coco": (
        "backbone.stages.0.blocks.0.aggregation.0.conv.weight",
        "encoder.encoder.0.layers.0.self_attn.in_proj_weight",
        "encoder.encoder.0.layers.0.linear1.bias",
        "encoder.lateral_convs.0.norm.weight",
        "encoder.downsample_convs.0.0.cv2.conv.weight",
        "encoder.pan_blocks.0.cv3.1.norm.running_var",
        "decoder.decoder.layers.0.gateway.norm.scale",
        "decoder.dec_bbox_head.2.layers.2.weight",
    ),
    "deimv2_atto_coco": (
        "backbone.stem.stem2a.lab.scale",
        "encoder.input_proj.0.conv.weight",
        "encoder.down_sample2.2.running_mean",
        "encoder.bi_fusion.cv.norm.bias",
        "encoder.fpn_block.cv2.0.bottlenecks.0.conv2.conv.weight",
        "decoder.decoder.layers.1.norm2.scale",
        "decoder.decoder.layers.2.swish_ffn.w12.weight",
        "decoder.decoder.layers.0.cross_attn.num_points_scale",
        "decoder.decoder.lqe_layers.0.reg_conf.layers.1.bias",
        "decoder.denoising_class_embed.weight",
    ),
}
"""As the conversion script spells them, for a part of each kind."""


def test_the_release_s_spelling(case: tuple[str, State]) -> None:
    recipe, state = case
    assert set(NAMED[recipe]) <= released(state).keys()
    assert not [key for key in released(state) if key.startswith("model.")]


def test_box_heads_that_are_one_may_stand_once() -> None:
    full = released(theirs("deimv2_atto_coco"))
    alone = {key: value for key, value in full.items() if not re.search(r"dec_bbox_head\.[12]", key)}
    assert len(full) - len(alone) == 2 * 6
    detector, other = ours("deimv2_atto_coco"), ours("deimv2_atto_coco")
    convert_weights(detector, full, source="deimv2")
    convert_weights(other, alone, source="deimv2")
    for key, value in detector.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


def test_what_does_not_fit_is_named(case: tuple[str, State]) -> None:
    recipe, state = case
    full = released(state)
    for change, message in (
        ({"decoder.strange.weight": torch.zeros(1)}, r"no rule: decoder\.strange\.weight"),
        ({"decoder.up": torch.ones(1)}, r"another decoder\.(decoder\.)?up"),
        ({"decoder.up": torch.ones(1), "decoder.decoder.up": torch.ones(1)}, "deimv2 state dict has up 1"),
        ({"decoder.decoder.layers.0.swish_ffn.w12.bias": torch.ones(3)}, "no multiple of 2"),
    ):
        with pytest.raises(WeightsError, match=message):
            convert_weights(ours(recipe), full | change, source="deimv2")
    del full["decoder.enc_score_head.bias"]
    with pytest.raises(WeightsError, match=r"deimv2.*lacks.*selection\.classes\.bias"):
        convert_weights(ours(recipe), full, source="deimv2")
