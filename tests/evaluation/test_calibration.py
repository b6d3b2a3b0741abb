"""Calibration and oLRP: empty and hand-made cases, and plain loops that share no code with them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from detzoo.data import open_dataset
from detzoo.errors import SettingError
from detzoo.evaluation.calibration import calibration_error, reliability
from detzoo.evaluation.lrp import OptimalLrp, mean_lrp, optimal_lrp
from detzoo.evaluation.scored_classes import ScoredClass, scored_classes
from tests.evaluation.test_f1_curves import box, iou, truth


def scored(*rows: tuple[float, bool, float], objects: int, places: Any = None) -> ScoredClass:
    """Of (score, right, IoU) by falling score."""
    table = np.array(rows, dtype=float).reshape(-1, 3)
    where = np.full((len(table), 4), 0.5) if places is None else np.asarray(places, dtype=float)
    return ScoredClass(table[:, 0], table[:, 1] > 0, table[:, 2], where, objects)


def found_at_random(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Each object of some images found about three times, more or less well, some as another class."""
    dataset = open_dataset("shapes:size=128,train=1,val=1,test=8", "test")
    random, rows = np.random.default_rng(seed), []
    for a in dataset.coco_ground_truth()["annotations"]:
        for _ in range(3):
            x, y, w, h = a["bbox"]
            moved = [x + random.uniform(-8, 8), y + random.uniform(-8, 8), w, h]
            category = a["category_id"] if random.random() < 0.8 else int(random.choice(dataset.category_ids))
            score = round(float(random.random()), 2)  # some are equal
            rows.append({"image_id": a["image_id"], "category_id": category, "bbox": moved, "score": score})
    return dataset.coco_ground_truth(), rows


def matched(truth: dict[str, Any], rows: list[dict[str, Any]], category: int) -> list[tuple[float, float]]:
    """(score, IoU or 0) of a class by falling score: each image by itself, a box taken once, the best free one."""
    done = []
    for image in truth["images"]:
        free = [a["bbox"] for a in truth["annotations"] if (a["image_id"], a["category_id"]) == (image["id"], category)]
        own = [d for d in rows if (d["image_id"], d["category_id"]) == (image["id"], category)]
        for d in sorted(own, key=lambda d: -d["score"]):
            best = max(free, key=lambda b, d=d: iou(d["bbox"], b), default=None)  # type: ignore[misc]
            hit = 0.0 if best is None else iou(d["bbox"], best)
            if best is not None and hit >= 0.5:
                free.remove(best)
            done.append((d["score"], hit if hit >= 0.5 else 0.0))
    return sorted(done, key=lambda pair: -pair[0])


def test_no_detections_and_no_objects() -> None:
    empty = scored(objects=0)
    assert math.isnan(calibration_error([]))
    assert math.isnan(calibration_error([empty], by="box"))
    assert reliability([]).detections == 0
    assert all(math.isnan(value) for value in reliability([empty]).precision)
    assert optimal_lrp(empty) is None
    assert math.isnan(mean_lrp([None]))
    missed = optimal_lrp(scored(objects=3))
    assert missed is not None
    assert (missed.value, missed.threshold, missed.false_negative) == (1, None, 1)
    classes = scored_classes([], truth())
    assert [(one.objects, len(one.scores), len(one.ends)) for one in classes.values()] == [(0, 0, 0)] * 3


def test_one_bin_by_hand() -> None:
    # Scores .9, .9, .9, .9, three of them right: 15 % too sure. Two of .5, both right: 50 % too little.
    own = scored(
        (0.9, True, 1), (0.9, True, 1), (0.9, True, 1), (0.9, False, 0), (0.5, True, 1), (0.5, True, 1), objects=9
    )
    assert calibration_error([own]) == pytest.approx(4 / 6 * 0.15 + 2 / 6 * 0.5)
    assert calibration_error([own], least=0.6) == pytest.approx(0.15)
    diagram = reliability([own], bins=2)
    assert diagram.counts == (2, 4)
    assert diagram.score == pytest.approx((0.5, 0.9))  # the upper end is in the bin
    assert diagram.precision == (1.0, 0.75)
    with pytest.raises(SettingError, match="bins is 0; it must be 1 or more"):
        reliability([own], bins=0)
    with pytest.raises(SettingError, match="by is 'size'; allowed: score, centre, box"):
        calibration_error([own], by="size")  # type: ignore[arg-type]


