"""An interrupted matrix goes on; what is not a matrix is left alone."""

from pathlib import Path

import pytest

from detzoo.errors import DataError, RecipeError
from detzoo.matrix.combinations import Combination, chosen
from detzoo.matrix.ledger import LEDGER, MatrixLedger, Row, versions
from detzoo.matrix.outcome import TrialOutcome
from detzoo.matrix.page import ROWS, read_csv
from detzoo.matrix.run_matrix import MatrixPlan, counted, run
from detzoo.runtime.folder_claim import claimed_folder

ONE = Row(Combination({"neck": "fpn", "head": "ssd"}), TrialOutcome("works", "", "ssd_mobilenet_v2_fpn", True, 0.5))
OTHER = Row(Combination({"head": "ssd", "loss": "set"}), TrialOutcome("refused", "no", "ssd300_vgg16", False, 0.1))
NO_PLACE = {"head": ("region_fc",), "loss": ("multibox", "set", "fcos")}
"""Combinations that take no time: no recipe has a loss beside this head."""


def test_a_new_ledger_is_empty(tmp_path: Path) -> None:
    assert MatrixLedger(tmp_path).rows == {}
    header = (tmp_path / LEDGER).read_bytes()
    for killed_after in (0, 9, len(header)):
        (tmp_path / LEDGER).write_bytes(header[:killed_after])
        assert MatrixLedger(tmp_path).rows == {}
        assert (tmp_path / LEDGER).read_bytes() == header


def test_rows_come_back_and_a_line_cut_off_is_forgotten(tmp_path: Path) -> None:
    ledger = MatrixLedger(tmp_path)
    ledger.add(ONE)
    ledger.add(OTHER)
    assert MatrixLedger(tmp_path).rows == {ONE.combination.key: ONE, OTHER.combination.key: OTHER}
    whole = (tmp_path / LEDGER).read_bytes()
    (tmp_path / LEDGER).write_bytes(whole[:-9])
    again = MatrixLedger(tmp_path)
    assert again.rows == {ONE.combination.key: ONE}
    again.add(OTHER)
    assert (tmp_path / LEDGER).read_bytes() == whole


def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(DataError) as error:
        run(MatrixPlan(tmp_path, NO_PLACE))
    assert str(error.value) == (
        f"{tmp_path} is not empty and no matrix of detzoo (no matrix.jsonl in it); choose another --out"
    )


def test_a_file_of_somebody_else_keeps_its_last_line(tmp_path: Path) -> None:
    (tmp_path / LEDGER).write_text('{"my": "data"}\n{"more": 1}')
    with pytest.raises(DataError, match=r"not a matrix of detzoo \(KeyError: 'format'\); choose another --out"):
        MatrixLedger(tmp_path)
    assert (tmp_path / LEDGER).read_text() == '{"my": "data"}\n{"more": 1}'


def test_one_at_a_time(tmp_path: Path) -> None:
    with claimed_folder(tmp_path, marker=LEDGER, what="matrix"), pytest.raises(DataError) as error:
        run(MatrixPlan(tmp_path, NO_PLACE))
    assert str(error.value).startswith(f"{tmp_path}: another detzoo matrix (process ")


def test_a_matrix_of_other_versions(tmp_path: Path) -> None:
    (tmp_path / LEDGER).write_text('{"format": "detzoo.matrix/1", "versions": ["detzoo 0.0.1"]}\n')
    with pytest.raises(DataError) as error:
        MatrixLedger(tmp_path)
    assert str(error.value) == (
        f"{tmp_path / LEDGER} was made with detzoo 0.0.1; installed are {', '.join(versions())}; choose another --out"
    )


def test_a_damaged_ledger(tmp_path: Path) -> None:
    (tmp_path / LEDGER).write_text("[]\n")
    with pytest.raises(
        DataError, match=r"matrix.jsonl: not a matrix of detzoo \(TypeError: .*\); choose another --out"
    ):
        MatrixLedger(tmp_path)


