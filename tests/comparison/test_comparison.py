"""detzoo compare, with a detector that finds nothing but costs nothing either."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detzoo.comparison.measuring import fingerprint
from detzoo.comparison.page import curve_of
from detzoo.comparison.plan import ComparisonPlan
from detzoo.comparison.row_names import unique_names
from detzoo.comparison.run_comparison import compare
from detzoo.components.postprocess.top_k import TopK
from detzoo.data import open_dataset
from detzoo.data.formats.opening import evaluation_split
from detzoo.data.shapes import CLASSES
from detzoo.errors import DataError, DetzooError
from detzoo.interfaces import Detector
from detzoo.plugins.registry import Registry
from detzoo.prediction.input_spec import InputSpec
from detzoo.recipes.recipe import Recipe, load_recipe
from detzoo.types import Candidates, ImageBatch, Predictions, Targets

DATA = "shapes:size=64,train=4,val=3,test=3"
BUILT: list[str] = []


class Guess(Detector):
    """The whole image, as a circle."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = CLASSES
        self.input = InputSpec(size=(32, 32))
        self.postprocess = TopK()
        self.recipe = Recipe("Guess", {})
        self.weight = nn.Parameter(torch.ones(()))

    def network(self, batch: ImageBatch, targets: Targets | None = None) -> tuple[Candidates, Predictions]:
        count = len(batch.pixels)
        scores = nn.functional.pad(self.weight.expand(count, 1, 1) * 0.9, (0, len(CLASSES) - 1))
        found = Predictions(scores, "linear", torch.zeros(count, 1, 1, 4))
        return Candidates(batch.region[:, None], torch.ones(count, 1, dtype=torch.bool)), found

    def losses(self, batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        return {}


class Untimed(Guess):
    """Can be evaluated, not timed."""

    def network(self, batch: ImageBatch, targets: Targets | None = None) -> tuple[Candidates, Predictions]:
        if any(call.name == "warm_up" for call in traceback.extract_stack()):
            raise RuntimeError("out of luck\nwhile timing")
        return super().network(batch, targets)


class Broken(Guess):
    """Raises what is no error of detzoo's."""

    def network(self, batch: ImageBatch, targets: Targets | None = None) -> tuple[Candidates, Predictions]:
        raise AttributeError("'NoneType' object has no attribute 'next_functions'")


@pytest.fixture(autouse=True)
def _guess(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(target: str, **_: Any) -> Detector:
        if target == "vanished":
            raise DetzooError("its weights cannot be fetched")
        BUILT.append(target)
        return {"slow": Untimed, "broken": Broken}.get(target, Guess)()

    def find(target: str, **_: Any) -> None:
        if target == "missing":
            raise DetzooError("there is no such detector")

    BUILT.clear()
    monkeypatch.setattr("detzoo.comparison.measuring.load_any_detector", load)
    monkeypatch.setattr("detzoo.comparison.measuring.load_recipe", lambda target, _: Recipe(target, {}))
    monkeypatch.setattr("detzoo.comparison.run_comparison.find_target", find)


def plan(out: Path, *targets: str, **changes: Any) -> ComparisonPlan:
    return ComparisonPlan(targets=targets, data=DATA, out=out, iterations=1, largest_batch=2, **changes)


def test_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(DetzooError) as caught:
        compare(plan(tmp_path))
    assert str(caught.value) == "detzoo compare needs at least one detector: a name, a recipe file, a run or results"
    with pytest.raises(DetzooError) as caught:
        compare(plan(tmp_path, "a", "missing"))
    assert str(caught.value) == "there is no such detector"
    with pytest.raises(DetzooError) as caught:
        compare(plan(tmp_path, "vanished"))
    assert str(caught.value) == "vanished: its weights cannot be fetched"


def test_files_and_going_on(tmp_path: Path) -> None:
    said: list[str] = []
    done = compare(plan(tmp_path, "a", "vanished", "b"), said.append)
    assert [entry.name for entry in done.entries] == ["a", "b"]
    assert done.failures == {"vanished": "its weights cannot be fetched"}
    assert {path.name for path in done.files} == {"index.html", "table.md", "table.csv", "table.json", "speed_ap.png"}
    assert all(path.stat().st_size for path in done.files)
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["a", "b", "vanished"]  # the last without numbers
    timed = {"latency_p50_ms", "best_images_per_s", "peak_memory_mib"}
    assert timed | {"AP", "voc07_AP50", "params_m"} <= set(rows[0])
    assert "images_per_s" not in rows[0]  # one throughput, not two that disagree
    page = (tmp_path / "index.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 3  # three images, once each
    assert page.count("<figure ") == 3 * 3  # as the ground truth and two detectors have them
    assert BUILT == ["a", "b"]

    # A second call measures only what is new, or what changed.
    again = compare(plan(tmp_path, "a", "b", "c"), said.append)
    assert BUILT == ["a", "b", "c"]
    assert "a: already done" in said
    assert again.entries[0] == done.entries[0]
    compare(plan(tmp_path, "a", batch=2))
    assert BUILT == ["a", "b", "c", "a"]


def test_what_a_recipe_extends_and_corrected_annotations_are_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_registry: Registry
) -> None:
    monkeypatch.setattr("detzoo.comparison.measuring.load_recipe", load_recipe)
    parent, child = tmp_path / "parent.yaml", tmp_path / "child.yaml"
    changes = "{api: 1, detectors: {parent: {extends: toy_detector, postprocess: {score_threshold: %s}}}}"
    parent.write_text(changes % 0.1)
    child.write_text("{api: 1, detectors: {child: {extends: parent.yaml}}}")
    asked, data = plan(tmp_path, str(child)), open_dataset(DATA, split="test")
    first = fingerprint(asked, str(child), data)
    assert fingerprint(asked, str(child), open_dataset(DATA, split="test")) == first
    data.annotations().boxes[0, 0] += 1
    assert fingerprint(asked, str(child), data) != first
    data.annotations().boxes[0, 0] -= 1
    assert fingerprint(asked, str(child), data) == first
    parent.write_text(changes % 0.2)
    assert fingerprint(asked, str(child), data) != first


def test_one_detector_s_failure_costs_no_other_row(tmp_path: Path) -> None:
    said: list[str] = []
    done = compare(plan(tmp_path, "broken", "slow", "a"), said.append)
    assert [entry.name for entry in done.entries] == ["slow", "a"]
    assert list(done.failures) == ["broken"]
    assert "next_functions" in done.failures["broken"]
    assert any("Traceback" in line for line in said)  # for whoever wrote the detector
    table = (tmp_path / "table.md").read_text().split("### ")[1]  # the second one is of protocols
    rows = {line.split("|")[1].strip(): line for line in table.splitlines() if line.startswith("| ")}
    assert "failed" in rows["slow"]
    assert "failed" in rows["broken"]
    assert "failed" not in rows["a"]
    assert "out of luck" in table
    assert (tmp_path / "index.html").read_text().count("failed") >= 2
    # what failed is tried again, what was measured is not
    compare(plan(tmp_path, "slow", "a"))
    assert BUILT == ["broken", "slow", "a", "slow"]


def test_interrupted_while_writing_its_numbers(tmp_path: Path) -> None:
    compare(plan(tmp_path, "a"))
    (tmp_path / "detectors" / "a" / "numbers.json").write_text("{")
    compare(plan(tmp_path, "a"))
    assert BUILT == ["a", "a"]


def test_folders_of_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(DataError) as caught:
        compare(plan(tmp_path, "a"))
    assert str(caught.value) == (
        f"{tmp_path} is not empty and no comparison of detzoo (no comparison.json in it); choose another --out"
    )
    with pytest.raises(DataError) as caught:
        compare(plan(tmp_path / "thesis.tex", "a"))
    assert str(caught.value) == f"{tmp_path / 'thesis.tex'} is a file; --out takes a folder"


def test_names() -> None:
    assert unique_names(["ssd300", "runs/a", "other/a", "mine.yaml#cells", "runs/b/run"]) == [
        "ssd300",
        "a",
        "a-2",
        "mine.yaml+cells",
        "b",
    ]


def test_split() -> None:
    assert evaluation_split("shapes", None) == "test"
    assert evaluation_split("shapes", "val") == "val"


def test_curve(tmp_path: Path) -> None:
    assert curve_of(None) == curve_of(tmp_path) == []
    (tmp_path / "curve.csv").write_text("epoch,AP,AP50\n1,,\n2,0.25,0.5\n")
    assert curve_of(tmp_path) == [(2.0, 0.25)]
