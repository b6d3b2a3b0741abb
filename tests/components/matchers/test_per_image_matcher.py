"""``PerImageMatcher``: one function of one image, against plain loops, crowds, padding and images without objects."""

import pytest
import torch
from torch import Tensor

from detzoo.interfaces import PerImageMatcher
from detzoo.ops.ignored_truth import leave_out_ignored
from detzoo.testing import candidates, targets
from detzoo.types import BACKGROUND, IGNORE, Candidates
from tests.components.matchers.scenes import random_truth


class Nearest(PerImageMatcher):
    """Each object takes the one candidate whose centre is nearest; of several objects the last one has it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int, list[int]]] = []

    def match(self, boxes: Tensor, truth: Tensor, labels: Tensor) -> Tensor:
        self.seen.append((len(boxes), len(truth), labels.tolist()))
        found = torch.full((len(boxes),), BACKGROUND)
        between = torch.cdist(centres(truth), centres(boxes))
        for row, place in enumerate(between.argmin(1).tolist()):
            found[place] = row
        return found


def centres(boxes: Tensor) -> Tensor:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def test_without_objects_and_without_candidates_match_is_not_called() -> None:
    matcher = Nearest()
    places = candidates([(0, 0, 10, 10), (20, 0, 30, 10)])
    assert matcher(places, targets([[], []])).index.tolist() == [[BACKGROUND] * 2] * 2
    assert matcher(places, targets([[]], padded=0)).index.tolist() == [[BACKGROUND] * 2]
    assert matcher(candidates([]), targets([[(0, 0, 10, 10)]])).index.shape == (1, 0)
    assert matcher.seen == []


def test_padding_crowds_and_invalid_candidates_are_not_seen() -> None:
    """Rows in the answer are those of the batch, whatever was left out before them."""
    places = candidates([(0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10), (60, 0, 70, 10), (80, 0, 90, 10)])
    places = Candidates(places.boxes, torch.tensor([[False, True, True, True, True]]))
    boxes = [(0.0, 0.0, 10.0, 10.0), (60.0, 0.0, 75.0, 10.0), (41.0, 0.0, 51.0, 10.0)]
    truth = targets([boxes], [[4, 1, 2]], ignore=[[False, True, False]])
    matcher = Nearest()
    # object 0's own candidate is invalid: the next one takes it; the crowd covers all of candidate 3
    assert matcher(places, truth).index.tolist() == [[IGNORE, 0, 2, IGNORE, BACKGROUND]]
    assert matcher.seen == [(4, 2, [4, 2])]


def test_a_positive_on_a_crowd_stays() -> None:
    truth = targets([[(0, 0, 40, 40), (1, 1, 11, 11)]], ignore=[[True, False]])
    assert Nearest()(candidates([(0, 0, 10, 10), (20, 20, 30, 30)]), truth).index.tolist() == [[1, IGNORE]]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shared", [True, False])
def test_equals_plain_loops(seed: int, shared: bool) -> None:
    truth, places = random_truth(seed, (3, 0, 9)), candidates(size=(128, 128), strides=(16, 32), sides=(2.0, 3.0))
    generator = torch.Generator().manual_seed(seed)
    rows = 1 if shared else 3
    boxes = places.boxes + torch.rand(rows, places.boxes.shape[1], 4, generator=generator)  # no two distances tie
    valid = torch.rand(rows, boxes.shape[1], generator=generator) < 0.8
    places = Candidates(boxes, valid)
    expected = torch.full((3, boxes.shape[1]), BACKGROUND)
    for image in range(3):
        own = 0 if shared else image
        for row in range(truth.boxes.shape[1]):
            if truth.valid[image, row] and not truth.ignore[image, row]:
                apart = [
                    float((centres(boxes[own, n : n + 1]) - centres(truth.boxes[image, row : row + 1])).norm())
                    if valid[own, n]
                    else float("inf")
                    for n in range(boxes.shape[1])
                ]
                expected[image, apart.index(min(apart))] = row
    expected = leave_out_ignored(expected, places, truth)
    assert torch.equal(Nearest()(places, truth).index, expected)


@pytest.mark.parametrize(
    ("answer", "told"),
    [(torch.zeros(2), r"torch\.float32 \[2\]"), (torch.zeros(2, 1, dtype=torch.int64), r"torch\.int64 \[2, 1\]")],
)
def test_another_answer_is_told(answer: Tensor, told: str) -> None:
    class Wrong(PerImageMatcher):
        def match(self, boxes: Tensor, truth: Tensor, labels: Tensor) -> Tensor:
            return answer

    with pytest.raises(TypeError, match=rf"Wrong\.match gives {told} for 2 candidates; expected int64 \[2\]"):
        Wrong()(candidates([(0, 0, 1, 1), (2, 2, 3, 3)]), targets([[(0, 0, 1, 1)]]))


def test_ignored_and_invalid_candidates_leave_the_loss() -> None:
    """A crowd over x < 10 covers the candidates by 1, 0.6 and 0.4 of their areas."""
    places = candidates([(0, 0, 10, 10), (4, 0, 14, 10), (6, 0, 16, 10), (50, 0, 60, 10)])
    places = Candidates(places.boxes, torch.tensor([[True, True, True, False]]))
    truth = targets([[(0, 0, 10, 10)]], ignore=[[True]])
    index = torch.full((1, 4), BACKGROUND)
    assert leave_out_ignored(index, places, truth).tolist() == [[IGNORE, IGNORE, BACKGROUND, IGNORE]]
    # IoU of the second: 60 / 140
    assert leave_out_ignored(index, places, truth, by="iou").tolist() == [[IGNORE, BACKGROUND, BACKGROUND, IGNORE]]
    assert index.tolist() == [[BACKGROUND] * 4]
