"""State dicts of RF-DETR in detzoo's names; every tensor is accounted for.

Two spellings are read: that of roboflow/rf-detr, which the files on the Hub keep, and that which transformers gives
them when it loads them.
"""

from __future__ import annotations

import re
from typing import Final

from torch import Tensor

from detzoo.interfaces import Detector
from detzoo.ops.state_dict import Rules, StateDict, by_rules, renamed_state
from detzoo_detr.dinov2_names import TRANSFORMERS_RULES

SOURCE: Final = "transformers"
UNUSED: Final = r"(.*\.)?embeddings\.mask_token"
"""Of DINOv2's pretraining."""
_CONV: Final = r"(conv|norm|bn)\.(.+)"
_LAYER: Final = r"model\.decoder\.layers\.(\d+)\."
_RELEASED: Final = r"transformer\.decoder\.layers\.(\d+)\."
_C2F: Final = r"model\.backbone\.projector\.projector_layer\."
_BACKBONE: Final = (r"model\.backbone\.backbone\.(.+)", r"backbone\.0\.encoder\.encoder\.(.+)")
_RULES: Final[Rules] = (
    # transformers
    (rf"{_C2F}conv1\.{_CONV}", r"neck.split.\1.\2"),
    (rf"{_C2F}conv2\.{_CONV}", r"neck.merge.\1.\2"),
    (rf"{_C2F}bottlenecks\.(\d+)\.conv([12])\.{_CONV}", r"neck.blocks.\1.\2.\3.\4"),
    (r"model\.backbone\.projector\.layer_norm\.(.+)", r"neck.norm.\1"),
    (rf"{_LAYER}self_attn\.q_proj\.(.+)", r"head.layers.\1.self_attention.query.\2"),
    (rf"{_LAYER}self_attn\.k_proj\.(.+)", r"head.layers.\1.self_attention.key.\2"),
    (rf"{_LAYER}self_attn\.v_proj\.(.+)", r"head.layers.\1.self_attention.value.\2"),
    (rf"{_LAYER}self_attn\.o_proj\.(.+)", r"head.layers.\1.self_attention.out.\2"),
    (rf"{_LAYER}self_attn_layer_norm\.(.+)", r"head.layers.\1.norm1.\2"),
    (rf"{_LAYER}cross_attn_layer_norm\.(.+)", r"head.layers.\1.norm2.\2"),
    (rf"{_LAYER}mlp\.fc([12])\.(.+)", r"head.layers.\1.feed_forward.linear\2.\3"),
    (rf"{_LAYER}layer_norm\.(.+)", r"head.layers.\1.feed_forward.norm.\2"),
    (r"model\.decoder\.layernorm\.(.+)", r"head.norm.\1"),
    (r"model\.reference_point_embed\.(.+)", r"head.shifts.\1"),
    (r"model\.query_feat\.(.+)", r"head.content.\1"),
    # roboflow/rf-detr
    (rf"backbone\.0\.projector\.stages\.0\.0\.cv1\.{_CONV}", r"neck.split.\1.\2"),
    (rf"backbone\.0\.projector\.stages\.0\.0\.cv2\.{_CONV}", r"neck.merge.\1.\2"),
    (rf"backbone\.0\.projector\.stages\.0\.0\.m\.(\d+)\.cv([12])\.{_CONV}", r"neck.blocks.\1.\2.\3.\4"),
    (r"backbone\.0\.projector\.stages\.0\.1\.(.+)", r"neck.norm.\1"),
    (rf"{_RELEASED}self_attn\.(query|key|value)\.(.+)", r"head.layers.\1.self_attention.\2.\3"),
    (rf"{_RELEASED}self_attn\.out_proj\.(.+)", r"head.layers.\1.self_attention.out.\2"),
    (rf"{_RELEASED}norm([12])\.(.+)", r"head.layers.\1.norm\2.\3"),
    (rf"{_RELEASED}linear([12])\.(.+)", r"head.layers.\1.feed_forward.linear\2.\3"),
    (rf"{_RELEASED}norm3\.(.+)", r"head.layers.\1.feed_forward.norm.\2"),
    (r"transformer\.decoder\.norm\.(.+)", r"head.norm.\1"),
    (r"refpoint_embed\.(.+)", r"head.shifts.\1"),
    (r"query_feat\.(.+)", r"head.content.\1"),
    # both; a linear layer of an MLP is every second of our sequence: the digit is doubled below
    *(
        (rf"{layer}cross_attn\.{theirs}\.(.+)", rf"head.layers.\1.cross_attention.{ours}.\2")
        for layer in (_LAYER, _RELEASED)
        for theirs, ours in (
            ("sampling_offsets", "offsets"),
            ("attention_weights", "weights"),
            ("value_proj", "value"),
            ("output_proj", "out"),
        )
    ),
    (r"(?:model|transformer)\.decoder\.ref_point_head\.layers\.(\d)\.(.+)", r"head.place.*\1.\2"),
    (r"(?:model|transformer)\.enc_output\.(\d+)\.(.+)", r"head.proposals.\1.project.\2"),
    (r"(?:model|transformer)\.enc_output_norm\.(\d+)\.(.+)", r"head.proposals.\1.norm.\2"),
    (r"(?:model|transformer)\.enc_out_class_embed\.(\d+)\.(.+)", r"head.proposals.\1.classes.\2"),
    (r"(?:model|transformer)\.enc_out_bbox_embed\.(\d+)\.layers\.(\d)\.(.+)", r"head.proposals.\1.boxes.*\2.\3"),
    (r"class_embed\.(.+)", r"head.classes.\1"),
    (r"bbox_embed\.layers\.(\d)\.(.+)", r"head.boxes.*\1.\2"),
)  # fmt: skip


def from_rf_detr(state: StateDict, detector: Detector) -> dict[str, Tensor]:
    """A file of RF-DETR.

    Args:
        state: of a file, without the checkpoint around it.
        detector: the recipe of the same size, with as many groups of queries.

    Returns:
        the same tensors under detzoo's names, without ``mask_token`` of the backbone's pretraining.

    Raises:
        WeightsError: a key that no rule knows, or one that is missing.
    """
    used = {key: value for key, value in _apart(state).items() if re.fullmatch(UNUSED, key) is None}
    return renamed_state(used, _name, detector, source=SOURCE)


def _name(key: str) -> str | None:
    for pattern in _BACKBONE:
        if found := re.fullmatch(pattern, key):
            placed = by_rules(TRANSFORMERS_RULES, found[1])
            return None if placed is None else f"backbone.{placed}"
    placed = by_rules(_RULES, key)
    if placed is None:
        return None
    if placed.startswith("neck.blocks."):  # our sequences count from 0
        placed = re.sub(r"(blocks\.\d+\.)([12])", lambda found: f"{found[1]}{int(found[2]) - 1}", placed)
    placed = re.sub(r"(neck\..+\.)bn\.", r"\1norm.", placed)
    return re.sub(r"\*(\d)", lambda found: str(2 * int(found[1])), placed)


def _apart(state: StateDict) -> dict[str, Tensor]:
    """The state with torch's joined projections, ``in_proj_weight``, as three."""
    parts: dict[str, Tensor] = {}
    for key, value in state.items():
        found = re.fullmatch(r"(transformer\.decoder\.layers\.\d+\.self_attn)\.in_proj_(weight|bias)", key)
        if found is None:
            parts[key] = value
            continue
        for name, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
            parts[f"{found[1]}.{name}.{found[2]}"] = third
    return parts
