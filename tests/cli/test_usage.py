"""A wrong command line is answered in detzoo's words: what was found, what is expected, what was meant."""

from __future__ import annotations

import pytest

from detzoo.cli import main


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("predict x y --out z --batch abc", 'found "abc"; expected a whole number'),
        ("predict x y --out z --batch 0", 'found "0"; expected a number >= 1'),
        ("predict x y --out z --score-threshold high", "expected a number"),
        ("predict x y --out z --scor 1", "did you mean --score-threshold?"),
        ("export x --out y --format onn", 'found "onn"; expected onnx or torch; did you mean "onnx"?'),
        ("train x --lr 0.1", "--set train.optimizer.lr="),
        ("data check shapes --split vall", 'unknown split "vall"; did you mean "val"?'),
        ("data chek", 'unknown command "chek"; did you mean "check"?'),
        ("--versio", "did you mean --version?"),
        ("predict x", "Missing argument"),
    ],
)
def test_a_mistake_gets_one_message(
    line: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["detzoo", *line.split()])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 2
    said = capsys.readouterr().err
    assert told in said
    assert "Value error" not in said
    assert "Input should" not in said


@pytest.mark.parametrize("line", ["data check NAME", "NAME", "predict --NAME", "show NAME"])
def test_names_of_5000_letters_are_shortened(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["detzoo", *line.replace("NAME", "a" * 5000).split()])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 2
    assert len(capsys.readouterr().err) < 1500
