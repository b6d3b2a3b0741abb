"""Image-level proposers and the first stage that hands their regions on."""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from detzoo.components.proposals.baselines import Gaussian, SlidingWindow, Uniform
from detzoo.components.proposals.image_level import ImageLevel
from detzoo.components.proposals.precomputed import Precomputed
from detzoo.interfaces import Proposer
from detzoo.prediction.input_spec import InputSpec
from detzoo.prediction.prepare import prepare
from detzoo.prediction.proposal_file import ProposalsError, image_key, write_proposals
from detzoo.types import ImageBatch, Targets

BASELINES: list[Proposer] = [Uniform(count=60), Gaussian(count=60), SlidingWindow(count=60)]


def photo(height: int = 40, width: int = 60, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("proposer", BASELINES, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("size", [(40, 60), (1, 1), (1, 500), (16, 16), (4000, 3)])
def test_baselines_give_boxes_inside_the_image(proposer: Proposer, size: tuple[int, int]) -> None:
    boxes, scores = proposer(photo(*size))
    assert boxes.dtype == scores.dtype == np.float32
    assert len(boxes) == len(scores) > 0
    assert (boxes >= 0).all()
    assert (boxes <= np.array([size[1], size[0]] * 2)).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= 0.999).all()  # a pixel at least


@pytest.mark.parametrize("proposer", BASELINES, ids=lambda p: type(p).__name__)
def test_baselines_depend_on_the_size_alone(proposer: Proposer) -> None:
    first, second = proposer(photo(seed=1))[0], proposer(photo(seed=2))[0]
    assert np.array_equal(first, second)
    assert not np.array_equal(first, proposer(photo(60, 40))[0])


def test_the_seed_decides_the_draw() -> None:
    assert not np.array_equal(Uniform(seed=0)(photo())[0], Uniform(seed=1)(photo())[0])
    assert not np.array_equal(Gaussian(seed=0)(photo())[0], Gaussian(seed=1)(photo())[0])


def test_uniform_draws_root_of_area_and_logarithm_of_aspect_evenly() -> None:
    # small boxes in a large image are seldom cut, so that what was drawn can be read from them
    boxes, _ = Uniform(count=20_000, scale=(0.02, 0.06), aspect=(0.5, 2.0))(np.zeros((1000, 1000, 3), np.uint8))
    whole = boxes[((boxes > 0) & (boxes < 1000)).all(axis=1)]
    wide, tall = (whole[:, 2:] - whole[:, :2]).T.astype(np.float64)
    for values, low, high in (
        (np.sqrt(wide * tall), 20, 60),
        (np.log(wide / tall), -math.log(2), math.log(2)),
        ((whole[:, 0] + whole[:, 2]) / 2, 42, 958),
    ):
        share = (np.sort(values) - low) / (high - low)
        inner = share[(share > 0) & (share < 1)]
        # the sorted values of an even draw lie on a line: Kolmogorov and Smirnov's distance, 1.6 / sqrt(n) at 1 %
        line = (np.arange(len(inner)) + 0.5) / len(inner)
        assert np.abs(inner - line).max() < 0.03


def test_sliding_window_lays_each_size_out_evenly() -> None:
    boxes, _ = SlidingWindow(count=9, scales=(0.5,), aspects=(1.0,))(np.zeros((100, 100, 3), np.uint8))
    # windows of 50 px in 50 px of room, 3 rows and 3 columns: 0, 25, 50
    expected = [[x, y, x + 50, y + 50] for y in (0, 25, 50) for x in (0, 25, 50)]
    assert boxes.tolist() == expected


def test_sliding_window_without_room_is_one_window() -> None:
    boxes, _ = SlidingWindow(count=4, scales=(1.0,), aspects=(1.0,))(np.zeros((30, 30, 3), np.uint8))
    assert boxes.tolist() == [[0, 0, 30, 30]]


# ------------------------------------------------------------------------------------------------ files


def written(path: Path, images: list[NDArray[np.uint8]], boxes: list[list[list[float]]]) -> Path:
    regions = {
        image_key(image): (np.array(own, np.float32).reshape(-1, 4), np.linspace(1, 0, len(own), dtype=np.float32))
        for image, own in zip(images, boxes, strict=True)
    }
    write_proposals(path, regions, method="by hand", parameters={"k": 100})
    return path


def test_precomputed_finds_an_image_by_its_pixels(tmp_path: Path) -> None:
    images = [photo(seed=1), photo(seed=2), photo(20, 10, seed=3)]
    path = written(tmp_path / "p.safetensors", images, [[[0, 0, 5, 5], [1, 1, 9, 9]], [], [[2, 3, 4, 5]]])
    proposer = Precomputed(path=str(path))
    for image, expected in zip(images, [[[0, 0, 5, 5], [1, 1, 9, 9]], [], [[2, 3, 4, 5]]], strict=True):
        boxes, scores = proposer(image.copy())
        assert boxes.tolist() == expected
        assert scores.shape == (len(expected),)
    assert Precomputed(path=str(path), top_k=1)(images[0])[0].tolist() == [[0, 0, 5, 5]]
    assert proposer(np.asfortranarray(images[0]))[0].shape == (2, 4)  # the memory layout plays no part


def test_precomputed_is_opened_when_it_is_used_and_travels_to_workers(tmp_path: Path) -> None:
    proposer = Precomputed(path=str(tmp_path / "later.safetensors"))
    with pytest.raises(ProposalsError, match="no such file of proposals"):
        proposer(photo())
    written(tmp_path / "later.safetensors", [photo()], [[[0, 0, 5, 5]]])
    assert len(proposer(photo())[0]) == 1
    for other in (pickle.loads(pickle.dumps(proposer)), copy.deepcopy(proposer)):
        assert other(photo())[0].tolist() == [[0, 0, 5, 5]]


def test_an_image_that_is_not_in_the_file_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "p.safetensors", [photo()], [[[0, 0, 5, 5]]])
    with pytest.raises(ProposalsError) as caught:
        Precomputed(path=str(path))(photo(seed=9))
    assert str(caught.value) == (
        f"{path} holds no proposals for this image of 60 x 40 px: it knows 1 images (by hand), by their decoded "
        "pixels. For images that are in no dataset, name the method itself: --set proposals.proposer.type=by hand. "
        "`detzoo proposals make` with the method and parameters of the file adds those of other data, here and with "
        "the same image library; another file is named with --set proposals.proposer.path=FILE (in Python: overrides)"
    )


