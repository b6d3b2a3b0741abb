"""RT-DETR's recipes: sizes of the published networks, names of transformers' files, and its image processor."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracle import photographs, relative, seed_by_name
from rtdetr_oracle import CLASSES, NeckAndHead, ours, theirs
from transformers import (
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrImageProcessor,
    RTDetrResNetConfig,
    RTDetrV2Config,
    RTDetrV2ForObjectDetection,
)

from detzoo.builder import build
from detzoo.errors import WeightsError
from detzoo.interfaces import Detector
from detzoo.prediction.prepare import prepare
from detzoo.recipes.recipe import load_recipe
from detzoo_detr.rtdetr_names import from_transformers

BASIC = {"encoder_in_channels": [128, 256, 512], "hidden_expansion": 0.5}
LARGE = {"encoder_ffn_dim": 2048, "encoder_hidden_dim": 384, "decoder_in_channels": [384, 384, 384]}
SIZES: dict[str, tuple[list[int], dict[str, Any]]] = {  # transformers' conversion script
    "r18vd": ([2, 2, 2, 2], BASIC | {"decoder_layers": 3}),
    "r34vd": ([3, 4, 6, 3], BASIC | {"decoder_layers": 4}),
    "r50vd": ([3, 4, 6, 3], {}),
    "r101vd": ([3, 4, 23, 3], LARGE),
}
NAMES = [f"{family}_{size}_coco" for family in ("rtdetr", "rtdetrv2") for size in SIZES]
PUBLISHED = (  # what transformers 5 renames when it reads a published file
    ("o_proj", "out_proj"),
    (r"mlp\.fc", "fc"),
    (r"encoder\.aifi\.", "encoder.encoder."),
)


def published(name: str) -> Any:
    """transformers' network of a recipe's name."""
    family, size, _ = name.split("_")
    depths, changes = SIZES[size]
    basic = "hidden_expansion" in changes
    backbone = RTDetrResNetConfig(
        depths=depths,
        layer_type="basic" if basic else "bottleneck",
        hidden_sizes=[64, 128, 256, 512] if basic else [256, 512, 1024, 2048],
        out_indices=[2, 3, 4],
    )
    values = {"backbone_config": backbone, "num_labels": 80, "attn_implementation": "eager"} | changes
    if family == "rtdetr":
        return RTDetrForObjectDetection(RTDetrConfig(**values))
    return RTDetrV2ForObjectDetection(RTDetrV2Config(**values))


@pytest.mark.parametrize("name", ["rtdetr_r18vd_coco", "rtdetrv2_r101vd_coco"])
def test_every_tensor_of_a_published_network_has_its_place(name: str) -> None:
    with torch.device("meta"):  # names and shapes alone
        state = published(name).state_dict()
        detector = build(name, weights=None)
    state = {key: value for key, value in state.items() if not re.match(r"(class|bbox)_embed|.*n_points_scale", key)}
    own = detector.state_dict()
    for changes in ((), PUBLISHED):
        named = {}
        for key, value in state.items():
            other = key
            for pattern, replacement in changes:
                other = re.sub(pattern, replacement, other)
            named[other] = value
        found = from_transformers(named, detector)
        assert found.keys() == own.keys()
        assert all(found[key].shape == own[key].shape for key in own)


def small() -> NeckAndHead:
    made = ours()
    made.load_state_dict(from_transformers(without_backbone(theirs()), made))  # type: ignore[arg-type]
    return made


def without_backbone(model: Any) -> dict[str, torch.Tensor]:
    return {key: value for key, value in model.state_dict().items() if ".backbone." not in key}


def test_what_does_not_fit_is_named() -> None:
    made, state = ours(), without_backbone(theirs(2))
    detector: Any = made
    for change, message in (
        ({"model.decoder.layers.0.gate.weight": torch.zeros(1)}, r"no rule.*gate"),
        ({"class_embed.0.bias": torch.ones(CLASSES)}, r"another class_embed\.0\.bias"),
        ({"model.decoder.layers.0.encoder_attn.n_points_scale": torch.ones(12) / 3}, "other points"),
    ):
        with pytest.raises(WeightsError, match=message):
            from_transformers(state | change, detector)
    del state["model.enc_score_head.bias"]
    with pytest.raises(WeightsError, match=r"lacks.*head\.select\.classes\.bias"):
        from_transformers(state, detector)


def test_copies_of_the_last_layers_may_be_all_there_is() -> None:
    """Tied weights stand once in a file, under either name."""
    state = without_backbone(theirs(2))
    alone = {key: value for key, value in state.items() if not re.match(r"model\.decoder\.(class|bbox)_embed", key)}
    made: Any = ours()
    both, one = from_transformers(state, made), from_transformers(alone, made)
    assert both.keys() == one.keys()
    assert all(torch.equal(both[key], one[key]) for key in both)


def test_without_denoising_its_classes_are_left_out() -> None:
    made: Any = ours(denoising=None)
    assert from_transformers(without_backbone(theirs()), made).keys() == made.state_dict().keys()


def test_images_are_those_of_the_published_processor(shared: Path) -> None:
    images = photographs(shared)
    spec = build("rtdetr_mobilenet_v2", weights=None, overrides=INPUT).input
    expected = RTDetrImageProcessor()(images=images, return_tensors="pt")["pixel_values"]
    found = prepare(images, spec).pixels
    assert torch.equal((found * 255).round(), (expected * 255).round())  # every byte
    assert (found - expected).abs().max() < 1e-7  # they multiply by 1 / 255


INPUT = {
    f"input.{key}": value
    for key, value in load_recipe("rtdetr_r18vd_coco").values["input"].items()
    if key in ("size", "resize", "rounding", "antialias", "mean", "std", "pixel_range")
}


@pytest.mark.parametrize("name", [*NAMES, "rtdetr_mobilenet_v2"])
def test_the_paper_s_numbers(name: str) -> None:
    values = load_recipe(name).values
    loss, matcher = values["loss"], values["matcher"]
    assert (loss["class_weight"], loss["distance_weight"], loss["overlap_weight"]) == (1.0, 5.0, 2.0)
    assert (matcher["class_weight"], matcher["distance_weight"], matcher["overlap_weight"]) == (2.0, 5.0, 2.0)
    assert (loss["classification"]["alpha"], loss["classification"]["gamma"], loss["target"]) == (0.75, 2.0, "iou")
    assert values["postprocess"]["keep"] == values["head"]["queries"]
    optimizer = values["train"]["optimizer"]
    assert (optimizer["name"], optimizer["weight_decay"], optimizer["decay"]) == ("adamw", 1e-4, "filters")


def test_the_published_sizes() -> None:
    """Millions of parameters, as the paper's table 2 rounds them: 20, 31, 42 and 76."""
    millions = []
    for size in SIZES:
        with torch.device("meta"):
            detector = build(f"rtdetr_{size}_coco", weights=None)
        total = {
            name: value for name, value in detector.state_dict().items() if not name.endswith("num_batches_tracked")
        }
        millions.append(round(sum(value.numel() for value in total.values()) / 1e6))
    assert millions == [20, 31, 43, 77]  # with the statistics of norms, and frozen norms, which are no parameters


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rtdetr_r18vd_coco", "rtdetr_r50vd_coco", "rtdetrv2_r18vd_coco"])
def test_published_sizes_detect_what_transformers_detects(name: str, shared: Path) -> None:
    """Boxes to 1e-3 px and scores to 1e-5 in float32, alone and in a batch; every layer in float64."""
    model = published(name)
    seed_by_name(model)
    if name.startswith("rtdetrv2"):
        model.class_embed.load_state_dict(model.model.decoder.class_embed.state_dict())
        model.bbox_embed.load_state_dict(model.model.decoder.bbox_embed.state_dict())
        for key, scale in model.named_buffers():
            if key.endswith("n_points_scale"):
                scale.fill_(1 / 4)
    model.train(False)
    detector: Detector = build(name, weights=None).eval()
    detector.load_state_dict(from_transformers(model.state_dict(), detector))
    images = photographs(shared)
    processor = RTDetrImageProcessor()
    pixels = processor(images=images, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        outputs = model(pixels)
    sizes = [image.shape[:2] for image in images]
    expected = processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=sizes)
    together = detector.predict(images, score_threshold=0.0, channels="rgb")
    alone = [detector.predict([image], score_threshold=0.0, channels="rgb")[0] for image in images]
    for image, truth, *both in zip(images, expected, together, alone, strict=True):
        bound = np.array([image.shape[1], image.shape[0]] * 2)
        boxes = np.clip(truth["boxes"].numpy(), 0, bound)
        for found in both:
            assert np.abs(np.asarray(found.scores) - truth["scores"].numpy()[: len(found.scores)]).max() < 1e-5
            assert_same_boxes(found, boxes, truth)
    with torch.no_grad():
        precise = model.double()(pixels[:1].double())
        batch = dataclasses.replace(prepare(images[:1], detector.input), pixels=pixels[:1].double())
        _, said = detector.double().network(batch)
    assert relative(said.class_logits, precise.logits) < 1e-9
    assert relative(said.deltas[:, :, 0], precise.pred_boxes) < 1e-9


def assert_same_boxes(found: Any, boxes: Any, truth: Any) -> None:
    """Every detection stands among transformers', at the same score; equal scores may change places."""
    scores, labels = truth["scores"].numpy(), truth["labels"].numpy()
    for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
        near = (np.abs(scores - float(score)) < 1e-5) & (labels == int(label))
        assert np.abs(boxes[near] - np.asarray(box)).max(1).min() < 1e-3
