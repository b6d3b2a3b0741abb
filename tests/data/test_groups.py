"""Groups of images: ``groups:`` of a data.yaml, what is rejected, and what is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from detzoo.cli.data import app
from detzoo.data import Dataset, open_dataset
from detzoo.data.checking.check import check
from detzoo.data.checking.statistics import opening_lines
from detzoo.data.groups import group_names, groups_line, regrouped
from detzoo.errors import DataError
from tests.data.test_splitting import yolo

PLACE = "data.yaml"


def names(text: object, *paths: str, base: Path = Path()) -> tuple[str, ...]:
    return group_names(text, paths, base=base, place=PLACE)


def grouped(root: Path, groups: str, more: str = "") -> Path:
    """Twenty images and a data.yaml; the tens of their names are a group."""
    yolo(root, 20)
    splits = "splits:\n  all: {images: images, labels: labels}\n"
    (root / "data.yaml").write_text(f"format: yolo\nnames: [a, b]\ngroups: {groups}\n{splits}{more}")
    return root


def test_no_images() -> None:
    assert names("folder") == names(r"(.+)_\d") == ()
    assert groups_line([]) == "0 groups: every image is one of its own"


def test_a_part_of_the_file_name() -> None:
    assert names(r"(.+)_\d+", "a_1/video1_0001.jpg", "a_2/video1_0002.jpg", "b/v_2_3.png") == (
        "video1",
        "video1",
        "v_2",
    )
    assert names(r"^(?:frame|tile)(\w)", "x/frameA1.png", "tileB1.png") == ("A", "B")


def test_the_folder() -> None:
    assert names("folder", "a/b/1.jpg", "a/c/1.jpg", "a/b/2.jpg") == ("a/b", "a/c", "a/b")


def test_a_table(tmp_path: Path) -> None:
    (tmp_path / "groups.csv").write_text(
        'group,image\r\nv1,1.jpg\r\nv2,"c/2,5.jpg"\r\n\r\nv3,d/2.jpg\r\nv4,unused.jpg\r\n'
    )
    paths = ("/data/a/1.jpg", "/data/c/2,5.jpg", "/data/d/2.jpg")
    assert names("groups.csv", *paths, base=tmp_path) == ("v1", "v2", "v3")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (3, r"data.yaml: groups is 3; allowed: `folder`, a .csv file"),
        ("", "groups is ''; allowed"),
        ("foldr", r"'foldr' has 0 parts in brackets, not one; allowed: .*'\(\.\+\)_"),
        (r"(\w)(\d)", "has 2 parts in brackets, not one"),
        ("(.+", "is no regular expression"),
        (
            r"(a)\d",
            r"'\(a\)\\d' does not fit the names of 1 of 2 images \(the first: x/b1.jpg\); every image needs a group",
        ),
        ("(a)?", r"the names of 1 of 2 images \(the first: x/b1.jpg\)"),
    ],
)
def test_what_is_no_grouping(text: object, why: str) -> None:
    with pytest.raises(DataError, match=why):
        names(text, "x/a1.jpg", "x/b1.jpg")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", r"groups.csv:1: the first line must be `image,group`, not ''"),
        ("image,scene\na,1\n", r"groups.csv:1: .*not 'image,scene'"),
        ("image,group\na1.jpg\n", r"groups.csv:2: a row has an image and its group, not 'a1.jpg'"),
        ("image,group\na1.jpg,\n", r"groups.csv:2: a row has an image and its group"),
        ("image,group\na1.jpg,u\na1.jpg,v\n", r"groups.csv:3: 'a1.jpg' stands in two groups"),
        ('image,group\n"a1.jpg,u\n', r"groups.csv:2: not valid CSV"),
        ("image,group\na1.jpg,u\n", r"groups.csv has no row for 1 of 3 images \(the first: y/b1.jpg\)"),
        ("image,group\nb1.jpg,u\nx/a1.jpg,u\nz/a1.jpg,v\na1.jpg,v\n", None),
    ],
)
def test_tables(tmp_path: Path, content: str, why: str | None) -> None:
    (tmp_path / "groups.csv").write_text(content)
    paths = ("x/a1.jpg", "y/b1.jpg") if why is None else ("x/a1.jpg", "y/b1.jpg", "x/a1.jpg")
    if why is None:
        assert names("groups.csv", *paths, base=tmp_path) == ("u", "u")
        return
    with pytest.raises(DataError, match=why):
        names("groups.csv", *paths, base=tmp_path)


def test_a_name_that_two_images_end_with(tmp_path: Path) -> None:
    (tmp_path / "groups.csv").write_text("image,group\n1.jpg,u\n")
    with pytest.raises(DataError, match=r"1.jpg is the end of two images, a/1.jpg and b/1.jpg; write more of the path"):
        names("groups.csv", "a/1.jpg", "b/1.jpg", base=tmp_path)
    with pytest.raises(DataError, match=r"missing\.csv: no such table of groups"):
        names("missing.csv", "a/1.jpg", base=tmp_path)


def test_what_a_data_yaml_says(tmp_path: Path) -> None:
    data = open_dataset(grouped(tmp_path / "data", r"'^(\d)\d'"))
    assert data.groups == ("0",) * 10 + ("1",) * 10
    assert opening_lines(data)[-1] == "all: 2 groups of images, the largest of 10 (0)"
    assert data.subset([1, 12, 3]).groups == ("0", "1", "0")
    assert "2 groups of images" in CliRunner().invoke(app, ["info", str(tmp_path / "data")]).output
    assert regrouped(data, "none").groups is None
    assert regrouped(data, None) is data
    assert regrouped(data, r"\d(\d)").groups == tuple("0123456789" * 2)
    assert regrouped(open_dataset("shapes:size=32,train=3", "train"), r"(\d)\.").groups == ("0", "1", "2")
    with pytest.raises(DataError, match=r"--groups: groups: '\(x\)' does not fit"):
        regrouped(data, "(x)")
    with pytest.raises(DataError, match="data all: 1 groups for 20 images; each needs one"):
        data.grouped(["0"])


def test_a_data_yaml_that_does_not_fit(tmp_path: Path) -> None:
    root = grouped(tmp_path / "data", "'(2)'")
    with pytest.raises(DataError, match=r"data.yaml: groups: '\(2\)' does not fit the names of 18 of 20 images"):
        open_dataset(root)
    assert any("does not fit the names of" in str(problem) for problem in check(root))


def test_a_group_stays_in_one_split_and_is_a_leak_in_two(tmp_path: Path) -> None:
    root = grouped(tmp_path / "data", r"'^\d(\d)'")
    runner, out = CliRunner(), tmp_path / "out"
    assert runner.invoke(app, ["split", str(root), "--out", str(out), "--shares", "train=0.6,val=0.4"]).exit_code == 0
    train, val = (set(open_dataset(out, name).groups or ()) for name in ("train", "val"))
    assert not train & val
    assert len(train | val) == 10
    lists = {"train": ["00", "11"], "val": ["10", "12"]}
    for name, own in lists.items():
        (out / f"{name}.txt").write_text("".join(f"images/{stem}.png\n" for stem in own))
    leaks = [problem for problem in check(out) if problem.code == "shared-group"]
    assert [problem.message for problem in leaks] == [
        f"leak: images of the group '0' stand in train, as {out / '../data/images/00.png'}, and in val"
    ]


def test_shapes_and_ultralytics_have_groups_too(tmp_path: Path) -> None:
    described: Dataset
    (tmp_path / "some.yaml").write_text("format: shapes\nsize: 32\ntrain: 4\ngroups: '([01])\\.'\n")
    with pytest.raises(DataError, match="does not fit the names of 2 of 4"):
        open_dataset(tmp_path / "some.yaml", "train")
    root = yolo(tmp_path / "data", 20)
    (root / "data.yaml").write_text("train: images\nnames: [a, b]\ngroups: folder\n")
    described = open_dataset(root)
    assert described.groups == (str(root / "images"),) * 20
