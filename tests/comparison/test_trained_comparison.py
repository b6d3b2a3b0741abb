"""``detzoo compare --train``: real trainings, by the workers of a sweep; what is done is not done again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from detzoo.comparison.candidates import Candidate
from detzoo.comparison.plan import ComparisonPlan
from detzoo.comparison.run_comparison import compare
from detzoo.comparison.training import missing, selecting_split
from detzoo.data import open_dataset
from detzoo.errors import DetzooError
from detzoo.runtime.drawing import write_image
from detzoo.runtime.folder_claim import wait_for_folder
from detzoo.training.log import read_curve
from detzoo.training.options import TrainOptions
from tests.experiments.processes import DATA, resumed_after, wait_for

DEMO = Path(__file__).parents[2] / "detzoo" / "comparison" / "demo.yaml"
TARGETS = [f"{DEMO}#ssd_resnet18", f"{DEMO}#ssd_resnet18_fpn"]
NAMES = ["demo.yaml+ssd_resnet18", "demo.yaml+ssd_resnet18_fpn"]


def detzoo(out: Path, *arguments: str, targets: Sequence[str] = TARGETS) -> subprocess.Popen[str]:
    """``detzoo compare --train`` as a process of its own."""
    shared = ["--data", DATA, "--out", str(out), "--train", "--device", "cpu", "--iterations", "1"]
    shared += ["--largest-batch", "1", "--workers", "0", "--examples", "1", "--set", "train.batch=4"]
    return subprocess.Popen(
        [sys.executable, "-m", "detzoo", "compare", *targets, *shared, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
    )


def test_places_without_training(tmp_path: Path) -> None:
    with pytest.raises(DetzooError) as caught:
        compare(ComparisonPlan(targets=TARGETS, data=DATA, out=tmp_path / "c", devices="cpu,cpu"))
    assert str(caught.value) == "--devices and --ray choose where --train runs; add --train, or leave them out"
    assert not (tmp_path / "c").exists()


def test_what_is_trained(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    dataset = open_dataset(DATA, "test")
    targets = {"a": TARGETS[0], "run": str(tmp_path / "run"), "b": "nothing_of_that_name"}
    plan = ComparisonPlan(
        targets=list(targets.values()),
        data=DATA,
        out=tmp_path / "c",
        train=True,
        training=TrainOptions(epochs=2),
        overrides=["train.batch=2"],
    )
    candidates = [Candidate(name, target, None if name == "run" else plan.training) for name, target in targets.items()]
    jobs, keys, failed = missing(plan, candidates, dataset)
    assert [(job.name, job.command.out, job.command.overrides) for job in jobs] == [
        ("a", tmp_path / "c" / "detectors" / "a" / "run", ("train.batch=2",))
    ]
    assert (jobs[0].command.train_split, jobs[0].command.val_split, jobs[0].command.epochs) == ("train", "val", 2)
    assert (list(keys), list(failed)) == (["a"], ["b"])
    assert failed["b"].startswith('unknown detector "nothing_of_that_name"')


@pytest.mark.parametrize(
    ("learned", "compared", "selects"),
    [("train", "test", ["val"]), ("train", "val", []), ("train", "val+test", []), ("train+val", "test", [])],
)
def test_nothing_is_chosen_by_what_is_learned_from_or_compared_on(
    tmp_path: Path, learned: str, compared: str, selects: list[str]
) -> None:
    plan = ComparisonPlan(targets=TARGETS[:1], data=DATA, out=tmp_path / "c", train=True, train_split=learned)
    dataset = open_dataset(DATA, compared.partition("+")[0])
    dataset.annotations()  # drawn before their split's name goes
    dataset.split = compared  # generated images know no union
    assert selecting_split(plan, dataset) == selects


def photographs(folder: Path) -> Path:
    """A YOLO dataset of two images in each of three splits."""
    for split in ("train", "val", "test"):
        for number in range(2):
            image = folder / "images" / split / f"{number}.png"
            label = folder / "labels" / split / f"{number}.txt"
            image.parent.mkdir(parents=True, exist_ok=True)
            label.parent.mkdir(parents=True, exist_ok=True)
            write_image(image, np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8))
            label.write_text("0 0.5 0.5 0.5 0.5\n")
    (folder / "data.yaml").write_text("train: images/train\nval: images/val\ntest: images/test\nnames: [cat]\n")
    return folder / "data.yaml"


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_corrected_annotation_of_any_split_is_another_row(split: str, tmp_path: Path) -> None:
    data = photographs(tmp_path / "data")

    def key() -> str:
        plan = ComparisonPlan(targets=TARGETS[:1], data=str(data), out=tmp_path / "c", train=True)
        return missing(plan, [Candidate("a", TARGETS[0], plan.training)], open_dataset(str(data), "test"))[1]["a"]

    first = key()
    assert key() == first
    label = tmp_path / "data" / "labels" / split / "1.txt"
    label.write_text("0 0.5 0.5 0.5 0.25\n")
    assert key() != first
    label.write_text("0 0.5 0.5 0.5 0.5\n")
    assert key() == first


@pytest.mark.slow
def test_a_corrected_training_annotation_does_not_pass_for_the_one_that_was_learned_from(tmp_path: Path) -> None:
    plan = ComparisonPlan(
        targets=TARGETS[:1], data=str(photographs(tmp_path / "data")), out=tmp_path / "c", train=True,
        training=TrainOptions(steps=1), overrides=["train.batch=2", "input.size=[64, 64]"],
        device="cpu", iterations=1, largest_batch=1, workers=0, examples=1,
    )  # fmt: skip
    compare(plan)
    said: list[str] = []
    compare(plan, said.append)
    assert said == [f"{NAMES[0]}: already done"]
    (tmp_path / "data" / "labels" / "train" / "0.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    with pytest.raises(DetzooError, match=r"cannot resume, this is another training:\n  run.data.annotations: "):
        compare(plan)


@pytest.mark.slow
def test_a_recipe_that_is_changed_during_training_does_not_pass_for_the_trained_one(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(DEMO.read_text())
    plan = ComparisonPlan(
        targets=[f"{recipe}#ssd_resnet18"], data=DATA, out=tmp_path / "c", train=True,
        training=TrainOptions(steps=1), overrides=["train.batch=4"],
        device="cpu", iterations=1, largest_batch=1, workers=0, examples=1,
    )  # fmt: skip

    def change(line: str) -> None:
        print(line)
        if line.startswith("mine.yaml+ssd_resnet18: done"):
            recipe.write_text(recipe.read_text().replace("rise: 0.2", "rise: 0.3"))

    compare(plan, change)
    with pytest.raises(DetzooError, match=r"cannot resume, this is another training:\n  recipe.*rise: 0.2 in the run"):
        compare(plan)


def test_where_it_is_trained(tmp_path: Path) -> None:
    plan = ComparisonPlan(targets=[], data=DATA, out=tmp_path, train=True, device="cuda:1", ray_cpus=3)
    places = plan.training_places()
    assert (places.devices, places.ray, places.ray_cpus, places.ray_gpus) == ("cuda:1", None, 3, None)
    assert ComparisonPlan(
        targets=[], data=DATA, out=tmp_path, device="cpu", devices="cpu,cpu"
    ).training_places().devices == ("cpu,cpu")


@pytest.mark.slow
def test_killed_while_training_then_nothing_is_left_to_do(tmp_path: Path) -> None:
    out = tmp_path / "c"
    order = ["--devices", "cpu", "--epochs", "3"]
    runs = [out / "detectors" / name / "run" for name in NAMES]
    with detzoo(out, *order) as process:
        wait_for(lambda: len(read_curve(runs[1])) == 2, "two epochs of the second detector")
        process.kill()
    wait_for_folder(runs[1])  # what the comparison has left behind is ending by itself
    before = [len(read_curve(run)) for run in runs]
    with detzoo(out, *order) as process:
        table, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    assert before[0] == 3
    assert resumed_after(out, NAMES[1]) >= before[1] - 1 >= 1
    assert [len(read_curve(run)) for run in runs] == [3, 3]
    assert [row["name"] for row in json.loads((out / "table.json").read_text())["rows"]] == NAMES
    assert all(f"wrote {out / name}" in table for name in ("index.html", "table.csv"))
    trained = [(run / "best.safetensors").stat().st_mtime_ns for run in runs]
    with detzoo(out, *order) as process:
        _, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    assert err.splitlines() == [f"{name}: already done" for name in NAMES]
    assert [(run / "best.safetensors").stat().st_mtime_ns for run in runs] == trained


@pytest.mark.slow
def test_two_at_once_one_of_which_fails(tmp_path: Path) -> None:
    out = tmp_path / "c"
    run = out / "detectors" / NAMES[0] / "run"
    run.parent.mkdir(parents=True)
    run.write_text("in the way")
    (out / "comparison.json").write_text('{"format": "detzoo.compare/1"}\n')
    with detzoo(out, "--devices", "cpu,cpu", "--epochs", "1") as process:
        _, err = process.communicate(timeout=500)
    assert process.returncode == 2, err
    said = err.splitlines()
    assert said[:3] == [
        f"2 to train on {DATA} train",
        f"[1/2] {NAMES[0]}: training on cpu",
        f"[2/2] {NAMES[1]}: training on cpu",
    ]
    (failed,) = [line for line in said if line.startswith(f"{NAMES[0]}: failed: ")]
    assert said[-1].startswith(f"error: left out {TARGETS[0]}: {failed.removeprefix(f'{NAMES[0]}: failed: ')}")
    assert [row["name"] for row in json.loads((out / "table.json").read_text())["rows"]] == NAMES[1:]


@pytest.mark.slow
def test_ctrl_c_while_training(tmp_path: Path) -> None:
    run = tmp_path / "c" / "detectors" / NAMES[0] / "run"
    with detzoo(tmp_path / "c", "--devices", "cpu", "--epochs", "2000") as process:
        wait_for(lambda: len(read_curve(run)) >= 2, "two epochs")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=200)
    assert process.returncode == 130, err
    assert err.splitlines()[-2:] == [f"{NAMES[0]}: stopped", "stopped; repeat the command to resume"]
    assert (run / "last.safetensors").is_file()
