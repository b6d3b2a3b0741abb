"""``detzoo proposals eval``: its numbers, its files, and what it keeps when it is interrupted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from detzoo.data import open_dataset
from detzoo.errors import DataError, DetzooError
from detzoo.prediction.proposal_file import ProposalsError, image_key, write_proposals
from detzoo.proposals.evaluate import Plan, evaluate_proposals
from detzoo.proposals.making import make_proposals
from detzoo.proposals.method import Method, find_method
from detzoo.proposals.sources import numbers_of, read_truth

DATA = "shapes:train=3,val=2,test=2,size=64"


def plan(out: Path, *targets: str, repeat: int = 0) -> Plan:
    return Plan(targets, DATA, out, split="val", counts=(1, 10, 100), repeat=repeat, workers=0)


def perfect(path: Path, *, split: str = "val") -> Path:
    """A file whose proposals are the objects themselves."""
    data = open_dataset(DATA, split)
    samples = [data.sample(position) for position in range(len(data))]
    regions = {image_key(s.image): (s.boxes, np.ones(len(s.boxes), np.float32)) for s in samples}
    write_proposals(path, regions, method="by hand", parameters={})
    return path


def test_numbers_and_files(tmp_path: Path) -> None:
    path = perfect(tmp_path / "perfect.safetensors")
    said: list[str] = []
    results = evaluate_proposals(plan(tmp_path / "out", "uniform:count=50", str(path), repeat=1), said.append)
    blind, best = results["methods"]
    truth = read_truth(open_dataset(DATA, "val"))
    assert (results["data"]["images"], results["data"]["objects"]) == (2, truth.count)
    assert (blind["name"], best["name"]) == ("uniform:count=50", "perfect")
    assert best["recall_50"][1:] == best["recall_70"][1:] == best["average_recall"][1:] == [1, 1]
    assert best["boxes"] == truth.count / 2
    assert best["seconds"] is None
    assert blind["seconds"] > 0
    assert blind["mean_counts"] == [1, 10, 50]
    assert 0 <= blind["average_recall"][0] <= blind["average_recall"][1] <= blind["average_recall"][2] < 1
    assert set(blind["repeatability"]) == {"scale", "rotation", "jpeg", "blur"}
    assert blind["repeatability"]["blur"]["4"] == 1
    assert best["repeatability"] is None
    assert "perfect: no repeatability: by hand, which made the file, is not installed as it was" in said
    written = {each.name for each in (tmp_path / "out").iterdir()}
    assert written == {
        "methods", "proposals.json", "results.json", "table.md", "table.csv",
        "recall.png", "recall_iou.png", "repeatability.png",
    }  # fmt: skip
    assert json.loads((tmp_path / "out" / "results.json").read_text())["methods"][1]["recall_50"][2] == 1
    assert "| perfect |" in (tmp_path / "out" / "table.md").read_text()


def test_methods_that_are_done_are_kept_and_others_made(tmp_path: Path) -> None:
    first = evaluate_proposals(plan(tmp_path, "uniform"))
    said: list[str] = []
    second = evaluate_proposals(plan(tmp_path, "uniform", "uniform:seed=1", "uniform"), said.append)
    assert second["methods"][0] == first["methods"][0]
    assert said == ["uniform: already done", "uniform:seed=1: 2 images of shapes val", "uniform-2: already done"]
    assert second["methods"][1]["average_recall"] != first["methods"][0]["average_recall"]


def test_the_file_of_a_known_method_is_as_repeatable_as_the_method(tmp_path: Path) -> None:
    method, path = find_method("gaussian:count=30"), tmp_path / "g.safetensors"
    make_proposals([open_dataset(DATA, "val")], method, path, workers=0, progress=False)
    made, held = evaluate_proposals(plan(tmp_path / "out", "gaussian:count=30", str(path), repeat=1))["methods"]
    assert made["repeatability"] == held["repeatability"]
    assert made["average_recall"] == held["average_recall"]


def test_a_file_of_another_data_set(tmp_path: Path) -> None:
    path = perfect(tmp_path / "p.safetensors", split="train")
    with pytest.raises(ProposalsError) as raised:
        evaluate_proposals(plan(tmp_path / "out", str(path)))
    assert str(raised.value) == (
        f"{path} holds no proposals for 2 of the 2 images of shapes val (the first: shapes-val-00000.png): is it the "
        f"file of another dataset? To add them, repeat `detzoo proposals make` with --data {DATA} --split val "
        f"--out {path} and its own --method by hand and parameters"
    )


def test_what_cannot_be_evaluated(tmp_path: Path) -> None:
    with pytest.raises(DetzooError, match="name at least one proposal method"):
        evaluate_proposals(plan(tmp_path))
    with pytest.raises(ProposalsError, match=r"nothing\.safetensors: no such file of proposals"):
        evaluate_proposals(plan(tmp_path, "nothing.safetensors"))
    (tmp_path / "theirs").write_text("x")
    with pytest.raises(DataError, match="is not empty and no evaluation of proposals of detzoo"):
        evaluate_proposals(plan(tmp_path, "uniform"))
    with pytest.raises(DetzooError, match="--counts 1,x: write whole numbers of 1 or more, such as 10,100,1000"):
        numbers_of("1,x")
    assert numbers_of("100, 10") == (10, 100)


def test_interrupted_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = Method.build

    def once(self: Method) -> object:
        if self.name == "gaussian":
            raise KeyboardInterrupt
        return build(self)

    monkeypatch.setattr(Method, "build", once)
    with pytest.raises(KeyboardInterrupt):
        evaluate_proposals(plan(tmp_path, "uniform", "gaussian"))
    monkeypatch.undo()
    said: list[str] = []
    evaluate_proposals(plan(tmp_path, "uniform", "gaussian"), said.append)
    assert said == ["uniform: already done", "gaussian: 2 images of shapes val"]
