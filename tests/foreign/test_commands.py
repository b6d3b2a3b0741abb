"""eval, bench, predict and compare take a foreign detector; one that fails costs its own row alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from detzoo.benchmark import TimingOptions, benchmark
from detzoo.cli import app
from detzoo.comparison.plan import ComparisonPlan
from detzoo.comparison.run_comparison import compare
from detzoo.data import open_dataset
from detzoo.detector_loading import load_detector
from detzoo.errors import DetzooError, RecipeError, WeightsError
from detzoo.evaluation import evaluate
from detzoo.foreign.detector import load_foreign
from detzoo.foreign.errors import ForeignError
from tests.foreign.conftest import COUNT

FILE = Path(__file__).with_name("misbehaving.py")
PAINTED = f"{FILE}:Painted"


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_eval(painted: Path, tmp_path: Path) -> None:
    done = run("eval", PAINTED, "--data", str(painted), "--out", str(tmp_path / "out"), "--device", "cpu")
    assert done.exit_code == 0, done.output
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (results["metrics"]["AP"], results["metrics"]["AR100"]) == (1.0, 1.0)
    assert results["counts"]["images"] == COUNT
    assert results["model"] == {"name": "misbehaving.py:Painted", "classes": ["red", "green"], "parameters": 0}
    told = results["protocol"]["program"]
    assert (told["kind"], told["version"]) == ("callable", "1.2")
    assert "module 'os'" in told["path"]  # what is no plain value is written as text
    assert "precision" not in results["protocol"]


def test_names_and_thresholds(painted: Path) -> None:
    """A shift of 5 px leaves IoU 15/25 and 7/17 of the red box' sides: no match at 0.5, so AP is 0."""
    dataset = open_dataset(str(painted), None)
    options = {"arguments": {"shift": "5"}, "classes": "Red_Thing,GREEN", "aliases": {"Red_Thing": "red"}}
    evaluation = evaluate(load_foreign(PAINTED, options), dataset, progress=False)
    assert evaluation.per_class["red"]["AP50"] == 0
    assert any("spelled differently" in warning and "'GREEN'" in warning for warning in evaluation.warnings)
    with pytest.raises(DetzooError, match=r"it has no output for green \(near: greene\).*--set aliases=\{ITS_NAME"):
        evaluate(load_foreign(PAINTED, {"classes": "red,greene"}), dataset, progress=False)
    none = evaluate(load_foreign(PAINTED), dataset, score_threshold=0.95, progress=False)
    assert none.facts["counts"]["detections"] == 0


def test_predict(painted: Path, tmp_path: Path) -> None:
    done = run("predict", f"{FILE}:make", str(painted.parent / "0.png"), "--out", str(tmp_path), "--fold")
    assert done.exit_code == 0, done.output
    (record,) = json.loads((tmp_path / "detections.json").read_text())["images"]
    assert [one["box"] for one in record["detections"]] == [[2.0, 3.0, 22.0, 15.0], [30.0, 20.0, 55.0, 38.0]]
    assert [one["class"] for one in record["detections"]] == ["red", "green"]


def test_bench_times_the_whole(painted: Path) -> None:
    done = run(
        "bench", PAINTED, f"{FILE}:always_nan", "--iterations", "2", "--warmup", "1", "--json", "--device", "cpu"
    )
    assert "not finite" in str(done.exception)  # exit code 2, and the other is timed
    timed, failed = json.loads(done.stdout)
    assert (timed["name"], list(timed["latency_ms"])) == ("misbehaving.py:Painted", ["total"])
    assert timed["cost"]["parameters"] == 0
    assert timed["protocol"]["program"]["version"] == "1.2"
    assert "not finite" in failed["failed"]
    shown = run("bench", PAINTED, "--iterations", "1", "--warmup", "0").stdout
    assert "times: batch 1, 1 rounds" in shown  # of its precision nothing is known


def test_what_carries_images_is_not_timed() -> None:
    """Each call sleeps 20 ms, and 50 MB travel to it: the call alone is counted."""
    detector = load_foreign(f"{FILE}:sleeps")
    timed = benchmark(detector, TimingOptions(device="cpu", size=(4000, 4000), iterations=3, warmup=0))
    assert 20 <= timed.latency_ms["total"]["p50"] < 20 + 1e3 * detector.transport / 3
    assert detector.transport > 0


def test_compare(painted: Path, tmp_path: Path) -> None:
    hanging = tmp_path / "hanging.yaml"
    hanging.write_text(f"foreign: {FILE}:hangs_at_once\nclasses: [red, green]\ntime_limit: 0.2\n")
    dies = tmp_path / "dies.yaml"
    dies.write_text(f"foreign: {FILE}:dies_at_once\nclasses: [red, green]\n")
    targets = [PAINTED, f"{FILE}:always_nan", str(hanging), str(dies)]
    plan = ComparisonPlan(
        targets=targets,
        data=str(painted),
        out=tmp_path / "out",
        device="cpu",
        iterations=1,
        largest_batch=1,
        examples=1,
    )
    said: list[str] = []
    done = compare(plan, said.append)
    (row,) = done.entries
    assert row.results["metrics"]["AP"] == 1.0
    assert row.benchmark["row"]["latency_p50_ms"] > 0
    assert row.facts.architecture == "callable"
    assert re.search("not finite", done.failures[targets[1]])
    assert re.search("no answer within", done.failures[targets[2]])
    assert re.search("killed by SIG", done.failures[targets[3]])
    again: list[str] = []
    compare(plan, again.append)
    assert "misbehaving.py_Painted: already done" in again


def test_what_needs_parts_says_so() -> None:
    with pytest.raises(WeightsError, match="is a foreign detector: eval, bench, predict and compare take it"):
        load_detector(PAINTED)


@pytest.mark.parametrize(
    ("target", "options", "told"),
    [
        ("no.onnx", [], r"^no\.onnx: no such file"),
        ("no_such_module:detect", [], r"there is no module no_such_module; it is looked for"),
        ("hf:", [], r"^hf:: a name is missing after the colon"),
        (PAINTED, ["preset=yolox"], r"preset: is an option of onnx, .*is none of them; take it away"),
        (PAINTED, ["timelimit=3"], r"--set timelimit: .*time_limit"),
        (PAINTED, ["time_limit=0"], r"--set time_limit: .*found 0"),
        (PAINTED, ["classes=names.txt"], r"--set classes: classes: names\.txt: no such file"),
        ("mine", [], r"not a foreign detector; give a file \(\.onnx"),
    ],
)
def test_mistakes(target: str, options: list[str], told: str) -> None:
    with pytest.raises((ForeignError, RecipeError), match=told):
        assert load_foreign(target, options).classes


def test_compare_begins_with_what_can_be_known(painted: Path, tmp_path: Path) -> None:
    plan = ComparisonPlan(targets=[PAINTED, "no.onnx"], data=str(painted), out=tmp_path / "out")
    with pytest.raises(ForeignError, match=r"^no\.onnx: no such file"):
        compare(plan)
    assert not (tmp_path / "out").exists()