def test_only_what_is_asked_for() -> None:
    all_of_them = [ONE.combination, OTHER.combination]
    assert chosen(all_of_them, {}) == all_of_them
    assert chosen(all_of_them, {"head": ("ssd",), "neck": ("fpn", "unet")}) == [ONE.combination]
    assert chosen(all_of_them, {"head": ("fcos",)}) == []


def test_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as error:
        run(MatrixPlan(tmp_path / "out", {"neck": ("fpnn",)}))
    assert str(error.value).startswith('--neck: unknown neck "fpnn"; did you mean "fpn"? installed: ')
    assert not (tmp_path / "out").exists()


def test_a_name_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as error:
        run(MatrixPlan(tmp_path / "out", {"loss": ("focal",)}))
    assert str(error.value).startswith(
        '--loss: unknown loss "focal"; did you mean "softmax_focal"? "focal" is a class_loss'
    )


def test_kinds_that_are_never_combined_all_at_once(tmp_path: Path) -> None:
    only = {"backbone": ("resnet18",), "neck": ("fpn",), "loss": ("set",)}
    with pytest.raises(RecipeError) as error:
        run(MatrixPlan(tmp_path / "out", only))
    assert str(error.value) == (
        "--backbone, --neck, --loss: these kinds are not combined all at once: backbone, neck and head are, and any "
        "two kinds of which one is matcher, loss or postprocess; leave some out"
    )


def test_the_tables_keep_what_an_earlier_call_tried(tmp_path: Path) -> None:
    run(MatrixPlan(tmp_path, NO_PLACE))
    other = run(MatrixPlan(tmp_path, {"head": ("roi_mask",), "postprocess": ("regions",)}))
    assert [row.combination.key for row in other.rows] == ["head roi_mask, postprocess regions"]
    assert [row.combination.key for row in read_csv(tmp_path / ROWS)] == [
        "head region_fc, loss fcos", "head region_fc, loss multibox", "head region_fc, loss set",
        "head roi_mask, postprocess regions",
    ]  # fmt: skip


def test_what_was_broken_is_tried_again_and_the_rest_when_asked(tmp_path: Path) -> None:
    run(MatrixPlan(tmp_path, NO_PLACE))
    refused = Combination({"head": "region_fc", "loss": "set"})
    MatrixLedger(tmp_path).add(Row(refused, TrialOutcome("broken", "mended since")))
    said: list[str] = []
    assert counted(run(MatrixPlan(tmp_path, NO_PLACE), said.append).rows) == "0 work, 3 refused, 0 broken"
    assert counted(run(MatrixPlan(tmp_path, NO_PLACE, again=True), said.append).rows) == "0 work, 3 refused, 0 broken"
    assert [line for line in said if "tried before" in line] == [
        "3 combinations, 2 tried before",
        "3 combinations, 0 tried before",
    ]


def test_it_goes_on_where_it_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from detzoo.matrix import trial

    plan = MatrixPlan(tmp_path, NO_PLACE)
    tried: list[str] = []

    def until_interrupted(combination: Combination) -> TrialOutcome:
        if len(tried) == 2:
            raise KeyboardInterrupt
        tried.append(combination.key)
        return TrialOutcome("refused", "no recipe has a place for these parts")

    with monkeypatch.context() as patch:
        patch.setattr(trial, "try_combination", until_interrupted)
        first = run(plan)
    assert (first.stopped, len(first.rows)) == (True, 2)
    said: list[str] = []
    second = run(plan, said.append)
    assert (second.stopped, len(second.rows)) == (False, 3)
    assert said == [
        "3 combinations, 2 tried before",
        "1 of 1: 0 work, 1 refused, 0 broken; last head region_fc, loss set",
    ]
    assert [path.name for path in second.files] == ["matrix.md", "matrix.csv"]
