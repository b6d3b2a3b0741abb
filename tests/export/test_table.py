"""The table of docs/export.md is true: each format of each kind of detector is written and agrees, or says why not.

Files of ONNX are compared in test_onnx.py; programs, and whatever is refused, here.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from detzoo.cli import app, main
from detzoo.export import ExportError, export_program
from detzoo.interfaces import Detector
from detzoo.plugins.registry import get_registry
from detzoo.recipes.recipe import load_recipe
from detzoo.weights.checkpoint import save_model
from tests.export.small_detectors import (
    RECIPES,
    Row,
    assert_same_detections,
    detections,
    images,
    inputs,
    leave_one_empty,
    reasons,
    small,
    table,
    two,
)
from tests.forked import run_forked

ROWS = table()
QUICK = ("yolov3",)
REFUSALS = {
    "¹": "{name} has no raw head to export: {why}; give --postprocess",
    "²": "{name} cannot be exported as ONNX with --postprocess: {why}; leave --postprocess out, or "
    "--set postprocess.suppress.type=nms",
}
LOADED = """
import sys, torch
import detzoo.export
program = torch.export.load(sys.argv[1]).module()
with torch.no_grad():
    torch.save([program(*batch.values()) for batch in torch.load(sys.argv[2])], sys.argv[3])
assert not [name for name in sys.modules if name.startswith("detzoo_")]
"""


def by_recipe(rows: list[Row]) -> list[object]:
    marks = [() if row.recipe in QUICK else (pytest.mark.slow,) for row in rows]
    return [pytest.param(row, id=row.recipe, marks=mark) for row, mark in zip(rows, marks, strict=True)]


def kind(values: dict[str, Any]) -> tuple[str | None, ...]:
    """What makes a detector another one to export: meta-architecture, head, pooling, source of regions, cascade."""
    box: Any = values.get("box")
    proposals = values.get("proposals") or {}
    cascade = isinstance(box, list)
    head = values.get("head") or (box[0] if cascade else box)["head"]
    pool = head.get("roi_pool") or {}
    return values["architecture"], head["type"], pool.get("type"), proposals.get("type"), "cascade" if cascade else None


def test_every_kind_of_detector_has_a_row() -> None:
    tried = {kind(load_recipe(f"{RECIPES}#{row.recipe}").values) for row in ROWS}
    known = {kind(load_recipe(name).values) for name in get_registry().detectors()}
    # heads and poolings of a two-stage detector are tried, but not each head with each pooling
    other = {
        ("two_stage", "roi_box_res5", "roi_align", "rpn", None),
        ("two_stage", "roi_box", "roi_pool", "rpn", None),
    }
    assert known - tried == other
    assert tried <= known
    assert len(ROWS) == 31


def test_the_page_gives_every_reason_that_it_marks() -> None:
    cells = [cell for row in ROWS for cell in (row.raw, row.found, row.program)]
    assert {cell.removeprefix("no ") for cell in cells if not cell.startswith("yes")} == set(reasons()) == set(REFUSALS)


@pytest.mark.parametrize("row", by_recipe(ROWS))
def test_a_program_in_a_process_of_its_own_gives_the_same_detections(row: Row, tmp_path: Path) -> None:
    assert row.program in ("yes", "yes, given regions")
    detector, path = small(row.recipe), tmp_path / "model.pt2"
    leave_one_empty(detector)
    free = ("batch", "regions") if row.program.endswith("regions") else ("batch",)
    assert export_program(detector, path) == free
    given = [inputs(detector, two()), inputs(detector, images(3), regions=50)]
    expected = [detections(detector, batch) for batch in given]
    empty, shown = sorted(expected[0].valid.sum(1).tolist())
    assert empty == 0
    assert shown >= 2
    assert int(expected[1].valid.sum()) >= 3
    found = loaded_and_run(path, given, tmp_path)
    for one, other in zip(expected, found, strict=True):
        assert_same_detections(one, dict(zip(names(detector), (part.numpy() for part in other), strict=True)))


def names(detector: Detector) -> list[str]:
    masks = ["mask_logits"] if getattr(detector, "mask", None) is not None else []
    return ["boxes", "scores", "labels", "valid", *masks]


def loaded_and_run(path: Path, given: list[dict[str, torch.Tensor]], folder: Path) -> list[tuple[torch.Tensor, ...]]:
    """What a process that knows no detector makes of each batch."""
    torch.save(given, folder / "given.pt")
    done = run_forked("-c", LOADED, str(path), str(folder / "given.pt"), str(folder / "found.pt"))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    found: list[tuple[torch.Tensor, ...]] = torch.load(folder / "found.pt")
    return found


REFUSED = [
    pytest.param(row.recipe, options, cell.removeprefix("no "), id=f"{row.recipe}{''.join(options)}")
    for row in ROWS
    for cell, options in ((row.raw, []), (row.found, ["--postprocess"]))
    if not cell.startswith("yes")
]


def test_there_are_refusals() -> None:
    assert len(REFUSED) == 12


@pytest.mark.parametrize(("recipe", "options", "mark"), REFUSED)
def test_what_the_table_denies_is_refused_with_its_reason(
    recipe: str, options: list[str], mark: str, tmp_path: Path
) -> None:
    weights = tmp_path / "run.safetensors"
    save_model(small(recipe), weights)
    words = ["export", str(weights), "--format", "onnx", "--out", str(tmp_path / "no.onnx"), *options]
    with pytest.raises(ExportError) as error:
        app(words, standalone_mode=False)
    assert str(error.value) == REFUSALS[mark].format(name=weights, why=reasons()[mark])
    assert list(tmp_path.iterdir()) == [weights]


def test_a_refusal_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "run.safetensors"
    save_model(small("rcnn"), weights)
    monkeypatch.setattr(sys, "argv", ["detzoo", "export", str(weights), "--out", str(tmp_path / "no.onnx")])
    with pytest.raises(SystemExit) as done:
        main()
    message = REFUSALS["¹"].format(name=weights, why=reasons()["¹"])
    assert done.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {message}"
