"""``sweep.json`` and the table made from it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from detzoo.errors import DataError, TrainingError
from detzoo.experiments.board import Board, sweep_table
from detzoo.experiments.job import Job, Outcome
from detzoo.experiments.ledger import SWEEP, Ledger, LedgerEntry, open_ledger, read_ledger
from detzoo.runtime.folder_claim import claimed_folder
from detzoo.training.options import TrainCommand


def entry(name: str, state: Any = "done", ap: float | None = None, why: str = "") -> LedgerEntry:
    epochs = 3 if state == "done" else None
    outcome = Outcome(name=name, state=state, AP=ap, why=why, device="cpu", epochs=epochs, best_epoch=epochs)
    return LedgerEntry(name, (name,), "d", outcome)


def test_a_new_folder_and_one_that_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "new"
    with claimed_folder(out, marker=SWEEP, what="sweep"):
        ledger = open_ledger(out, {"data": "shapes", "seed": None})
        assert ledger.entries == {}
        ledger.entries["a"] = entry("a", ap=0.5)
        ledger.entries["b"] = entry("b", "running")
        ledger.save()
    with claimed_folder(out, marker=SWEEP, what="sweep"):
        again = open_ledger(out, {"data": "shapes", "seed": None})
    assert again.entries["a"] == ledger.entries["a"]
    assert again.entries["b"].outcome.state == "stopped"


def test_other_settings_are_refused_with_every_difference(tmp_path: Path) -> None:
    Ledger(tmp_path, {"data": "shapes", "epochs": 3}).save()
    with pytest.raises(TrainingError) as caught:
        open_ledger(tmp_path, {"data": "bccd", "epochs": None})
    assert str(caught.value) == (
        f"{tmp_path}: this sweep was made with other settings, so that its runs could not be compared:\n"
        "  data: 'shapes' in the sweep, 'bccd' now\n"
        "  epochs: 3 in the sweep, None now\n"
        "Repeat the command with the same values, or choose another --out."
    )


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("dear reader")
    with pytest.raises(DataError) as caught, claimed_folder(tmp_path, marker=SWEEP, what="sweep"):
        pass
    assert str(caught.value) == (
        f"{tmp_path} is not empty and no sweep of detzoo (no sweep.json in it); choose another --out"
    )
    with pytest.raises(DataError) as caught, claimed_folder(tmp_path / "thesis.tex", marker=SWEEP, what="sweep"):
        pass
    assert str(caught.value) == f"{tmp_path / 'thesis.tex'} is a file; --out takes a folder"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_damaged_files(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text('{"format": "detzoo.sweep/1"')
    with pytest.raises(DataError, match=r"sweep\.json: not a sweep of detzoo; choose another --out: not valid JSON"):
        read_ledger(tmp_path)
    (tmp_path / "sweep.json").write_text('{"format": "detzoo.sweep/9"}')
    with pytest.raises(DataError) as caught:
        read_ledger(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'sweep.json'}: its format is 'detzoo.sweep/9', not 'detzoo.sweep/1'; upgrade detzoo to read it"
    )


HOLD = """
import sys
from pathlib import Path
from detzoo.runtime.folder_claim import claimed_folder
with claimed_folder(Path(sys.argv[1]), marker="sweep.json", what="sweep"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_sweep_at_a_time(tmp_path: Path) -> None:
    Ledger(tmp_path, {}).save()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(DataError) as caught, claimed_folder(tmp_path, marker=SWEEP, what="sweep"):
            pass
        assert str(caught.value).startswith(f"{tmp_path}: another detzoo sweep (process {other.pid} on ")
        other.kill()
    with claimed_folder(tmp_path, marker=SWEEP, what="sweep"):  # the lock went with the process
        pass


def test_the_table_has_the_best_first_and_says_why_runs_failed(tmp_path: Path) -> None:
    entries = [
        entry("a", "failed", why="out of memory"),
        entry("b", ap=0.25),
        entry("c", "stopped"),
        entry("d", ap=0.5),
        entry("e", ap=math.nan),
        entry("f", "failed", why="out of memory"),
    ]
    table = sweep_table("toys", entries, tmp_path)
    assert [row["name"] for row in table.rows] == ["d", "b", "c", "e", "a", "f"]
    assert table.notes == ("c: 0 epochs so far", "failed: a; f: out of memory")
    assert table.terminal(200).splitlines()[:4] == [
        "toys",
        "",
        "run  AP %  best epoch  epochs  device  state",
        "-" * 46,
    ]
    assert sweep_table("none", [], tmp_path).terminal(80)


def test_what_is_told_while_runs_go_on(tmp_path: Path) -> None:
    said: list[str] = []
    board = Board(3, 1, said.append)
    job = Job(name="lr=1", command=TrainCommand(target="t", data="d", out=tmp_path))
    board.started(job, "cuda:1")
    (tmp_path / "curve.csv").write_text("epoch,loss,AP\n1,2.5,\n2,2.0,0.125\n")
    board.look()
    board.look()
    board.ended(Outcome(name="lr=1", state="done", AP=0.125, best_epoch=2))
    board.started(job, "cpu")
    board.ended(Outcome(name="lr=1", state="failed", why="no"))
    assert said == [
        "[2/3] lr=1: training on cuda:1",
        "lr=1: epoch 1  loss 2.5000",
        "lr=1: epoch 2  loss 2.0000  AP 12.5%",
        "lr=1: done: AP 12.5% in epoch 2",
        "[3/3] lr=1: training on cpu, after epoch 2",
        "lr=1: failed: no",
    ]


def test_a_job_travels_as_json(tmp_path: Path) -> None:
    command = TrainCommand(target="t", data="d", out=tmp_path, overrides=("x=1", "y=[1, 2]"), epochs=3)
    job = Job(name="a", command=command)
    assert Job.from_dict(json.loads(json.dumps(job.as_dict()))) == job
