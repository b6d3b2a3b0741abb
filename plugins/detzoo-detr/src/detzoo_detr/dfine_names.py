"""transformers' names of D-FINE and DEIMv2 in ours, part by part."""

from __future__ import annotations

import re
from typing import Final

from detzoo.ops.state_dict import Rules, by_rules

_UNIT: Final[Rules] = (
    (r"(.*)convolution\.(.+)", r"\1conv.\2"),
    (r"(.*)normalization\.(.+)", r"\1bn.\2"),
    (r"(.*lab\..+)", r"\1"),
)
_CONV_NORM: Final[Rules] = ((r"(.*\.)?conv\.(.+)", r"\g<1>0.\2"), (r"(.*\.)?norm\.(.+)", r"\g<1>1.\2"))
_ELAN: Final[Rules] = (
    (r"csp_rep1\.(.+)", r"first.\1"),
    (r"csp_rep2\.(.+)", r"second.\1"),
    (r"conv1\.(.+)", r"enter.\1"),
)
_LEAVE_TWO: Final[Rules] = (
    (r"conv2\.(.+)", r"first.leave.\1"),
    (r"conv3\.(.+)", r"second.leave.\1"),
    (r"conv4\.(.+)", r"leave.\1"),
)
"""D-FINE: the convolution behind a CSP layer stands beside it."""
_LEAVE_SPLIT: Final[Rules] = ((r"conv2\.(.+)", r"leave.\1"),)
_CSP_TWO: Final = {"conv1": "enter.1", "conv2": "enter.0"}
"""D-FINE: the first goes through the blocks."""
_CSP_SPLIT: Final = {"conv1": "enter.0", "conv2": "leave"}
_ATTENTION: Final = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "o_proj": "out"}
_LAYER: Final[Rules] = (
    (r"self_attn_layer_norm\.(.+)", r"norm.\1"),
    (r"final_layer_norm\.(.+)", r"feed_forward.norm.\1"),
    (r"mlp\.layers\.0\.(.+)", r"feed_forward.linear1.\1"),
    (r"mlp\.layers\.1\.(.+)", r"feed_forward.linear2.\1"),
)


def of_backbone(key: str) -> str | None:
    """Below ``embedder`` or ``encoder`` of HGNetV2Backbone -> below ``backbone.body``."""
    key = re.sub(r"^embedder\.", "stem.", key)
    key = re.sub(r"^encoder\.stages\.(\d+)\.", lambda found: f"stage{int(found[1]) + 1}.", key)
    key = re.sub(r"(\.layers\.\d+\.)conv([12])\.", lambda found: f"{found[1]}{int(found[2]) - 1}.", key)
    return by_rules(_UNIT, key)


def of_conv_norm(key: str) -> str:
    """``conv`` and ``norm`` of a unit, wherever it stands, as members of a sequence."""
    return by_rules(_CONV_NORM, key) or key


def of_elan(key: str, *, split: bool) -> str | None:
    """Below an ELAN block of either family."""
    placed = by_rules(_ELAN + (_LEAVE_SPLIT if split else _LEAVE_TWO), key)
    if placed is None:
        return None
    names = _CSP_SPLIT if split else _CSP_TWO
    found = re.fullmatch(r"(first|second)\.(conv[12])\.(.+)", placed)
    if found:
        placed = f"{found[1]}.{names[found[2]]}.{found[3]}"
    placed = re.sub(r"\.bottlenecks\.(\d+)\.conv1\.", r".blocks.\1.spatial.", placed)
    placed = re.sub(r"\.bottlenecks\.(\d+)\.conv2\.", r".blocks.\1.pointwise.", placed)
    return of_conv_norm(placed)


def of_neck(key: str, names: tuple[str, ...], attended: tuple[str, ...], *, split: bool) -> str | None:
    """Below ``model.encoder`` of a hybrid encoder -> below ``neck``.

    Args:
        key: of transformers.
        names: of the neck's maps, finest first.
        attended: of those within which cells look at each other.
        split: DEIMv2's blocks.
    """
    found = re.fullmatch(r"aifi\.(\d+)\.layers\.(\d+)\.(.+)", key)
    if found:
        inner = by_rules(_LAYER, found[3]) or of_attention(found[3], "self_attn", "attention")
        return None if inner is None else f"attend.{attended[int(found[1])]}.layers.{found[2]}.{inner}"
    found = re.fullmatch(r"(lateral_convs|fpn_blocks|downsample_convs|pan_blocks)\.(\d+)\.(.+)", key)
    if not found:
        return None
    part, row, inside = found[1], int(found[2]), found[3]
    if part in ("lateral_convs", "fpn_blocks"):
        row = len(names) - 2 - row  # theirs count from the coarsest pair
    if part == "lateral_convs":
        return f"laterals.{row}.{of_conv_norm(inside)}"
    if part == "downsample_convs":
        inside = re.sub(r"^conv([12])\.", lambda two: f"{int(two[1]) - 1}.", inside)
        return f"downsamplings.{row}.{of_conv_norm(inside)}"
    block = of_elan(inside, split=split)
    return None if block is None else f"{'top_down' if part == 'fpn_blocks' else 'bottom_up'}.{row}.{block}"


