"""RF-DETR against transformers: every layer's predictions, the losses of one step with their gradients, detections."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from oracle import assert_found, photographs, relative, seed_by_name
from torch import Tensor
from transformers import RfDetrConfig, RfDetrForObjectDetection
from transformers.models.rf_detr.image_processing_rf_detr import RfDetrImageProcessor

from detzoo.builder import build
from detzoo.errors import RecipeError, WeightsError
from detzoo.interfaces import Detector
from detzoo.prediction.prepare import prepare
from detzoo.testing import image_batch, targets
from detzoo.types import ImageBatch, Targets
from detzoo.weights.detector import convert_weights
from detzoo_detr.rfdetr_names import from_rf_detr

SIDE, CLASSES, QUERIES, GROUPS = 96, 5, 7, 3
SMALL = {
    "input.size": [SIDE, SIDE],
    "backbone": {"type": "dinov2", "width": 32, "depth": 4, "heads": 4, "positions": 6, "levels": ["layer2", "layer4"]}
    | {"global_layers": [2]},
    "neck.channels": 32,
    "head.queries": QUERIES,
    "head.groups": GROUPS,
    "head.transformer": {"width": 32, "heads": 4, "encoder_layers": 0, "decoder_layers": 3, "feedforward": 48}
    | {"dropout": 0.0},
    "head.cross_heads": 8,
    "matchers.groups.groups": GROUPS,
    "loss.groups": GROUPS,
    "postprocess.keep": QUERIES,
}
SCENE = ([[(5.0, 5.0, 40.0, 60.0), (50.0, 10.0, 90.0, 30.0)], [(20.0, 20.0, 80.0, 80.0)]], [[1, 3], [0]])


def small() -> Detector:
    return build("rfdetr_nano_coco", overrides=SMALL, num_classes=CLASSES, weights=None)


def oracle(**changes: Any) -> Any:
    """transformers' model of ``SMALL``, seeded; with the release's ``layer_norm_eps`` in the projector."""
    backbone = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "image_size": SIDE}
    settings: dict[str, Any] = {
        "backbone_config": {"model_type": "rf_detr_dinov2", "patch_size": 16, "num_windows": 2, "out_indices": [2, 4]}
        | backbone,
        "d_model": 32,
        "decoder_layers": 3,
        "decoder_ffn_dim": 48,
        "decoder_self_attention_heads": 4,
        "decoder_cross_attention_heads": 8,
        "decoder_n_points": 2,
        "num_queries": QUERIES,
        "group_detr": GROUPS,
        "dropout": 0.0,
        "layer_norm_eps": 1e-6,
        "num_labels": CLASSES,
    }
    model: Any = RfDetrForObjectDetection(RfDetrConfig(**settings | changes))
    seed_by_name(model)
    return model.eval()


def pair(**changes: Any) -> tuple[Detector, Any]:
    """Ours and theirs with one set of weights, of which nothing is left over, in float64."""
    ours, theirs = small(), oracle(**changes)
    ours.load_state_dict(from_rf_detr(theirs.state_dict(), ours))
    return ours.double().eval(), theirs.double()


def noise(count: int = 2) -> ImageBatch:
    batch = image_batch(count, size=(SIDE, SIDE))
    return dataclasses.replace(batch, pixels=batch.pixels.double())


def as_labels(truth: Targets) -> list[dict[str, Tensor]]:
    """Ground truth as transformers takes it: cx, cy, w, h in fractions."""
    labels = []
    for boxes, names, valid in zip(truth.boxes, truth.labels, truth.valid, strict=True):
        x1, y1, x2, y2 = (boxes[valid].double() / SIDE).unbind(1)
        centred = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], 1)
        labels.append({"class_labels": names[valid], "boxes": centred})
    return labels


def test_every_layer_says_what_transformers_says() -> None:
    """In training, where all layers, groups and the cells speak; the last layer of the first group is the answer."""
    ours, theirs = pair()
    batch = noise()
    with torch.no_grad():
        _, alone = ours.network(batch)
        _, said = ours.network(batch, targets(*SCENE, size=(SIDE, SIDE)))
        answer = theirs(batch.pixels)
        theirs.train()
        every = theirs.model(batch.pixels)
        logits, boxes = theirs.predict_class_and_boxes(
            every.intermediate_hidden_states, every.intermediate_reference_points
        )
        cells = theirs.predict_encoder_class_logits(every.enc_outputs_class)
    for one in (alone, said):
        assert one.class_logits is not None
        assert relative(one.class_logits, answer.logits) < 1e-12
        assert relative(one.deltas.squeeze(2), answer.pred_boxes) < 1e-12
    assert alone.aux == ()
    assert [aux.name for aux in said.aux] == ["aux0", "aux1", "encoder", "groups"]
    expected = [
        *zip(logits[:2], boxes[:2], strict=True),
        (cells, every.enc_outputs_coord_logits),
        (logits[2], boxes[2]),
    ]
    for aux, (classes, places) in zip(said.aux, expected, strict=True):
        assert aux.predictions.class_logits is not None
        assert relative(aux.predictions.class_logits, classes) < 1e-12
        assert relative(aux.predictions.deltas.squeeze(2), places) < 1e-12


@pytest.mark.parametrize("scene", [SCENE, ([[], SCENE[0][1]], [[], [0]]), ([[], []], [[], []])])
def test_losses_and_gradients_of_one_step(scene: Any) -> None:
    """Each layer's terms, where the last layer's are those of the first group and of the others; empty images too."""
    ours, theirs = pair()
    batch, truth = noise(), targets(*scene, size=(SIDE, SIDE))
    theirs.train()
    result = theirs(batch.pixels, labels=as_labels(truth))
    terms = ours.train().losses(batch, truth)
    found = {name: float(value.detach()) for name, value in terms.items()}
    for name, factor, short in (("classification", 1, "ce"), ("distance", 5, "bbox"), ("overlap", 2, "giou")):
        expected = {end: factor * result.loss_dict[f"loss_{short}{end}"].item() for end in ("", "_0", "_1", "_enc")}
        assert found[name] + found[f"groups.{name}"] == pytest.approx(expected[""], rel=1e-6)
        assert found[f"aux0.{name}"] == pytest.approx(expected["_0"], rel=1e-6)
        assert found[f"aux1.{name}"] == pytest.approx(expected["_1"], rel=1e-6)
        assert found[f"encoder.{name}"] == pytest.approx(expected["_enc"], rel=1e-6)
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    result.loss.backward()
    gradients = {
        name: torch.zeros_like(value) if value.grad is None else value.grad for name, value in theirs.named_parameters()
    }
    placed = from_rf_detr(gradients, ours)
    largest = max(float(value.abs().max()) for value in placed.values())
    for name, value in ours.named_parameters():
        assert value.grad is not None, name
        torch.testing.assert_close(value.grad, placed[name], rtol=1e-6, atol=1e-8 * largest)


def test_the_published_files_own_names() -> None:
    """roboflow/rf-detr's, written down from its modules, give the same tensors; what does not fit is named."""
    detector, theirs = small(), oracle()
    expected = from_rf_detr(theirs.state_dict(), detector)
    state = released(theirs.state_dict())
    assert {"transformer.decoder.layers.0.self_attn.in_proj_weight", "refpoint_embed.weight"} <= set(state)
    found = from_rf_detr(state, detector)
    assert set(found) == set(detector.state_dict())
    for name, value in found.items():
        assert torch.equal(value, expected[name]), name
    with pytest.raises(WeightsError, match=r"no rule.*segmentation_head"):
        from_rf_detr(state | {"segmentation_head.bias": torch.zeros(1)}, detector)
    with pytest.raises(WeightsError, match=r"lacks.*head\.shifts\.weight"):
        from_rf_detr({name: value for name, value in state.items() if name != "refpoint_embed.weight"}, detector)


