"""D-FINE and DEIMv2 against transformers, with the same weights: every layer, and a training step's losses."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from dfine_oracle import CLASSES, OURS_DEIMV2, OURS_DFINE, ours, small_deimv2, small_dfine
from oracle import relative
from torch import Tensor

from detzoo.detectors.one_stage import OneStage
from detzoo.ops.boxes import xyxy_to_cxcywh
from detzoo.testing.by_hand import image_batch, targets
from detzoo.types import Candidates, ImageBatch, Predictions, Targets
from detzoo_detr import dfine_head
from detzoo_detr.denoising import Noise

CASES = ("dfine", "deimv2", "deimv2_lite")
SIZE = (96, 128)


def pair(case: str, **changes: Any) -> tuple[Any, OneStage]:
    """The oracle, and ours."""
    if case == "dfine":
        oracle, recipe, settings = small_dfine(**changes), "dfine_n_coco", OURS_DFINE
    elif case == "deimv2":
        oracle, recipe = small_deimv2(lite=False, **changes), "deimv2_n_coco"
        settings = OURS_DEIMV2 | {"neck.heads": 4, "neck.feedforward": 48, "head.decoder.heads": 4}
        settings |= {"head.decoder.layers": 3, "head.decoder.feedforward": 48}
    else:
        oracle, recipe = small_deimv2(lite=True, **changes), "deimv2_atto_coco"
        settings = OURS_DEIMV2 | {"head.decoder.heads": 4, "head.decoder.layers": 3, "head.decoder.feedforward": 48}
    settings = settings | {
        "head.layer_pairs": "transformers",
        "loss.untaught": False,
        "loss.classification.gamma": 2.0,
        "loss.fine_weight": 0.15,
        "loss.distillation_weight": 1.5,
        "share_matches": case != "dfine",
    }
    detector = ours(recipe, settings, oracle)
    assert isinstance(detector, OneStage)
    return oracle, detector


def noise_batch(count: int = 2) -> ImageBatch:
    """float64 images of values from 0 to 1."""
    pixels = torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return dataclasses.replace(image_batch(count, size=SIZE), pixels=pixels)


def boxes_of(said: Predictions, places: Candidates) -> Tensor:
    """cx, cy, w, h in fractions of the input."""
    assert places.coder is not None
    found = places.coder.decode(said.deltas.squeeze(2), places.boxes, places.strides())
    return xyxy_to_cxcywh(found) / torch.tensor([SIZE[1], SIZE[0], SIZE[1], SIZE[0]], dtype=found.dtype)


@pytest.mark.parametrize("case", CASES)
def test_every_layer_says_what_it_says_in_transformers(case: str) -> None:
    oracle, detector = pair(case)
    oracle.double().train()
    detector.double().train()
    batch = noise_batch()
    with torch.no_grad():
        expected = oracle(batch.pixels)
        places, said = detector.network(batch)
    count = expected.intermediate_predicted_corners.shape[1]
    layers = [*(aux.predictions for aux in said.aux[: count - 1]), said]
    assert [aux.name for aux in said.aux] == [*(f"aux{row}" for row in range(count - 1)), "encoder"]
    shifted = [*range(count - 1), count]  # of theirs: the initial box, then all layers
    for row, (one, other) in enumerate(zip(layers, shifted, strict=True)):
        assert one.class_logits is not None
        assert one.distribution is not None
        assert relative(one.class_logits, expected.intermediate_logits[:, other]) < 1e-5
        assert relative(boxes_of(one, places), expected.intermediate_reference_points[:, other]) < 1e-5
        corners = expected.intermediate_predicted_corners[:, row]
        assert relative(one.distribution.flatten(2), corners) < 1e-5
    assert relative(boxes_of(said, places), expected.pred_boxes) < 1e-5
    encoder = said.aux[-1]
    assert encoder.candidates is not None
    assert encoder.predictions.class_logits is not None
    assert relative(encoder.predictions.class_logits, expected.enc_topk_logits) < 1e-5
    assert relative(boxes_of(encoder.predictions, encoder.candidates), expected.enc_topk_bboxes) < 1e-5
    assert said.class_logits.shape[2] == CLASSES  # type: ignore[union-attr]


OBJECTS = (
    [(0.1, 0.15, 0.35, 0.45), (0.5, 0.4, 0.75, 0.8), (0.1, 0.6, 0.3, 0.8)],
    [(0.4, 0.3, 0.7, 0.65)],
)
"""x1, y1, x2, y2 in fractions of the image."""
LABELS = ([1, 4, 0], [2])
TERMS = {"distance": "bbox", "overlap": "giou", "fine": "fgl", "distillation": "ddf"}


def ground_truth() -> tuple[Targets, list[dict[str, Tensor]]]:
    """Ours, without padding beyond the fullest image, and theirs."""
    height, width = SIZE
    boxes = [[(a * width, b * height, c * width, d * height) for a, b, c, d in image] for image in OBJECTS]
    own = targets(boxes, LABELS, size=SIZE, padded=3)
    theirs = [
        {"class_labels": torch.tensor(labels), "boxes": xyxy_to_cxcywh(torch.tensor(image))}
        for image, labels in zip(OBJECTS, LABELS, strict=True)
    ]
    return own, theirs


def their_name(name: str, case: str, layers: int) -> str:
    """Of one of our terms."""
    prefix, _, term = name.rpartition(".")
    term = TERMS.get(term, "vfl" if case == "dfine" else "mal")
    row = prefix.removeprefix("aux").removeprefix("denoising")
    if prefix == "encoder":
        return f"loss_{term}_aux_{layers - 1}"
    kind = "dn" if prefix.startswith("denoising") else "aux"
    return f"loss_{term}" + (f"_{kind}_{row}" if prefix else "")


class Recorder:
    """Keeps what transformers draws while it makes its denoising queries."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.drawn: list[Tensor] = []
        for name in ("rand_like", "randint_like"):
            monkeypatch.setattr(torch, name, self.keeping(getattr(torch, name)))

    def keeping(self, draw: Any) -> Any:
        def kept(*args: Any, **kwargs: Any) -> Tensor:
            self.drawn.append(draw(*args, **kwargs))
            return self.drawn[-1].clone()

        return kept

    def noise(self, count: int) -> Noise:
        """For ``count`` queries, of which theirs are the first."""
        relabel, label, sign, size = self.drawn

        def padded(drawn: Tensor) -> Tensor:
            return torch.cat([drawn, drawn.new_zeros(len(drawn), count - drawn.shape[1], *drawn.shape[2:])], dim=1)

        return Noise(padded(relabel), padded(label.long()), padded(sign * 2.0 - 1.0), padded(size))


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_a_step_costs_what_it_costs_in_transformers(case: str, noisy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    oracle, detector = pair(case)
    oracle.train()
    detector.train()
    own, theirs = ground_truth()
    batch = noise_batch()
    batch = dataclasses.replace(batch, pixels=batch.pixels.float())
    if noisy:
        record = Recorder(monkeypatch)
    else:
        oracle.config.num_denoising = 0
        detector.head.denoising = None  # type: ignore[assignment]
    expected = oracle(batch.pixels, labels=theirs)
    if noisy:
        monkeypatch.setattr(dfine_head, "draw_noise", lambda images, count, classes, *, like: record.noise(count))
    terms = detector.losses(batch, own)
    boxes = expected.intermediate_reference_points
    assert 0 <= boxes.min() <= boxes.max() <= 1  # theirs are clamped: nothing to clamp
    layers = expected.intermediate_predicted_corners.shape[1]
    found = {their_name(name, case, layers): term for name, term in terms.items()}
    assert found.keys() == expected.loss_dict.keys()
    for name, term in found.items():
        assert term.item() == pytest.approx(expected.loss_dict[name].item(), rel=1e-4, abs=1e-6), name
    assert sum(terms.values()).item() == pytest.approx(expected.loss.item(), rel=1e-5)  # type: ignore[union-attr]
