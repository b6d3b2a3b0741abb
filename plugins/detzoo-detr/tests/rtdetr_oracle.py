"""Small RT-DETRs of transformers and of the plugin, with the same weights."""

from __future__ import annotations

from typing import Any

import torch
from oracle import seed_by_name
from torch import Tensor, nn
from transformers import (
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrResNetConfig,
    RTDetrV2Config,
    RTDetrV2ForObjectDetection,
)

from detzoo.types import FeatureMaps, FeatureSpec, ImageBatch
from detzoo_detr.box_coder import Fractions
from detzoo_detr.denoising import Denoising
from detzoo_detr.hybrid_encoder import HybridEncoder
from detzoo_detr.rtdetr_head import Decoder, RtdetrHead

CLASSES = 5
SPECS = {"s8": FeatureSpec(16, 8), "s16": FeatureSpec(24, 16), "s32": FeatureSpec(32, 32)}
SIZE = (96, 160)


class Given(nn.Module):
    """In place of transformers' backbone: maps that are given."""

    def __init__(self, maps: list[Tensor]) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, pixels: Tensor, mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [(one, mask) for one in self.maps]


class NeckAndHead(nn.Module):
    """What a detector is without its backbone."""

    def __init__(self, neck: HybridEncoder, head: RtdetrHead) -> None:
        super().__init__()
        self.neck, self.head = neck, head


def theirs(version: int = 1, **changes: Any) -> Any:
    """transformers' model, seeded, in float64 and evaluation mode."""
    config, model = (
        (RTDetrConfig, RTDetrForObjectDetection) if version == 1 else (RTDetrV2Config, RTDetrV2ForObjectDetection)
    )
    tiny = RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], layer_type="basic", out_indices=[2, 3, 4]
    )
    values = {
        "backbone_config": tiny,
        "num_labels": CLASSES,
        "encoder_hidden_dim": 32,
        "encoder_in_channels": [16, 24, 32],
        "encoder_ffn_dim": 48,
        "encoder_attention_heads": 4,
        "d_model": 32,
        "decoder_in_channels": [32, 32, 32],
        "decoder_ffn_dim": 40,
        "decoder_attention_heads": 4,
        "decoder_layers": 3,
        "num_queries": 20,
        "hidden_expansion": 0.5,
        "attn_implementation": "eager",
    }
    made = model(config(**(values | changes)))
    seed_by_name(made)
    if version == 2:  # their two copies of the last layers
        made.class_embed.load_state_dict(made.model.decoder.class_embed.state_dict())
        made.bbox_embed.load_state_dict(made.model.decoder.bbox_embed.state_dict())
        for name, scale in made.named_buffers():
            if name.endswith("n_points_scale"):
                scale.fill_(1 / 4)
    return made.double().eval()


def ours(**changes: Any) -> NeckAndHead:
    """The plugin's neck and head of the same sizes, unseeded."""
    neck = HybridEncoder(SPECS, channels=32, feedforward=48, heads=4, expansion=0.5)
    values: dict[str, Any] = {
        "box_coder": Fractions(),
        "queries": 20,
        "decoder": Decoder(width=32, heads=4, layers=3, feedforward=40),
        "denoising": Denoising(queries=8),
    }
    return NeckAndHead(neck, RtdetrHead(neck.out, CLASSES, **(values | changes)))


def maps(images: int = 2) -> FeatureMaps:
    source = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(
            images, spec.channels, *(side // int(spec.stride) for side in SIZE), generator=source, dtype=torch.float64
        )
        for name, spec in SPECS.items()
    }


def image_batch(images: int = 2) -> ImageBatch:
    region = torch.tensor([[0.0, 0.0, SIZE[1], SIZE[0]]]).expand(images, 4)
    ones = torch.ones(images, 2)
    return ImageBatch(torch.zeros(images, 3, *SIZE), region, ones.long(), ones, torch.arange(images))
