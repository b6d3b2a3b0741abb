"""``open_dataset``: layouts, data.yaml files, unions, ready sets, and what it says when something is not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from detzoo.cli.data import app
from detzoo.data import list_splits, open_dataset
from detzoo.data.formats.opening import READY
from detzoo.errors import DataError
from detzoo.prediction.input_spec import InputSpec
from detzoo.runtime.images import read_header


def devkit(root: Path, **splits: list[str]) -> Path:
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for split, stems in splits.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(stems))
        for number, stem in enumerate(stems):
            Image.new("RGB", (20, 10)).save(root / "JPEGImages" / f"{stem}.png")
            name = ("dog", "person")[number % 2]
            (root / "Annotations" / f"{stem}.xml").write_text(
                "<annotation><size><width>20</width><height>10</height></size><object>"
                f"<name>{name}</name><difficult>{number % 2}</difficult>"
                "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>8</xmax><ymax>9</ymax></bndbox></object></annotation>"
            )
    return root


def refused(spec: str | Path, split: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        open_dataset(spec, split)
    return str(caught.value)


def test_voc_2007_and_2012_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devkit(tmp_path / "VOCdevkit" / "VOC2007", trainval=["000001", "000002"], test=["000003"])
    devkit(tmp_path / "VOCdevkit" / "VOC2012", trainval=["2008_1", "2008_2", "2008_3"])
    monkeypatch.setenv("DETZOO_DATA", str(tmp_path))
    data = open_dataset("voc0712", "train")
    assert [Path(path).stem for path in data.paths] == ["000001", "000002", "2008_1", "2008_2", "2008_3"]
    assert data.image_ids == [1, 2, 3, 4, 5]
    assert len(data.classes) == 20
    assert data.sample(3).difficult.tolist() == [True]
    assert data.classes[data.sample(3).labels[0]] == "person"
    assert [entry["ignore"] for entry in data.coco_ground_truth()["annotations"]] == [0, 1, 0, 1, 0]
    assert len(open_dataset("voc0712", "test")) == 1
    assert list_splits("voc2007") == ("train", "val", "trainval", "test")
    # the folder of both years, without a data.yaml: the splits of both, VOC's own order of classes
    both = open_dataset(tmp_path / "VOCdevkit", "trainval")
    assert len(both) == 5
    assert both.classes == data.classes


def test_imagenet_dets_layout(tmp_path: Path) -> None:
    flat = devkit(tmp_path / "flat", train=["ILSVRC_1", "ILSVRC_2", "ILSVRC_3"])
    for kind, name, suffix in (("Annotations", "Annotations", "xml"), ("Data", "JPEGImages", "png")):
        folder = tmp_path / kind / "DET" / "train" / "n0001"
        folder.mkdir(parents=True)
        for path in (flat / name).glob(f"*.{suffix}"):
            path.rename(folder / path.name)
    (tmp_path / "train.txt").write_text("ILSVRC_1 1\nILSVRC_3 2\n")
    (tmp_path / "data.yaml").write_text(
        "format: voc\nsplits:\n  train: {annotations: Annotations/DET/train, images: Data/DET/train, list: train.txt}\n"
    )
    data = open_dataset(tmp_path / "data.yaml")
    assert [Path(path).stem for path in data.paths] == ["ILSVRC_1", "ILSVRC_3"]
    assert [len(data.sample(position).boxes) for position in (0, 1)] == [1, 1]


def test_ready_sets_say_what_to_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DETZOO_DATA", raising=False)
    for name in ("voc2007", "voc2012", "voc0712", "coco2017"):
        text = refused(name)
        folder = "data/coco" if name == "coco2017" else "data/VOCdevkit"
        assert text.startswith(f"{name}: its files are not here; looked in {folder}")
        assert "(set DETZOO_DATA to the folder that holds them).\n" in text
        assert "http://" in text
        assert "which gives" in text
    assert {path.stem for path in READY.glob("*.yaml")} == {"voc2007", "voc2012", "voc0712", "coco2017"}


def test_a_ready_set_with_one_part_missing_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = devkit(tmp_path / "VOCdevkit" / "VOC2007", trainval=["000001"])
    monkeypatch.setenv("DETZOO_DATA", str(tmp_path))
    text = refused("voc2007", "test")
    assert text.splitlines()[0] == f"{READY / 'voc2007.yaml'}: {root / 'ImageSets' / 'Main' / 'test.txt'} is not there"
    assert "VOCtest_06-Nov-2007.tar" in text


def test_a_data_yaml_with_unions_and_chosen_classes(tmp_path: Path) -> None:
    devkit(tmp_path / "one", train=["a", "b"], val=["c"])
    devkit(tmp_path / "two", train=["d", "e"])
    (tmp_path / "data.yaml").write_text(
        "format: voc\nname: both\nclasses: [person]\nsplits:\n  train: {path: one, set: train}\n"
        "  val: {path: one, set: val}\n  all: [train, val, {path: two, set: train}]\n"
    )
    data = open_dataset(tmp_path / "data.yaml", "all", quiet=True)
    assert (data.name, data.split, data.classes) == ("both", "all", ("person",))
    assert [Path(path).stem for path in data.paths] == ["a", "b", "c", "d", "e"]
    assert len(data.annotations().labels) == 2
    joined = open_dataset(tmp_path, "train+val", quiet=True)
    assert (joined.split, len(joined)) == ("train+val", 3)


@pytest.mark.parametrize(
    ("coordinates", "box"),
    [("subtract_min", [0, 0, 8, 9]), ("subtract_all", [0, 0, 7, 8]), ("as_is", [1, 1, 8, 9])],
)
def test_voc_coordinates_are_a_field(tmp_path: Path, coordinates: str, box: list[float]) -> None:
    devkit(tmp_path / "one", train=["a"])
    (tmp_path / "data.yaml").write_text(
        f"format: voc\npath: one\ncoordinates: {coordinates}\nsplits: {{train: {{set: train}}}}\n"
    )
    assert open_dataset(tmp_path).sample(0).boxes.tolist() == [box]


def test_difficult_boxes_are_flagged_and_the_loader_decides(tmp_path: Path) -> None:
    devkit(tmp_path, train=["a", "b"])
    data = open_dataset(tmp_path)
    spec = InputSpec(size=(10, 20))
    for treatment, valid, ignored in (("train", 2, 0), ("ignore", 2, 1), ("drop", 1, 0)):
        _, targets = next(iter(data.loader([], spec, 2, shuffle=False, difficult=treatment)))
        assert (int(targets.valid.sum()), int(targets.ignore.sum())) == (valid, ignored)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a data.yaml holds keys and values, as `format: voc`"),
        ("[1, 2]", "a data.yaml holds keys and values, as `format: voc`"),
        (
            "format: voc\nfromat: 3\n",
            "unknown key 'fromat'; a data.yaml has format, name, path, classes, coordinates, download, groups, splits",
        ),
        (
            "format: pascal\n",
            "format must be one of voc, coco, yolo, masks, labelme, via, cvat, openimages, shapes, not 'pascal'",
        ),
        ("format: voc\nsplits: [train]\n", "splits must be a mapping of names, as `train: {set: train}`"),
        ("format: voc\nsplits: {}\n", "no splits: write `splits:` with at least one, as `train: {...}`"),
        (
            "format: voc\nsplits: {a: {labels: x}}\n",
            "split a: format voc takes path, set, annotations, images, list, not {'labels': 'x'}",
        ),
        ("format: coco\nsplits: {a: {images: x}}\n", "split a: `annotations` is missing: the JSON file"),
        ("format: voc\nsplits: {a: [b]}\n", 'split a: unknown split "b"; allowed: a'),
        ("format: voc\nsplits: {a: [b], b: [a]}\n", "split b: the union contains itself: a -> b -> a"),
        ("format: voc\nclasses: cat\nsplits: {a: {}}\n", "classes must be a list of names, not 'cat'"),
        ("format: voc\nclasses: [a, b, a]\nsplits: {a: {}}\n", "classes names 'a' twice"),
        (
            "format: voc\ncoordinates: inclusive\nsplits: {a: {}}\n",
            "coordinates must be one of subtract_min, subtract_all, as_is, not 'inclusive'",
        ),
        ("format: voc\npath: 3\nsplits: {a: {}}\n", "a path must be text, not 3"),
        ("names: {0: a, 1: a}\ntrain: x\n", "two classes in names have the same name"),
        ("names: 5\ntrain: x\n", "names must be a list of class names, or number: name, not 5"),
        ("names: [a]\n", "names, but none of train, val (valid, validation, dev), test: where are the images?"),
    ],
)  # fmt: skip
def test_wrong_data_yaml_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "data.yaml"
    path.write_text(text)
    assert refused(path) == f"{path}: {message}"


def test_a_data_yaml_that_is_not_yaml(tmp_path: Path) -> None:
    path = tmp_path / "data.yaml"
    path.write_text("format: voc\n\tpath: x\n")
    assert refused(path) == f"{path}:2: not valid YAML: found character '\\t' that cannot start any token"
    path.write_text("format: !!python/object:os.system x\n")
    assert refused(path).startswith(f"{path}:1: not valid YAML: could not determine a constructor for the tag ")


def test_paths_that_hold_nothing(tmp_path: Path) -> None:
    assert refused(tmp_path).startswith(f"{tmp_path}: no dataset found here; looked for data.yaml, ")
    assert refused(tmp_path / "x") == (
        f"{tmp_path / 'x'}: no such dataset: give `shapes`, a data.yaml, a COCO json, a folder in VOC, YOLO or COCO "
        "layout, or one of coco2017, voc0712, voc2007, voc2012"
    )
    (tmp_path / "my_data").mkdir()
    (tmp_path / "my_dat1.jpg").touch()  # nearer, but no data
    assert refused(tmp_path / "my_dat").startswith(
        f'{tmp_path / "my_dat"}: no such dataset (did you mean "{tmp_path / "my_data"}"?): give `shapes`, a data.yaml,'
    )
    (tmp_path / "my_data").rmdir()
    (tmp_path / "my_dat1.jpg").unlink()
    (tmp_path / "a.zip").touch()
    allowed = "a folder, a data.yaml, a COCO json or a file of an annotation tool"
    assert refused(tmp_path / "a.zip") == f"{tmp_path / 'a.zip'}: a dataset is {allowed}"
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    assert refused(tmp_path) == (
        f"{tmp_path}: YOLO labels without class names: "
        "add a data.yaml with `names:`, or a classes.txt with one name per line"
    )


def test_the_split_must_be_named_where_there_are_several(tmp_path: Path) -> None:
    devkit(tmp_path, train=["a"], val=["b"])
    assert refused(tmp_path) == f"{tmp_path}: choose a split with --split: train, val"
    assert refused(tmp_path, "test") == f'{tmp_path}: unknown split "test"; allowed: train, val'


def test_a_split_without_a_usable_image(tmp_path: Path) -> None:
    devkit(tmp_path, train=["a"], val=["b"])
    (tmp_path / "JPEGImages" / "b.png").unlink()
    assert refused(tmp_path, "val") == (
        f"{tmp_path}: the split val has no usable image; "
        f"{tmp_path / 'Annotations' / 'b.xml'}: error: missing-image: no image called b; left out"
    )


def test_coco_files_with_other_categories_cannot_be_joined(tmp_path: Path) -> None:
    for split, name in (("train", "cat"), ("val", "dog")):
        Image.new("RGB", (20, 10)).save(tmp_path / f"{split}.png")
        (tmp_path / f"{split}.json").write_text(
            f'{{"images": [{{"id": 1, "file_name": "{split}.png", "width": 20, "height": 10}}],'
            f' "annotations": [], "categories": [{{"id": 1, "name": "{name}"}}]}}'
        )
    assert open_dataset(tmp_path, "train").classes == ("cat",)
    assert refused(tmp_path, "train+val") == (
        f"{tmp_path}: {tmp_path / 'val.json'} has other categories than {tmp_path / 'train.json'}; "
        "name the common ones with `classes:` in a data.yaml"
    )


def test_what_was_left_out_is_announced_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    devkit(tmp_path, train=["a", "b"])
    (tmp_path / "Annotations" / "b.xml").write_text("<annotation>")
    open_dataset(tmp_path)
    assert caplog.messages == [
        f"{tmp_path.name} train: left out: 1 bad-xml (`detzoo data check` names each with file and line)"
    ]


def test_shapes_from_a_data_yaml(tmp_path: Path) -> None:
    path = tmp_path / "data.yaml"
    path.write_text("format: shapes\nsize: 64\ntrain: 3\nval: 2\n")
    assert (len(open_dataset(path, "train")), len(open_dataset(path, "val"))) == (3, 2)
    path.write_text("format: shapes\nsize: big\n")
    assert refused(path, "train") == f"{path}: size must be a whole number, not 'big'"


@pytest.mark.parametrize("target", ["coco", "voc", "yolo"])
def test_every_format_gives_back_what_was_written(tmp_path: Path, target: str) -> None:
    out = tmp_path / target
    result = CliRunner().invoke(
        app, ["make", "--out", str(out), "--to", target, "--train", "5", "--val", "2", "--test", "2", "--size", "64"]
    )
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{out}/data.yaml: train 5 images, val 2 images, test 2 images\n"
    original, written = open_dataset("shapes:train=5,size=64", "train"), open_dataset(out, "train")
    assert written.classes == original.classes
    assert len(written) == 5
    for position in range(5):
        before, after = original.sample(position), written.sample(position)
        np.testing.assert_array_equal(after.image, before.image)
        np.testing.assert_allclose(after.boxes, before.boxes, atol=1e-4)
        np.testing.assert_array_equal(after.labels, before.labels)
        if target == "coco" and len(before.boxes):
            assert before.masks is not None
            assert after.masks is not None
            np.testing.assert_array_equal(after.masks, before.masks)
    again = CliRunner().invoke(app, ["make", "--out", str(out)])
    assert str(again.exception) == f"{out}: exists and is not empty; choose another folder"


def test_convert_copies_links_and_turns_upright(tmp_path: Path) -> None:
    root = devkit(tmp_path / "in", train=["a", "b", "c"])
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (20, 10)).save(root / "JPEGImages" / "b.png", exif=exif)
    (root / "JPEGImages" / "c.png").write_bytes((root / "JPEGImages" / "a.png").read_bytes()[:50])
    result = CliRunner().invoke(app, ["convert", str(root), "--to", "yolo", "--out", str(tmp_path / "out"), "--link"])
    assert result.exit_code == 0, result.output
    assert "1 difficult boxes" in result.stderr.splitlines()[0]  # before anything is written
    assert result.stderr.splitlines()[1].startswith(f"left out: {root / 'JPEGImages' / 'c.png'}: ")
    images = tmp_path / "out" / "images" / "train"
    assert (images / "a.png").is_symlink()
    assert not (images / "b.png").is_symlink()
    assert read_header(images / "b.png").orientation == 1
    data = open_dataset(tmp_path / "out")
    assert [len(data.sample(position).boxes) for position in range(len(data))] == [1, 0]  # b's is difficult
    wrong = CliRunner().invoke(app, ["convert", str(root), "--to", "kitti", "--out", str(tmp_path / "k")])
    assert str(wrong.exception) == "cannot write 'kitti'; choose one of coco, voc, yolo"


def test_info_show_and_anchors(tmp_path: Path) -> None:
    root = devkit(tmp_path / "in", train=["a", "b"])
    run = CliRunner()
    assert run.invoke(app, ["info", str(root)]).stdout == (
        "in train: 2 images, 2 boxes, 2 classes\n"
        "  boxes per image: mean 1.0, max 1; 0 images without objects\n"
        "  difficult 1, crowd 0, left out 0\n"
        "  box side px: min 8.5, p10 8.5, median 8.5, p90 8.5, max 8.5\n"
        "  most frequent image sizes, height x width: 10 x 20 (2)\n"
        "  dog 1, person 1\n"
    )
    shown = run.invoke(app, ["show", str(root), "--out", str(tmp_path / "out"), "--count", "1"])
    assert shown.stdout == f"{tmp_path / 'out' / '00000_a.png'}\n"
    assert read_header(tmp_path / "out" / "00000_a.png").size == (10, 20)
    # 8 x 9 px boxes; 10 x 20 px images stretched to 100 x 100: height 9 * 10, width 8 * 5
    assert run.invoke(app, ["anchors", str(root), "--count", "1", "--size", "100x100"]).stdout == (
        "   90.0 x    40.0   height x width px, ratio h/w 2.25\nmean IoU of a box with its best anchor: 1.000\n"
    )
    assert str(run.invoke(app, ["anchors", str(root), "--count", "3"]).exception) == (
        "3 anchors need at least 3 different boxes; there are 1"
    )
    assert str(run.invoke(app, ["anchors", str(root), "--size", "big"]).exception) == (
        "--size big: a size is written height first: 480x640 or 480,640 is 480 px high and 640 wide, 640 is 640x640"
    )


def test_anchors_find_two_clusters() -> None:
    from detzoo.data.checking.statistics import cluster_sides

    rng = np.random.default_rng(0)
    sides = np.concatenate([rng.normal((10, 20), 0.5, (50, 2)), rng.normal((80, 40), 0.5, (50, 2))])
    anchors, overlap = cluster_sides(sides, 2)
    np.testing.assert_allclose(anchors, [[10, 20], [80, 40]], atol=0.5)
    assert overlap > 0.9


@pytest.mark.parametrize("split", ["train+train", "train+val", "twice"])
def test_a_union_that_holds_images_twice_is_rejected(split: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (9, 9)).save(tmp_path / name / "0.png")
    (tmp_path / "data.yaml").write_text("train: [a, b]\nval: a\ntwice: [b, b]\nnames: [cat]\n")
    assert refused(tmp_path / "data.yaml", split).endswith(
        f"data.yaml: the split {split} holds the same images twice; name each part once"
    )
