"""D-FINE and DEIMv2 against transformers, with the same weights: every layer, and a training step's losses."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from dfine_oracle import CLASSES, OURS_DEIMV2, OURS_DFINE, backbone_config, ours, seeded, small_deimv2, small_dfine
from oracle import assert_found, photographs, relative
from torch import Tensor
from transformers import DFineConfig, DFineForObjectDetection
from transformers.models.rt_detr.image_processing_rt_detr import RTDetrImageProcessor

from detzoo.builder import build
from detzoo.detectors.one_stage import OneStage
from detzoo.errors import RecipeError, WeightsError
from detzoo.interfaces import Detector
from detzoo.ops.boxes import xyxy_to_cxcywh
from detzoo.testing.by_hand import image_batch, targets
from detzoo.types import Candidates, ImageBatch, Predictions, Targets
from detzoo_detr import dfine_head
from detzoo_detr.denoising import Noise
from detzoo_detr.dfine_converters import from_transformers

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


def compare_detections(detector: Detector, oracle: Any, shared: Path) -> None:
    """The same boxes and scores on four photographs, alone and in a batch."""
    size = detector.input.size
    assert size is not None
    processor = RTDetrImageProcessor(size={"height": size[0], "width": size[1]})
    images = photographs(shared)
    together = detector.predict(images, channels="rgb", score_threshold=0.0)
    for image, found in zip(images, together, strict=True):
        (alone,) = detector.predict([image], channels="rgb", score_threshold=0.0)
        inputs = processor(images=image, return_tensors="pt")
        with torch.no_grad():
            output = oracle(inputs.pixel_values)
        (expected,) = processor.post_process_object_detection(output, 0.0, [image.shape[:2]])
        for mine in (alone, found):
            assert_found(mine, expected)


@pytest.mark.parametrize("case", CASES)
def test_detections_on_photographs(case: str, shared: Path) -> None:
    oracle, detector = pair(case)
    compare_detections(detector.eval(), oracle.eval(), shared)


PUBLISHED: dict[str, dict[str, Any]] = {
    "n": {
        "levels": 2,
        "encoder_hidden_dim": 128,
        "encoder_in_channels": [512, 1024],
        "feat_strides": [16, 32],
        "encode_proj_layers": [1],
        "encoder_ffn_dim": 512,
        "depth_mult": 0.5,
        "hidden_expansion": 0.34,
        "d_model": 128,
        "decoder_in_channels": [128, 128],
        "decoder_ffn_dim": 512,
        "decoder_layers": 3,
        "decoder_n_points": [6, 6],
        "num_feature_levels": 2,
    },
    "s": {
        "levels": 3,
        "encoder_in_channels": [256, 512, 1024],
        "depth_mult": 0.34,
        "hidden_expansion": 0.5,
        "decoder_layers": 3,
        "decoder_n_points": [3, 6, 3],
    },
}
"""As transformers' conversion script has them."""


@pytest.mark.slow
@pytest.mark.parametrize("size", ["n", "s"])
def test_published_sizes(size: str, shared: Path) -> None:
    """Seeded weights, every tensor accounted for, in the published sizes."""
    settings = dict(PUBLISHED[size])
    backbone = backbone_config("b0", settings.pop("levels"))
    oracle = seeded(DFineForObjectDetection(DFineConfig(backbone_config=backbone, num_labels=80, **settings))).eval()
    detector = build(f"dfine_{size}_coco", weights=None, overrides={"backbone.norm": "frozen"})
    detector.load_state_dict(from_transformers(oracle.state_dict(), detector))
    compare_detections(detector.eval(), oracle, shared)


ATTO: dict[str, Any] = {
    "encoder_hidden_dim": 64,
    "depth_mult": 0.5,
    "hidden_expansion": 0.34,
    "d_model": 64,
    "decoder_in_channels": [64, 64],
    "decoder_ffn_dim": 160,
    "decoder_attention_heads": 8,
    "num_queries": 100,
    "num_labels": 80,
}
"""As the release's notebook for the Hub has it."""
N: dict[str, Any] = {
    "encoder_hidden_dim": 128,
    "encoder_ffn_dim": 512,
    "encoder_attention_heads": 8,
    "depth_mult": 0.5,
    "hidden_expansion": 0.34,
    "d_model": 128,
    "decoder_in_channels": [128, 128],
    "decoder_ffn_dim": 512,
    "decoder_attention_heads": 8,
    "decoder_n_points": [6, 6],
    "num_queries": 300,
    "num_labels": 80,
}
"""As D-FINE-N, which it grew from."""


@pytest.mark.slow
@pytest.mark.parametrize(("size", "settings"), [("atto", ATTO), ("n", N)])
def test_published_sizes_of_deimv2(size: str, settings: dict[str, Any], shared: Path) -> None:
    oracle = small_deimv2(lite=size == "atto", **settings).eval()
    changes = {"positions": "every", "activation": "relu", "project_cells": True}
    overrides = {f"head.decoder.{name}": value for name, value in changes.items()}
    detector = build(f"deimv2_{size}_coco", weights=None, overrides=overrides | {"backbone.norm": "frozen"})
    detector.load_state_dict(from_transformers(oracle.state_dict(), detector))
    compare_detections(detector.eval(), oracle, shared)


def test_files_of_transformers_4_are_read_too() -> None:
    """As the published ones call their tensors, each class and box head twice."""
    oracle, detector = pair("dfine")
    older = {}
    for key, value in oracle.state_dict().items():
        old = key.replace("o_proj", "out_proj").replace("encoder.aifi.", "encoder.encoder.")
        old = re.sub(r"(layers\.\d+)\.mlp\.layers\.([01])\.", lambda found: f"{found[1]}.fc{int(found[2]) + 1}.", old)
        older[old] = value
    assert "model.encoder.encoder.0.layers.0.fc1.weight" in older
    own = detector.state_dict()
    for key, value in from_transformers(older, detector).items():
        assert torch.equal(value, own[key]), key


def test_what_does_not_fit_is_named() -> None:
    oracle, detector = pair("dfine")
    state = oracle.state_dict()
    for change, message in (
        ({"model.decoder.reg_scale": torch.tensor([8.0])}, r"reg_scale 8, the recipe's box coder 4"),
        ({"class_embed.1.bias": state["class_embed.1.bias"] + 1}, r"class_embed\.1\.bias"),
        ({"model.decoder.strange.weight": torch.zeros(1)}, r"no rule.*strange"),
    ):
        with pytest.raises(WeightsError, match=message):
            from_transformers(state | change, detector)
    del state["model.enc_score_head.weight"]
    with pytest.raises(WeightsError, match=r"lacks.*selection\.classes\.weight"):
        from_transformers(state, detector)


def test_maps_and_points_must_agree() -> None:
    for change, message in (
        ({"head.decoder.points": [3, 2, 1]}, r"points has 3 numbers.*2 maps"),
        ({"head.box_coder": {"type": "fractions"}}, "fine_grained"),
        ({"neck.attended": ["s8"]}, "there are: s16, s32"),
        ({"head.decoder.heads": 5}, "multiple of heads"),
    ):
        with pytest.raises(RecipeError, match=message):
            build("dfine_n_coco", weights=None, overrides=OURS_DFINE | change)
