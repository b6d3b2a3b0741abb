"""Small models of transformers and the same networks of detzoo, with the same seeded weights; no tests."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from oracle import seed_by_name
from torch import Tensor, nn
from transformers import DeformableDetrConfig, DeformableDetrForObjectDetection, DetrConfig, DetrForObjectDetection

from detzoo.builder import build
from detzoo.interfaces import Detector
from detzoo.types import Candidates, ImageBatch, Predictions, Targets
from detzoo.weights.detector import convert_weights

FAMILIES: Final = ("detr", "plain", "refine", "two_stage")
SIZE: Final[dict[str, Any]] = {
    "backbone": "resnet18", "d_model": 32,
    "num_queries": 13, "num_labels": 5, "encoder_layers": 2, "decoder_layers": 3, "dropout": 0.0,
    **{f"{part}_ffn_dim": 48 for part in ("encoder", "decoder")},
    **{f"{part}_attention_heads": 4 for part in ("encoder", "decoder")},
}  # fmt: skip
TRANSFORMER: Final = {
    "width": 32,
    "heads": 4,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "feedforward": 48,
    "dropout": 0.0,
}
LEVELS: Final = {"detr": ["s32"], "deformable": ["s8", "s16", "s32"]}


@dataclass(frozen=True)
class Pair:
    """One network twice: transformers' and detzoo's."""

    family: str
    theirs: nn.Module
    ours: Detector


def backbone_config(outputs: list[int], name: str) -> dict[str, Any]:
    return {
        "model_type": "timm_backbone", "backbone": name, "num_channels": 3, "features_only": True,
        "use_pretrained_backbone": False, "out_indices": outputs,
    }  # fmt: skip


def their_model(family: str, size: Mapping[str, Any] = SIZE) -> nn.Module:
    """transformers' model, in evaluation mode, every tensor seeded by its name."""
    torch.manual_seed(0)
    name, size = size["backbone"], {key: value for key, value in size.items() if key != "backbone"}
    if family == "detr":
        model: nn.Module = DetrForObjectDetection(
            DetrConfig(backbone_config=backbone_config([1, 2, 3, 4], name), **size)
        )
    else:
        config = DeformableDetrConfig(
            backbone_config=backbone_config([2, 3, 4], name), auxiliary_loss=True,
            two_stage_num_proposals=size["num_queries"], class_cost=2,
            with_box_refine=family != "plain", two_stage=family == "two_stage", **size,
        )  # fmt: skip
        model = DeformableDetrForObjectDetection(config)
        if family != "plain":
            untie(model)
    seed_by_name(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bbox" in name and name.endswith("layers.2.weight"):
                parameter.mul_(0.25)  # noise of float32 in what the layers see then moves no edge by 1e-3 px
    return model.eval()


def untie(model: Any) -> None:
    """Layers that refine boxes have predictors of their own, as in the authors' code; transformers 5 ties them."""
    for name in ("class_embed", "bbox_embed"):
        own = nn.ModuleList(copy.deepcopy(layer) for layer in getattr(model, name))
        setattr(model, name, own)
        if getattr(model.model.decoder, name) is not None:
            setattr(model.model.decoder, name, own)


def recipe_of(family: str) -> str:
    """The published detector's name."""
    recipe = "detr_resnet50_coco" if family == "detr" else "deformable_detr_resnet50_coco"
    return recipe + (f"_{family}" if family in ("refine", "two_stage") else "")


def our_model(family: str) -> Detector:
    """detzoo's network of the same small sizes, from the recipe."""
    backbone = {"type": "resnet18", "norm": "frozen", "norm_eps": 1e-5, "weights": None, "freeze": []}
    backbone["levels"] = LEVELS["detr" if family == "detr" else "deformable"]
    changes: dict[str, Any] = {
        "input.min_size": 96,
        "input.max_size": 160,
        "backbone": backbone,
        "head.transformer": TRANSFORMER,
        "head.queries": 13,
    }
    return build(recipe_of(family), num_classes=5, weights=None, overrides=changes).eval()


def pair(family: str) -> Pair:
    """A small network."""
    return converted(family, their_model(family), our_model(family))


def published_pair(family: str) -> Pair:
    """A network of the published size; what is not given here, transformers has by default."""
    size = {"backbone": "resnet50", "num_labels": 91, "num_queries": 100 if family == "detr" else 300}
    return converted(family, their_model(family, size), build(recipe_of(family), weights=None).eval())


def converted(family: str, theirs: nn.Module, ours: Detector) -> Pair:
    """Both with transformers' weights."""
    convert_weights(ours, dict(theirs.state_dict()), source="transformers")
    return Pair(family, theirs, ours)


def pixel_mask(batch: ImageBatch) -> Tensor:
    """int64 [B,H,W], as transformers wants it: 1 where the image lies."""
    mask = torch.zeros(batch.pixels.shape[0], *batch.pixels.shape[2:], dtype=torch.int64)
    for row, (left, top, right, bottom) in enumerate(batch.region.int().tolist()):
        mask[row, top:bottom, left:right] = 1
    return mask


@torch.no_grad()
def their_layers(one: Pair, batch: ImageBatch) -> list[tuple[Tensor, Tensor]]:
    """Logits [B,Q,K] and boxes [B,Q,4] of every layer of the decoder; no-object is the last column of DETR's."""
    model: Any = one.theirs
    mask = pixel_mask(batch)
    if one.family != "detr":
        nothing = [{"class_labels": torch.zeros(1, dtype=torch.int64), "boxes": batch.pixels.new_full((1, 4), 0.5)}]
        found = model(batch.pixels, mask, labels=nothing * len(mask))
        layers = [(each["logits"], each["pred_boxes"]) for each in found.auxiliary_outputs]
        return [*layers, (found.logits, found.pred_boxes)]
    said: list[Tensor] = []
    hooks = [layer.register_forward_hook(lambda _, __, out: said.append(out)) for layer in model.model.decoder.layers]
    model(batch.pixels, mask)
    for hook in hooks:
        hook.remove()
    states = [model.model.decoder.layernorm(state) for state in said]
    return [(model.class_labels_classifier(state), model.bbox_predictor(state).sigmoid()) for state in states]


@torch.no_grad()
def our_layers(one: Pair, batch: ImageBatch) -> list[tuple[Tensor, Tensor]]:
    """The same of detzoo's, no-object moved to the last column."""
    _, predictions = one.ours.network(batch)
    layers = [aux.predictions for aux in predictions.aux if aux.name.startswith("aux")]
    return [(_columns(each), each.deltas.squeeze(2)) for each in (*layers, predictions)]


def _columns(predictions: Predictions) -> Tensor:
    assert predictions.class_logits is not None
    return predictions.class_logits.roll(-1, 2) if predictions.scoring == "softmax" else predictions.class_logits


def as_labels(targets: Targets) -> list[dict[str, Tensor]]:
    """Ground truth as transformers' losses want it: boxes as cx, cy, w, h in fractions of each image."""
    labels = []
    for row, region in enumerate(targets.region):
        boxes = targets.boxes[row][targets.valid[row]].double()
        size = (region[2:] - region[:2]).double()
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2 - region[:2]
        encoded = torch.cat([centre / size, (boxes[:, 2:] - boxes[:, :2]) / size], dim=1)
        labels.append({"class_labels": targets.labels[row][targets.valid[row]], "boxes": encoded.float()})
    return labels


def our_losses(one: Pair, batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
    """Terms by name, of float64 predictions."""
    candidates, predictions = one.ours.network(batch, targets)
    return terms(one.ours, candidates, predictions, targets)


def terms(detector: Any, candidates: Candidates, predictions: Predictions, targets: Targets) -> dict[str, Tensor]:
    total: dict[str, Tensor] = detector.loss(
        predictions, candidates, targets, detector.matcher(candidates, targets, predictions)
    )
    for aux in predictions.aux:
        total |= detector.auxiliary_losses(aux, aux.candidates or candidates, targets)
    return total
