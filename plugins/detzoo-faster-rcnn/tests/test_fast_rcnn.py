"""Fast R-CNN's targets: normalised by class, measured before training, undone when detecting."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import detzoo
from detzoo.components.losses import multibox
from detzoo.components.postprocess import detections
from detzoo.data import open_dataset
from detzoo.detectors.measuring import MEASURING, positive_examples
from detzoo.detectors.two_stage import TwoStage
from detzoo.errors import RecipeError
from detzoo.interfaces import Proposer
from detzoo.prediction.predict import inference
from detzoo.prediction.prepare import Treatment, collate
from detzoo.training import train
from detzoo.types import Assignment, Candidates, DetectionSettings, ImageBatch, Predictions, Sample, Targets
from detzoo.weights.checkpoint import load_checkpoint
from detzoo_faster_rcnn.box_coder import USUAL_STD, ClassNormalised

DATA = "shapes:train=6,val=2"
SMALL = {
    "backbone.weights": None,
    "input.size": [96, 96],
    "proposals.proposer.count": 200,
    "box.head.fc": [16],
    "box.head.roi_pool.output": [3, 3],
    "train.transforms": [],
    "train.batch": 2,
}


def built(changes: dict[str, Any] | None = None, *, seed: int = 0) -> TwoStage:
    torch.manual_seed(seed)
    own = {**SMALL, "num_classes": 5, "classes": list(open_dataset(DATA, "train").classes)}
    detector = detzoo.build("fastrcnn_mobilenet_v2", overrides={**own, **(changes or {})}, weights=None)
    assert isinstance(detector, TwoStage)
    return detector


def coder_of(detector: TwoStage) -> ClassNormalised:
    coder = detector.box.head.coder
    assert isinstance(coder, ClassNormalised)
    return coder


def run(detector: TwoStage, out: Path, *, steps: int = 1, resume: bool = False) -> None:
    data = open_dataset(DATA, "train")
    train(detector, data, out, device="cpu", workers=0, steps=steps, resume=resume, progress=False, checkpoint_steps=1)


def offsets(truth: NDArray[Any], region: NDArray[Any]) -> NDArray[np.float64]:
    """Centre offsets by the region's sides, and logarithms of the ratios of sides: Fast R-CNN's t."""
    own, other = truth.astype(np.float64), region.astype(np.float64)
    side, answer = other[2:] - other[:2], own[2:] - own[:2]
    shift = ((own[:2] + own[2:]) - (other[:2] + other[2:])) / 2 / side
    return np.concatenate([shift, np.log(answer / side)])


def statistics(samples: list[Sample], proposer: Proposer, classes: int) -> tuple[list[int], Any, Any]:
    """Plain loops in original pixels: offsets do not change when width or height is stretched."""
    found: list[list[NDArray[np.float64]]] = [[] for _ in range(classes)]
    for sample in samples:
        for region in [*proposer(sample.image)[0], *sample.boxes]:
            best, answer = 0.0, -1
            for row, box in enumerate(sample.boxes):
                width, height = np.minimum(region[2:], box[2:]) - np.maximum(region[:2], box[:2])
                common = max(0.0, float(width)) * max(0.0, float(height))
                areas = sum(float(np.prod(b[2:] - b[:2])) for b in (region, box))
                if common / (areas - common) > best:
                    best, answer = common / (areas - common), row
            if best >= 0.5:
                found[sample.labels[answer]].append(offsets(sample.boxes[answer], region))
    mean = [np.mean(own, axis=0) if own else np.zeros(4) for own in found]
    std = [np.std(own, axis=0) if own else np.array(USUAL_STD) for own in found]
    return [len(own) for own in found], np.array(mean), np.array(std)


# ------------------------------------------------------------------------------------------------ measuring


def test_before_anything_is_measured() -> None:
    coder = ClassNormalised(3)
    assert coder.measured is False
    assert coder.mean.tolist() == [[0.0] * 4] * 3
    torch.testing.assert_close(coder.std, torch.tensor([USUAL_STD] * 3))


def test_without_any_ground_truth_the_usual_deviations_stay() -> None:
    detector, coder = built(), ClassNormalised(5)
    empty = [sample_of([], count) for count in (0, 3)]
    examples = list(positive_examples(detector, batches_of(detector, empty), "cpu"))
    assert [len(labels) for *_, labels in examples] == [0]
    for given in (examples, []):
        coder.measure(given)
        assert coder.measured is False
        torch.testing.assert_close(coder.std, torch.tensor([USUAL_STD] * 5))


def test_statistics_of_the_data_equal_those_of_plain_loops(tmp_path: Path) -> None:
    detector = built(changes={"proposals.proposer.count": 500, "proposals.proposer.scale": [0.1, 0.5]})
    run(detector, tmp_path / "run")
    data, coder = open_dataset(DATA, "train"), coder_of(detector)
    assert detector.proposer is not None
    counts, mean, std = statistics([data.sample(i) for i in range(len(data))], detector.proposer, 5)
    assert coder.counts.tolist() == counts
    assert sum(count >= 10 for count in counts) >= 3
    for row in range(5):
        if counts[row] >= 2:
            np.testing.assert_allclose(coder.mean[row].numpy(), mean[row], rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(coder.std[row].numpy(), std[row], rtol=1e-4, atol=1e-5)


def test_statistics_by_hand_and_classes_without_examples() -> None:
    # class 0: shifted by +-1/10 of the width; class 2: one example; class 1: none
    coder = ClassNormalised(3)
    regions = torch.tensor([[0.0, 0, 10, 10], [2, 0, 12, 10], [0, 0, 10, 10]])
    truth = torch.tensor([[1.0, 0, 11, 10], [1, 0, 11, 10], [5, 5, 25, 25]])
    labels = torch.tensor([0, 0, 2])
    coder.measure([(truth[:1], regions[:1], labels[:1]), (truth[1:], regions[1:], labels[1:])])
    assert coder.counts.tolist() == [2, 0, 1]
    # what does not vary keeps the usual deviation, and mean 0
    torch.testing.assert_close(coder.std, torch.tensor([[0.1, 0.1, 0.2, 0.2], USUAL_STD, USUAL_STD]))
    torch.testing.assert_close(coder.mean, torch.zeros(3, 4), atol=1e-7, rtol=0)
    coder.measure([(truth[:1], regions[:1], labels[:1])])  # called again: it starts anew
    assert coder.counts.tolist() == [1, 0, 0]


def sample_of(boxes: list[list[float]], seed: int = 0, difficult: tuple[int, ...] = ()) -> Sample:
    image = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
    flags = np.isin(np.arange(len(boxes)), difficult)
    return Sample(
        image=image,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.arange(len(boxes), dtype=np.int64),
        difficult=flags,
        crowd=np.zeros(len(boxes), np.bool_),
        image_id=seed,
        path="made for the test",
        proposals=np.array([[0, 0, 22, 20], [30, 30, 60, 58], [40, 0, 50, 10]], np.float32),
    )


def batches_of(
    detector: TwoStage, samples: list[Sample], difficult: Treatment = "train"
) -> Iterator[tuple[ImageBatch, Targets]]:
    yield collate(samples, detector.input, difficult=difficult)


@pytest.mark.parametrize(("difficult", "expected"), [("train", [2, 2]), ("ignore", [2, 0]), ("drop", [2, 0])])
def test_difficult_boxes_are_measured_where_they_are_trained_on(difficult: Treatment, expected: list[int]) -> None:
    detector = built()
    sample = sample_of([[0, 0, 20, 20], [30, 30, 60, 60]], difficult=(1,))
    (examples,) = positive_examples(detector, batches_of(detector, [sample], difficult), "cpu")
    assert torch.bincount(examples[2], minlength=2).tolist() == expected  # a region of each, and the object itself


# ------------------------------------------------------------------------------------------------ in loss and detection


def normalised_detector() -> TwoStage:
    detector = built()
    coder = coder_of(detector)
    coder.mean.copy_(torch.linspace(-0.2, 0.3, 20).view(5, 4))
    coder.std.copy_(torch.linspace(0.05, 0.4, 20).view(5, 4))
    return detector


REGIONS = [[10.0, 10, 50, 40], [20, 5, 70, 90], [0, 0, 30, 30]]
TRUTH = [[12.0, 8, 48, 44], [25.0, 10, 75, 80]]


def units(coder: ClassNormalised, row: int, label: int) -> NDArray[np.float64]:
    plain = offsets(np.array(TRUTH[row]), np.array(REGIONS[row]))
    return np.asarray((plain - coder.mean[label].numpy()) / coder.std[label].numpy())


def given(detector: TwoStage, deltas: Tensor) -> tuple[Predictions, Candidates, Targets, Assignment]:
    """Three regions: the first answers for class 3, the second for class 1, the third for nothing."""
    rois = Candidates(torch.tensor([REGIONS]), torch.ones(1, 3, dtype=torch.bool), coder=coder_of(detector))
    targets = Targets(
        torch.tensor([TRUTH]),
        torch.tensor([[3, 1]]),
        torch.zeros(1, 2, dtype=torch.bool),
        torch.ones(1, 2, dtype=torch.bool),
        torch.tensor([[0.0, 0, 96, 96]]),
    )
    logits = torch.zeros(1, 3, 6)
    return Predictions(logits, "softmax", deltas), rois, targets, Assignment(torch.tensor([[0, 1, -1]]))


@pytest.mark.parametrize("looks", [True, False])
def test_the_loss_is_of_normalised_targets(looks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multibox, "allows_dynamic_shapes", lambda _: looks)
    detector = normalised_detector()
    zeros = torch.zeros(1, 3, 5, 4, requires_grad=True)
    term = detector.box.loss(*given(detector, zeros))["box"]
    wanted = np.concatenate([units(coder_of(detector), 0, 3), units(coder_of(detector), 1, 1)])
    smooth = np.where(np.abs(wanted) < 1, wanted**2 / 2, np.abs(wanted) - 0.5)  # beta 1
    assert term.item() == pytest.approx(smooth.sum() / 3, rel=1e-5)  # three regions are sampled
    (gradient,) = torch.autograd.grad(term, zeros)
    touched = gradient.abs().sum(3).nonzero().tolist()
    assert touched == [[0, 0, 3], [0, 1, 1]]  # each positive through its own class alone


@pytest.mark.parametrize("looks", [True, False])
def test_prediction_undoes_the_normalisation(looks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detections, "allows_dynamic_shapes", lambda _: looks)
    detector = normalised_detector()
    deltas = torch.zeros(1, 3, 5, 4)
    for row, label in ((0, 3), (1, 1)):
        deltas[0, row, label] = torch.from_numpy(units(coder_of(detector), row, label))
    predictions, rois, *_ = given(detector, deltas)
    assert predictions.class_logits is not None
    predictions.class_logits[0, 0, 1 + 3] = predictions.class_logits[0, 1, 1 + 1] = 20  # column 0 is background
    whole = torch.tensor([[0.0, 0, 96, 96]])
    size, scale = torch.tensor([[96, 96]]), torch.ones(1, 2)
    batch = ImageBatch(torch.zeros(1, 3, 96, 96), whole, size, scale, torch.zeros(1, dtype=torch.int64))
    with inference(detector):
        found = detector.postprocess(predictions, rois, batch, DetectionSettings(score_threshold=0.5))
    kept = {int(label): box for label, box in zip(found.labels[found.valid], found.boxes[found.valid], strict=True)}
    assert set(kept) == {1, 3}
    torch.testing.assert_close(kept[3], torch.tensor(TRUTH[0]), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(kept[1], torch.tensor(TRUTH[1]), rtol=1e-4, atol=1e-3)


def test_gradients_reach_normalised_deltas_exactly() -> None:
    detector = normalised_detector()
    coder = coder_of(detector).double()

    def term(deltas: Tensor) -> Tensor:
        predictions, rois, targets, assignment = given(detector, deltas)
        rois = dataclasses.replace(rois, boxes=rois.boxes.double(), coder=coder)
        targets = dataclasses.replace(targets, boxes=targets.boxes.double())
        own: Tensor = detector.box.loss(predictions, rois, targets, assignment)["box"]
        return own

    deltas = torch.randn(1, 3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(term, deltas.requires_grad_())


@pytest.mark.parametrize("head", [{}, {"type": "rfcn", "roi_pool": {"type": "ps_roi_align", "output": [3, 3]}}])
def test_one_box_for_all_classes_has_no_units_of_a_class(head: dict[str, Any]) -> None:
    slot = {"box_coder": {"type": "class_normalised"}, "class_agnostic": True, **head}
    plain = {"type": "roi_box", "roi_pool": {"type": "roi_align"}, "fc": [8]}
    with pytest.raises(RecipeError) as caught:
        detzoo.build("fastrcnn_mobilenet_v2", overrides={"box.head": {**({} if head else plain), **slot}}, weights=None)
    assert str(caught.value).endswith(
        "class_agnostic: true draws one box for all classes, and box_coder class_normalised has units for each class; "
        "use class_agnostic: false, or {type: centre_size, variances: [0.1, 0.1, 0.2, 0.2]}"
    )


# ------------------------------------------------------------------------------------------------ training


def test_the_statistics_are_a_stage_and_ride_in_every_checkpoint(tmp_path: Path) -> None:
    detector = built()
    assert [stage.name for stage in detector.stages()] == [MEASURING, "train"]
    run(detector, tmp_path / "run")
    coder = coder_of(detector)
    assert coder.measured
    saved = load_checkpoint(tmp_path / "run" / "last.safetensors")
    for name in ("mean", "std", "counts"):
        assert torch.equal(saved.model[f"box.head.coder.{name}"], getattr(coder, name))
    again = detzoo.load(tmp_path / "run")
    assert isinstance(again, TwoStage)
    assert torch.equal(coder_of(again).mean, coder.mean)
    assert torch.equal(coder_of(again).std, coder.std)


def test_fixed_deviations_measure_nothing() -> None:
    detector = built(changes={"box.head.box_coder": {"type": "centre_size", "variances": [0.1, 0.1, 0.2, 0.2]}})
    assert [stage.name for stage in detector.stages()] == ["train"]


def test_a_killed_run_resumes_with_its_statistics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, killed, resumed = built(), built(), built(seed=5)
    run(whole, tmp_path / "whole", steps=3)
    real, calls = killed.losses, [0]

    def losses(batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        calls[0] += 1
        if calls[0] == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return real(batch, targets)

    killed.losses = losses  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt, match="stopped after step 2"):
        run(killed, tmp_path / "run", steps=3)
    with monkeypatch.context() as patched:
        patched.setattr(ClassNormalised, "measure", lambda *_: pytest.fail("measured again"))
        run(resumed, tmp_path / "run", steps=3, resume=True)
    one, two = whole.state_dict(), resumed.state_dict()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


def test_killed_while_measuring_it_measures_anew(tmp_path: Path) -> None:
    whole, killed, resumed = built(), built(), built()
    run(whole, tmp_path / "whole")
    coder = coder_of(killed)

    def measure(examples: Any) -> None:
        coder.mean.fill_(7)
        next(iter(examples))
        raise RuntimeError("the machine stops here")

    coder.measure = measure  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="the machine stops here"):
        run(killed, tmp_path / "run")
    run(resumed, tmp_path / "run", resume=True)
    one, two = whole.state_dict(), resumed.state_dict()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
