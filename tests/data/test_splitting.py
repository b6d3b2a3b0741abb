"""``detzoo data split``: shares, classes in every split, near-duplicates together, nothing of the user's touched."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from detzoo.cli.data import app
from detzoo.data import list_splits, open_dataset
from detzoo.data.checking.check import check
from detzoo.data.checking.near_duplicates import groups_of, near_pairs, thumbnail
from detzoo.data.splitting import parse_shares
from detzoo.data.stratify import deal_out
from detzoo.errors import DataError


def scene(seed: int) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """An image like no other: a few coloured rectangles."""
    rng = np.random.default_rng(seed)
    image = np.full((60, 80, 3), rng.integers(0, 256, 3), np.uint8)
    for _ in range(6):
        y, x = rng.integers(0, 40), rng.integers(0, 60)
        image[y : y + 20, x : x + 20] = rng.integers(0, 256, 3)
    return image


def yolo(root: Path, count: int) -> Path:
    """Images of class a; every fifth has a b as well, and the last one is nearly the first one."""
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    for number in range(count):
        Image.fromarray(scene(number)).save(root / "images" / f"{number:02}.png")
        rows = "0 0.5 0.5 0.2 0.2\n" + ("1 0.3 0.3 0.2 0.2\n" if number % 5 == 0 else "")
        (root / "labels" / f"{number:02}.txt").write_text(rows)
    Image.fromarray(scene(0)).resize((120, 90)).save(root / "images" / f"{count - 1:02}.png")
    (root / "classes.txt").write_text("a\nb\n")
    return root


def state(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha1(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_dataset_is_divided_by_lists_alone(tmp_path: Path) -> None:
    data, out = yolo(tmp_path / "data", 20), tmp_path / "split"
    before = state(data)
    said = run("split", data, "--out", out, "--shares", "train=60,val=20,test=20")
    assert state(data) == before
    assert sorted(path.name for path in out.iterdir()) == ["data.yaml", "test.txt", "train.txt", "val.txt"]
    assert "1 images show nearly the same" in said
    assert list_splits(out) == ("train", "val", "test")
    splits = {name: open_dataset(out, name) for name in list_splits(out)}
    stems = {name: [Path(path).stem for path in split.paths] for name, split in splits.items()}
    assert sorted(stem for found in stems.values() for stem in found) == [f"{number:02}" for number in range(20)]
    assert [len(found) for found in stems.values()] == [12, 4, 4]
    assert any({"00", "19"} <= set(found) for found in stems.values())
    b_boxes = [int((split.annotations().labels == 1).sum()) for split in splits.values()]
    assert sum(b_boxes) == 4
    assert min(b_boxes) >= 1
    assert f"train: 12 images, a 12, b {b_boxes[0]}" in said
    assert [problem.code for problem in check(out)] == ["near-duplicate"]


def test_the_seed_decides_and_nothing_is_overwritten(tmp_path: Path) -> None:
    data = yolo(tmp_path / "data", 12)
    lists = []
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        run("split", data, "--out", tmp_path / name, "--shares", "train=0.5,val=0.5", "--seed", seed)
        lists.append((tmp_path / name / "val.txt").read_text())
    assert lists[0] == lists[1] != lists[2]
    result = CliRunner().invoke(app, ["split", str(data), "--out", str(tmp_path / "one")])
    assert isinstance(result.exception, DataError)
    assert "not empty" in str(result.exception)


def test_one_split_is_divided_and_the_others_stay(tmp_path: Path) -> None:
    names = ("train", "test")
    for name in names:
        (tmp_path / name).mkdir()
        images = []
        for number in range(4):
            Image.fromarray(scene(number + 10 * len(name))).save(tmp_path / name / f"{number}.png")
            images.append({"id": number, "file_name": f"{number}.png", "width": 80, "height": 60})
        boxes = [{"id": n + 1, "image_id": n, "category_id": 1, "bbox": [4, 4, 9, 9], "area": 81} for n in range(4)]
        content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "a"}]}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    out = tmp_path / "split"
    run("split", tmp_path, "--split", "train", "--shares", "train=0.75,val=0.25", "--out", out)
    assert {name: len(open_dataset(out, name)) for name in list_splits(out)} == {"train": 3, "val": 1, "test": 4}
    (out / "val.txt").write_text("train/9.png\n" + (out / "val.txt").read_text())
    found = open_dataset(out, "val", quiet=True).problems
    assert [(problem.code, problem.line) for problem in found] == [("missing-image", 1)]
    with pytest.raises(DataError, match=r"already; divide both \(--split train\+test\)"):
        CliRunner().invoke(
            app, ["split", str(tmp_path), "--split", "train", "--out", str(tmp_path / "x")], catch_exceptions=False
        )


@pytest.mark.parametrize("text", ["train=0.8", "train=0.8,val=0.3", "train", "train=x,val=1", "a/b=1", "a=0.5,a=0.5"])
def test_shares_that_mean_nothing(text: str) -> None:
    with pytest.raises(DataError, match="shares"):
        parse_shares(text)


def test_groups_are_dealt_out_by_hand() -> None:
    # two images of the rare class 1: one for each split, then the four others fill the room
    boxes = np.array([[1, 1], [1, 1], [1, 0], [1, 0], [1, 0], [1, 0]])
    dealt = deal_out([0, 1, 2, 3, 4, 5], boxes, [0.5, 0.5])
    assert dealt[0] != dealt[1]
    assert np.bincount(dealt).tolist() == [3, 3]
    dealt = deal_out([0, 0, 0, 1, 2, 3], boxes, [0.5, 0.5])
    assert dealt[0] == dealt[1] == dealt[2] != dealt[3]
    assert deal_out([0, 1], np.zeros((2, 1), np.int64), [0.5, 0.5]).tolist() in ([0, 1], [1, 0])  # no box at all


def test_near_duplicates() -> None:
    first = scene(1)
    smaller = np.asarray(Image.fromarray(first).resize((40, 30)))
    brighter = np.clip(first.astype(int) + 2, 0, 255).astype(np.uint8)
    small = [thumbnail(np.ascontiguousarray(image)) for image in (first, scene(2), smaller, brighter, scene(3))]
    assert near_pairs(small) == [(0, 2), (0, 3), (2, 3)]
    assert groups_of(5, near_pairs(small)) == [0, 1, 0, 0, 2]
    # images of little contrast are told apart by less
    flat = [np.full((16, 16, 3), value, np.uint8) for value in (100, 103, 100)]
    assert near_pairs(flat) == [(0, 2)]
    assert near_pairs([]) == []


def test_a_near_duplicate_in_another_split_is_a_leak(tmp_path: Path) -> None:
    for split, size in (("train", (80, 60)), ("val", (120, 90))):
        (tmp_path / "images" / split).mkdir(parents=True)
        (tmp_path / "labels" / split).mkdir(parents=True)
        Image.fromarray(scene(0)).resize(size).save(tmp_path / "images" / split / f"{split}.png")
        (tmp_path / "labels" / split / f"{split}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "classes.txt").write_text("a\n")
    (problem,) = check(tmp_path)
    assert (problem.code, Path(problem.path).stem) == ("near-duplicate", "val")
    assert "leak" in problem.message
    assert "train.png" in problem.message
