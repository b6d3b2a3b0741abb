"""Detections: torchvision's SSD and RetinaNet to the last bit, the two ways against each other, and the knobs."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torchvision.models.detection._utils import BoxCoder as TorchvisionCoder
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.models.detection.ssd import SSD

from detzoo.components.box_coders import CentreSize
from detzoo.components.postprocess import detections as module
from detzoo.components.postprocess.detections import PerClassDetections
from detzoo.components.postprocess.top_k import TopK
from detzoo.components.suppress import KeepAll, Nms, SoftNms
from detzoo.errors import RecipeError, SettingError
from detzoo.types import Candidates, DetectionBatch, DetectionSettings, ImageBatch, Level, Predictions, Scoring
from tests.components.postprocess.scene import batch_of, same, scene, ssd_post


@pytest.mark.parametrize(("images", "priors"), [(0, 5), (1, 0), (2, 0)])
@pytest.mark.parametrize("looks", [True, False])
def test_nothing_to_detect(images: int, priors: int, looks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "allows_dynamic_shapes", lambda _: looks)
    for post in (ssd_post(), ssd_post(per_class_top_k=None, per_level_top_k=100), TopK(keep=50)):
        found = post(*scene(images, priors))
        assert found.boxes.shape == (images, 50, 4)
        assert not found.valid.any()


def test_nothing_above_the_threshold() -> None:
    found = ssd_post(score_threshold=1.0)(*scene())
    assert not found.valid.any()
    assert not found.boxes.any()


@pytest.mark.parametrize("first", [8, 512])
@pytest.mark.parametrize("keep", [20, 500])
def test_equals_torchvisions_ssd_to_the_last_bit(first: int, keep: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST", first)
    # more than 1,000 boxes, so that torchvision suppresses class by class, without its inexact offsets
    predictions, candidates, batch = scene(images=2, priors=800)
    model = SimpleNamespace(
        box_coder=TorchvisionCoder((10.0, 10.0, 5.0, 5.0)),
        score_thresh=0.01,
        topk_candidates=300,
        nms_thresh=0.45,
        detections_per_img=keep,
    )
    outputs = {"bbox_regression": predictions.deltas.squeeze(2), "cls_logits": predictions.class_logits}
    theirs = SSD.postprocess_detections(model, outputs, [candidates.boxes[0]] * 2, [(300, 300)] * 2)
    ours = ssd_post(per_class_top_k=300, keep=keep)(predictions, candidates, batch)
    for image, expected in enumerate(theirs):
        count = len(expected["scores"])
        assert int(ours.valid[image].sum()) == count >= 20
        assert torch.equal(ours.scores[image, :count], expected["scores"])
        assert torch.equal(ours.labels[image, :count], expected["labels"] - 1)
        assert torch.equal(ours.boxes[image, :count], expected["boxes"])


CASES = [
    {},
    {"suppress": SoftNms()},
    {"suppress": SoftNms(method="linear", min_score=0.05)},
    {"suppress": KeepAll()},
    {"per_class_top_k": 7},
    {"per_class_top_k": None},
    {"min_side": 20.0},
    {"keep": 2000},
]


@pytest.mark.parametrize("changes", CASES)
@pytest.mark.parametrize(("per_class", "scoring"), [(1, "softmax"), (5, "sigmoid")])
def test_both_ways_give_the_same(
    changes: dict[str, Any], per_class: int, scoring: Scoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = scene(priors=120, per_class=per_class, scoring=scoring)
    post = ssd_post(**changes)
    results = []
    for first, looks in ((16, True), (512, True), (512, False)):
        monkeypatch.setattr(module, "FIRST", first)
        monkeypatch.setattr(module, "allows_dynamic_shapes", lambda _, looks=looks: looks)
        results.append(post(*inputs))
    for other in results[1:]:
        torch.testing.assert_close(other.scores, results[0].scores)
        assert torch.equal(other.labels, results[0].labels)
        torch.testing.assert_close(other.boxes, results[0].boxes)
    assert results[0].valid.any()


def test_an_image_alone_or_in_a_batch() -> None:
    predictions, candidates, _ = scene(images=3)
    whole = ssd_post()(predictions, candidates, batch_of(3))
    assert predictions.class_logits is not None
    for image in range(3):
        rows = slice(image, image + 1)
        alone = ssd_post()(
            Predictions(predictions.class_logits[rows], "softmax", predictions.deltas[rows]), candidates, batch_of(1)
        )
        part = DetectionBatch(whole.boxes[rows], whole.scores[rows], whole.labels[rows], whole.valid[rows])
        assert same(alone, part)


def test_equal_scores_do_not_depend_on_the_batch() -> None:
    predictions, candidates, _ = scene(images=2, priors=700)
    logits = torch.zeros(2, 700, 6)
    logits[1] = torch.randn(700, 6, generator=torch.Generator().manual_seed(1))
    both = ssd_post(per_class_top_k=None)(Predictions(logits, "softmax", predictions.deltas), candidates, batch_of(2))
    one = ssd_post(per_class_top_k=None)(
        Predictions(logits[:1], "softmax", predictions.deltas[:1]), candidates, batch_of(1)
    )
    assert same(one, DetectionBatch(both.boxes[:1], both.scores[:1], both.labels[:1], both.valid[:1]))


@pytest.mark.parametrize("first", [16, 100_000])
def test_of_equal_scores_the_earlier_candidates_enter(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a detector that is not trained: 300 candidates of 5 classes, all alike."""
    monkeypatch.setattr(module, "FIRST", first)
    _, candidates, batch = scene(images=2, priors=300)
    alike = Predictions(torch.zeros(2, 300, 6), "softmax", torch.zeros(2, 300, 1, 4))
    found = ssd_post(per_class_top_k=7, suppress=KeepAll(), keep=2000)(alike, candidates, batch)
    assert found.valid.sum(1).tolist() == [35, 35]
    for label in range(5):
        mine = found.boxes[0][found.valid[0] & (found.labels[0] == label)]
        torch.testing.assert_close(mine, candidates.boxes[0, :7].clamp(0, 300))


