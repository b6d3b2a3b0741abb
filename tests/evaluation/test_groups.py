"""Evaluations whose images come in groups: k equal images of one scene tell no more than one of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from detzoo.cli import app
from detzoo.comparison.plan import ComparisonPlan
from detzoo.comparison.run_comparison import compare
from detzoo.data import open_dataset
from detzoo.errors import DataError
from detzoo.evaluation import Evaluation, evaluate, evaluate_detections, paired_difference, resample
from tests.comparison.result_folders import found_in, write_results
from tests.evaluation.conftest import PaintFinder, Paintings

DATA = "shapes:size=64,train=2,val=2,test=40"


def scenes(number: int, copies: int, *, grouped: bool = True, better: int = 0) -> Evaluation:
    """Images of scenes, each scene so many equal images; in two of three scenes the object is found."""
    box = [0.0, 0.0, 50.0, 50.0]
    ids = {1000 * scene + copy: scene for scene in range(number) for copy in range(copies)}
    truth: dict[str, Any] = {
        "images": [{"id": image, "height": 90, "width": 90} for image in ids],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": n, "image_id": image, "category_id": 1, "bbox": box, "area": 2500.0, "iscrowd": 0}
            for n, image in enumerate(ids, start=1)
        ],
    }
    there = {image: scene for image, scene in ids.items() if scene % 3 or scene < better}
    rows = [{"image_id": i, "category_id": 1, "bbox": box, "score": 0.9 - 0.01 * scene} for i, scene in there.items()]
    wrong = {"category_id": 1, "bbox": [60.0, 60.0, 20.0, 20.0]}
    rows += [wrong | {"image_id": i, "score": 0.895 - 0.01 * scene} for i, scene in ids.items() if scene % 4 == 0]
    return evaluate_detections(rows, truth, groups=ids if grouped else None)


@pytest.mark.parametrize("metric", ["AP", "AP50", "AR100", "voc10_AP50"])
def test_k_equal_images_of_n_scenes_have_the_interval_of_n_images(metric: str) -> None:
    one, many = scenes(24, 1), scenes(24, 5)
    assert many.metrics[metric] == pytest.approx(one.metrics[metric])
    alone, together, apart = one.interval(metric), many.interval(metric), scenes(24, 5, grouped=False).interval(metric)
    assert alone is not None
    assert together is not None
    assert apart is not None
    assert [together.low, together.high] == pytest.approx([alone.low, alone.high], abs=1e-6)
    # Taken for 120 images, they would seem to tell more by the square root of five.
    assert (together.high - together.low) / (apart.high - apart.low) == pytest.approx(5**0.5, rel=0.25)


def test_the_difference_of_two_detectors() -> None:
    deviations = []
    for copies in (1, 5):
        better, poorer = resample([scenes(24, copies, better=10), scenes(24, copies)])
        deviations.append(paired_difference(better, poorer).deviation)
    assert deviations[1] == pytest.approx(deviations[0], abs=1e-6)
    assert deviations[0] > 0.01
    with pytest.raises(DataError, match="have different groups of images; evaluate all on the same dataset"):
        resample([scenes(24, 5), scenes(24, 5, grouped=False)])


def test_too_few_groups() -> None:
    assert scenes(8, 5).interval("AP") is None
    assert scenes(8, 5).resampled.too_few("AP") == "too few: objects in 8 groups of images; 10 are needed"


def test_a_datasets_own_groups_are_taken() -> None:
    found = evaluate(PaintFinder(), Paintings(count=4, groups=("a", "a", "b", "a"), broken=(1,)), progress=False)
    assert found.groups == {100: "a", 101: "a", 102: "b", 103: "a"}
    assert found.resampled.design.units == (0, 1, 0)
    assert found.with_intervals().as_dict()["intervals"]["drawn"] == "groups of images"
    assert evaluate(PaintFinder(), Paintings(count=2), progress=False).groups is None


def test_the_command(tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    dataset = open_dataset(DATA, "test")
    rows.write_text(json.dumps(found_in(dataset, shift=1, wrong=4)))
    words = ["eval", "--from", str(rows), "--data", DATA, "--split", "test", "--no-curves"]
    done = CliRunner().invoke(app, [*words, "--intervals", "--groups", r"000(\d\d)\.", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "out" / "results.json").read_text())["intervals"]["drawn"] == "groups of images"
    refused = CliRunner().invoke(app, [*words, "--groups", "folder"])
    assert refused.exit_code != 0
    assert "give --intervals as well" in str(refused.exception) + refused.output


def test_a_comparison(tmp_path: Path) -> None:
    dataset = open_dataset(DATA, "test")
    rows = {name: found_in(dataset, shift=2, wrong=wrong) for name, wrong in (("one", 3), ("two", 4))}
    folders = [write_results(tmp_path / n, dataset, own, architecture="ssd", side=64) for n, own in rows.items()]

    def notes(groups: str | None) -> str:
        plan = ComparisonPlan([str(f) for f in folders], DATA, tmp_path / "out", groups=groups, examples=0)
        return "\n".join(compare(plan, lambda _: None).table.notes)

    assert "resamples of 40 images;" in notes(None)
    assert "resamples of 24 groups of images;" in notes(r"000([0-3][02468]|[0-3])")  # the odd ones of each ten are one
