"""The recipes: they build, and say what the paper says."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from detzoo.builder import build
from detzoo.prediction.prepare import prepare
from detzoo.recipes.recipe import load_recipe
from detzoo.types import ImageBatch

SMALL = ("detr_anchors_mobilenet_v2", "detr_mobilenet_v2")


def recipe(name: str) -> dict[str, Any]:
    return load_recipe(name).values


def test_the_paper_s_numbers() -> None:
    values = recipe("detr_resnet50_coco")
    head, loss, matcher = values["head"], values["loss"], values["matcher"]
    assert head["queries"] == 100
    assert head["transformer"] == {
        "width": 256, "heads": 8, "encoder_layers": 6, "decoder_layers": 6, "feedforward": 2048, "dropout": 0.1,
        "activation": "relu",
    }  # fmt: skip
    assert (loss["class_weight"], loss["distance_weight"], loss["overlap_weight"]) == (1.0, 5.0, 2.0)
    assert (matcher["class_weight"], matcher["distance_weight"], matcher["overlap_weight"]) == (1.0, 5.0, 2.0)
    assert loss["no_object_weight"] == 0.1
    train = values["train"]
    assert (train["optimizer"]["lr"], train["optimizer"]["weight_decay"], train["clip_norm"]) == (1e-4, 1e-4, 0.1)
    assert train["optimizer"]["groups"] == {"backbone.*": 0.1}
    assert (train["epochs"], train["schedule"]["milestones"]) == (500, [400])
    assert {r["metric"]: r["value"] for r in values["reported"]} == {"AP": 42.0, "AP50": 62.4}


@pytest.mark.slow
def test_the_paper_s_detector_is_as_large_as_the_paper_says() -> None:
    detector = build("detr_resnet50_coco", weights=None)
    count = sum(parameter.numel() for parameter in detector.parameters())
    assert round(count / 1e6) == 41  # table 1


@pytest.mark.parametrize("name", SMALL)
def test_every_layer_answers_and_the_image_is_the_candidate(name: str) -> None:
    detector = build(name, num_classes=2, weights=None, overrides={"input.resize": "letterbox"}).eval()
    images = [torch.zeros(40, 80, 3, dtype=torch.uint8).numpy()] * 2
    batch: ImageBatch = prepare(images, detector.input)
    with torch.no_grad():
        candidates, predictions = detector.network(batch)
    assert len(predictions.aux) == recipe(name)["head"]["transformer"]["decoder_layers"] - 1
    assert torch.equal(candidates.boxes[0, 0], torch.tensor([0.0, 64, 256, 192]))  # without its padding
    assert torch.equal(candidates.boxes, batch.region[:, None].expand_as(candidates.boxes))


def test_padding_changes_no_prediction() -> None:
    """What lies outside the image is looked at by no query; only the backbone's own window reaches into it."""
    detector = build("detr_mobilenet_v2", num_classes=2, weights=None).eval()
    features = {name: torch.randn(1, spec.channels, 4, 6) for name, spec in detector.neck.out.items()}  # type: ignore[operator, union-attr]
    other = {name: one.clone() for name, one in features.items()}
    for one in other.values():
        one[:, :, 2:] += 1.0
    region = torch.tensor([[0.0, 0, 96, 32]])
    batch = ImageBatch(torch.zeros(1, 3, 64, 96), region, torch.ones(1, 2), torch.ones(1, 2), torch.zeros(1))
    with torch.no_grad():
        said, again = (detector.head(one, batch)[1] for one in (features, other))  # type: ignore[operator]
    torch.testing.assert_close(said.class_logits, again.class_logits)
    torch.testing.assert_close(said.deltas, again.deltas)
