"""Drawn proposals, objects and segments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from detzoo.data import open_dataset
from detzoo.errors import DataError, DetzooError, RecipeError
from detzoo.interfaces import Proposer
from detzoo.proposals.drawing import (
    COVERED,
    MISSED,
    borders,
    covers,
    draw_best,
    draw_covers,
    draw_segments,
    side_by_side,
)
from detzoo.proposals.method import Method
from detzoo.proposals.show import View, check_colours, scales_of, show_proposals
from detzoo.runtime.drawing import DARK
from detzoo.types import Sample

BLACK = np.zeros((40, 60, 3), np.uint8)
DATA = "shapes:train=2,val=1,test=1,size=64"


def sample(boxes: list[list[float]]) -> Sample:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    flags = np.zeros(len(array), np.bool_)
    return Sample(BLACK, array, np.zeros(len(array), np.int64), flags, flags, 1, "x")


def test_nothing_to_draw() -> None:
    none = np.zeros((0, 4), np.float32)
    assert (draw_best(BLACK, none) == 0).all()
    assert covers(none, sample([])) == []
    (alone,) = covers(none, sample([[0, 0, 5, 5]]))
    assert (alone.box, alone.rank, alone.iou) == (None, -1, 0.0)


def test_each_object_gets_its_nearest_proposal() -> None:
    boxes = np.array([[0, 0, 5, 10], [0, 0, 10, 10], [40, 20, 44, 30]], np.float32)
    found = covers(boxes, sample([[0, 0, 10, 10], [40, 20, 50, 30]]))
    assert [(each.rank, round(each.iou, 6)) for each in found] == [(1, 1.0), (2, 0.4)]
    colours = {tuple(pixel) for pixel in draw_covers(BLACK, found).reshape(-1, 3).tolist()}
    assert {COVERED, MISSED} <= colours


def test_segments_have_their_mean_colour_or_borders() -> None:
    labels = np.array([[0, 0, 1, 1]] * 2, np.int32)
    image = np.zeros((2, 4, 3), np.uint8)
    image[:, 0], image[:, 3] = 100, (10, 20, 30)
    assert draw_segments(image, labels, "mean")[0].tolist() == [[50] * 3] * 2 + [[5, 10, 15]] * 2
    assert borders(labels).tolist() == [[False, True, False, False]] * 2
    random = draw_segments(image, labels, "random")
    assert (random[borders(labels)] == DARK).all()
    assert len({tuple(pixel) for pixel in random.reshape(-1, 3).tolist()}) == 3


def test_images_beside_each_other() -> None:
    joined = side_by_side([("one", np.full((40, 60, 3), 7, np.uint8)), ("two", np.full((40, 50, 3), 9, np.uint8))])
    assert joined.shape == (40 + 26, 60 + 6 + 50, 3)
    assert (joined[26:, :60] == 7).all()
    assert (joined[26:, 66:] == 9).all()


class Halves(Proposer):
    """The left and the right half, which are its segments too."""

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        height, width = image.shape[:2]
        boxes = [[0, 0, width / 2, height], [width / 2, 0, width, height]]
        return np.array(boxes, np.float32), np.ones(2, np.float32)

    def segments(self, image: NDArray[np.uint8], k: float) -> NDArray[np.int32]:
        labels = np.zeros(image.shape[:2], np.int32)
        labels[:, int(k) :] = 1
        return labels


def test_show_draws_boxes_objects_and_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Method, "build", lambda self: Halves())
    found = list(show_proposals(View("uniform", (), tmp_path, data=DATA, split="val", ks=(10, 99999))))
    assert [path.name for path, _ in found] == [
        f"shapes-val-00000_uniform_{what}.png" for what in ("boxes", "objects", "segments")
    ]
    assert all(path.is_file() for path, _ in found)
    objects = len(open_dataset(DATA, "val").sample(0).boxes)
    assert found[0][1] == "the best 2 of 2 boxes"
    assert found[1][1].endswith(f"of {objects} objects covered with an IoU of 0.5 or more by 2 boxes")
    assert found[2][1] == "segments: 2 at k = 10, 1 at k = 99999"


def test_what_cannot_be_shown(tmp_path: Path) -> None:
    def message(kind: type[Exception], view: View) -> str:
        with pytest.raises(kind) as raised:
            list(show_proposals(view))
        return str(raised.value)

    assert message(DetzooError, View("uniform", ("x.png",), tmp_path, ks=(50,))) == (
        "--k draws segments, but uniform does not segment images"
    )
    assert message(DetzooError, View("uniform", (), tmp_path)) == ("name the images to draw, or a dataset with --data")
    assert message(DataError, View("uniform", ("no.png",), tmp_path)) == "no.png: no such image"
    assert message(DataError, View("uniform", ("no.png",), tmp_path, data=DATA, split="val")) == (
        "no.png is no image of shapes val (1 images, the first: shapes-val-00000.png); leave --data out to draw "
        "it without objects"
    )
    assert message(RecipeError, View("f.safetensors", (), tmp_path, set_=("k=1",))) == (
        "--set changes a method; f.safetensors is a file, whose proposals are made: leave --set out"
    )
    for text in ("50,x", "0", ""):
        with pytest.raises(DetzooError, match=f"--k {text}: write numbers above 0, such as 50,200"):
            scales_of(text)
    assert scales_of("50,200") == (50, 200)
    with pytest.raises(DetzooError, match='unknown --colours "means"; did you mean "mean"'):
        check_colours("means")