def test_the_recipe_says_what_the_file_must_have_been_made_with(tmp_path: Path) -> None:
    path = written(tmp_path / "p.safetensors", [photo()], [[[0, 0, 5, 5]]])
    assert len(Precomputed(path=str(path), method="by hand", parameters={"k": 100})(photo())[0]) == 1
    with pytest.raises(ProposalsError) as caught:
        Precomputed(path=str(path), method="selective_search", parameters={"k": 50, "sigma": 0.8})(photo())
    assert str(caught.value) == (
        f"{path} holds other proposals than were asked for:\n"
        "  method: by hand in the file, selective_search asked for\n"
        "  k: 100 in the file, 50 asked for\n"
        "  sigma: absent in the file, 0.8 asked for\n"
        "The recipe says what the file must have been made with: name another file under proposals.proposer.path, or "
        "correct method and parameters next to it."
    )


def test_no_file_is_named() -> None:
    with pytest.raises(ProposalsError) as caught:
        Precomputed()(photo())
    assert str(caught.value) == (
        "this detector looks at proposals from a file, and none is named: write one with `detzoo proposals "
        "make --method METHOD --data DATA --out FILE`, and name it with --set proposals.proposer.path=FILE; to try the "
        "detector without: --set proposals.proposer.type=uniform (in Python: overrides)"
    )


# ------------------------------------------------------------------------------------------------ the first stage


def batch_of(boxes: list[NDArray[np.float32] | None]) -> ImageBatch:
    return prepare([photo(20, 40)] * len(boxes), InputSpec(size=(40, 40)), proposals=boxes)


def no_targets(count: int) -> Targets:
    return Targets(
        boxes=torch.zeros(count, 16, 4),
        labels=torch.zeros(count, 16, dtype=torch.int64),
        ignore=torch.zeros(count, 16, dtype=torch.bool),
        valid=torch.zeros(count, 16, dtype=torch.bool),
        region=torch.zeros(count, 4),
    )


def test_image_level_hands_the_best_on() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 5, 20, 20], [1, 1, 2, 2]], np.float32)
    stage = ImageLevel(proposer=Uniform(), top_k=2, training_top_k=None)
    batch = batch_of([boxes, boxes[:1], np.zeros((0, 4), np.float32)])
    rois = stage({}, batch)
    assert rois.valid.tolist() == [[True, True], [True, False], [False, False]]
    # the image of 20 x 40 fills 40 x 40: y is doubled
    assert rois.boxes[0].tolist() == [[0, 0, 10, 20], [5, 10, 20, 40]]
    training, terms = stage.losses({}, batch, no_targets(3))
    assert training.boxes.shape == (3, 3, 4)
    assert terms == {}


def test_image_level_without_any_region() -> None:
    stage = ImageLevel(proposer=Uniform())
    rois = stage({}, batch_of([np.zeros((0, 4), np.float32)] * 2))
    assert rois.boxes.shape == (2, 0, 4)
    assert rois.valid.shape == (2, 0)


def test_a_batch_without_regions_is_refused() -> None:
    with pytest.raises(ProposalsError) as caught:
        ImageLevel(proposer=Uniform())({}, batch_of([None, None]))
    assert str(caught.value) == (
        "this detector looks at regions of the image, and the batch holds none: make it with "
        "detzoo.prediction.predict.prepared(detector, images), or give the loader proposer=detector.proposer"
    )