_LITE: Final = {
    "input_proj.0": "project",
    "down_conv1": "shrink",
    "down_conv2": "lower",
    "bi_fusion_conv": "globally",
}


def of_lite_neck(key: str) -> str | None:
    """Below ``model.encoder`` of a lite encoder -> below ``neck``."""
    for theirs, ours in _LITE.items():
        if key.startswith(theirs + "."):
            return f"{ours}.{of_conv_norm(key.removeprefix(theirs + '.'))}"
    found = re.fullmatch(r"(fpn|pan)_block\.(.+)", key)
    block = of_elan(found[2], split=True) if found else None
    return None if found is None or block is None else f"{'finer' if found[1] == 'fpn' else 'coarser'}.{block}"


def of_attention(key: str, theirs: str, ours: str) -> str | None:
    """The four projections of an attention."""
    found = re.fullmatch(rf"{theirs}\.([qkvo]_proj)\.(.+)", key)
    return f"{ours}.{_ATTENTION[found[1]]}.{found[2]}" if found else None


_HEAD: Final[Rules] = (
    (r"denoising_class_embed\.(.+)", r"labels.\1"),
    (r"enc_output\.(.+)", r"selection.output.\1"),
    (r"enc_score_head\.(.+)", r"selection.classes.\1"),
    (r"enc_bbox_head\.(.+)", r"selection.boxes.\1"),
    (r"decoder\.query_pos_head\.(.+)", r"position.\1"),
    (r"decoder\.pre_bbox_head\.(.+)", r"initial.\1"),
    (r"decoder\.lqe_layers\.(\d+)\.reg_conf\.(.+)", r"quality.\1.outputs.\2"),
    (r"decoder\.class_embed\.(.+)", r"classes.\1"),
    (r"decoder\.bbox_embed\.(.+)", r"boxes.\1"),
)
_DECODER_LAYER: Final[Rules] = (
    (r"self_attn_layer_norm\.(.+)", r"norm1.\1"),
    (r"encoder_attn\.sampling_offsets\.(.+)", r"cross_attention.offsets.\1"),
    (r"encoder_attn\.attention_weights\.(.+)", r"cross_attention.weights.\1"),
    (r"gateway\.(.+)", r"joined.\1"),
    (r"encoder_attn_layer_norm\.(.+)", r"joined.norm.\1"),
    (r"mlp\.layers\.(.+)", r"hidden.layers.\1"),
    (r"mlp\.gate_proj\.(.+)", r"hidden.gate.\1"),
    (r"mlp\.up_proj\.(.+)", r"hidden.value.\1"),
    (r"mlp\.down_proj\.(.+)", r"hidden.out.\1"),
    (r"final_layer_norm\.(.+)", r"norm2.\1"),
)


def of_head(key: str, names: tuple[str, ...]) -> str | None:
    """Below ``model`` -> below ``head``; ``names`` of its maps, finest first."""
    found = re.fullmatch(r"decoder_input_proj\.(\d+)\.(.+)", key)
    if found:
        return f"project.{names[int(found[1])]}.{of_conv_norm(found[2])}"
    found = re.fullmatch(r"decoder\.layers\.(\d+)\.(.+)", key)
    if found:
        inner = of_attention(found[2], "self_attn", "self_attention") or by_rules(_DECODER_LAYER, found[2])
        placed = None if inner is None else f"layers.{found[1]}.{inner}"
    else:
        placed = by_rules(_HEAD, key)
    # linear layers have activations between them, which count in a sequence of ours
    return placed and re.sub(r"(^|\.)layers\.(\d+)\.(weight|bias)$", lambda m: f"{m[1]}{2 * int(m[2])}.{m[3]}", placed)
