"""Denoising queries in plain loops, the mask pair by pair, and the empty case."""

from __future__ import annotations

import math

import pytest
import torch

from detzoo.testing import targets
from detzoo.types import BACKGROUND, IGNORE, Targets
from detzoo_detr.denoising import Denoising, Noise, attention_bias, denoising_queries, draw_noise, places

SIZE = (60, 100)
WHOLE = torch.tensor([0.0, 0.0, 100.0, 60.0])
CLASSES = 4
BOXES: list[list[tuple[float, float, float, float]]] = [
    [(10, 10, 30, 40), (0, 0, 100, 60), (50, 20, 60, 30)],
    [(40, 30, 90, 50)],
    [],
]
LABELS = [[3, 0, 1], [2], []]


def noise(images: int, count: int, seed: int = 0) -> Noise:
    torch.manual_seed(seed)
    return draw_noise(images, count, CLASSES, like=WHOLE)


def by_loops(
    boxes: list[list[tuple[float, ...]]], labels: list[list[int]], settings: Denoising, drawn: Noise
) -> list[list[tuple[int, list[float], int, int]]]:
    """Class, box in fractions, group and assignment of every query, in Python's floats."""
    most = max(len(own) for own in boxes)
    groups = max(settings.queries // most, 1) if most else 0
    found = []
    for image, (own, names) in enumerate(zip(boxes, labels, strict=True)):
        rows: list[tuple[int, list[float], int, int]] = []
        for group in range(groups):
            for negative in (0, 1):
                for number in range(most):
                    n = len(rows)
                    if number >= len(own):
                        rows.append((CLASSES, [0.0] * 4, group, BACKGROUND))
                        continue
                    x1, y1, x2, y2 = own[number]
                    edges, half = [x1 / 100, y1 / 60, x2 / 100, y2 / 60], [(x2 - x1) / 200, (y2 - y1) / 120] * 2
                    for e in range(4):
                        part = (float(drawn.size[image, n, e]) + negative) * float(drawn.sign[image, n, e])
                        edges[e] = min(1.0, max(0.0, edges[e] + part * half[e] * settings.box_noise))
                    a, b, c, d = edges
                    label = names[number]
                    if float(drawn.relabel[image, n]) < settings.label_noise / 2:
                        label = int(drawn.label[image, n])
                    box = [(a + c) / 2, (b + d) / 2, c - a, d - b]
                    rows.append((label, box, group, BACKGROUND if negative else number))
        found.append(rows)
    return found


@pytest.mark.parametrize("settings", [Denoising(queries=7), Denoising(queries=2, label_noise=1.5, box_noise=0.4)])
@pytest.mark.parametrize("images", [3, 1])
def test_as_the_plain_loops(settings: Denoising, images: int) -> None:
    truth = targets(BOXES[:images], LABELS[:images], size=SIZE)
    drawn = noise(images, places(truth, settings))
    made = denoising_queries(truth, WHOLE, settings, drawn, classes=CLASSES)
    expected = by_loops(BOXES[:images], LABELS[:images], settings, drawn)  # type: ignore[arg-type]
    used = len(expected[0])
    assert used == 2 * 3 * max(settings.queries // 3, 1) <= made.labels.shape[1]
    for image, rows in enumerate(expected):
        assert made.labels[image, :used].tolist() == [row[0] for row in rows]
        assert made.group[:used].tolist() == [row[2] for row in rows]
        assert made.assignment.index[image, :used].tolist() == [row[3] for row in rows]
        boxes = torch.tensor([row[1] for row in rows]).clamp(1e-5, 1 - 1e-5)  # as the inverse of the sigmoid
        torch.testing.assert_close(made.boxes[image, :used].sigmoid(), boxes, rtol=0, atol=1e-6)
    assert (made.assignment.index[:, used:] == IGNORE).all()


def test_negatives_lie_further_away() -> None:
    """Of a box in the middle: no edge of a positive moves by more than half a side, no edge of a negative by less."""
    truth = targets([[(40, 24, 60, 36)]], [[1]], size=SIZE)
    settings = Denoising(queries=50)
    made = denoising_queries(truth, WHOLE, settings, noise(1, places(truth, settings)), classes=CLASSES)
    cx, cy, w, h = made.boxes[0].sigmoid().unbind(1)
    moved = torch.stack([cx - w / 2 - 0.4, cy - h / 2 - 0.4, cx + w / 2 - 0.6, cy + h / 2 - 0.6], 1).abs()
    positive = made.assignment.index[0] == 0
    assert int(positive.sum()) == 50
    assert moved[positive].max() <= 0.1 + 1e-6
    whole = (w > 1e-4) & (h > 1e-4)  # edges that pass each other leave a side of 0
    negative = (made.assignment.index[0] == BACKGROUND) & whole
    assert int(negative.sum()) > 20
    assert moved[negative].min() >= 0.1 - 1e-6


def test_ignored_ground_truth_makes_no_queries() -> None:
    settings = Denoising(queries=6)
    whole = targets(BOXES[:1], LABELS[:1], ignore=[[True, False, False]], size=SIZE)
    fewer = targets([BOXES[0][1:]], [LABELS[0][1:]], size=SIZE)
    drawn = noise(1, places(whole, settings))
    one, other = (denoising_queries(truth, WHOLE, settings, drawn, classes=CLASSES) for truth in (whole, fewer))
    assert torch.equal(one.boxes, other.boxes)
    assert torch.equal(one.labels, other.labels)
    assert set(one.assignment.index[0].tolist()) == {1, 2, BACKGROUND, IGNORE}  # rows of the ground truth as it is


@pytest.mark.parametrize("padded", [0, 16])
def test_without_objects_no_query_takes_part(padded: int) -> None:
    truth: Targets = targets([[], []], size=SIZE, padded=padded)
    settings = Denoising(queries=5)
    made = denoising_queries(truth, WHOLE, settings, noise(2, places(truth, settings)), classes=CLASSES)
    assert made.boxes.isfinite().all()
    assert (made.assignment.index == IGNORE).all()
    assert (made.labels == CLASSES).all()


def test_more_objects_than_queries_make_one_group() -> None:
    many = [(float(n), 0.0, float(n) + 5, 9.0) for n in range(40)]
    truth = targets([many], [[0] * 40], size=SIZE, padded=48)
    settings = Denoising(queries=10)
    made = denoising_queries(truth, WHOLE, settings, noise(1, places(truth, settings)), classes=CLASSES)
    assert made.labels.shape[1] == 96
    assert made.assignment.index[0, :40].tolist() == list(range(40))
    assert (made.assignment.index[0, 40:80] == BACKGROUND).all()
    assert (made.assignment.index[0, 80:] == IGNORE).all()


def test_the_mask_pair_by_pair() -> None:
    group, queries = torch.tensor([0, 0, 1, 1, 1, 2]), 3
    found = attention_bias(group, queries)
    assert found.shape == (1, 1, 9, 9)
    for row in range(9):
        for column in range(9):
            own = row < 6 and column < 6 and int(group[row]) == int(group[column])
            seen = own or column >= 6
            assert found[0, 0, row, column].item() == (0 if seen else -math.inf)


def test_the_training_s_seed_decides() -> None:
    assert torch.equal(noise(2, 8, seed=1).size, noise(2, 8, seed=1).size)
    assert not torch.equal(noise(2, 8, seed=1).size, noise(2, 8, seed=2).size)
