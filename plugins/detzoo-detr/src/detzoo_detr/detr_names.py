"""transformers' state dicts of DETR and Deformable DETR in detzoo's names; every tensor is accounted for.

Two spellings are read: that of the files that the Hub keeps, and that which transformers 5 gives them when it loads
them. The backbone may be timm's, whose names are torchvision's, or transformers' own ResNet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from detzoo.errors import WeightsError
from detzoo.interfaces import Detector
from detzoo.ops.state_dict import Rules, StateDict, by_rules, renamed_state

SOURCE: Final = "transformers"
_PROJECTIONS: Final = (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("(?:o|out)_proj", "out"))
_DEFORMABLE: Final = (
    ("sampling_offsets", "offsets"), ("attention_weights", "weights"), ("value_proj", "value"), ("output_proj", "out"),
)  # fmt: skip


def resnet_rules(prefix: str) -> Rules:
    """A ResNet behind ``prefix`` (a pattern): transformers' own, or timm's, which are named as torchvision's.

    Args:
        prefix: pattern of what stands in front of the backbone's names.
    """
    stages = [
        (
            rf"{prefix}encoder\.stages\.{stage}\.layers\.(\d+)\.{theirs}\.(.+)",
            rf"backbone.body.layer{stage + 1}.\1.{ours}.\2",
        )
        for stage in range(4)
        for theirs, ours in (
            (r"shortcut\.convolution", "downsample.0"),
            (r"shortcut\.normalization", "downsample.1"),
            *((rf"layer\.{row}\.convolution", f"conv{row + 1}") for row in range(3)),
            *((rf"layer\.{row}\.normalization", f"bn{row + 1}") for row in range(3)),
        )
    ]
    return (
        (rf"{prefix}embedder\.embedder\.convolution\.(.+)", r"backbone.body.conv1.\1"),
        (rf"{prefix}embedder\.embedder\.normalization\.(.+)", r"backbone.body.bn1.\1"),
        *stages,
        (rf"{prefix}((?:conv1|bn1|layer[1-4]\.).+)", r"backbone.body.\1"),
    )


def _layer(theirs: str, ours: str, parts: Mapping[str, str], attentions: Mapping[str, tuple[str, Rules]]) -> Rules:
    """The parts of an encoder's or a decoder's layers."""
    inner = [
        (rf"{name}\.{their}\.(.+)", f"{own}.{part}")
        for name, (own, projections) in attentions.items()
        for their, part in projections
    ]
    fixed = [(rf"{name}\.(.+)", own) for name, own in parts.items()]
    return tuple(
        (rf"model\.{theirs}\.layers\.(\d+)\.{pattern}", rf"head.{ours}.\1.{own}.\2")
        for pattern, own in (*inner, *fixed)
    )


_FEED_FORWARD: Final = {
    r"(?:mlp\.)?fc1": "feed_forward.linear1",
    r"(?:mlp\.)?fc2": "feed_forward.linear2",
    "final_layer_norm": "feed_forward.norm",
}
_ENCODER_PARTS: Final = {"self_attn_layer_norm": "norm", **_FEED_FORWARD}
_DECODER_PARTS: Final = {"self_attn_layer_norm": "norm1", "encoder_attn_layer_norm": "norm2", **_FEED_FORWARD}
_BACKBONE: Final = resnet_rules(r"model\.backbone\.(?:conv_encoder\.)?model\.")
_DETR: Final[Rules] = (
    *_BACKBONE,
    (r"model\.query_position_embeddings\.weight", "head.queries.weight"),
    *_layer("encoder", "encoder.layers", _ENCODER_PARTS, {"self_attn": ("attention", _PROJECTIONS)}),
    *_layer(
        "decoder", "layers", _DECODER_PARTS,
        {"self_attn": ("self_attention", _PROJECTIONS), "encoder_attn": ("cross_attention", _PROJECTIONS)},
    ),
    (r"model\.decoder\.layernorm\.(.+)", r"head.norm.\1"),
    (r"class_labels_classifier\.(.+)", r"head.classes.\1"),
    *((rf"bbox_predictor\.layers\.{row}\.(.+)", rf"head.boxes.{2 * row}.\1") for row in range(3)),
)  # fmt: skip
_DEFORMABLE_DETR: Final[Rules] = (
    *_BACKBONE,
    (r"model\.input_proj\.(.+)", r"head.encoder.project.\1"),
    (r"model\.level_embed", "head.encoder.level.weight"),
    *_layer("encoder", "encoder.layers", _ENCODER_PARTS, {"self_attn": ("attention", _DEFORMABLE)}),
    *_layer(
        "decoder", "layers", _DECODER_PARTS,
        {"self_attn": ("self_attention", _PROJECTIONS), "encoder_attn": ("cross_attention", _DEFORMABLE)},
    ),
    (r"model\.(position|content)", r"head.learned.\1.weight"),
    (r"model\.reference_points\.(.+)", r"head.learned.reference.\1"),
    (r"model\.enc_output(_norm)?\.(.+)", r"head.proposals.output\1.\2"),
    (r"model\.pos_trans(_norm)?\.(.+)", r"head.proposals.query\1.\2"),
    (r"class_embed\.(.+)", r"head.classes.\1"),
    *((rf"bbox_embed\.(\d+)\.layers\.{row}\.(.+)", rf"head.boxes.\1.{2 * row}.\2") for row in range(3)),
)  # fmt: skip


def from_detr(state: StateDict, detector: Detector) -> dict[str, Tensor]:
    """DETR, as ``facebook/detr-resnet-50``.

    Args:
        state: of ``DetrForObjectDetection``.
        detector: the recipe of the same network.

    Returns:
        the same tensors under detzoo's names; the column for no object, the last one there, stands in front.

    Raises:
        WeightsError: a key that no rule knows, or one that is missing.
    """
    (level,) = detector.get_submodule("head.encoder.project")._modules
    rules = ((r"model\.input_projection\.(.+)", rf"head.encoder.project.{level}.\1"), *_DETR)

    def convert(name: str, value: Tensor) -> Tensor:
        return value.roll(1, 0) if name.startswith("head.classes.") else value

    return renamed_state(state, lambda key: by_rules(rules, key), detector, source=SOURCE, convert=convert)


def from_deformable_detr(state: StateDict, detector: Detector) -> dict[str, Tensor]:
    """Deformable DETR, as ``SenseTime/deformable-detr`` and its two variants.

    Args:
        state: of ``DeformableDetrForObjectDetection``.
        detector: the recipe of the same network.

    Returns:
        the same tensors under detzoo's names. Classifiers and boxes of layers that share them stand there several
        times, here once.

    Raises:
        WeightsError: a key that no rule knows, or one that is missing; copies of one tensor that differ.
    """
    layers = len(list(detector.get_submodule("head.classes").children()))
    once = _once(_halves(state), shared=layers == 1)
    return renamed_state(once, lambda key: by_rules(_DEFORMABLE_DETR, key), detector, source=SOURCE)


def _halves(state: StateDict) -> dict[str, Tensor]:
    """The queries' one table [Q,2F] as two: position and content."""
    split = dict(state)
    both = split.pop("model.query_position_embeddings.weight", None)
    if both is not None:
        split["model.position"], split["model.content"] = both.chunk(2, dim=1)
    return split


def _once(state: StateDict, *, shared: bool) -> dict[str, Tensor]:
    """Without copies: the decoder's own of classifiers and boxes, and those of each layer where layers share them.

    Raises:
        WeightsError: a copy differs: then the network does not share them.
    """
    kept: dict[str, Tensor] = {}
    for key, value in state.items():
        name = re.sub(r"^model\.decoder\.(class_embed|bbox_embed)\.", r"\1.", key)
        if shared:
            name = re.sub(r"^(class_embed|bbox_embed)\.\d+\.", r"\1.0.", name)
        if name in kept and not torch.equal(kept[name], value):
            raise WeightsError(
                f"The {SOURCE} state dict has another {key} than {name}, which are one tensor in head deformable_detr "
                f"with refine: {str(not shared).lower()}. Is it of the same architecture as the recipe?"
            )
        kept[name] = value
    return kept
