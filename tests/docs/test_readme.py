"""The README's first code finds what its text says, with the weights that it names."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import detzoo
from detzoo.recipes.recipe import load_recipe
from detzoo.runtime.images import read_image
from detzoo.weights.sources import cached_path

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def fetched(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that holds the published weights, as after a first run with a network."""
    monkeypatch.setenv("DETZOO_CACHE", str(tmp_path))
    (published,) = load_recipe("yolo_fastest_xl_coco").values["weights"]
    place = cached_path(published["url"])
    place.parent.mkdir(parents=True)
    (weights,) = (shared / "weights" / "yolo-fastest-coco").rglob(place.name)
    shutil.copy(weights, place)


@pytest.mark.usefixtures("fetched")
def test_the_first_code_finds_a_person_and_a_tie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (code, *others) = re.findall(r"^```python\n(.*?)^```", README.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert others == []
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    exec(code, {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["person", "tie"]
    assert read_image(tmp_path / "found.jpg").shape == (600, 512, 3)


def test_the_example_image_comes_with_the_package() -> None:
    path = detzoo.example_image()
    assert path.is_file()
    assert path.is_relative_to(Path(detzoo.__file__).parent)
