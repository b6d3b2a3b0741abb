"""Small D-FINE and DEIMv2 networks of transformers, and ours with the same weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from oracle import seed_by_name
from torch import nn
from transformers import (
    Deimv2Config,
    Deimv2ForObjectDetection,
    DFineConfig,
    DFineForObjectDetection,
    HGNetV2Config,
)

from detzoo.builder import build
from detzoo.interfaces import Detector
from detzoo_detr.dfine_converters import from_transformers
from detzoo_detr.hgnet_v2 import SIZES, SizeName

CLASSES = 5


def backbone_config(size: SizeName, levels: int) -> HGNetV2Config:
    """Of one of our sizes; its coarsest maps go out."""
    stages, stem = SIZES[size].stages, SIZES[size].stem
    outputs, last = [stage.outputs for stage in stages], len(stages)
    return HGNetV2Config(
        stem_channels=[3, *stem],
        hidden_sizes=outputs,
        depths=[stage.layers for stage in stages],
        stage_in_channels=[stem[1], *outputs[:-1]],
        stage_mid_channels=[stage.middle for stage in stages],
        stage_out_channels=outputs,
        stage_num_blocks=[stage.blocks for stage in stages],
        stage_downsample=[row > 0 for row in range(last)],
        stage_light_block=[stage.light for stage in stages],
        stage_kernel_size=[stage.kernel for stage in stages],
        stage_numb_of_layers=[stage.layers for stage in stages],
        use_learnable_affine_block=size not in ("b4", "b5"),
        out_indices=list(range(last + 1 - levels, last + 1)),
    )


def seeded(model: Any) -> Any:
    """Heads of its own for every layer, every tensor from its name, constants as they were."""
    decoder = model.model.decoder
    if not getattr(model.config, "share_bbox_head", False):
        decoder.bbox_embed = nn.ModuleList(copy.deepcopy(one) for one in decoder.bbox_embed)
    decoder.class_embed = nn.ModuleList(copy.deepcopy(one) for one in decoder.class_embed)
    model.class_embed, model.bbox_embed = decoder.class_embed, decoder.bbox_embed
    fixed = {
        k: v.clone() for k, v in model.state_dict().items() if k.endswith(("decoder.up", "reg_scale", "points_scale"))
    }
    seed_by_name(model)
    model.load_state_dict(fixed, strict=False)
    with torch.no_grad():
        model.model.denoising_class_embed.weight[-1] = 0
    return model


def small_dfine(**changes: Any) -> Any:
    """D-FINE with two maps and narrow layers, on HGNetv2-B0."""
    settings: dict[str, Any] = dict(
        backbone_config=backbone_config("b0", 2),
        encoder_hidden_dim=32,
        encoder_in_channels=[512, 1024],
        feat_strides=[16, 32],
        encode_proj_layers=[1],
        encoder_ffn_dim=48,
        encoder_attention_heads=4,
        depth_mult=0.34,
        hidden_expansion=0.5,
        d_model=32,
        decoder_in_channels=[32, 32],
        decoder_ffn_dim=48,
        decoder_attention_heads=4,
        decoder_layers=3,
        decoder_n_points=[3, 2],
        num_feature_levels=2,
        num_queries=12,
        num_labels=CLASSES,
        num_denoising=8,
    )
    return seeded(DFineForObjectDetection(DFineConfig(**(settings | changes))))


OURS_DFINE: dict[str, Any] = {
    "input.size": [96, 128],
    "backbone.size": "b0",
    "backbone.levels": ["s16", "s32"],
    "backbone.norm": "frozen",
    "backbone.weights": None,
    "neck.channels": 32,
    "neck.heads": 4,
    "neck.feedforward": 48,
    "neck.expansion": 0.5,
    "neck.blocks": 1,
    "head.queries": 12,
    "head.decoder.width": 32,
    "head.decoder.heads": 4,
    "head.decoder.layers": 3,
    "head.decoder.feedforward": 48,
    "head.decoder.points": [3, 2],
    "head.denoising.queries": 8,
    "postprocess.keep": 12,
}


def small_deimv2(*, lite: bool, **changes: Any) -> Any:
    """DEIMv2 with narrow layers: the lite encoder on atto, or the hybrid one on B0."""
    settings: dict[str, Any] = dict(
        backbone_config=backbone_config("atto" if lite else "b0", 1 if lite else 2),
        encoder_type="lite" if lite else "hybrid",
        encoder_layers=0 if lite else 1,
        encoder_hidden_dim=32,
        encoder_in_channels=[256] if lite else [512, 1024],
        feat_strides=[16] if lite else [16, 32],
        encode_proj_layers=[1],
        encoder_ffn_dim=48,
        encoder_attention_heads=4,
        depth_mult=0.34,
        hidden_expansion=0.5,
        d_model=32,
        decoder_in_channels=[32, 32],
        decoder_ffn_dim=48,
        decoder_attention_heads=4,
        decoder_layers=3,
        decoder_n_points=[4, 2],
        num_feature_levels=2,
        num_queries=12,
        num_labels=CLASSES,
        num_denoising=8,
        use_gateway=not lite,
        share_bbox_head=lite,
    )
    return seeded(Deimv2ForObjectDetection(Deimv2Config(**(settings | changes))))


OURS_DEIMV2: dict[str, Any] = {
    "input.size": [96, 128],
    "backbone.norm": "frozen",
    "backbone.weights": None,
    "neck.channels": 32,
    "neck.expansion": 0.5,
    "neck.blocks": 1,
    "head.queries": 12,
    "head.decoder.width": 32,
    "head.decoder.heads": 4,
    "head.decoder.feedforward": 48,
    "head.decoder.points": [4, 2],
    "head.decoder.positions": "every",
    "head.decoder.activation": "relu",
    "head.decoder.project_cells": True,
    "head.denoising.queries": 8,
    "postprocess.keep": 12,
}


def ours(recipe: str, changes: dict[str, Any], oracle: Any) -> Detector:
    """Our network with the oracle's weights, every tensor accounted for."""
    torch.manual_seed(0)
    detector = build(recipe, overrides=changes, num_classes=CLASSES, weights=None)
    detector.load_state_dict(from_transformers(oracle.state_dict(), detector))
    return detector
