"""transformers' state dicts of RT-DETR and RT-DETRv2 in detzoo's names; every tensor is accounted for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from detzoo.errors import WeightsError
from detzoo.interfaces import Detector
from detzoo.ops.state_dict import Rules, StateDict, by_rules, renamed_state
from detzoo_detr.hybrid_encoder import HybridEncoder
from detzoo_detr.rtdetr_head import RtdetrHead

_UNIT: Final[Rules] = (
    (r"(.*)(?:convolution|conv)\.(.+)", r"\g<1>0.\2"),
    (r"(.*)(?:normalization|norm)\.(.+)", r"\g<1>1.\2"),
)
_ATTENTION: Final[Rules] = (
    (r"q_proj\.(.+)", r"query.\1"),
    (r"k_proj\.(.+)", r"key.\1"),
    (r"v_proj\.(.+)", r"value.\1"),
    (r"(?:out|o)_proj\.(.+)", r"out.\1"),  # published files say out_proj, transformers 5 o_proj
)
_DEFORMABLE: Final[Rules] = (
    (r"sampling_offsets\.(.+)", r"offsets.\1"),
    (r"attention_weights\.(.+)", r"weights.\1"),
    (r"value_proj\.(.+)", r"value.\1"),
    (r"output_proj\.(.+)", r"out.\1"),
)
_FEED_FORWARD: Final[Rules] = (
    (r"(?:mlp\.)?fc([12])\.(.+)", r"feed_forward.linear\1.\2"),
    (r"final_layer_norm\.(.+)", r"feed_forward.norm.\1"),
)
_CSP: Final[Rules] = (
    (r"conv1\.(.+)", r"main.\1"),
    (r"conv2\.(.+)", r"short.\1"),
    (r"conv3\.(.+)", r"merge.\1"),
    (r"bottlenecks\.(\d+)\.conv1\.(.+)", r"blocks.\1.spatial.\2"),
    (r"bottlenecks\.(\d+)\.conv2\.(.+)", r"blocks.\1.pointwise.\2"),
)
_SCALE: Final = ".n_points_scale"
_COPY: Final = re.compile(r"(class_embed|bbox_embed)\..+")
"""RT-DETRv2 writes the last layers twice; they are one."""


def from_transformers(state: StateDict, detector: Detector) -> dict[str, Tensor]:
    """``RTDetrForObjectDetection`` and ``RTDetrV2ForObjectDetection``, as published and as transformers 5 names them.

    Args:
        state: of ``model.safetensors``.
        detector: the recipe of the same network.

    Raises:
        WeightsError: a key that no rule knows, or one that is missing; copies that differ; other points.
    """
    neck, head = detector.get_submodule("neck"), detector.get_submodule("head")
    assert isinstance(head, RtdetrHead)  # the hook asks no other
    if not isinstance(neck, HybridEncoder):
        raise WeightsError("transformers' RT-DETR has the neck hybrid_encoder; the recipe has another")
    maps, attended = list(neck.out), list(neck.attention)
    steps = maps[:-1]
    rules: list[tuple[str, Callable[[re.Match[str]], str | None]]] = [
        (r"model\.backbone\.model\.(.+)", lambda found: _backbone(found[1])),
        (r"model\.encoder_input_proj\.(\d+)\.(.+)", lambda found: f"neck.entries.{maps[int(found[1])]}.{found[2]}"),
        (
            r"model\.encoder\.(?:encoder|aifi)\.(\d+)\.layers\.(\d+)\.(.+)",
            lambda found: _join(f"neck.attention.{attended[int(found[1])]}.layers.{found[2]}.", _encoder(found[3])),
        ),
        *(
            (rf"model\.encoder\.{theirs}\.(\d+)\.(.+)", _in_steps(f"neck.{ours}", order))
            for theirs, ours, order in (
                ("lateral_convs", "laterals", steps[::-1]),  # they count from coarse to fine
                ("fpn_blocks", "top_down", steps[::-1]),
                ("downsample_convs", "downsamplings", steps),
                ("pan_blocks", "bottom_up", steps),
            )
        ),
        (r"model\.decoder_input_proj\.(\d+)\.(.+)", lambda found: f"head.project.{maps[int(found[1])]}.{found[2]}"),
        (r"model\.enc_output\.(.+)", lambda found: f"head.select.output.{found[1]}"),
        (r"model\.enc_score_head\.(.+)", lambda found: f"head.select.classes.{found[1]}"),
        (r"model\.enc_bbox_head\.(.+)", lambda found: f"head.select.boxes.{_mlp(found[1])}"),
        (r"model\.decoder\.query_pos_head\.(.+)", lambda found: f"head.position.{_mlp(found[1])}"),
        (r"model\.decoder\.layers\.(\d+)\.(.+)", lambda found: _join(f"head.layers.{found[1]}.", _layer(found[2]))),
        (r"model\.decoder\.class_embed\.(.+)", lambda found: f"head.classes.{found[1]}"),
        (r"model\.decoder\.bbox_embed\.(\d+)\.(.+)", lambda found: f"head.boxes.{found[1]}.{_mlp(found[2])}"),
        (r"model\.denoising_class_embed\.(.+)", lambda found: f"head.known.{found[1]}"),
    ]

    def rename(key: str) -> str | None:
        for pattern, place in rules:
            if found := re.fullmatch(pattern, key):
                return place(found)
        return None

    return renamed_state(_plain(state, head), rename, detector, source="transformers")


def _plain(state: StateDict, head: RtdetrHead) -> dict[str, Tensor]:
    """The state once, and without what is no weight here."""
    kept = {}
    for key, value in state.items():
        if _COPY.fullmatch(key):
            first = state.get(f"model.decoder.{key}")
            if first is not None and not torch.equal(first, value):
                raise WeightsError(f"The transformers state dict has another {key} than model.decoder.{key}")
            kept[f"model.decoder.{key}"] = value
        elif key.endswith(_SCALE):
            own = torch.cat([torch.full((count,), 1 / count) for count in head.points])
            if value.shape != own.shape or not torch.equal(value.float(), own):
                raise WeightsError(
                    f"The transformers state dict has other points on the maps than the recipe ({key}); the recipe "
                    f"has {head.points}: set head.decoder.points"
                )
        elif key.startswith("model.denoising_class_embed.") and head.known is None:
            continue  # the recipe does without denoising
        else:
            kept[key] = value
    return kept


def _join(place: str, rest: str | None) -> str | None:
    return None if rest is None else place + rest


def _in_steps(place: str, order: list[str]) -> Callable[[re.Match[str]], str | None]:
    """Into the part of the step that they number."""

    def name(found: re.Match[str]) -> str | None:
        inside = by_rules(_CSP, found[2]) or found[2]
        return _join(f"{place}.{order[int(found[1])]}.", by_rules(_UNIT, inside))

    return name


def _backbone(key: str) -> str | None:
    """Below RTDetrResNetBackbone."""
    if found := re.fullmatch(r"embedder\.embedder\.(\d+)\.(.+)", key):
        return _join(f"backbone.body.stem.{found[1]}.", by_rules(_UNIT, found[2]))
    found = re.fullmatch(r"encoder\.stages\.(\d+)\.layers\.(\d+)\.(?:layer\.(\d+)|shortcut(?:\.1)?)\.(\w+)\.(.+)", key)
    if found is None:
        return None
    block = f"backbone.body.stage{int(found[1]) + 1}.{found[2]}"
    if found[3] is not None:
        return _join(f"{block}.main.{found[3]}.", by_rules(_UNIT, f"{found[4]}.{found[5]}"))
    row = {"convolution": 1, "normalization": 2}.get(found[4])
    return None if row is None else f"{block}.short.{row}.{found[5]}"


def _encoder(key: str) -> str | None:
    """Below a layer of the attention between cells."""
    if key.startswith("self_attn."):
        return _join("attention.", by_rules(_ATTENTION, key.removeprefix("self_attn.")))
    return by_rules((*_FEED_FORWARD, (r"self_attn_layer_norm\.(.+)", r"norm.\1")), key)


def _layer(key: str) -> str | None:
    """Below a layer of the decoder."""
    for theirs, ours, rules in (
        ("self_attn.", "self_attention.", _ATTENTION),
        ("encoder_attn.", "cross_attention.", _DEFORMABLE),
    ):
        if key.startswith(theirs):
            return _join(ours, by_rules(rules, key.removeprefix(theirs)))
    norms = ((r"self_attn_layer_norm\.(.+)", r"norm1.\1"), (r"encoder_attn_layer_norm\.(.+)", r"norm2.\1"))
    return by_rules((*_FEED_FORWARD, *norms), key)


def _mlp(key: str) -> str:
    """``layers.2.weight`` -> ``4.weight``: a ReLU stands between two layers."""
    return re.sub(r"^layers\.(\d+)\.", lambda found: f"{2 * int(found[1])}.", key)
