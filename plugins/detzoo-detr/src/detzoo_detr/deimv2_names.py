"""The state dict of DEIMv2's release, on HGNetv2, in transformers' names; every tensor is accounted for."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from detzoo.errors import WeightsError
from detzoo.interfaces import Detector
from detzoo.ops.state_dict import Rules, StateDict, by_rules
from detzoo_detr.dfine_converters import from_transformers
from detzoo_detr.dfine_encoder import LiteEncoder

SOURCE: Final = "deimv2"
_COMPUTED: Final = ("decoder.anchors", "decoder.valid_mask")
"""The grid of cells, which follows from the size of the input."""
_LAYER: Final = r"decoder\.decoder\.layers\.(\d+)"
_BLOCK: Final = r"encoder\.((?:fpn|pan)_block(?:s\.\d+)?)"
_INSIDE: Final = "model.decoder.layers"
_PARTS: Final = {
    "self_attn.in_proj_weight": ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
    "self_attn.in_proj_bias": ("self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"),
    "swish_ffn.w12.weight": ("swish_ffn.w1.weight", "swish_ffn.w2.weight"),
    "swish_ffn.w12.bias": ("swish_ffn.w1.bias", "swish_ffn.w2.bias"),
}
"""Tensors that stand as one in the release: rows of the first part come first."""
_RULES: Final[Rules] = (
    (r"backbone\.stem\.(.+)", r"model.conv_encoder.model.embedder.\1"),
    (r"backbone\.stages\.(.+)", r"model.conv_encoder.model.encoder.stages.\1"),
    (r"encoder\.down_sample([12])\.1\.(.+)", r"model.encoder.down_conv\1.conv.\2"),
    (r"encoder\.down_sample([12])\.2\.(.+)", r"model.encoder.down_conv\1.norm.\2"),
    (r"encoder\.bi_fusion\.cv\.(.+)", r"model.encoder.bi_fusion_conv.\1"),
    (r"encoder\.(lateral_convs\..+)", r"model.encoder.\1"),
    (r"encoder\.downsample_convs\.(\d+)\.0\.cv([12])\.(.+)", r"model.encoder.downsample_convs.\1.conv\2.\3"),
    (_BLOCK + r"\.cv1\.(.+)", r"model.encoder.\1.conv1.\2"),
    (_BLOCK + r"\.cv2\.0\.(.+)", r"model.encoder.\1.csp_rep1.\2"),
    (_BLOCK + r"\.cv2\.1\.(.+)", r"model.encoder.\1.csp_rep1.conv2.\2"),
    (_BLOCK + r"\.cv3\.0\.(.+)", r"model.encoder.\1.csp_rep2.\2"),
    (_BLOCK + r"\.cv3\.1\.(.+)", r"model.encoder.\1.csp_rep2.conv2.\2"),
    (_BLOCK + r"\.cv4\.(.+)", r"model.encoder.\1.conv2.\2"),
    (r"encoder\.encoder\.(\d+\.layers\.\d+)\.self_attn\.out_proj\.(.+)", r"model.encoder.aifi.\1.self_attn.o_proj.\2"),
    (r"encoder\.encoder\.(\d+\.layers\.\d+)\.(self_attn\.[qkv]_proj\..+)", r"model.encoder.aifi.\1.\2"),
    (r"encoder\.encoder\.(\d+\.layers\.\d+)\.linear1\.(.+)", r"model.encoder.aifi.\1.mlp.layers.0.\2"),
    (r"encoder\.encoder\.(\d+\.layers\.\d+)\.linear2\.(.+)", r"model.encoder.aifi.\1.mlp.layers.1.\2"),
    (r"encoder\.encoder\.(\d+\.layers\.\d+)\.norm1\.(.+)", r"model.encoder.aifi.\1.self_attn_layer_norm.\2"),
    (r"encoder\.encoder\.(\d+\.layers\.\d+)\.norm2\.(.+)", r"model.encoder.aifi.\1.final_layer_norm.\2"),
    (r"decoder\.input_proj\.(\d+)\.0\.(.+)", r"model.decoder_input_proj.\1.conv.\2"),
    (r"decoder\.input_proj\.(\d+)\.1\.(.+)", r"model.decoder_input_proj.\1.norm.\2"),
    (_LAYER + r"\.self_attn\.out_proj\.(.+)", rf"{_INSIDE}.\1.self_attn.o_proj.\2"),
    (_LAYER + r"\.(self_attn\.[qkv]_proj\..+)", rf"{_INSIDE}.\1.\2"),
    (_LAYER + r"\.cross_attn\.(.+)", rf"{_INSIDE}.\1.encoder_attn.\2"),
    (_LAYER + r"\.norm1\.scale", rf"{_INSIDE}.\1.self_attn_layer_norm.weight"),
    (_LAYER + r"\.norm2\.scale", rf"{_INSIDE}.\1.encoder_attn_layer_norm.weight"),
    (_LAYER + r"\.norm3\.scale", rf"{_INSIDE}.\1.final_layer_norm.weight"),
    (_LAYER + r"\.gateway\.norm\.scale", rf"{_INSIDE}.\1.gateway.norm.weight"),
    (_LAYER + r"\.(gateway\.gate\..+)", rf"{_INSIDE}.\1.\2"),
    (_LAYER + r"\.swish_ffn\.w1\.(.+)", rf"{_INSIDE}.\1.mlp.gate_proj.\2"),
    (_LAYER + r"\.swish_ffn\.w2\.(.+)", rf"{_INSIDE}.\1.mlp.up_proj.\2"),
    (_LAYER + r"\.swish_ffn\.w3\.(.+)", rf"{_INSIDE}.\1.mlp.down_proj.\2"),
    (r"decoder\.decoder\.(lqe_layers\..+)", r"model.decoder.\1"),
    (r"decoder\.dec_score_head\.(.+)", r"model.decoder.class_embed.\1"),
    (r"decoder\.dec_bbox_head\.(.+)", r"model.decoder.bbox_embed.\1"),
    (r"decoder\.((?:pre_bbox|query_pos)_head\..+)", r"model.decoder.\1"),
    (r"decoder\.enc_output\.proj\.(.+)", r"model.enc_output.0.\1"),
    (r"decoder\.enc_output\.norm\.(.+)", r"model.enc_output.1.\1"),
    (r"decoder\.(enc_(?:score|bbox)_head\..+)", r"model.\1"),
    (r"decoder\.(denoising_class_embed\.weight)", r"model.\1"),
    (r"decoder\.(?:decoder\.)?(up|reg_scale)", r"model.decoder.\1"),
)
_UNITS: Final[Rules] = ((r"(.*)\.conv\.(.+)", r"\1.convolution.\2"), (r"(.*)\.bn\.(.+)", r"\1.normalization.\2"))
"""Of the backbone."""


def from_release(state: StateDict, detector: Detector) -> dict[str, Tensor]:
    """The file of ``Intellindust/DEIMv2_HGNetv2_*_COCO``.

    Args:
        state: of its ``model.safetensors``, or of the model in the release's own checkpoint.
        detector: the recipe of the same network.

    Returns:
        the same tensors under detzoo's names. Self-attention's three projections and the gated hidden part's two stand
        in one tensor there; shared box heads may stand once or once for each layer.

    Raises:
        WeightsError: a key that no rule knows, or one that is missing; copies that differ; constants that are not those
            of the recipe's box coder.

    Source: names as transformers' ``convert_deimv2_original_pytorch_checkpoint_to_hf.py`` has them.
    """
    lite = isinstance(detector.get_submodule("neck"), LiteEncoder)
    renamed: dict[str, Tensor] = {}
    for key, value in apart(state).items():
        if key in _COMPUTED:
            continue
        name = name_in_transformers(key, lite=lite)
        if name is None:
            raise WeightsError(f"The {SOURCE} state dict has a tensor for which there is no rule: {key}")
        if not torch.equal(renamed.setdefault(name, value), value):
            raise WeightsError(f"The {SOURCE} state dict has another {key} than its copy of the same")
    return from_transformers(renamed, detector, source=SOURCE)


def apart(state: StateDict) -> dict[str, Tensor]:
    """The state with every tensor of several parts in its parts."""
    split: dict[str, Tensor] = {}
    for key, value in state.items():
        joined = next((name for name in _PARTS if key.endswith("." + name)), None)
        if joined is None:
            split[key] = value
            continue
        parts = _PARTS[joined]
        if len(value) % len(parts):
            raise WeightsError(f"The {SOURCE} state dict has {len(value)} rows in {key}, no multiple of {len(parts)}")
        above = key.removesuffix(joined)
        split |= {above + part: rows for part, rows in zip(parts, value.chunk(len(parts)), strict=True)}
    return split


def name_in_transformers(key: str, *, lite: bool) -> str | None:
    """transformers' name of one tensor, None where there is no rule.

    Args:
        key: of the release.
        lite: the neck is a ``lite_encoder``, whose projection stands elsewhere in transformers.
    """
    if key.startswith("encoder.input_proj."):
        return ("model.encoder." if lite else "model.encoder_") + key.removeprefix("encoder.")
    name = by_rules(_RULES, key)
    if name is None or not key.startswith("backbone."):
        return name
    return by_rules(_UNITS, name) or name
