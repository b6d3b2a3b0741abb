"""The meta-architecture: windows through the network, SVMs or softmax, boxes corrected or not."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import detzoo
from detzoo.errors import RecipeError
from detzoo.interfaces import GradientStage
from detzoo.prediction.image_proposals import propose
from detzoo.prediction.predict import inference, prepared
from detzoo.prediction.prepare import collate
from detzoo.recipes.recipe import load_recipe
from detzoo.testing.specimens import sample
from detzoo.types import Candidates, ImageBatch, Targets
from detzoo_rcnn.fitting import describe
from detzoo_rcnn.region_svm import RegionSvm

SMALL: dict[str, Any] = {
    "input.size": [96, 128],
    "backbone.width": 0.25,
    "proposals.proposer": {"type": "uniform", "count": 20, "seed": 3},
    "head.roi_pool.size": [32, 32],
    "head.roi_pool.context": 2,
    "head.grid": [1, 1],
    "head.fc": [16],
    "head.dropout": 0.0,
    "sampler.size": 8,
}
SPP: dict[str, Any] = {
    name: value for name, value in SMALL.items() if not name.startswith(("head.roi_pool", "head.grid"))
}


def build(name: str = "rcnn_mobilenet_v2", **overrides: Any) -> RegionSvm:
    torch.manual_seed(0)
    base = SMALL if name.startswith("rcnn") else SPP
    detector = detzoo.build(name, num_classes=3, overrides=base | overrides, weights=None)
    assert isinstance(detector, RegionSvm)
    return detector.eval()


def batch_of(detector: RegionSvm, *names: str) -> tuple[ImageBatch, Targets]:
    assert detector.proposer is not None
    samples = [sample(name, size=(96, 128), seed=row) for row, name in enumerate(names)]
    samples = [dataclasses.replace(one, proposals=propose(detector.proposer, one.image)) for one in samples]
    return collate(samples, detector.input)


def images(*sizes: tuple[int, int]) -> list[Any]:
    return [np.random.default_rng(row).integers(0, 256, (*size, 3), dtype=np.uint8) for row, size in enumerate(sizes)]


def fit_anything(detector: RegionSvm) -> None:
    """SVMs and boxes of noise, as if they had been fitted."""
    source = torch.Generator().manual_seed(5)
    classifier, regressor = detector.classifier.state_dict(), detector.regressor.state_dict()
    detector.classifier.load_state_dict(
        {
            k: torch.ones_like(v) if k == "done" else torch.randn(v.shape, generator=source)
            for k, v in classifier.items()
        }
    )
    detector.regressor.load_state_dict({k: 0.05 * torch.randn(v.shape, generator=source) for k, v in regressor.items()})


@pytest.mark.parametrize("name", ["rcnn_mobilenet_v2", "sppnet_mobilenet_v2"])
def test_images_without_objects_and_without_regions(name: str) -> None:
    detector = build(name)
    batch, targets = batch_of(detector, "no box", "no box")
    nothing = Candidates(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.bool))

    terms = detector.losses(dataclasses.replace(batch, proposals=nothing), targets)
    found = detector.detect(dataclasses.replace(batch, proposals=nothing))

    assert terms["classification"].item() == 0
    assert terms["classification"].requires_grad
    assert not found.valid.any()


@pytest.mark.parametrize("name", ["rcnn_mobilenet_v2", "sppnet_mobilenet_v2"])
def test_the_loss_is_the_mean_over_the_sampled_windows(name: str) -> None:
    """Against cross-entropy of the windows one by one, each through the network alone."""
    detector = build(name)
    batch, targets = batch_of(detector, "mixed boxes", "one box")

    torch.manual_seed(1)
    loss = detector.losses(batch, targets)["classification"]

    torch.manual_seed(1)
    assert batch.proposals is not None
    rois, assignment = detector.choose(batch.proposals, targets)
    each = []
    for image, row in (assignment.index >= -1).nonzero().tolist():
        one = Candidates(rois.boxes[image : image + 1, row : row + 1], torch.ones(1, 1, dtype=torch.bool))
        index = int(assignment.index[image, row])
        column = 0 if index < 0 else 1 + int(targets.labels[image, index])
        logits = detector.logits(dataclasses.replace(batch, pixels=batch.pixels[image : image + 1]), one)
        each.append(F.cross_entropy(logits[0], torch.tensor([column])))
    assert len(each) > 8
    torch.testing.assert_close(loss, torch.stack(each).mean())


@pytest.mark.parametrize("name", ["rcnn_mobilenet_v2", "sppnet_mobilenet_v2"])
def test_portions_and_batches_change_nothing(name: str) -> None:
    detector = build(name)
    fit_anything(detector)
    with inference(detector):
        batch = prepared(detector, images((96, 128), (96, 128)))
        assert batch.proposals is not None
        whole = detector.judge(batch, batch.proposals)
        detector.windows_at_once = 6
        portions = detector.judge(batch, batch.proposals)
        alone = prepared(detector, images((96, 128)))
        assert alone.proposals is not None
        single = detector.judge(alone, alone.proposals)

    assert whole.class_logits is not None
    assert portions.class_logits is not None
    assert single.class_logits is not None
    torch.testing.assert_close(portions.class_logits, whole.class_logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(portions.deltas, whole.deltas, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(single.class_logits[0], whole.class_logits[0], rtol=1e-4, atol=1e-4)


def test_padding_never_goes_through_the_network() -> None:
    detector = build()
    seen: list[int] = []
    detector.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    batch, _ = batch_of(detector, "no box", "no box")
    assert batch.proposals is not None
    valid = batch.proposals.valid.clone()
    valid[1, 5:] = False

    detector.judge(batch, dataclasses.replace(batch.proposals, valid=valid))

    assert sum(seen) == 20 + 5


def test_svms_answer_once_they_are_fitted() -> None:
    detector = build()
    (image,) = images((96, 128))
    with inference(detector):
        batch = prepared(detector, [image])
        assert batch.proposals is not None
        before = detector.judge(batch, batch.proposals)
        fit_anything(detector)
        after = detector.judge(batch, batch.proposals)
        place, maps = next(detector.windows(batch, batch.proposals, at_once=100))
        vectors, logits = detector.head(maps)

    assert (before.scoring, after.scoring) == ("softmax", "sigmoid")
    state = detector.classifier.state_dict()
    torch.testing.assert_close(before.class_logits, logits[None])
    margins = vectors["fc6"] @ state["weight"].T + state["bias"]
    torch.testing.assert_close(after.class_logits, 3 * margins[None])
    assert place.tolist() == list(range(20))


def test_softmax_in_place_of_svms_is_one_line() -> None:
    detector = build(classify_by="softmax")
    fit_anything(detector)
    batch, _ = batch_of(detector, "no box")
    assert batch.proposals is not None

    assert detector.judge(batch, batch.proposals).scoring == "softmax"
    assert [stage.name for stage in detector.stages()] == ["fine-tune", "features", "boxes"]
    assert detector.stages()[0].evaluate


def test_stages_are_those_of_the_paper() -> None:
    assert [stage.name for stage in build().stages()] == ["fine-tune", "features", "svm", "boxes"]
    assert [stage.name for stage in build(correct_boxes=False).stages()] == ["fine-tune", "features", "svm"]
    alone = build(correct_boxes=False, classify_by="softmax")
    assert [stage.name for stage in alone.stages()] == ["fine-tune"]
    assert not build().stages()[0].evaluate


def test_boxes_are_corrected_or_left_as_proposed() -> None:
    (image,) = images((96, 128))
    kept, corrected = build(correct_boxes=False), build()
    for detector in (kept, corrected):
        fit_anything(detector)
    assert kept.proposer is not None
    proposed = torch.from_numpy(propose(kept.proposer, image))

    (plain,), (moved,) = (one.predict([image], score_threshold=0.0, channels="rgb") for one in (kept, corrected))

    def far(boxes: Tensor) -> Tensor:
        return (boxes[:, None] - proposed[None]).abs().amax(-1).amin(1)

    assert len(plain) > 5
    assert float(far(plain.boxes).max()) < 1e-3
    assert float(far(moved.boxes).median()) > 0.1


def test_convolutions_of_spp_net_stay_frozen() -> None:
    frozen, whole = build("sppnet_mobilenet_v2").stages()[0], build().stages()[0]

    assert isinstance(frozen, GradientStage)
    assert isinstance(whole, GradientStage)
    assert frozen.train == ("head.*",)
    assert whole.train == ("backbone.*", "head.*")


def test_windows_are_described_by_what_they_overlap() -> None:
    """Two objects: class 2 at (0,0,40,40), class 0 at (100,0,140,40); a crowd at (0,100,50,150).

    Windows: (0,0,40,30) overlaps the first by 3/4; (20,0,60,40) by 1/3; (100,0,140,40) is the second; (200,0,220,20)
    overlaps nothing; (10,110,40,140) lies in the crowd. Behind them stand the two objects themselves.
    """
    proposed = torch.tensor(
        [[0.0, 0, 40, 30], [20, 0, 60, 40], [100, 0, 140, 40], [200, 0, 220, 20], [10, 110, 40, 140]]
    )
    truth = torch.tensor([[0.0, 0, 40, 40], [100, 0, 140, 40], [0, 100, 50, 150]])
    rois = Candidates(torch.cat([proposed, truth])[None], torch.tensor([[True] * 7 + [False]]))
    targets = Targets(
        boxes=truth[None],
        labels=torch.tensor([[2, 0, 0]]),
        ignore=torch.tensor([[False, False, True]]),
        valid=torch.ones(1, 3, dtype=torch.bool),
        region=torch.tensor([[0.0, 0, 300, 300]]),
    )

    found = describe(rois, targets, 5, 3, 0.6)

    assert len(found) == 7
    assert found.labels.tolist() == [2, 2, 0, -1, -1, 2, 0]
    np.testing.assert_allclose(found.overlap, [0.75, 1 / 3, 1, 0, 0, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(found.class_overlap[:, 2], [0.75, 1 / 3, 0, 0, 0, 1, 0], rtol=1e-6)
    np.testing.assert_allclose(found.class_overlap[:, 0], [0, 0, 1, 0, 0, 0, 1])
    assert found.given.tolist() == [False] * 5 + [True] * 2
    assert found.ignored.tolist() == [False] * 4 + [True] + [False] * 2
    assert found.near.tolist() == [True, False, True, False, False, False, False]
    # the release learns from ground truth too, whose targets are zeros
    among = describe(rois, targets, 5, 3, 0.6, ground_truth=True)
    assert among.near.tolist() == [True, False, True, False, False, True, True]
    np.testing.assert_array_equal(among.truth[5:], among.boxes[5:])
    np.testing.assert_allclose(found.truth[1], [0, 0, 40, 40])
    np.testing.assert_allclose(found.truth[3], [200, 0, 220, 20])


def test_regions_that_need_feature_maps_are_refused() -> None:
    rpn = load_recipe("fasterrcnn_mobilenet_v2_fpn").values["proposals"]
    rpn["head"]["anchors"] = {"type": "grid", "sizes": [[32.0]], "ratios": [1.0]}

    with pytest.raises(RecipeError) as caught:
        build(**{"proposals": rpn})

    assert str(caught.value).partition("rcnn_mobilenet_v2: ")[2] == (
        "proposals: Rpn needs feature maps; windows are cut before there are any. "
        "Write proposals: {type: image_level, proposer: {type: selective_search}}"
    )