def test_the_place_tells_what_the_score_hides() -> None:
    # Of score .5 eight on the left are all right and eight on the right all wrong: right on the whole.
    rows = [(0.5, n < 8, float(n < 8)) for n in range(16)]
    places = [[0.2 if n < 8 else 0.8, 0.5, 0.1, 0.1] for n in range(16)]
    own = scored(*rows, objects=8, places=places)
    assert calibration_error([own]) == 0
    assert calibration_error([own], by="centre") == calibration_error([own], by="box") == 0.5
    few = scored(*rows[:7], objects=8, places=places[:7])
    assert math.isnan(calibration_error([few], by="box"))  # bins of fewer than 8
    assert math.isnan(calibration_error([scored(*rows, objects=8, places=np.full((16, 4), np.nan))], by="centre"))


@pytest.mark.parametrize("seed", [0, 1])
def test_d_ece_is_that_of_a_plain_loop(seed: int) -> None:
    ground_truth, rows = found_at_random(seed)
    classes = scored_classes(rows, ground_truth)
    pairs = [pair for category in classes for pair in matched(ground_truth, rows, category) if pair[0] >= 0.3]
    whole = 0.0
    for number in range(20):
        own = [(s, hit > 0) for s, hit in pairs if number < round(20 * s, 9) <= number + 1]
        if own:
            whole += abs(sum(hit for _, hit in own) / len(own) - sum(s for s, _ in own) / len(own)) * len(own)
    assert calibration_error(list(classes.values())) == pytest.approx(whole / len(pairs))
    assert reliability(list(classes.values())).detections == len(pairs)


def test_lrp_by_hand() -> None:
    # Two objects. .9 found with IoU .8, .6 false, .4 found with IoU .7.
    own = scored((0.9, True, 0.8), (0.6, False, 0), (0.4, True, 0.7), objects=2)
    # From .9: (.2 / .5 + 0 + 1) / 2 = .7; from .6: (.4 + 1 + 1) / 3 = .8; from .4: (.4 + .6 + 1 + 0) / 3 = .667.
    best = optimal_lrp(own)
    assert best is not None
    assert best.value == pytest.approx(2 / 3)
    assert best == OptimalLrp(best.value, 0.4, best.localisation, best.false_positive, 0.0)
    assert best.localisation == pytest.approx(0.25)
    assert best.false_positive == pytest.approx(1 / 3)
    perfect = optimal_lrp(scored((0.9, True, 1), objects=1))
    assert perfect is not None
    assert (perfect.value, perfect.threshold) == (0, 0.9)
    assert mean_lrp([best, None, perfect]) == pytest.approx(1 / 3)
    wrong = optimal_lrp(scored((0.9, False, 0), objects=1))
    assert wrong is not None
    assert (wrong.value, wrong.threshold) == (1, None)


def test_equal_scores_are_kept_together() -> None:
    own = scored((0.9, True, 1), (0.5, True, 1), (0.5, False, 0), (0.5, False, 0), objects=2)
    assert own.ends.tolist() == [1, 4]
    best = optimal_lrp(own)
    assert best is not None
    assert (best.value, best.threshold) == (0.5, 0.9)  # (0 + 1) / 2, as is (0 + 2) / 4: the higher score


@pytest.mark.parametrize("seed", [0, 1])
def test_olrp_is_that_of_a_plain_loop(seed: int) -> None:
    ground_truth, rows = found_at_random(seed)
    compared = 0
    for category, own in scored_classes(rows, ground_truth).items():
        objects = sum(a["category_id"] == category for a in ground_truth["annotations"])
        best = optimal_lrp(own)
        if not objects:
            assert best is None
            continue
        pairs, least = matched(ground_truth, rows, category), 1.0
        for threshold in {score for score, _ in pairs}:
            kept = [hit for score, hit in pairs if score >= threshold]
            true = [hit for hit in kept if hit]
            false, missed = len(kept) - len(true), objects - len(true)
            error = (sum(2 * (1 - hit) for hit in true) + false + missed) / (len(true) + false + missed)
            least = min(least, error)
        assert best is not None
        assert best.value == pytest.approx(least)
        compared += 1
    assert compared > 2


def test_difficult_and_crowd_boxes_count_neither_way_and_places_are_shares() -> None:
    annotations = [box(1, 0), box(1, 20, ignore=1), box(1, 40, iscrowd=1, area=100)]
    rows = [box(1, 0, score=0.9), box(1, 20, score=0.9), box(1, 40, score=0.9), box(1, 41, score=0.8)]
    data = truth(*annotations) | {"images": [{"id": 1, "width": 100, "height": 50}]}
    own = scored_classes(rows, data)[1]
    assert (own.objects, own.scores.tolist(), own.true.tolist(), own.iou.tolist()) == (1, [0.9], [True], [1.0])
    assert own.places.tolist() == [[0.05, 0.1, 0.1, 0.2]]
