"""Image-level regions follow the image: each transform and each way of resizing against boxes drawn as images."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from detzoo.components.proposals.baselines import Uniform
from detzoo.components.proposals.precomputed import Precomputed
from detzoo.data.loading.cache import ImageCache, downscale
from detzoo.data.loading.loader import Loader
from detzoo.data.loading.transforms import (
    ColourJitter,
    CopyPaste,
    Expand,
    Flip,
    HsvShift,
    IouCrop,
    LargeScaleJitter,
    MildCrop,
    MixUp,
    Mosaic,
    PhotometricDistort,
    QuarterTurn,
    VerticalFlip,
)
from detzoo.data.loading.transforms.torchvision_v2 import TorchvisionV2
from detzoo.data.shapes import ShapesDataset
from detzoo.interfaces import Proposer, Transform
from detzoo.plugins.registry import get_registry
from detzoo.prediction.image_proposals import RegionCache, propose
from detzoo.prediction.input_spec import InputSpec
from detzoo.prediction.prepare import collate, prepare
from detzoo.prediction.proposal_file import ProposalsError
from detzoo.testing.specimens import draw_from
from detzoo.types import Sample

GEOMETRIC: list[Transform] = [
    Flip(p=1.0),
    VerticalFlip(p=1.0),
    QuarterTurn(p=1.0),
    Expand(p=1.0, ratio=2.0, fill=(0.0, 0.0, 0.0)),
    IouCrop(),
    MildCrop(p=1.0, scale=(0.4, 1.3), fill=(0.0, 0.0, 0.0)),
    ColourJitter(p=0.0),
    HsvShift(p=0.0),
    LargeScaleJitter(None, size=(60, 44), scale=(1.0, 1.0), fill=(0.0, 0.0, 0.0)),
    TorchvisionV2(name="RandomZoomOut", arguments={"p": 1.0}),
]
OF_SEVERAL = {CopyPaste, MixUp, Mosaic}  # test_transforms_of_several_images.py looks at their proposals
HEIGHT, WIDTH = 30, 44
REGIONS = np.array(
    [[0, 0, 44, 30], [3, 5, 20, 9], [40, 25, 44, 30], [10, 2, 11, 3], [0, 29, 44, 30], [21, 14, 23, 17], [0, 0, 2, 30]],
    np.float32,
)


def sample_of(image: NDArray[np.uint8], proposals: NDArray[np.float32] | None) -> Sample:
    return Sample(
        image=image,
        boxes=np.array([[8, 6, 30, 20]], np.float32),
        labels=np.zeros(1, np.int64),
        difficult=np.zeros(1, np.bool_),
        crowd=np.zeros(1, np.bool_),
        image_id=1,
        path="a.png",
        proposals=proposals,
    )


def drawn(box: NDArray[np.float32], height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """The box as an image: white on black."""
    x1, y1, x2, y2 = box.astype(int)
    image = np.zeros((height, width, 3), np.uint8)
    image[y1:y2, x1:x2] = 255
    return image


def seen(image: NDArray[np.uint8]) -> list[float] | None:
    """The box that an image shows, or None."""
    rows, columns = (np.flatnonzero(image[:, :, 0].any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]


@pytest.mark.parametrize("transform", GEOMETRIC, ids=lambda t: type(t).__name__)
def test_proposals_follow_the_image(transform: Transform) -> None:
    compared = dropped = 0
    for seed in range(25):
        after = transform(
            sample_of(np.zeros((HEIGHT, WIDTH, 3), np.uint8), REGIONS), np.random.default_rng(seed), draw_from()
        )
        assert after.proposals is not None
        expected = []
        for box in REGIONS:
            shown = seen(transform(sample_of(drawn(box), None), np.random.default_rng(seed), draw_from()).image)
            thin = (box[2:] - box[:2] <= 1).any()
            # what a cut leaves of a larger box must be more than a pixel wide
            if shown is None or (not thin and min(shown[2] - shown[0], shown[3] - shown[1]) <= 1):
                dropped += 1
            else:
                expected.append(shown)
                compared += 1
        assert after.proposals.tolist() == expected
    assert compared + dropped == 25 * len(REGIONS)
    assert compared >= 60
    assert (dropped > 0) == isinstance(transform, IouCrop | MildCrop)


@pytest.mark.parametrize("transform", [ColourJitter(p=1.0), PhotometricDistort(p=1.0)], ids=lambda t: type(t).__name__)
def test_colours_move_no_proposal(transform: Transform) -> None:
    after = transform(sample_of(drawn(REGIONS[1]), REGIONS), np.random.default_rng(0), draw_from())
    assert after.proposals is not None
    assert np.array_equal(after.proposals, REGIONS)


def test_every_transform_is_looked_at() -> None:
    known = {type(one) for one in [*GEOMETRIC, PhotometricDistort()]}
    registry = get_registry()
    found = {registry.load(entry) for entry in registry.entries("transform")}
    assert {one for one in found if one.__module__.startswith("detzoo.")} == known | OF_SEVERAL


def test_no_proposals_and_none_at_all_pass_through() -> None:
    for transform in GEOMETRIC:
        for given in (None, np.zeros((0, 4), np.float32)):
            after = transform(sample_of(drawn(REGIONS[0]), given), np.random.default_rng(1), draw_from())
            assert (after.proposals is None) == (given is None)
            if after.proposals is not None:
                assert after.proposals.shape == (0, 4)


SPECS = {
    "stretch": InputSpec(size=(90, 66), mean=(0, 0, 0), std=(1, 1, 1)),
    "letterbox": InputSpec(size=(90, 80), resize="letterbox", mean=(0, 0, 0), std=(1, 1, 1)),
    "letterbox top left": InputSpec(size=(90, 80), resize="letterbox", place="top_left", mean=(0, 0, 0), std=(1, 1, 1)),
    "shortest": InputSpec(resize="shortest", min_size=64, max_size=90, pad_multiple=32, mean=(0, 0, 0), std=(1, 1, 1)),
}


@pytest.mark.parametrize("name", SPECS)
def test_proposals_follow_resizing_and_padding(name: str) -> None:
    whole = [box for box in REGIONS if (box[2:] - box[:2] >= 4).all()]
    assert len(whole) == 3
    samples = [sample_of(drawn(box), box[None]) for box in whole]
    samples.append(sample_of(np.zeros((50, 20, 3), np.uint8), np.zeros((0, 4), np.float32)))  # pads the batch
    batch, _ = collate(samples, SPECS[name])
    assert batch.proposals is not None
    assert batch.proposals.valid.tolist() == [[True]] * 3 + [[False]]
    for row in range(3):
        x1, y1, x2, y2 = batch.proposals.boxes[row, 0].tolist()
        shown = batch.pixels[row, 0]
        # interpolation blurs the border, but moves no light: the white sums to the area, and half of it is the edge
        assert float(shown.sum()) == pytest.approx((x2 - x1) * (y2 - y1), rel=0.12)
        rows, columns = ((shown > 0.5).any(dim=dim).nonzero().flatten() for dim in (1, 0))
        edges = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
        assert np.abs(np.array(edges) - [x1, y1, x2, y2]).max() <= 1.0


def test_proposals_of_one_image_only() -> None:
    batch = prepare(
        [drawn(REGIONS[0])] * 2, InputSpec(size=(60, 88)), proposals=[None, np.array([[1, 2, 3, 4]], np.float32)]
    )
    assert batch.proposals is not None
    assert batch.proposals.valid.tolist() == [[False], [True]]
    assert batch.proposals.boxes.tolist() == [[[0, 0, 0, 0]], [[2, 4, 6, 8]]]
    assert prepare([drawn(REGIONS[0])], InputSpec(size=(60, 88)), proposals=[None]).proposals is None


def test_letterbox_by_hand() -> None:
    # 30 x 44 into 90 x 80: 54 x 80 (30 * 80 // 44 = 54), 18 px above; x by 80/44, y by 54/30
    batch = prepare([drawn(REGIONS[0])], SPECS["letterbox"], proposals=[np.array([[11, 10, 22, 20]], np.float32)])
    assert batch.proposals is not None
    np.testing.assert_allclose(batch.proposals.boxes[0, 0].numpy(), [20, 18 + 18, 40, 18 + 36], rtol=1e-6)


# ------------------------------------------------------------------------------------------------ proposers


class Fixed(Proposer):
    """Gives what it was told, and counts how often it was asked."""

    def __init__(self, boxes: Any) -> None:
        self.boxes, self.asked = boxes, 0

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.asked += 1
        return self.boxes, np.ones(len(self.boxes), np.float32)


def test_regions_are_cut_to_the_image() -> None:
    given = np.array([[-5, -5, 10, 10], [40, 20, 60, 60], [50, 0, 60, 10], [3, 3, 3, 9]], np.float64)
    found = propose(Fixed(given), drawn(REGIONS[0]))
    assert found.dtype == np.float32
    assert found.tolist() == [[0, 0, 10, 10], [40, 20, 44, 30]]


def test_no_regions() -> None:
    assert propose(Fixed(np.zeros((0, 4), np.float32)), drawn(REGIONS[0])).shape == (0, 4)


def test_a_wrong_proposer_is_named() -> None:
    with pytest.raises(ProposalsError, match=r"Fixed gave float64 \[3, 5\]; a proposer returns float32 \[P,4\]"):
        propose(Fixed(np.zeros((3, 5))), drawn(REGIONS[0]))
    with pytest.raises(ProposalsError, match="Fixed gave boxes with NaN or infinite coordinates"):
        propose(Fixed(np.full((1, 4), np.nan)), drawn(REGIONS[0]))


def test_the_image_is_named_where_regions_are_missing() -> None:
    with pytest.raises(ProposalsError, match=r"^photos/a\.jpg: this detector looks at proposals from a file"):
        propose(Precomputed(), drawn(REGIONS[0]), "photos/a.jpg")


def test_regions_are_kept_by_position_while_there_is_room() -> None:
    proposer = Fixed(np.array([[0, 0, 5, 5]], np.float32))
    cache = RegionCache(proposer, kept_bytes=2 * 16)
    for _ in range(3):
        for position in range(3):
            assert cache.regions(position, drawn(REGIONS[0])).tolist() == [[0, 0, 5, 5]]
    assert proposer.asked == 2 + 3  # the third image never fitted


# ------------------------------------------------------------------------------------------------ the loader


def loader(proposer: Proposer, **options: Any) -> Loader:
    transforms: list[Transform] = [Flip(), MildCrop(p=0.5)]
    return Loader(
        ShapesDataset(count=4, size=64), transforms, InputSpec(size=(48, 48)), 2, proposer=proposer, **options
    )


def test_the_loader_gives_regions_in_network_pixels() -> None:
    dataset, proposer = ShapesDataset(count=4, size=64), Uniform(count=7)
    plain = Loader(dataset, [], InputSpec(size=(48, 48)), 2, proposer=proposer, shuffle=False)
    for batch, _ in plain.batches():
        assert batch.proposals is not None
        for row, position in enumerate(batch.index.tolist()):
            image = dataset.sample(position).image
            scale = np.tile([48 / image.shape[1], 48 / image.shape[0]], 2)
            expected = propose(proposer, image) * scale
            np.testing.assert_allclose(batch.proposals.boxes[row].numpy(), expected, rtol=1e-6)


def test_workers_and_epochs_give_the_same_regions() -> None:
    alone, helped = loader(Uniform(count=9), seed=3), loader(Uniform(count=9), seed=3, workers=2)
    for epoch in (0, 1, 0):
        for (one, _), (two, _) in zip(alone.batches(epoch), helped.batches(epoch), strict=True):
            assert one.proposals is not None
            assert two.proposals is not None
            assert torch.equal(one.proposals.boxes, two.proposals.boxes)


@pytest.mark.parametrize("workers", [0, 1])
def test_missing_regions_stop_the_loader_and_leave_no_image_out(workers: int) -> None:
    with pytest.raises(ProposalsError) as caught:
        list(loader(Precomputed(), workers=workers).batches())
    assert "this detector looks at proposals from a file" in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_cached_images_keep_the_regions_of_the_whole_ones() -> None:
    dataset = ShapesDataset(count=2, size=64)
    regions = RegionCache(Uniform(count=5))
    cache = ImageCache(dataset, 32, regions)
    found = cache.sample(1).proposals
    assert found is not None
    whole, small = dataset.sample(1).image, cache.sample(1).image
    assert max(small.shape) == 32
    scale = np.tile([small.shape[1] / whole.shape[1], small.shape[0] / whole.shape[0]], 2)
    np.testing.assert_allclose(found, propose(Uniform(count=5), whole) * scale, rtol=1e-6)


def test_downscaling_takes_the_regions_along() -> None:
    given = dataclasses.replace(sample_of(drawn(REGIONS[0]), REGIONS))
    small = downscale(given, 22)
    assert small.proposals is not None
    np.testing.assert_allclose(small.proposals, REGIONS / 2)
