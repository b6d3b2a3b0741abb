"""Order, randomness and resumption of the loader, and what it does with images that cannot be read."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
import torch

from detzoo.data import open_dataset
from detzoo.data.dataset import Dataset
from detzoo.data.loading.augment import augment
from detzoo.data.loading.loader import Loader
from detzoo.data.loading.transforms import CopyPaste, Expand, Flip, IouCrop, MixUp, Mosaic, PhotometricDistort
from detzoo.data.shapes import ShapesDataset
from detzoo.errors import DataError, RecipeError
from detzoo.interfaces import Draw, Transform
from detzoo.prediction.input_spec import InputSpec
from detzoo.training.plan import MultiScale
from detzoo.types import ImageBatch, Sample, Targets

SPEC = InputSpec(size=(48, 48))


def chain() -> list[Transform]:
    return [PhotometricDistort(), Expand(), IouCrop(), Flip()]


def shapes(count: int = 10) -> ShapesDataset:
    return ShapesDataset(count=count, size=64)


def batches(loader: Loader, epoch: int = 0, start: int = 0) -> list[tuple[ImageBatch, Targets]]:
    return list(loader.batches(epoch, start))


def same(left: list[tuple[ImageBatch, Targets]], right: list[tuple[ImageBatch, Targets]]) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a.pixels, b.pixels) and torch.equal(s.boxes, t.boxes) and torch.equal(a.index, b.index)
        for (a, s), (b, t) in zip(left, right, strict=True)
    )


def test_results_do_not_depend_on_the_number_of_workers() -> None:
    alone = batches(Loader(shapes(), chain(), SPEC, 4, seed=3))
    assert len(alone) == 2
    helped = Loader(shapes(), chain(), SPEC, 4, seed=3, workers=2)
    assert same(alone, batches(helped))
    assert same(alone, batches(helped))  # the workers persist; a second pass over epoch 0 is the same


def test_epochs_differ_in_order_and_augmentation() -> None:
    loader = Loader(shapes(), chain(), SPEC, 5, seed=3)
    first, second = batches(loader, 0), batches(loader, 1)
    assert sorted(torch.cat([b.index for b, _ in first]).tolist()) == list(range(10))
    assert not same(first, second)


def test_an_interrupted_epoch_goes_on_where_it_stopped() -> None:
    loader = Loader(shapes(), chain(), SPEC, 3, seed=1)
    assert len(loader) == 3
    assert same(batches(loader, 2)[1:], batches(loader, 2, start=1))
    assert batches(loader, 2, start=3) == []


def test_skipped_batches_are_not_loaded() -> None:
    seen: list[int] = []

    class Watched(ShapesDataset):
        def sample(self, position: int, *, masks: bool = True) -> Any:
            seen.append(position)
            return super().sample(position, masks=masks)

    loader = Loader(Watched(count=10, size=64), [], SPEC, 5, shuffle=False)
    batches(loader, 0, start=1)
    assert seen == [5, 6, 7, 8, 9]


def test_two_processes_share_the_global_batches_of_one() -> None:
    alone = batches(Loader(shapes(8), chain(), SPEC, 4, seed=5))
    ranks = [batches(Loader(shapes(8), chain(), SPEC, 2, seed=5, rank=rank, world=2)) for rank in (0, 1)]
    for whole, first, second in zip(alone, *ranks, strict=True):
        assert torch.equal(whole[0].pixels[0::2], first[0].pixels)
        assert torch.equal(whole[0].pixels[1::2], second[0].pixels)


def test_evaluation_order_keeps_the_last_smaller_batch() -> None:
    loader = Loader(shapes(), [], SPEC, 4, shuffle=False)
    assert [batch.index.tolist() for batch, _ in batches(loader)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_fewer_images_than_a_batch_still_give_one() -> None:
    assert [len(batch.index) for batch, _ in batches(Loader(shapes(3), [], SPEC, 8))] == [3]


def test_images_without_objects_can_be_left_out() -> None:
    data = ShapesDataset(count=80, size=64)
    empty = [position for position in range(80) if len(data.sample(position).boxes) == 0]
    assert empty
    loader = Loader(data, [], SPEC, 16, shuffle=False, empty_images="drop")
    kept = torch.cat([batch.index for batch, _ in batches(loader)]).tolist()
    assert kept == [position for position in range(80) if position not in empty]


def test_the_global_random_state_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    batches(Loader(shapes(4), chain(), SPEC, 2))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.fixture
def broken(tmp_path: Path) -> Dataset:
    """Four images, the third cut in half."""
    for name in ("a", "b", "c", "d"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8))
        (tmp_path / f"{name}.xml").write_text(
            "<annotation><size><width>60</width><height>60</height></size><object><name>cat</name><bndbox>"
            "<xmin>1</xmin><ymin>1</ymin><xmax>30</xmax><ymax>30</ymax></bndbox></object></annotation>"
        )
    data = (tmp_path / "c.png").read_bytes()
    (tmp_path / "c.png").write_bytes(data[: len(data) // 2])
    return open_dataset(tmp_path)


def test_a_broken_image_is_replaced_and_counted(broken: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    loader = Loader(broken, [], SPEC, 2, shuffle=False)
    with caplog.at_level(logging.WARNING, "detzoo.data"):
        found = [batch.index.tolist() for batch, _ in [*batches(loader), *batches(loader)]]
    assert found == [[0, 1], [3, 3]] * 2
    path = broken.paths[2]
    assert list(loader.broken_images) == [path]
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"left out: {path}: truncated or damaged: ")


def test_a_broken_image_is_left_out_of_an_evaluation(broken: Dataset) -> None:
    loader = Loader(broken, [], SPEC, 2, shuffle=False, broken="skip", workers=1)
    assert [batch.index.tolist() for batch, _ in batches(loader)] == [[0, 1], [3]]
    assert list(loader.broken_images) == [broken.paths[2]]


def test_a_broken_image_can_stop_everything(broken: Dataset) -> None:
    with pytest.raises(DataError, match="truncated or damaged"):
        batches(Loader(broken, [], SPEC, 2, shuffle=False, broken="raise"))


def test_the_cache_gives_the_same_samples_downscaled() -> None:
    data = shapes(6)
    plain = batches(Loader(data, [], SPEC, 3, seed=2))
    assert same(plain, batches(Loader(data, [], SPEC, 3, seed=2, cache=512)))
    small = batches(Loader(data, [], SPEC, 3, seed=2, cache=32))
    for (_, expected), (_, found) in zip(plain, small, strict=True):
        torch.testing.assert_close(found.boxes, expected.boxes, atol=1e-3, rtol=1e-4)


def test_images_that_are_nowhere_are_named_at_once(tmp_path: Path) -> None:
    annotations = tmp_path / "val.json"
    annotations.write_text(
        '{"images": [{"id": 1, "file_name": "x.jpg", "width": 9, "height": 9}], "annotations": [],'
        ' "categories": [{"id": 1, "name": "cat"}]}'
    )
    with pytest.raises(DataError) as caught:
        Loader(open_dataset(annotations), [], SPEC, 1)
    assert str(caught.value) == (
        f"val val: none of its first 1 images exists; looked for {tmp_path / 'x.jpg'}; "
        "say where they are with `images:` in a data.yaml"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "a batch needs at least one image, not 0"),
        ({"rank": 2, "world": 2}, "rank 2 is not one of 2 processes"),
        (
            {"cache": 100_000},
            "cache: 4 images of 100000 px need up to 112 GiB, the limit is 8: choose a smaller side, or 0 for no cache",
        ),
    ],
)
def test_wrong_options_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(DataError) as caught:
        Loader(shapes(4), [], SPEC, **{"batch_size": 2, **options})  # type: ignore[arg-type]
    assert str(caught.value) == message


def annotated(folder: Path, *masks: list[list[float]] | None) -> Dataset:
    """One image with a box for each mask: polygons, or none."""
    boxes: list[dict[str, Any]] = [
        {"id": row, "image_id": 1, "category_id": 1, "bbox": [8 * row, 4, 6, 6], "area": 36, "iscrowd": 0}
        for row in range(1, len(masks) + 1)
    ]
    for box, mask in zip(boxes, masks, strict=True):
        if mask is not None:
            box["segmentation"] = mask
    cv2.imwrite(str(folder / "a.png"), np.zeros((32, 48, 3), np.uint8))
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 32, "width": 48}],
        "annotations": boxes,
        "categories": [{"id": 1, "name": "cell"}],
    }
    (folder / "cells.json").write_text(json.dumps(content))
    return open_dataset(folder / "cells.json")


def test_masks_wanted_from_data_without_any_are_refused_at_once(tmp_path: Path) -> None:
    data = annotated(tmp_path, None, None)
    with pytest.raises(DataError) as caught:
        Loader(data, [], SPEC, 1, masks=True)
    assert str(caught.value) == (
        f"{data.name} {data.split}: no object has a mask (the first image: {tmp_path / 'a.png'}), and this detector "
        "trains a mask head. Masks are read from the outlines of COCO, LVIS, YOLO, labelme, VIA and CVAT, and from "
        "folders with one mask image per object; without masks, leave the head out: mask: null in the recipe, "
        "or --set mask=null"
    )
    ((_, targets),) = batches(Loader(data, [], SPEC, 1))
    assert targets.masks is None


def test_objects_without_masks_beside_others_are_counted_and_have_no_row(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    square = [[16.0, 4.0, 22.0, 4.0, 22.0, 10.0, 16.0, 10.0]]
    data = annotated(tmp_path, None, square, None)
    with caplog.at_level(logging.WARNING, "detzoo.data"):
        ((_, targets),) = batches(Loader(data, [], InputSpec(size=(32, 48)), 1, masks=True))
    assert [record.getMessage() for record in caplog.records] == [
        f"{data.name} {data.split}: 2 of 3 objects have no mask; they are left out of the mask loss"
    ]
    assert targets.masks is not None
    assert targets.mask_row is not None
    assert targets.mask_row[0, :4].tolist() == [-1, 0, -1, -1]
    assert targets.masks.sum((1, 2)).tolist() == [36]


def test_input_sizes_change_every_few_batches_and_depend_on_seed_and_epoch_alone() -> None:
    sizes = MultiScale(shortest=32, longest=64, multiple=16, every=2)
    loader = Loader(shapes(24), chain(), SPEC, 2, seed=3, sizes=sizes)
    whole = batches(loader)
    found = [tuple(batch.pixels.shape[-2:]) for batch, _ in whole]
    assert len(found) == 12
    assert all(found[i] == found[i + 1] for i in range(0, 12, 2))
    assert set(found) == {(32, 32), (48, 48), (64, 64)}
    assert same(whole, batches(Loader(shapes(24), chain(), SPEC, 2, seed=3, sizes=sizes, workers=2)))
    assert same(whole[5:], batches(loader, 0, 5))  # a resumed run sees the sizes of the uninterrupted one
    others = [tuple(batch.pixels.shape[-2:]) for batch, _ in batches(loader, 1)]
    assert others != found
    region = whole[0][0].region
    assert region[0].tolist() == [0, 0, *reversed(found[0])]
    assert bool((whole[0][1].boxes[..., 2] <= found[0][1]).all())


def test_multi_scale_keeps_the_ratio_of_the_sides() -> None:
    scale = MultiScale(shortest=320, longest=608, multiple=32)
    assert [scale.size((416, 416), draw) for draw in (0.0, 0.5, 0.999)] == [(320, 320), (480, 480), (608, 608)]
    assert scale.size((320, 416), 0.0) == (320, 416)
    assert scale.size((416, 320), 0.999) == (800, 608)  # 608 x 1.3 is 790.4, 24.7 steps of 32


def test_multi_scale_refuses_sides_that_are_no_multiples() -> None:
    with pytest.raises(RecipeError) as error:
        MultiScale(shortest=300, longest=608)
    assert str(error.value) == (
        "multi_scale goes from shortest to longest by multiple, found 300, 608 and 32; both must be multiples of it"
    )


def several() -> list[Transform]:
    """Mosaic and MixUp of images that were flipped before, and colours after; mosaic ends at half of the training."""
    mosaic = Mosaic(None, size=(48, 48), plain=False)
    mosaic.active = (0.0, 0.5)
    return [Flip(), mosaic, MixUp(None, size=(48, 48), plain=False, weighted=True), PhotometricDistort()]


def test_with_mosaic_and_mixup_the_number_of_workers_changes_nothing() -> None:
    alone = batches(Loader(shapes(), several(), SPEC, 4, seed=3))
    helped = Loader(shapes(), several(), SPEC, 4, seed=3, workers=2)
    assert same(alone, batches(helped))
    assert same(alone, batches(helped))
    weights = [targets.weight for _, targets in alone]
    assert all(weight is not None for weight in weights)
    assert any(bool((weight == 0.5).any()) for weight in weights if weight is not None)
    assert not same(alone, batches(helped, 1))


def test_with_mosaic_and_mixup_an_interrupted_epoch_goes_on_where_it_stopped() -> None:
    loader = Loader(shapes(), several(), SPEC, 3, seed=1)
    whole = list(loader.batches(2, before=6, total=9))
    assert same(whole[1:], list(loader.batches(2, start=1, before=6, total=9)))
    cached = Loader(shapes(), several(), SPEC, 3, seed=1, cache=512)
    assert same(whole, list(cached.batches(2, before=6, total=9)))


class Marks(Transform):
    """Counts its calls in the colour of a corner."""

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        image = sample.image.copy()
        image[0, 0] += 1
        return dataclasses.replace(sample, image=image)


class Takes(Transform):
    """The corner of another image in place of its own."""

    draws: ClassVar[int] = 1

    def __init__(self, *, plain: bool = False) -> None:
        self.plain = plain

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        image = sample.image.copy()
        image[0, 0] = draw(plain=self.plain).image[0, 0]
        return dataclasses.replace(sample, image=image)


def corner(transforms: list[Transform], progress: float = 0.0) -> int:
    black = dataclasses.replace(shapes(1).sample(0), image=np.zeros((8, 8, 3), np.uint8))
    found = augment(black, transforms, np.random.default_rng(0), lambda rng: black, progress)
    return int(found.image[0, 0, 0])


def test_another_image_has_the_transforms_before_this_one_applied() -> None:
    assert corner([Marks(), Marks(), Takes(), Marks()]) == 3  # two in the other image, and the last
    assert corner([Marks(), Takes(plain=True), Marks()]) == 1
    assert corner([Marks(), Takes(), Marks(), Takes()]) == 2  # the other image took from a third one


def test_a_transform_is_used_in_its_share_of_the_training() -> None:
    early, late = Marks(), Marks()
    early.active, late.active = (0.0, 0.25), (0.25, 1.0)
    always = [corner([early], progress / 8) for progress in range(8)]
    assert always == [1, 1, 0, 0, 0, 0, 0, 0]
    assert [corner([early, late], progress / 8) for progress in range(8)] == [1] * 8
    assert [corner([early, Takes()], progress) for progress in (0.0, 0.5)] == [1, 0]  # in other images too


def test_the_share_of_the_training_counts_batches_of_all_epochs() -> None:
    early = Marks()
    early.active = (0.0, 0.5)
    plain = batches(Loader(shapes(6), [], SPEC, 2, shuffle=False))
    loader = Loader(shapes(6), [early], SPEC, 2, shuffle=False)
    # 3 batches per epoch, 4 in all: epoch 0 has batches 0, 1, 2 of 4, of which 2 are in the first half
    found = list(loader.batches(0, before=0, total=4))
    assert [torch.equal(a.pixels, b.pixels) for (a, _), (b, _) in zip(found, plain, strict=True)] == [
        False,
        False,
        True,
    ]
    later = list(loader.batches(0, before=3, total=4))
    assert same(later, plain)
    assert not same(batches(loader)[2:], plain[2:])  # without a total nothing is done yet


def test_other_images_are_replaced_where_they_cannot_be_read(broken: Dataset) -> None:
    loader = Loader(broken, [Mosaic(None, size=(48, 48))], SPEC, 2, shuffle=False, broken="skip")
    assert [batch.index.tolist() for batch, _ in batches(loader)] == [[0, 1], [3]]
    assert list(loader.broken_images) == [broken.paths[2]]
    with pytest.raises(DataError, match="truncated or damaged"):
        batches(Loader(broken, [Mosaic(None, size=(48, 48))], SPEC, 2, shuffle=False, broken="raise"))


def test_masks_are_read_for_copy_paste_and_dropped_where_no_mask_head_is_trained(tmp_path: Path) -> None:
    loader = Loader(shapes(6), [CopyPaste()], SPEC, 3, seed=1)
    found = batches(loader)
    assert all(targets.masks is None for _, targets in found)
    assert not same(found, batches(Loader(shapes(6), [], SPEC, 3, seed=1)))
    ((_, targets), *_) = batches(Loader(shapes(6), [CopyPaste()], SPEC, 3, seed=1, masks=True))
    assert targets.masks is not None
    with pytest.raises(DataError, match="CopyPaste looks at them"):
        Loader(annotated(tmp_path, None), [CopyPaste()], SPEC, 1)
