"""Drawn images: what must be where, and what must be legible."""

import base64
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from detzoo.errors import DataError
from detzoo.prediction.detections import Detections
from detzoo.runtime import drawing
from detzoo.runtime.drawing import (
    OKABE_ITO,
    Mark,
    colour_of,
    detections_html,
    draw_detections,
    draw_marks,
    draw_sample,
    encode_image,
    line_width,
    write_image,
)
from detzoo.types import Sample


def blank(height: int = 200, width: int = 300, value: int = 255) -> NDArray[np.uint8]:
    return np.full((height, width, 3), value, np.uint8)


def detections(rows: list[list[float]], scores: list[float], path: str | None = None) -> Detections:
    boxes = torch.tensor(rows).reshape(-1, 4)
    return Detections(boxes, torch.tensor(scores), torch.arange(len(rows)), ("cat", "<dog>"), (200, 300), path=path)


def test_no_detections_leave_the_image_as_it_is() -> None:
    image = blank()
    drawn = draw_detections(image, detections([], []))
    assert np.array_equal(drawn, image)
    assert drawn is not image


def test_the_given_image_is_not_changed() -> None:
    image = blank()
    drawn = detections([[50, 60, 150, 160]], [0.9]).draw(image)
    assert (image == 255).all()
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_box_shows_its_colour_and_a_dark_rim_on_any_ground(value: int) -> None:
    drawn = draw_marks(blank(value=value), [Mark((50, 60, 150, 160))])
    assert tuple(drawn[110, 50]) == OKABE_ITO[0]
    assert tuple(drawn[110, 149]) == OKABE_ITO[0]  # right is exclusive: the last pixel inside
    assert tuple(drawn[159, 100]) == OKABE_ITO[0]
    assert tuple(drawn[110, 49]) == drawing.DARK
    assert tuple(drawn[110, 100]) == (value, value, value)


def test_detections_below_the_minimum_are_left_out() -> None:
    found = detections([[50, 60, 150, 160], [200, 100, 250, 150]], [0.9, 0.4])
    drawn = found.draw(blank(), min_score=0.5)
    assert tuple(drawn[110, 50]) == colour_of(0)
    assert (drawn[100:150, 200:250] == 255).all()


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        draw_detections(blank(100, 100), detections([], []))
    assert str(caught.value) == (
        "these detections belong to an image of 200x300 px (height x width), this one has 100x100; "
        "draw on the image that was given to predict"
    )


def test_every_class_has_a_colour_of_its_own_that_never_changes() -> None:
    colours = [colour_of(label) for label in range(91)]
    assert colours == [colour_of(label) for label in range(91)]
    assert len(set(colours)) == 91
    assert tuple(colours[:7]) == OKABE_ITO


@pytest.mark.parametrize("label", range(40))
def test_the_ink_of_a_label_can_be_read_on_its_colour(label: int) -> None:
    """The better ink always gives a contrast of 4.2; WCAG 2 asks for 3 for large text."""
    light = drawing._luminance(colour_of(label))
    ink = drawing._luminance(drawing.DARK if light > 0.186 else drawing.LIGHT)
    high, low = max(light, ink), min(light, ink)
    assert (high + 0.05) / (low + 0.05) >= 4.2


def test_lines_grow_with_the_image() -> None:
    assert [line_width((side, side)) for side in (60, 300, 500, 1300, 4000)] == [1, 1, 2, 4, 13]


def test_labels_stay_inside_the_image_and_off_each_other() -> None:
    taken: list[drawing.Rectangle] = []
    for box in [(0, 0, 300, 200), (0, 0, 300, 200), (280, 190, 299, 199), (-50, -50, 10, 10), (1e9, 1e9, 2e9, 2e9)]:
        left, top = drawing._place(box, (80, 20), (200, 300), taken)
        assert 0 <= left <= 220
        assert 0 <= top <= 180
        taken.append((left, top, left + 80, top + 20))
    assert all(first != second for first, second in pairwise(taken[:3]))


def test_a_label_wider_than_the_image_hides_nothing() -> None:
    drawn = draw_marks(blank(20, 20), [Mark((5, 5, 15, 15), "a very long class name 0.99")])
    assert np.array_equal(drawn, draw_marks(blank(20, 20), [Mark((5, 5, 15, 15))]))


