"""An interrupted matrix goes on; what is not a matrix is left alone."""

from pathlib import Path

import pytest

from detzoo.errors import DataError, RecipeError
from detzoo.matrix.combinations import Combination
from detzoo.matrix.ledger import LEDGER, Ledger, Row, chosen, versions
from detzoo.matrix.outcome import Outcome
from detzoo.matrix.session import MatrixPlan, run

ONE = Row(Combination({"neck": "fpn", "head": "ssd"}), Outcome("works", "", "ssd_mobilenet_v2_fpn", True, 0.5))
OTHER = Row(Combination({"head": "ssd", "loss": "set"}), Outcome("refused", "no", "ssd300_vgg16", False, 0.1))


def test_a_new_ledger_is_empty(tmp_path: Path) -> None:
    assert Ledger(tmp_path / "new").rows == {}


def test_rows_come_back_and_a_line_cut_off_is_forgotten(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.add(ONE)
    ledger.add(OTHER)
    assert Ledger(tmp_path).rows == {ONE.combination.key: ONE, OTHER.combination.key: OTHER}
    whole = (tmp_path / LEDGER).read_bytes()
    (tmp_path / LEDGER).write_bytes(whole[:-9])
    again = Ledger(tmp_path)
    assert again.rows == {ONE.combination.key: ONE}
    again.add(OTHER)
    assert (tmp_path / LEDGER).read_bytes() == whole


def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(DataError) as error:
        Ledger(tmp_path)
    assert str(error.value) == (
        f"{tmp_path} is not empty and no matrix of detzoo (no matrix.jsonl in it); choose another --out"
    )


def test_a_matrix_of_other_versions(tmp_path: Path) -> None:
    (tmp_path / LEDGER).write_text('{"format": "detzoo.matrix/1", "versions": ["detzoo 0.0.1"]}\n')
    with pytest.raises(DataError) as error:
        Ledger(tmp_path)
    assert str(error.value) == (
        f"{tmp_path / LEDGER} was made with detzoo 0.0.1; installed are {', '.join(versions())}; choose another --out"
    )


def test_a_damaged_ledger(tmp_path: Path) -> None:
    (tmp_path / LEDGER).write_text("[]\n")
    with pytest.raises(
        DataError, match=r"matrix.jsonl: not a matrix of detzoo \(TypeError: .*\); choose another --out"
    ):
        Ledger(tmp_path)


def test_only_what_is_asked_for() -> None:
    all_of_them = [ONE.combination, OTHER.combination]
    assert chosen(all_of_them, {}) == all_of_them
    assert chosen(all_of_them, {"head": ("ssd",), "neck": ("fpn", "unet")}) == [ONE.combination]
    assert chosen(all_of_them, {"head": ("fcos",)}) == []


def test_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as error:
        run(MatrixPlan(tmp_path / "out", {"neck": ("fpnn",)}))
    assert str(error.value).startswith('--neck: unknown neck "fpnn"; did you mean "fpn"? installed: darknet, fpn, ')
    assert not (tmp_path / "out").exists()


def test_a_name_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as error:
        run(MatrixPlan(tmp_path / "out", {"loss": ("focal",)}))
    assert str(error.value).startswith('--loss: unknown loss "focal"; "focal" is a class_loss; installed: ')


def test_it_goes_on_where_it_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from detzoo.matrix import trial

    plan = MatrixPlan(tmp_path, {"head": ("region_fc",), "loss": ("mask_bce", "set", "fcos")})  # no place for a loss
    tried: list[str] = []

    def until_interrupted(combination: Combination) -> Outcome:
        if len(tried) == 2:
            raise KeyboardInterrupt
        tried.append(combination.key)
        return Outcome("refused", "no recipe has a place for these parts")

    with monkeypatch.context() as patch:
        patch.setattr(trial, "try_combination", until_interrupted)
        first = run(plan)
    assert (first.stopped, len(first.rows)) == (True, 2)
    said: list[str] = []
    second = run(plan, said.append)
    assert (second.stopped, len(second.rows)) == (False, 3)
    assert said == [
        "3 combinations, 2 tried before",
        "1 of 1: 0 work, 3 refused, 0 broken; last head region_fc, loss set",
    ]
    assert [path.name for path in second.files] == ["matrix.md", "matrix.csv"]