def test_the_static_way_compiles_without_a_graph_break() -> None:
    inputs = scene(images=2, priors=60)
    for suppress in (Nms(iou=0.45), KeepAll()):
        post = ssd_post(suppress=suppress, per_class_top_k=10)
        compiled = torch.compile(post, backend="eager", fullgraph=True)
        assert same(compiled(*inputs), post(*inputs))


@pytest.mark.parametrize(("strict", "count"), [(True, 1), (False, 2)])
def test_a_score_equal_to_the_threshold(strict: bool, count: int) -> None:
    predictions, candidates, batch = scene(images=1, priors=2, classes=1, scoring="sigmoid")
    logits = torch.tensor([[[0.0], [1.0]]])  # sigmoid(0) = .5
    post = ssd_post(score_threshold=0.5, strict=strict, suppress=KeepAll())
    assert int(post(Predictions(logits, "sigmoid", predictions.deltas), candidates, batch).valid.sum()) == count


@pytest.mark.parametrize("static", [False, True])
def test_settings_by_value_are_those_of_the_constructor(static: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if static:  # as on devices other than the CPU
        monkeypatch.setattr(module, "allows_dynamic_shapes", lambda _: False)
    inputs = scene()
    post = ssd_post(suppress=Nms(iou=0.45), keep=200)
    before = post(*inputs)
    found = post(*inputs, DetectionSettings(0.3, 0.2, 7))
    assert same(found, ssd_post(score_threshold=0.3, keep=7, suppress=Nms(iou=0.2))(*inputs))
    assert found.valid.shape[1] == 7
    assert same(post(*inputs), before)


def test_a_setting_that_it_does_not_have_is_an_error_that_names_those_it_has() -> None:
    soft = PerClassDetections(suppress=SoftNms(method="gaussian"))
    assert soft.settings == DetectionSettings(0.05, None, 100)
    with pytest.raises(SettingError, match=r"^nms_iou cannot be set: .* PerClassDetections .* score_threshold, keep$"):
        soft(*scene(), DetectionSettings(nms_iou=0.5))
    assert PerClassDetections(suppress=SoftNms(method="linear", iou=0.4)).settings.nms_iou == 0.4
    assert TopK(keep=3).settings == DetectionSettings(0.0, None, 3)


def test_invalid_candidates_are_never_reported() -> None:
    predictions, candidates, batch = scene(images=1)
    valid = torch.zeros(1, 400, dtype=torch.bool)
    found = ssd_post()(predictions, Candidates(candidates.boxes, valid, coder=candidates.coder), batch)
    assert not found.valid.any()


LEVELS = (Level("s8", 10, 20, 1, 8.0), Level("s16", 10, 15, 1, 16.0), Level("s32", 5, 10, 1, 32.0))


def on_levels(images: int = 2) -> tuple[Predictions, Candidates, ImageBatch]:
    """400 candidates on three levels, scored by sigmoids."""
    predictions, candidates, batch = scene(images, scoring="sigmoid")
    return predictions, replace(candidates, levels=LEVELS, coder=CentreSize(weights=(1, 1, 1, 1))), batch


@pytest.mark.parametrize("top", [30, 100, 5000])
@pytest.mark.parametrize("looks", [True, False])
def test_best_of_each_level_as_in_torchvisions_retinanet(
    top: int, looks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "allows_dynamic_shapes", lambda _: looks)
    predictions, candidates, batch = on_levels()
    counts = [level.count for level in LEVELS]
    settings = SimpleNamespace(
        score_thresh=0.05,
        topk_candidates=top,
        nms_thresh=0.5,
        detections_per_img=60,
        box_coder=TorchvisionCoder((1.0, 1.0, 1.0, 1.0)),
    )
    assert predictions.class_logits is not None
    outputs = {
        "cls_logits": list(torch.split(predictions.class_logits, counts, 1)),
        "bbox_regression": list(torch.split(predictions.deltas[:, :, 0], counts, 1)),
    }
    anchors = [list(torch.split(candidates.boxes[0], counts))] * 2
    expected = RetinaNet.postprocess_detections(settings, outputs, anchors, [(300, 300)] * 2)
    post = PerClassDetections(suppress=Nms(iou=0.5), score_threshold=0.05, per_level_top_k=top, keep=60)
    found = post(predictions, candidates, batch)
    for image, their in enumerate(expected):
        real = found.valid[image]
        assert torch.equal(found.labels[image][real], their["labels"])
        torch.testing.assert_close(found.scores[image][real], their["scores"], atol=1e-6, rtol=0)
        torch.testing.assert_close(found.boxes[image][real], their["boxes"])


def test_both_ways_agree_on_the_best_of_each_level(monkeypatch: pytest.MonkeyPatch) -> None:
    post = PerClassDetections(suppress=SoftNms(), score_threshold=0.02, per_level_top_k=25, keep=70, min_side=1.0)
    looked = post(*on_levels(3))
    monkeypatch.setattr(module, "allows_dynamic_shapes", lambda _: False)
    blind = post(*on_levels(3))
    assert looked.valid.sum() > 100
    for name in ("boxes", "scores"):
        torch.testing.assert_close(getattr(looked, name), getattr(blind, name))
    assert torch.equal(looked.labels, blind.labels)


def test_one_level_where_there_are_none() -> None:
    predictions, candidates, batch = scene(scoring="sigmoid")
    post = PerClassDetections(suppress=KeepAll(), score_threshold=0.0, per_level_top_k=7, keep=50)
    assert post(predictions, candidates, batch).valid.sum(1).tolist() == [7, 7]


def test_class_and_level_do_not_both_cut() -> None:
    with pytest.raises(RecipeError) as error:
        PerClassDetections(suppress=Nms(), per_class_top_k=5, per_level_top_k=5)
    assert str(error.value) == (
        "postprocess detections: per_class_top_k and per_level_top_k are both given, and the order in which they cut "
        "would matter; make one of them null"
    )


@pytest.mark.parametrize("keep", [10**6 + 1, 10**30])
def test_more_detections_than_any_machine_pads_to(keep: int) -> None:
    with pytest.raises(SettingError, match="at most 1,000,000 detections are kept per image"):
        DetectionSettings(keep=keep)
