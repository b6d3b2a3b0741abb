"""The conformance kit's checks of RoI pooling, proposals and proposers: each says what is wrong with a wrong one."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detzoo.components.proposals.baselines import Uniform
from detzoo.components.roi_pools import RoiAlign
from detzoo.interfaces import Proposals, Proposer
from detzoo.ops.roi_pool import to_regions
from detzoo.testing import proposals as proposals_checks
from detzoo.testing import proposer as proposer_checks
from detzoo.testing import roi_pool as roi_pool_checks
from detzoo.testing.catalogue import KIND_CHECKS
from detzoo.testing.examples import make_subject
from detzoo.testing.specimens import PYRAMID
from detzoo.testing.subject import Subject
from detzoo.types import Candidates, FeatureMaps, ImageBatch, Targets

MODULES = {"roi_pool": roi_pool_checks, "proposals": proposals_checks, "proposer": proposer_checks}


def subject(component: object) -> Subject:
    return Subject(component=component, rebuild=lambda seed: component, features=dict(PYRAMID))


def own_checks(kind: str) -> list[Callable[[Subject], None]]:
    names = (spec.partition(":") for spec in KIND_CHECKS[kind])
    return [getattr(MODULES[kind], f"check_{name}") for file, _, name in names if file == kind]


def assert_found(check: Callable[[Subject], None], component: object, message: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check(subject(component))
    assert str(caught.value).splitlines()[0] == message


class Pool(RoiAlign):
    def __init__(self) -> None:
        super().__init__(PYRAMID, output=(2, 2), sampling_ratio=2)


def test_good_ones_pass() -> None:
    for kind, component in (("roi_pool", Pool()), ("proposals", Grid()), ("proposer", Uniform(count=20))):
        for check in own_checks(kind):
            check(subject(component))


class Transposed(Pool):
    def forward(self, features: FeatureMaps, candidates: Candidates) -> Tensor:
        return super().forward(features, candidates).flatten(2)


class CutOff(Pool):
    def forward(self, features: FeatureMaps, candidates: Candidates) -> Tensor:
        return super().forward({name: values.detach() for name, values in features.items()}, candidates)


class ForgetsEmpty(Pool):
    def forward(self, features: FeatureMaps, candidates: Candidates) -> Tensor:
        if not candidates.valid.shape[1]:
            return torch.zeros(0, self.channels, *self.output)
        return super().forward(features, candidates)


class PoolsPadding(Pool):
    def forward(self, features: FeatureMaps, candidates: Candidates) -> Tensor:
        everything = torch.ones_like(candidates.valid)
        pooled = super().forward(features, Candidates(candidates.boxes.nan_to_num(), everything))
        return pooled + candidates.boxes.sum() * 0  # NaN in one region is NaN in all


class FirstMapAlone(Pool):
    def forward(self, features: FeatureMaps, candidates: Candidates) -> Tensor:
        first = self.levels[0]
        regions = to_regions(candidates.boxes, candidates.valid, features[first].shape[0], 32)
        return self.pool(features[first], regions, 1 / self.strides[0])


class FirstImageAlone(Pool):
    def forward(self, features: FeatureMaps, candidates: Candidates) -> Tensor:
        return super().forward({name: values[:1].expand_as(values) for name, values in features.items()}, candidates)


class WritesRegions(Pool):
    def forward(self, features: FeatureMaps, candidates: Candidates) -> Tensor:
        candidates.boxes.mul_(0.5)
        return super().forward(features, candidates)


def test_faults_of_roi_pooling_are_found() -> None:
    # 160x224 px at stride 16 are 140 cells of 2 boxes; every ninth and 3 more, of 2 images
    assert_found(
        roi_pool_checks.check_outputs,
        Transposed(),
        "it returns (70, 16, 4), the contract says [B*P,C,h,w] = (70, 16, 2, 2)",
    )
    unknown = Pool()
    unknown.levels = ("s8", "s64")
    assert_found(roi_pool_checks.check_outputs, unknown, "levels names s64; the maps are s8, s16, s32")
    assert_found(
        roi_pool_checks.check_takes_the_empty_case,
        ForgetsEmpty(),
        "without regions the output is cut from the graph",
    )
    assert_found(
        roi_pool_checks.check_invalid_regions_are_harmless,
        PoolsPadding(),
        "valid regions next to invalid ones of nan: they differ by nan, more than rounding",
    )
    assert_found(
        roi_pool_checks.check_gradient_reaches_the_maps,
        CutOff(),
        "the output is cut from the graph: nothing can be trained",
    )
    assert_found(
        roi_pool_checks.check_gradient_reaches_the_maps,
        FirstMapAlone(),
        "no gradient reaches the map s16: a map without regions gets zeros, not None",
    )
    with pytest.raises(AssertionError, match=r"^regions of image 1 alone and in a batch: they differ by "):
        roi_pool_checks.check_batch_equals_singles(subject(FirstImageAlone()))
    assert_found(
        roi_pool_checks.check_input_is_not_changed,
        WritesRegions(),
        "a map or a region changed in place: copy it before writing to it",
    )


class Grid(Proposals):
    """One region a cell of the coarsest map, as wide as a learnt number says; best first."""

    def __init__(self) -> None:
        super().__init__()
        self.width = nn.Parameter(torch.tensor(30.0))

    def forward(self, features: FeatureMaps, batch: ImageBatch) -> Candidates:
        scores, order = features["s32"].mean(1).flatten(1).sort(descending=True)
        columns = features["s32"].shape[3]
        corner = 32.0 * torch.stack([order % columns, order // columns], -1)
        boxes = torch.cat([corner, corner + self.width.detach()], -1)
        return Candidates(boxes, torch.ones_like(boxes[..., 0], dtype=torch.bool), scores=scores.detach())

    def losses(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets
    ) -> tuple[Candidates, dict[str, Tensor]]:
        return self(features, batch), {"width": (self.width - 20).abs()}


class KeepsGradient(Grid):
    def forward(self, features: FeatureMaps, batch: ImageBatch) -> Candidates:
        found = super().forward(features, batch)
        return Candidates(found.boxes + 0 * self.width, found.valid)


class WorstFirst(Grid):
    def forward(self, features: FeatureMaps, batch: ImageBatch) -> Candidates:
        found = super().forward(features, batch)
        assert found.scores is not None
        return Candidates(found.boxes.flip(1), found.valid, scores=found.scores.flip(1))


class Beyond(Grid):
    def forward(self, features: FeatureMaps, batch: ImageBatch) -> Candidates:
        found = super().forward(features, batch)
        return Candidates(found.boxes - 1, found.valid)


class DividesByObjects(Grid):
    def losses(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets
    ) -> tuple[Candidates, dict[str, Tensor]]:
        return self(features, batch), {"width": self.width / targets.valid.sum()}


class LearnsNothing(Grid):
    def losses(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets
    ) -> tuple[Candidates, dict[str, Tensor]]:
        return self(features, batch), {}


class SharesRegions(Grid):
    def forward(self, features: FeatureMaps, batch: ImageBatch) -> Candidates:
        found = super().forward(features, batch)
        return Candidates(found.boxes[:1].expand_as(found.boxes), found.valid)


class WritesMaps(Grid):
    def forward(self, features: FeatureMaps, batch: ImageBatch) -> Candidates:
        features["s8"].clamp_(min=0)
        return super().forward(features, batch)


def test_faults_of_proposals_are_found() -> None:
    outputs = proposals_checks.check_outputs
    assert_found(outputs, KeepsGradient(), "regions must carry no gradient: detach them")
    assert_found(outputs, WorstFirst(), "regions are not sorted by score, best first")
    assert_found(outputs, Beyond(), "a region reaches beyond the image: clip to batch.region")
    assert_found(
        proposals_checks.check_every_ground_truth_gives_finite_terms,
        DividesByObjects(),
        "ground truth: no box: width is inf",
    )
    assert_found(
        proposals_checks.check_gradient_reaches_every_parameter,
        LearnsNothing(),
        "it has trainable parameters, but losses gives no terms",
    )
    with pytest.raises(AssertionError, match=r"^regions of image 1 alone and in a batch: they differ by "):
        proposals_checks.check_batch_equals_singles(subject(SharesRegions()))
    assert_found(
        proposals_checks.check_input_is_not_changed,
        WritesMaps(),
        "a map, the batch or its targets changed in place: copy it before writing to it",
    )


class Gives(Proposer):
    def __init__(self, boxes: Any, scores: Any = None) -> None:
        self.boxes = boxes
        self.scores = np.ones(len(boxes), np.float32) if scores is None else scores

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self.boxes, self.scores


class Draws(Proposer):
    def __init__(self) -> None:
        self.source = np.random.default_rng(0)

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        corner = self.source.uniform(0, 8, (5, 2))
        return np.concatenate([corner, corner + 4], 1).astype(np.float32), np.ones(5, np.float32)


class Whitens(Uniform):
    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        image[:2] = 255
        return super().__call__(image)


def test_faults_of_proposers_are_found() -> None:
    two = np.array([[1, 1, 9, 9], [2, 2, 8, 8]], np.float32)
    outputs, what = proposer_checks.check_outputs, "an image of 224 x 160 px"
    assert_found(outputs, Gives(two.astype(np.float64)), f"{what}: boxes is float64, not float32")
    assert_found(outputs, Gives(two[:, :3]), f"{what}: boxes has shape (2, 3), the contract says (2, 4)")
    rising = np.array([0.1, 0.9], np.float32)
    assert_found(outputs, Gives(two, rising), f"{what}: regions are not sorted by score, best first")
    assert_found(outputs, Gives(two + 999), f"{what}: no region lies on it")
    assert_found(proposer_checks.check_input_is_not_changed, Whitens(), "the image changed in place")
    assert_found(
        proposer_checks.check_same_image_same_regions,
        Draws(),
        "one image gave two sets of regions: seed the draw from a field",
    )


def test_a_head_of_one_class_is_held_against_one_class() -> None:
    # faster_rcnn's RPN gives its head num_classes 1 by a Scope, whatever the recipe's classes
    pytest.importorskip("detzoo_faster_rcnn")
    assert make_subject("faster_rcnn", "head", "rpn", {}).num_classes == 1