RELEASED = (
    ("model.backbone.backbone.", "backbone.0.encoder.encoder."),
    ("attention.q_proj", "attention.attention.query"),
    ("attention.k_proj", "attention.attention.key"),
    ("attention.v_proj", "attention.attention.value"),
    ("attention.o_proj", "attention.output.dense"),
    ("model.backbone.projector.layer_norm", "backbone.0.projector.stages.0.1"),
    ("model.backbone.projector.projector_layer.bottlenecks", "backbone.0.projector.stages.0.0.m"),
    ("model.backbone.projector.projector_layer", "backbone.0.projector.stages.0.0"),
    ("model.decoder.", "transformer.decoder."),
    ("decoder.layernorm", "decoder.norm"),
    ("self_attn_layer_norm", "norm1"),
    ("cross_attn_layer_norm", "norm2"),
    ("mlp.fc1", "linear1"),
    ("mlp.fc2", "linear2"),
    (".layer_norm.", ".norm3."),
    ("self_attn.o_proj", "self_attn.out_proj"),
    ("model.enc_out", "transformer.enc_out"),
    ("model.reference_point_embed", "refpoint_embed"),
    ("model.query_feat", "query_feat"),
)


def released(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers' modules under the release's names."""
    named = {}
    for key, value in state.items():
        name, vit = key, "backbone.backbone" in key
        for old, new in RELEASED:
            if not (vit and new.startswith("linear")) and not (not vit and new.startswith("attention.")):
                name = name.replace(old, new)
        if "projector.stages.0.0" in name:
            name = name.replace("conv1.", "cv1.").replace("conv2.", "cv2.").replace(".norm.", ".bn.")
        named[name] = value
    for row in range(3):
        start = f"transformer.decoder.layers.{row}.self_attn"
        for end in ("weight", "bias"):
            parts = [named.pop(f"{start}.{part}_proj.{end}") for part in "qkv"]
            named[f"{start}.in_proj_{end}"] = torch.cat(parts)
    return named


def processor(side: int) -> Any:
    return RfDetrImageProcessor(size={"height": side, "width": side})


def test_images_are_prepared_as_transformers_prepares_them(shared: Path) -> None:
    images = photographs(shared)
    ours = prepare(images, build("rfdetr_nano_coco", overrides=SMALL, weights=None).input).pixels
    for mine, image in zip(ours, images, strict=True):
        theirs = processor(SIDE)(images=image, return_tensors="pt").pixel_values[0]
        torch.testing.assert_close(mine, theirs, rtol=0, atol=2e-5)


def compare_detections(ours: Detector, theirs: Any, side: int, shared: Path) -> None:
    """The same boxes and scores on four photographs, alone and in a batch."""
    images = photographs(shared)
    together = ours.predict(images, channels="rgb", score_threshold=0.0)
    for image, found in zip(images, together, strict=True):
        (alone,) = ours.predict([image], channels="rgb", score_threshold=0.0)
        inputs = processor(side)(images=image, return_tensors="pt")
        with torch.no_grad():
            output = theirs(inputs.pixel_values)
        (expected,) = processor(side).post_process_object_detection(output, 0.0, [image.shape[:2]])
        for mine in (alone, found):
            assert_found(mine, expected)


def test_detections_on_photographs(shared: Path) -> None:
    ours, theirs = small(), oracle()
    ours.load_state_dict(from_rf_detr(theirs.state_dict(), ours))
    compare_detections(ours.eval(), theirs, SIDE, shared)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "side", "layers"), [("nano", 384, 2), ("large", 704, 4)])
def test_published_sizes(size: str, side: int, layers: int, shared: Path) -> None:
    """Seeded weights, every tensor accounted for, in the published sizes."""
    backbone = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "patch_size": 16}
    config = RfDetrConfig(
        backbone_config={"model_type": "rf_detr_dinov2", "image_size": side, "num_windows": 2}
        | backbone
        | {"out_indices": [3, 6, 9, 12]},
        decoder_n_points=2,
        decoder_layers=layers,
        dropout=0.0,
        layer_norm_eps=1e-6,
        num_labels=91,
    )
    theirs: Any = RfDetrForObjectDetection(config)
    seed_by_name(theirs)
    ours = build(f"rfdetr_{size}_coco", weights=None)
    ours.load_state_dict(from_rf_detr(theirs.state_dict(), ours))
    batch = prepare(photographs(shared)[:1], ours.input)
    batch = dataclasses.replace(batch, pixels=batch.pixels.double())
    with torch.no_grad():
        _, said = ours.double().eval().network(batch)
        answer = theirs.double().eval()(batch.pixels)
    assert said.class_logits is not None
    assert relative(said.class_logits, answer.logits) < 1e-9
    assert relative(said.deltas.squeeze(2), answer.pred_boxes) < 1e-9
    ease_rounding(theirs)
    ours.load_state_dict(from_rf_detr(theirs.state_dict(), ours))
    compare_detections(ours.float(), theirs.float(), side, shared)


@torch.no_grad()
def ease_rounding(theirs: Any) -> None:
    """Seeded weights that float32 can tell apart: boxes inside the image, and queries whose order plays no part.

    Seeded boxes are several images wide, where float32 has no 1e-3 px; and of 1,936 cells with seeded scores, two
    neighbours in rank often differ by less than rounding, and would take each other's content.
    """
    for outputs in (theirs.bbox_embed, *theirs.model.enc_out_bbox_embed):
        outputs.layers[-1].weight.mul_(0.1)
    for table in (theirs.model.query_feat.weight, theirs.model.reference_point_embed.weight):
        table.copy_(table[:1].expand_as(table))


def test_fewer_cells_than_queries() -> None:
    detector = build("rfdetr_nano_coco", overrides=SMALL | {"head.queries": 40}, num_classes=CLASSES, weights=None)
    _, said = detector.network(image_batch(2, size=(SIDE, SIDE)))  # 36 cells
    assert said.deltas.shape == (2, 36, 1, 4)
    terms = detector.losses(image_batch(2, size=(SIDE, SIDE)), targets(*SCENE, size=(SIDE, SIDE)))
    assert all(bool(value.isfinite()) for value in terms.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"neck": {"type": "identity"}}, "reads one map, and is given 2"),
        ({"neck.channels": 16}, "16 channels"),
        ({"head.cross_heads": 5}, "cross_heads 5"),
        ({"head.transformer.encoder_layers": 1}, "write 0"),
    ],
)
def test_what_cannot_be_built_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        build("rfdetr_nano_coco", overrides=SMALL | change, num_classes=2, weights=None)


def test_groups_of_head_and_matcher_must_agree() -> None:
    detector = build("rfdetr_nano_coco", overrides=SMALL | {"matchers.groups.groups": 2}, num_classes=2, weights=None)
    with pytest.raises(RecipeError, match=r"groups is 2.*21 candidates"):
        detector.losses(image_batch(2, size=(SIDE, SIDE)), targets(*SCENE[:1], size=(SIDE, SIDE)))


def test_a_file_is_converted_by_its_source(tmp_path: Path) -> None:
    theirs, detector = oracle(), small()
    torch.save(theirs.state_dict(), tmp_path / "model.pth")
    convert_weights(detector, tmp_path / "model.pth", source="transformers")
    for name, value in from_rf_detr(theirs.state_dict(), detector).items():
        assert torch.equal(value, detector.state_dict()[name]), name
