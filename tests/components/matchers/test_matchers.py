"""Matchers: torchvision's assignments, Caffe's, and the fields on which they differ."""

import dataclasses

import pytest
import torch
from torchvision.models.detection._utils import Matcher, SSDMatcher
from torchvision.ops import box_iou

from detzoo.components.matchers import max_iou
from detzoo.components.matchers.max_iou import MaxIou
from detzoo.components.matchers.ssd_bipartite import SsdBipartite
from detzoo.errors import RecipeError
from detzoo.ops import matching
from detzoo.types import BACKGROUND, IGNORE, Candidates, Targets

B, OUT = BACKGROUND, IGNORE


@pytest.fixture(autouse=True, params=["at once", "truth by truth"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs through both ways of max_iou, whatever the number of candidates."""
    if request.param == "truth by truth":
        monkeypatch.setattr(max_iou, "ROW_BY_ROW", -1)


def candidates(*boxes: list[float], valid: list[bool] | None = None) -> Candidates:
    return Candidates(
        torch.tensor([list(boxes)], dtype=torch.float32).reshape(1, -1, 4),
        torch.ones(1, len(boxes), dtype=torch.bool) if valid is None else torch.tensor([valid]),
    )


def targets(*boxes: list[float], ignore: list[bool] | None = None, padding: int = 1) -> Targets:
    count = len(boxes)
    flags = torch.zeros(1, count + padding, dtype=torch.bool)
    if ignore is not None:
        flags[0, :count] = torch.tensor(ignore)
    valid = (torch.arange(count + padding) < count).unsqueeze(0)
    padded = torch.tensor([[*boxes, *[[0.0] * 4] * padding]], dtype=torch.float32).reshape(1, -1, 4)
    return Targets(padded, torch.zeros(1, count + padding, dtype=torch.long), flags, valid, torch.zeros(1, 4))


def scene(seed: int, images: int = 4, priors: int = 300, truths: int = 6) -> tuple[Candidates, Targets]:
    generator = torch.Generator().manual_seed(seed)

    def boxes(*shape: int) -> torch.Tensor:
        corner = torch.rand(*shape, 2, generator=generator) * 80
        return torch.cat([corner, corner + 4 + torch.rand(*shape, 2, generator=generator) * 40], dim=-1)

    count = torch.randint(1, truths + 1, (images, 1), generator=generator)
    valid = torch.arange(16) < count
    truth, none = torch.where(valid.unsqueeze(-1), boxes(images, 16), 0), torch.zeros_like(valid)
    return (
        Candidates(boxes(1, priors), torch.ones(1, priors, dtype=torch.bool)),
        Targets(truth, none.long(), none, valid, torch.zeros(images, 4)),
    )


ALL = [SsdBipartite(), SsdBipartite(tie="last_write_wins"), MaxIou(low_quality="always"), MaxIou()]


@pytest.mark.parametrize("matcher", ALL)
@pytest.mark.parametrize("padding", [0, 2])
def test_no_ground_truth_means_background(matcher: SsdBipartite | MaxIou, padding: int) -> None:
    places = candidates([0, 0, 4, 4], [2, 2, 6, 6], valid=[True, False])
    assert matcher(places, targets(padding=padding)).index.tolist() == [[B, OUT]]
    assert matcher(candidates(), targets([0, 0, 1, 1], padding=padding)).index.shape == (1, 0)


@pytest.mark.parametrize("seed", range(5))
def test_last_write_wins_equals_torchvisions_ssd(seed: int) -> None:
    places, truth = scene(seed)
    found = SsdBipartite(tie="last_write_wins")(places, truth)
    for image in range(4):
        matrix = box_iou(truth.boxes[image][truth.valid[image]], places.boxes[0])
        assert torch.equal(found.index[image], SSDMatcher(0.5)(matrix))
        assert found.overlap is not None
        assert torch.equal(found.overlap[image], matrix.amax(0))


@pytest.mark.parametrize("seed", range(5))
def test_max_iou_equals_torchvisions(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "MAX_PAIRS", 3000)  # two ground truths at a time
    places, truth = scene(seed)
    found = MaxIou(positive_threshold=0.7, negative_threshold=0.3, low_quality="always")(places, truth)
    for image in range(4):
        matrix = box_iou(truth.boxes[image][truth.valid[image]], places.boxes[0])
        assert torch.equal(found.index[image], Matcher(0.7, 0.3, allow_low_quality_matches=True)(matrix))


# prior 0 is the best of both ground truths: IoU 16/20 with the first, 16/16 with the second
SHARED_PRIOR = candidates([0, 0, 4, 4], [0, 0, 4, 1], [50, 50, 54, 54])
TWO_TRUTHS = targets([0, 0, 5, 4], [0, 0, 4, 4])


@pytest.mark.parametrize("low_quality", ["always", "above_negative", "never"])
@pytest.mark.parametrize("shared", [True, False])
def test_both_ways_of_max_iou_agree(low_quality: str, shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    places, truth = scene(7)
    generator = torch.Generator().manual_seed(8)
    boxes = places.boxes if shared else places.boxes + torch.rand(4, 1, 1, generator=generator) * 9
    flags = torch.rand(truth.ignore.shape, generator=generator) < 0.2
    flags[3] = True  # an image whose ground truth is all ignored
    truth = dataclasses.replace(truth, ignore=flags)
    places = dataclasses.replace(places, boxes=boxes, valid=torch.rand(boxes.shape[:2], generator=generator) < 0.8)
    found = []
    for limit in (8192, -1):
        monkeypatch.setattr(max_iou, "ROW_BY_ROW", limit)
        for thresholds in ((0.6, 0.3), (0.3, 0.0), (0.0, 0.0)):
            matcher = MaxIou(
                positive_threshold=thresholds[0],
                negative_threshold=thresholds[1],
                low_quality=low_quality,  # type: ignore[arg-type]
            )
            found.append(matcher(places, truth))
    for one, other in zip(found[:3], found[3:], strict=True):
        assert torch.equal(one.index, other.index)
        assert one.overlap is not None
        assert other.overlap is not None
        assert torch.equal(one.overlap, other.overlap)
    assert (found[1].index >= 0).any()


def test_bipartite_gives_the_loser_its_next_best() -> None:
    assert SsdBipartite()(SHARED_PRIOR, TWO_TRUTHS).index.tolist() == [[1, 0, B]]


def test_last_write_wins_forgets_the_loser() -> None:
    matcher = SsdBipartite(tie="last_write_wins")
    assert matcher(SHARED_PRIOR, TWO_TRUTHS).index.tolist() == [[1, B, B]]
    # in the other order the worse pair takes the prior
    assert matcher(SHARED_PRIOR, targets([0, 0, 4, 4], [0, 0, 5, 4])).index.tolist() == [[1, B, B]]


@pytest.mark.parametrize(("inclusive", "expected"), [(True, 0), (False, B)])
def test_iou_equal_to_the_threshold(inclusive: bool, expected: int) -> None:
    places = candidates([0, 0, 4, 4], [0, 0, 4, 2])  # IoU 1, and exactly 1/2
    truth = targets([0, 0, 4, 4])
    assert SsdBipartite(inclusive=inclusive)(places, truth).index.tolist() == [[0, expected]]
    assert MaxIou(inclusive=inclusive)(places, truth).index.tolist() == [[0, expected]]


def test_negative_threshold_leaves_a_gap() -> None:
    places = candidates([0, 0, 4, 4], [0, 0, 4, 1.8], [0, 0, 4, 0.4])  # IoU 1, .45, .1
    assert SsdBipartite()(places, targets([0, 0, 4, 4])).index.tolist() == [[0, B, B]]
    assert SsdBipartite(negative_threshold=0.4)(places, targets([0, 0, 4, 4])).index.tolist() == [[0, OUT, B]]


@pytest.mark.parametrize(
    ("low_quality", "iou", "expected"),
    [("always", 0.3, 0), ("above_negative", 0.3, B), ("above_negative", 0.45, 0), ("never", 0.45, OUT)],
)
def test_low_quality_matches(low_quality: str, iou: float, expected: int) -> None:
    places = candidates([0, 0, 10, 10 * iou], [20, 20, 30, 30])
    matcher = MaxIou(positive_threshold=0.5, negative_threshold=0.4, low_quality=low_quality)  # type: ignore[arg-type]
    assert matcher(places, targets([0, 0, 10, 10])).index.tolist() == [[expected, B]]


def test_truth_that_overlaps_nothing_rescues_nothing() -> None:
    places = candidates([0, 0, 4, 4], [5, 5, 9, 9])
    assert MaxIou(low_quality="always")(places, targets([70, 70, 80, 80])).index.tolist() == [[B, B]]
    assert SsdBipartite()(places, targets([70, 70, 80, 80])).index.tolist() == [[B, B]]


@pytest.mark.parametrize(("by", "expected"), [("area", [0, OUT, B]), ("iou", [0, B, B])])
def test_candidates_on_ignored_truth_leave_the_loss(by: str, expected: list[int]) -> None:
    # the second candidate lies wholly inside a crowd 25 times its size; the third touches it by a quarter of itself
    places = candidates([40, 40, 44, 44], [2, 2, 6, 6], [18, 18, 22, 22])
    truth = targets([40, 40, 44, 44], [0, 0, 20, 20], ignore=[False, True])
    assert SsdBipartite(ignore_by=by)(places, truth).index.tolist() == [expected]  # type: ignore[arg-type]
    assert MaxIou(ignore_by=by)(places, truth).index.tolist() == [expected]  # type: ignore[arg-type]


@pytest.mark.parametrize("matcher", ALL)
def test_ignored_truth_is_never_positive(matcher: SsdBipartite | MaxIou) -> None:
    assert matcher(candidates([0, 0, 4, 4]), targets([0, 0, 4, 4], ignore=[True])).index.tolist() == [[OUT]]


@pytest.mark.parametrize(("plus_one", "expected"), [(False, B), (True, 0)])
def test_plus_one_iou(plus_one: bool, expected: int) -> None:
    places = candidates([0, 0, 4, 1.9])  # 7.6 / 16 = .475; with both edges 14.5 / 25 = .58
    assert MaxIou(legacy_plus_one=plus_one)(places, targets([0, 0, 4, 4])).index.tolist() == [[expected]]


def test_border_anchors_are_dropped_in_training_before_the_rescue() -> None:
    # on an image of 20 x 10 px inside a larger network input: the first crosses its left border by 2 px, the second
    # lies inside, the third touches the right border, the fourth crosses it by half a pixel
    places = candidates([-2, 0, 8, 10], [0, 0, 5, 10], [12, 0, 20, 10], [12.5, 0, 20.5, 10])
    truth = dataclasses.replace(targets([0, 0, 8, 10]), region=torch.tensor([[0.0, 0.0, 20.0, 10.0]]))
    # IoU .8 and 5/8: without the rule the rescue takes the first alone, with it the best of those inside
    rpn = {"positive_threshold": 0.85, "negative_threshold": 0.3, "low_quality": "always"}
    assert MaxIou(**rpn)(places, truth).index.tolist() == [[0, OUT, B, B]]  # type: ignore[arg-type]
    assert MaxIou(**rpn, straddle=0)(places, truth).index.tolist() == [[OUT, 0, B, OUT]]  # type: ignore[arg-type]
    assert MaxIou(**rpn, straddle=0.5)(places, truth).index.tolist() == [[OUT, 0, B, B]]  # type: ignore[arg-type]
    assert MaxIou(**rpn, straddle=2)(places, truth).index.tolist() == [[0, OUT, B, B]]  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(3))
def test_equals_matching_the_inside_candidates_alone(seed: int) -> None:
    places, truth = scene(seed)
    region = torch.tensor([[0, 0, 90, 100], [5, 10, 80, 120], [0, 0, 3, 3], [20, 0, 110, 60]], dtype=torch.float32)
    truth = dataclasses.replace(truth, region=region)
    matcher = MaxIou(positive_threshold=0.7, negative_threshold=0.3, low_quality="always", straddle=4)
    found = matcher(places, truth).index
    for image in range(4):
        x1, y1, x2, y2 = region[image].tolist()
        inside = [
            row
            for row, (a, b, c, d) in enumerate(places.boxes[0].tolist())
            if a >= x1 - 4 and b >= y1 - 4 and c <= x2 + 4 and d <= y2 + 4
        ]
        expected = torch.full((300,), OUT)
        if inside:
            matrix = box_iou(truth.boxes[image][truth.valid[image]], places.boxes[0, inside])
            rows = (matrix > 0).any(1).nonzero().squeeze(1)  # torchvision: all tie for a truth that overlaps nothing
            expected[inside] = B
            if len(rows):
                index = Matcher(0.7, 0.3, allow_low_quality_matches=True)(matrix[rows])
                expected[inside] = torch.where(index >= 0, rows[index.clamp(min=0)], index)
        assert torch.equal(found[image], expected)
        assert (len(inside) == 0) == (image == 2)


@pytest.mark.parametrize(("floor", "expected"), [(0.0, [0, B, B, B]), (0.1, [0, B, B, OUT])])
def test_hard_negatives_of_fast_rcnn_overlap_at_least_a_tenth(floor: float, expected: list[int]) -> None:
    places = candidates([0, 0, 10, 10], [0, 0, 10, 4.9], [0, 0, 10, 1], [30, 30, 40, 40])  # IoU 1, .49, .1, 0
    matcher = MaxIou(positive_threshold=0.5, negative_threshold=0.5, negative_floor=floor)
    assert matcher(places, targets([0, 0, 10, 10])).index.tolist() == [expected]
    # an image without objects has no hard negatives: all of it is background, as with every matcher
    assert matcher(places, targets()).index.tolist() == [[B] * 4]


def test_thresholds_out_of_order() -> None:
    with pytest.raises(RecipeError) as error:
        MaxIou(negative_floor=0.6)
    assert str(error.value) == (
        "matcher max_iou: negative_floor 0.6 exceeds negative_threshold 0.5; nothing would be background: "
        "lower the first or raise the second"
    )
    with pytest.raises(RecipeError) as error:
        MaxIou(positive_threshold=0.4, negative_threshold=0.5)
    assert str(error.value) == (
        "matcher max_iou: negative_threshold 0.5 exceeds positive_threshold 0.4; lower the first or raise the second"
    )
