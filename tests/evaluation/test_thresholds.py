"""Thresholds chosen on one split and reported on another: by hand, by a plain loop, and through the command."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from detzoo.cli import app
from detzoo.data import open_dataset
from detzoo.errors import DataError, SettingError
from detzoo.evaluation import evaluate_detections
from detzoo.evaluation.score_records import threshold_record
from detzoo.evaluation.thresholds import Kept, ThresholdRule, class_thresholds, kept_from, threshold_rule
from tests.comparison.result_folders import found_in
from tests.evaluation.test_calibration import scored

DATA = "shapes:size=64,train=2,val=12,test=14"
ROWS = ((0.9, True, 1.0), (0.8, False, 0.0), (0.7, True, 0.9), (0.6, True, 0.6), (0.5, False, 0.0), (0.4, False, 0.0))
"""Precision from .9 down: 1, 1/2, 2/3, 3/4, 3/5, 1/2."""


def test_nothing_to_choose_by() -> None:
    for rule in (ThresholdRule("f1"), ThresholdRule("lrp"), ThresholdRule("precision", 0.5)):
        assert rule.choose(scored(objects=0)) is None
        assert rule.choose(scored(objects=2)) is None
        assert rule.choose(scored(*ROWS, objects=0)) is None
        assert rule.choose(scored((0.9, False, 0), objects=2)) is None
    nothing = kept_from(scored(objects=0), None)
    assert nothing == Kept(0, 0, 0)
    assert all(math.isnan(value) for value in (nothing.precision, nothing.recall, nothing.f1))


@pytest.mark.parametrize(
    ("rule", "score"),
    [
        ("f1", 0.6),  # 2 TP / (kept + 4): 2/5, 2/6, 4/7, 6/8, 6/9, 6/10
        ("lrp", 0.6),  # 3 true, 1 false, 1 missed: (.2 + .8 + 1 + 1) / 5 = .6; at .9 (0 + 3) / 4
        ("precision=0.9", 0.9),
        ("precision=0.75", 0.6),
        ("precision=0.7", 0.6),  # 2/3 on the way does not end the search
        ("precision=0.6", 0.5),
        ("precision=0.5", 0.4),
    ],
)
def test_rules_by_hand(rule: str, score: float) -> None:
    own = threshold_rule(rule)
    assert str(own) == rule
    assert own.choose(scored(*ROWS, objects=4)) == score


@pytest.mark.parametrize(
    "text", ["", "F1", "precision", "precision=", "precision=90", "precision=0", "recall=0.5", "precision=nan"]
)
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(SettingError, match=r"allowed: f1, lrp, or precision=0\.9"):
        threshold_rule(text)


def test_a_precision_that_cannot_be_held() -> None:
    own = scored((0.9, False, 0), *ROWS[2:], objects=4)
    assert threshold_rule("precision=0.9").choose(own) is None


def test_equal_scores_are_kept_together() -> None:
    own = scored((0.9, True, 1), (0.5, True, 1), (0.5, False, 0), objects=2)
    assert threshold_rule("precision=0.9").choose(own) == 0.9
    assert threshold_rule("f1").choose(own) == 0.5  # 4/5 before 2/3


def test_what_is_reported_is_counted_on_the_other_images() -> None:
    chosen, reported = scored(*ROWS, objects=4), scored((0.95, False, 0), (0.6, True, 1), (0.59, True, 1), objects=5)
    found = class_thresholds(threshold_rule("f1"), {"cat": chosen, "dog": chosen}, {"cat": reported})
    assert list(found) == ["cat"]
    cat = found["cat"]
    assert (cat.score, cat.chosen, cat.reported) == (0.6, Kept(3, 1, 4), Kept(1, 1, 5))
    assert (cat.reported.precision, cat.reported.recall) == (0.5, 0.2)
    assert cat.reported.f1 == pytest.approx(2 * 1 / (2 + 5))
    assert cat.chosen + cat.reported == Kept(4, 2, 9)


@pytest.mark.parametrize("aim", ["f1", "precision=0.6"])
def test_a_plain_loop_chooses_the_same(aim: str) -> None:
    rule, rng = threshold_rule(aim), np.random.default_rng(5)
    for _ in range(30):
        rows = sorted(((round(rng.random(), 1), rng.random() < 0.5, 1.0) for _ in range(12)), key=lambda row: -row[0])
        own, objects = scored(*rows, objects=9), 9
        good: dict[float, Any] = {}
        for threshold in {row[0] for row in rows}:
            kept = [row for row in rows if row[0] >= threshold]
            true = sum(row[1] for row in kept)
            if aim == "f1":
                good[threshold] = 2 * true / (len(kept) + objects)
            elif true / len(kept) >= 0.6:
                good[threshold] = -threshold  # the lowest
        best = max(good, key=lambda one: (good[one], one), default=None)
        assert rule.choose(own) == (None if best is not None and not good[best] and aim == "f1" else best)


def rows_of(split: str, wrong: int) -> list[dict[str, Any]]:
    return found_in(open_dataset(DATA, split), shift=1, wrong=wrong)


def test_the_command(tmp_path: Path) -> None:
    for split, wrong in (("val", 3), ("test", 4)):
        (tmp_path / f"{split}.json").write_text(json.dumps(rows_of(split, wrong)))
    words = ["eval", "--from", str(tmp_path / "test.json"), "--data", DATA, "--no-curves", "--calibration"]
    words += ["--thresholds", "precision=0.7", "--choose-from", str(tmp_path / "val.json")]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out")], env={"COLUMNS": "300"})
    assert done.exit_code == 0, done.output
    assert "precision=0.7, chosen on val" in done.output
    assert "D-ECE" in done.output
    kept = json.loads((tmp_path / "out" / "results.json").read_text())
    record = kept["thresholds"]
    assert (record["chosen_on"], record["reported_on"]) == ("val", "test")
    found = [row for own in record["per_class"].values() if (row := own["chosen"])["precision"] is not None]
    assert found
    assert all(row["precision"] >= 0.7 for row in found)
    assert record["all"]["reported"]["objects"] == kept["counts"]["annotations"]
    assert 0 <= kept["calibration"]["d_ece"] <= 1
    assert set(kept["calibration"]["per_class"]) == set(kept["per_class"])


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--thresholds", "f2"], "allowed: f1, lrp, or precision=0.9"),
        (["--thresholds", "f1"], "give the same detector's results on the other split with --choose-from"),
        (["--choose-on", "val"], "give --thresholds as well"),
        (["--thresholds", "f1", "--choose-from", "x.json", "--choose-on", "test"], "test would choose and report them"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, more: list[str], why: str) -> None:
    (tmp_path / "test.json").write_text("[]")
    refused = CliRunner().invoke(app, ["eval", "--from", str(tmp_path / "test.json"), "--data", DATA, *more])
    assert refused.exit_code != 0
    assert why in str(refused.exception) + refused.output


def test_images_that_stand_in_both() -> None:
    truth = open_dataset(DATA, "val").coco_ground_truth()
    one = evaluate_detections(rows_of("val", 3), truth)
    with pytest.raises(DataError, match=r"12 images \(the first: shapes-val-00000\.png\) are in val, which chooses"):
        threshold_record(threshold_rule("f1"), one, one, ("val", "all"))