def test_labels_that_would_hide_a_fifth_of_the_image_are_all_left_out() -> None:
    places = [(x, y, x + 9.0, y + 9.0) for x in range(0, 290, 10) for y in range(20, 190, 10)]
    few, many = [[Mark(box, "nucleus 0.99") for box in places[:count]] for count in (3, len(places))]

    assert not np.array_equal(draw_marks(blank(), few), draw_marks(blank(), [Mark(mark.box) for mark in few]))
    assert np.array_equal(draw_marks(blank(), many), draw_marks(blank(), [Mark(mark.box) for mark in many]))


def test_boxes_that_are_not_numbers_are_left_out() -> None:
    drawn = draw_marks(blank(), [Mark((float("nan"), 0, 10, 10), "x"), Mark((0, 0, float("inf"), 10), "y")])
    assert (drawn == 255).all()


def test_names_beyond_ascii_are_spelt_as_well_as_they_can_be() -> None:
    assert drawing._plain("Zürich señal 猫") == "Zurich senal ?"


def sample(**flags: bool) -> Sample:
    mask = np.zeros((1, 200, 300), np.uint8)
    mask[0, 80:120, 80:120] = 1
    return Sample(
        image=blank(),
        boxes=np.array([[50, 60, 150, 160]], np.float32),
        labels=np.array([1], np.int64),
        difficult=np.array([flags.get("difficult", False)]),
        crowd=np.array([flags.get("crowd", False)]),
        image_id=7,
        path="x.png",
        masks=mask,
    )


def test_ground_truth_is_drawn_with_its_mask() -> None:
    drawn = draw_sample(sample(), ("cat", "dog"))
    assert tuple(drawn[110, 50]) == colour_of(1)
    assert tuple(drawn[90, 90]) == (179, 221, 245)  # 0.55 * 255 + 0.45 * (86, 180, 233)
    assert tuple(drawn[80, 100]) == tuple(drawn[119, 80]) == colour_of(1)  # its outline
    assert tuple(drawn[79, 100]) == (255, 255, 255)


@pytest.mark.parametrize("flag", ["difficult", "crowd"])
def test_difficult_and_crowd_boxes_are_dashed(flag: str) -> None:
    drawn = draw_sample(sample(**{flag: True}), ("cat", None))
    edge = drawn[70:150, 50]
    coloured = (edge == colour_of(1)).all(axis=1)
    assert 0.2 < coloured.mean() < 0.8


def test_a_sample_without_boxes_is_its_image() -> None:
    empty = Sample(
        blank(),
        np.zeros((0, 4), np.float32),
        np.zeros(0, np.int64),
        np.zeros(0, bool),
        np.zeros(0, bool),
        "id",
        "x.png",
    )
    assert (draw_sample(empty, ("cat",)) == 255).all()


def test_a_notebook_shows_a_table_where_the_file_is_not_at_hand() -> None:
    text = detections_html(detections([[1, 2, 3.25, 4], [5, 6, 7, 8]], [0.5, 0.25], path="gone.png"))
    assert text == (
        "<table><tr><th>class</th><th>score</th><th>x1, y1, x2, y2 (px)</th></tr>"
        "<tr><td>cat</td><td>0.500</td><td>1.0, 2.0, 3.2, 4.0</td></tr>"
        "<tr><td>&lt;dog&gt;</td><td>0.250</td><td>5.0, 6.0, 7.0, 8.0</td></tr></table>"
    )
    assert detections([], [])._repr_html_() == "<p>no detections</p>"


def test_a_notebook_shows_the_image_where_the_file_is_at_hand(tmp_path: Path) -> None:
    path = tmp_path / "Bär.png"
    write_image(path, blank())
    text = detections_html(detections([[50, 60, 150, 160]], [0.9], path=str(path)), max_side=150)
    start = text.index("base64,") + len("base64,")
    data = base64.b64decode(text[start : text.index('"', start)])
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded.shape == (100, 150, 3)


def test_written_images_keep_their_colours(tmp_path: Path) -> None:
    image = blank()
    image[:] = (10, 20, 200)
    write_image(tmp_path / "x.png", image)
    assert cv2.imread(str(tmp_path / "x.png"))[0, 0].tolist() == [200, 20, 10]  # type: ignore[index]


def test_an_unknown_file_format_is_refused() -> None:
    with pytest.raises(DataError, match=r"^cannot write images as \.xyz; use \.png or \.jpg$"):
        encode_image(blank(), ".xyz")
