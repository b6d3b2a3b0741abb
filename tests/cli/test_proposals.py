"""The options of ``detzoo proposals`` and ``detzoo pretrain`` reach what they name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest

from detzoo.prediction.proposal_file import ProposalFile
from detzoo.proposals import making as proposal_making
from detzoo.runtime.drawing import write_image
from detzoo.training import pretraining

DATA = "shapes:train=2,val=1,test=1,size=64"
Run: TypeAlias = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(installed: Run) -> Run:
    """With what is installed."""
    return installed


def test_make_takes_all_splits_or_those_that_are_named(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "u.safetensors"
    make = ("proposals", "make", "--method", "uniform:count=9", "--data", DATA, "--workers", "0", "--out", str(path))
    code, out, _ = run(*make, "--split", "train+val", "--set", "seed=3", "--max-boxes", "4", "--max-images", "1")
    assert code == 0
    assert out.startswith(f"{path}: 2 images, 4 boxes per image, ")
    file = ProposalFile(path)
    assert (file.parameters["count"], file.parameters["seed"], file.parameters["kept_boxes"]) == (9, 3, 4)
    code, out, _ = run(*make, "--set", "seed=3", "--max-boxes", "4")
    assert out.startswith(f"{path}: 4 images (2 reused), 4 boxes per image, ")
    code, out, err = run(*make, "--set", "seed=4", "--max-boxes", "4")
    assert (code, out) == (2, "")
    assert "  seed: 3 in the file, 4 asked for\n" in err


def test_ctrl_c_is_130_and_says_how_to_go_on(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(proposal_making, "make_target", stop)
    out = str(tmp_path / "u")
    code, _, err = run("proposals", "make", "--method", "uniform", "--data", DATA, "--out", out)
    assert (code, err) == (130, f"\nstopped; finished images are kept next to {out}: repeat the command to resume\n")
    monkeypatch.setattr(pretraining, "pretrain", stop)
    code, _, err = run("pretrain", "resnet18", "--data", str(tmp_path), "--out", out)
    assert (code, err) == (130, "\nstopped\n")


def test_eval_prints_the_table(run: Run, tmp_path: Path) -> None:
    words = ("--data", DATA, "--split", "val", "--counts", "10,100", "--repeat", "0", "--workers", "0")
    code, out, _ = run("proposals", "eval", "uniform", "gaussian:count=20", *words, "--out", str(tmp_path / "out"))
    assert code == 0
    assert out.startswith("shapes val: 1 images, ")
    assert "gaussian:count=20" in out
    assert not (tmp_path / "out" / "repeatability.png").exists()
    code, _, err = run("proposals", "eval", "uniform", *words, "--counts", "x", "--out", str(tmp_path / "out"))
    assert (code, err) == (2, "error: --counts x: write whole numbers of 1 or more, such as 10,100,1000\n")


def test_show_writes_images(run: Run, tmp_path: Path) -> None:
    write_image(tmp_path / "street.png", np.zeros((40, 60, 3), np.uint8))
    words = ("--top", "3", "--set", "count=8", "--out", str(tmp_path / "drawn"))
    code, out, _ = run("proposals", "show", "uniform", str(tmp_path / "street.png"), *words)
    drawn = tmp_path / "drawn" / "street_uniform_boxes.png"
    assert (code, out) == (0, f"{drawn}: the best 3 of 8 boxes\n")
    assert drawn.is_file()


def test_pretrain_reports_what_is_wrong(run: Run, tmp_path: Path) -> None:
    code, _, err = run("pretrain", "resnet19", "--data", str(tmp_path), "--out", str(tmp_path / "run"))
    assert code == 2
    assert 'unknown backbone "resnet19"; did you mean "resnet18"' in err
    code, _, err = run("pretrain", "resnet18", "--data", str(tmp_path), "--out", str(tmp_path / "run"))
    assert code == 2
    assert err.startswith(f"error: {tmp_path}: no class folders with images: ")
    assert not (tmp_path / "run").exists()
