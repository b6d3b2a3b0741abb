"""What DINOv2's layers are called in published files, and here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from torch import Tensor

from detzoo.ops.state_dict import Rules

_OWN: Final[Rules] = (
    (r"cls_token", r"class_token"),
    (r"pos_embed", r"positions"),
    (r"patch_embed\.proj\.(.+)", r"patches.\1"),
    (r"blocks\.(\d+)\.norm([12])\.(.+)", r"layers.\1.norm\2.\3"),
    (r"blocks\.(\d+)\.attn\.(query|key|value)\.(.+)", r"layers.\1.attention.\2.\3"),
    (r"blocks\.(\d+)\.attn\.proj\.(.+)", r"layers.\1.attention.out.\2"),
    (r"blocks\.(\d+)\.ls([12])\.gamma", r"layers.\1.scale\2"),
    (r"blocks\.(\d+)\.mlp\.fc([12])\.(.+)", r"layers.\1.linear\2.\3"),
    (r"norm\.(.+)", r"out_norm.\1"),
)
"""Of facebookresearch/dinov2, and of timm; the query, key and value of its ``qkv`` by ``split_qkv``."""

TRANSFORMERS_RULES: Final[Rules] = (
    (r"embeddings\.cls_token", r"class_token"),
    (r"embeddings\.mask_token", r"mask_token"),
    (r"embeddings\.position_embeddings", r"positions"),
    (r"embeddings\.patch_embeddings\.projection\.(.+)", r"patches.\1"),
    (r"encoder\.layer\.(\d+)\.norm([12])\.(.+)", r"layers.\1.norm\2.\3"),
    (r"encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.(.+)", r"layers.\1.attention.\2.\3"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.(.+)", r"layers.\1.attention.out.\2"),
    (r"encoder\.layer\.(\d+)\.attention\.q_proj\.(.+)", r"layers.\1.attention.query.\2"),
    (r"encoder\.layer\.(\d+)\.attention\.k_proj\.(.+)", r"layers.\1.attention.key.\2"),
    (r"encoder\.layer\.(\d+)\.attention\.v_proj\.(.+)", r"layers.\1.attention.value.\2"),
    (r"encoder\.layer\.(\d+)\.attention\.o_proj\.(.+)", r"layers.\1.attention.out.\2"),
    (r"encoder\.layer\.(\d+)\.layer_scale([12])\.lambda1", r"layers.\1.scale\2"),
    (r"encoder\.layer\.(\d+)\.mlp\.fc([12])\.(.+)", r"layers.\1.linear\2.\3"),
    (r"layernorm\.(.+)", r"out_norm.\1"),
)
"""Of transformers' ``Dinov2Model`` and ``RfDetrDinov2Backbone``: as their files have it, and as their modules do."""

DINOV2_RULES: Final[Rules] = (*_OWN, *TRANSFORMERS_RULES)


def split_qkv(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict whose joined projections ``attn.qkv`` are three: ``attn.query``, ``attn.key``, ``attn.value``."""
    parts: dict[str, Tensor] = {}
    for key, value in state.items():
        if ".attn.qkv." not in key:
            parts[key] = value
            continue
        for name, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
            parts[key.replace(".qkv.", f".{name}.")] = third
    return parts
