"""``detzoo diff`` of runs and results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detzoo.errors import DataError
from detzoo.experiments.run_diff import contrast

RECIPE = f"{Path(__file__).parents[2] / 'detzoo' / 'comparison' / 'demo.yaml'}#ssd_resnet18"


def run_folder(folder: Path, seed: int, curve: str, ap: float | None) -> str:
    folder.mkdir()
    text = f"api: 1\ndetectors:\n  mine: {{extends: {RECIPE}, train: {{seed: {seed}}}}}\n"
    (folder / "recipe.yaml").write_text(text)
    (folder / "curve.csv").write_text(curve)
    results = {"metrics": {"AP": ap, "APs": None}, "data": {"split": "val"}, "protocol": {"batch": seed}}
    (folder / "results.json").write_text(json.dumps(results))
    return str(folder)


def test_two_runs(tmp_path: Path) -> None:
    a = run_folder(tmp_path / "a", 1, "epoch,loss,AP\n1,2.5,0.25\n2,2.0,\n", 0.25)
    b = run_folder(tmp_path / "b", 2, "epoch,loss,AP\n1,3.0,0.125\n", 0.125)
    assert contrast(a, b).splitlines() == [
        "train.seed: 1 -> 2",
        "",
        f"curves: a is {a}, b is {b}",
        "",
        "epoch  loss, a  loss, b  AP %, a  AP %, b",
        "-----------------------------------------",
        "1       2.5000   3.0000    25.00    12.50",
        "2       2.0000        –        –        –",
        "",
        "metrics",
        "",
        "metric    a %    b %   b - a",
        "----------------------------",
        "AP      25.00  12.50  -12.50",
        "APs         –      –       –",
        "  protocol differs, so the numbers cannot be compared as they stand",
    ]


def test_results_alone_and_what_is_none(tmp_path: Path) -> None:
    a = run_folder(tmp_path / "a", 1, "epoch,loss,AP\n", 0.5)
    lines = contrast(f"{a}/results.json", f"{a}/results.json").splitlines()
    assert lines[0] == "metrics"
    assert lines[4].split() == ["AP", "50.00", "50.00", "0.00"]
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(DataError) as caught:
        contrast(f"{a}/results.json", str(tmp_path / "other.json"))
    assert str(caught.value) == (
        f"{tmp_path / 'other.json'}: not a results.json of detzoo; `detzoo eval` writes them: a list, not a JSON object"
    )


@pytest.mark.parametrize("text", ["", "{", "{}", "[" * 100_000, '{"metrics": {"AP": "high"}}', '{"metrics": []}'])
def test_altered_results_are_told(text: str, tmp_path: Path) -> None:
    good = run_folder(tmp_path / "a", 1, "epoch,loss,AP\n", 0.5)
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(DataError, match=r"other\.json:"):
        contrast(f"{good}/results.json", str(tmp_path / "other.json"))


@pytest.mark.parametrize("text", ["epoch,loss,AP\n1,much,\n", "loss,AP\n1,1\n", 'epoch,loss\n1,"\0\n'])
def test_an_altered_curve_is_told(text: str, tmp_path: Path) -> None:
    a = run_folder(tmp_path / "a", 1, "epoch,loss,AP\n1,2,0.5\n", 0.5)
    b = run_folder(tmp_path / "b", 1, text, 0.5)
    with pytest.raises(DataError, match=r"curve\.csv: not a curve of detzoo"):
        contrast(a, b)
